//! The program on a database: its schema, its servers, and what it says where the database is not there.

use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;

use nix::sys::signal::Signal;
use serde_json::Value;
use tokio::runtime::Runtime;
use uuid::Uuid;

use crate::cluster::{Cluster, DATACENTER};
use crate::program::{Heard, Program, errors, send, text, wait_until};
use crate::support;

/// A keyspace that is not there yet.
pub(crate) fn keyspace() -> String {
    format!("k{}", Uuid::new_v4().simple())
}

fn on(cluster: &Cluster, keyspace: &str, arguments: &[&str]) -> Command {
    let mut command = support::semel();
    command.args(arguments).args(["--scylla-nodes", &cluster.contact_points().join(",")]).args([
        "--scylla-datacenter",
        DATACENTER,
        "--scylla-keyspace",
        keyspace,
    ]);
    command
}

pub(crate) fn schema(cluster: &Cluster, keyspace: &str, arguments: &[&str]) -> (Output, Value) {
    let mut command = on(cluster, keyspace, &[&["schema"], arguments].concat());
    let output = command.args(["--output", "json"]).output().expect("semel starts");
    let told = serde_json::from_slice(&output.stdout).expect("JSON");
    (output, told)
}

pub(crate) fn serve(cluster: &Cluster, keyspace: &str) -> Command {
    on(
        cluster,
        keyspace,
        &["serve", "--store", "scylla", "--listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0"],
    )
}

pub(crate) fn servers_share_what_schema_apply_made(cluster: &mut Cluster, _: &Runtime) {
    let keyspace = keyspace();
    let replication = format!("{DATACENTER}=1");
    let (missing, told) = schema(cluster, &keyspace, &["check"]);
    let command = format!("semel schema apply --scylla-keyspace {keyspace} --replication {DATACENTER}=3");
    assert_eq!(missing.status.code(), Some(114), "{told}");
    assert!(told["error"]["message"].as_str().is_some_and(|text| text.contains(&command)), "{told}");
    let refused = serve(cluster, &keyspace).output().expect("semel starts");
    assert_eq!(refused.status.code(), Some(1));
    assert!(errors(&refused).contains(&command), "{}", errors(&refused));
    assert_eq!(schema(cluster, &keyspace, &["apply"]).0.status.code(), Some(114), "no replication is given");
    let (wrong, told) = schema(cluster, &keyspace, &["apply", "--replication", "mars=3"]);
    assert_eq!(wrong.status.code(), Some(3), "{told}");

    let (applied, told) = schema(cluster, &keyspace, &["apply", "--replication", &replication]);
    assert_eq!(applied.status.code(), Some(0), "{told}");
    assert_eq!((&told["number_before"], &told["number"]), (&0.into(), &1.into()));
    let made: Vec<_> = told["statements"].as_array().expect("a list").clone();
    let (_, again) = schema(cluster, &keyspace, &["apply", "--replication", &replication]);
    assert_eq!(again["statements"], Value::Array(Vec::new()));
    let (_, checked) = schema(cluster, &keyspace, &["check"]);
    assert!(checked["advice"].to_string().contains("commitlog_sync"), "{checked}");
    let printed = on(cluster, &keyspace, &["schema", "print", "--replication", &replication]);
    let printed = text(&{ printed }.output().expect("semel starts"));
    let created = made.iter().filter_map(Value::as_str).filter(|statement| statement.starts_with("CREATE"));
    assert!(created.clone().count() >= 4);
    for statement in created {
        assert!(printed.contains(&format!("{statement};\n")), "{statement} in {printed}");
    }

    let directory = tempfile::tempdir().expect("a temporary directory");
    let policy = directory.path().join("policy.toml");
    let long = "[[rule]]\nendpoint = \"long/*\"\nmax_lease = \"3650d\"\nunresolved_retention = \"3650d\"\n";
    std::fs::write(&policy, long).expect("a file");
    let mut first = serve(cluster, &keyspace);
    first.arg("--policy").arg(&policy);
    let (first, second) = (Program::run(first), Program::run(serve(cluster, &keyspace)));
    first.log.wait_for("policy of tenant *, endpoint long/*: a record may have to be kept for 7300d 1h", 1);
    let of = |arguments: &[&'static str]| [arguments, &["--endpoint", "charge", "--key", "k"]].concat();
    let (status, begun) = first.json(&of(&["begin"]));
    assert_eq!(status, 0, "{begun}");
    let (fence, attempt) = (begun["fence"].to_string(), begun["attempt_id"].as_str().expect("a text"));
    assert_eq!(second.json(&of(&["begin"])).0, 102);
    let complete =
        [&of(&["complete"])[..], &["--fence", &fence, "--attempt-id", attempt, "--payload", "paid"]].concat();
    assert_eq!(second.json(&complete).0, 0);
    let (status, replayed) = first.json(&of(&["begin"]));
    assert_eq!((status, replayed["payload"].as_str()), (100, Some("paid")), "{replayed}");
    let (status, refused) = first.json(&["list"]);
    assert_eq!((status, refused["error"]["reason"].as_str()), (108, Some("NOT_LISTED")), "{refused}");
    assert_eq!(second.call(&["list", "--state", "unresolved"]).status.code(), Some(0));
    for server in [first, second] {
        assert_eq!(server.stop().code(), Some(0));
    }
}

/// A server that may not serve yet; killed when this is dropped.
struct Starting {
    process: Child,
    stdout: Arc<Heard>,
    log: Arc<Heard>,
}

impl Starting {
    fn new(mut command: Command) -> Self {
        let mut process =
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("semel starts");
        let stdout = Heard::listen(process.stdout.take().expect("it is piped"));
        let log = Heard::listen(process.stderr.take().expect("it is piped"));
        Self { process, stdout, log }
    }

    /// Waits until it says where it serves.
    fn until_serving(&mut self) {
        wait_until("it serves", || {
            let ended = self.process.try_wait().expect("it can be asked");
            assert!(ended.is_none(), "it ended with {ended:?}:\n{}", self.log.text());
            self.stdout.text().contains("gRPC")
        });
    }
}

impl Drop for Starting {
    fn drop(&mut self) {
        _ = self.process.kill();
        _ = self.process.wait();
    }
}

pub(crate) fn a_server_waits_for_its_database_and_follows_it(cluster: &mut Cluster, runtime: &Runtime) {
    let keyspace = keyspace();
    let replication = format!("{DATACENTER}=1");
    assert_eq!(
        schema(cluster, &keyspace, &["apply", "--replication", &replication]).0.status.code(),
        Some(0)
    );
    cluster.kill(0);
    let (status, told) = schema(cluster, &keyspace, &["check"]);
    assert_eq!(status.status.code(), Some(110), "{told}");

    // One is told to stop while it waits.
    let mut stopped = Starting::new(serve(cluster, &keyspace));
    stopped.log.wait_for("waiting for it", 1);
    send(&stopped.process, Signal::SIGTERM);
    assert_eq!(stopped.process.wait().expect("it ends").code(), Some(0));
    stopped.log.wait_for("told to stop before the store was open", 1);

    // Another waits, says that it lives and is not ready, and serves once the database is there.
    let port = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let mut command = serve(cluster, &keyspace);
    command.args(["--ops-listen", &port.to_string()]);
    let mut server = Starting::new(command);
    server.log.wait_for("waiting for it", 2);
    assert!(get(port, "/livez").starts_with("HTTP/1.1 200"));
    let readiness = get(port, "/readyz");
    assert!(readiness.starts_with("HTTP/1.1 503") && readiness.contains("is starting"), "{readiness}");
    assert!(!server.stdout.text().contains("gRPC"), "it does not say that it serves");
    cluster.restart(0);
    runtime.block_on(cluster.until_serving());
    server.until_serving();
    wait_until("it is ready", || get(port, "/readyz").starts_with("HTTP/1.1 200"));

    // The database goes, and comes back, while it serves.
    cluster.kill(0);
    wait_until("it is not ready", || get(port, "/readyz").contains("does not answer"));
    cluster.restart(0);
    runtime.block_on(cluster.until_serving());
    wait_until("it is ready again", || get(port, "/readyz").starts_with("HTTP/1.1 200"));
    let said = server.stdout.text();
    let url = said.lines().find_map(|line| line.strip_prefix("gRPC")).expect("it says where").trim();
    let begin = ["begin", "--endpoint", "charge", "--key", "k", "--server", url];
    let begun = support::semel().args(begin).output().expect("semel starts");
    assert_eq!(begun.status.code(), Some(0), "{}", errors(&begun));
}

/// What an HTTP port answers.
pub(crate) fn get(address: std::net::SocketAddr, path: &str) -> String {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(address).expect("it listens");
    write!(stream, "GET {path} HTTP/1.1\r\nhost: semel\r\nconnection: close\r\n\r\n").expect("it is written");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it is read");
    answer
}

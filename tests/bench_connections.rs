//! What `semel bench` makes of connections that end. A call that its server had not begun goes over the next one as if
//! nothing had been; one that it may have begun fails, or, where there is another server, counts as sent again.

#[path = "support/process.rs"]
mod process;
#[path = "support/raw.rs"]
mod raw;
mod support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use process::ServerProcess;
use raw::Frames;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// How a connection ends on a call that it brought, with nothing said to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// The client is asked to go, and told that its call is past the last one that was looked at.
    GoAwayBefore,
    /// The client is asked to go, and told that its call was looked at.
    GoAwayAfter,
    /// The call alone is refused; the client is asked to go.
    Refused,
    /// Without a word.
    Cut,
}

/// Before a server: its first connections end each as it is told, all others reach the server.
struct Gate {
    url: String,
    connections: Arc<AtomicU64>,
    _runtime: tokio::runtime::Runtime,
}

impl Gate {
    fn before(server: &ServerProcess, endings: &'static [Ending]) -> Self {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let connections = Arc::new(AtomicU64::new(0));
        let behind: SocketAddr = server.grpc.parse().unwrap();
        let counted = connections.clone();
        runtime.spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let place = usize::try_from(counted.fetch_add(1, Ordering::SeqCst)).unwrap();
                match endings.get(place) {
                    Some(ending) => tokio::spawn(end(client, *ending)),
                    None => tokio::spawn(pass(client, behind)),
                };
            }
        });
        Self { url, connections, _runtime: runtime }
    }

    fn connections(&self) -> u64 {
        self.connections.load(Ordering::SeqCst)
    }
}

/// Takes a whole call, and ends the connection on it. A client that is gone has ended it by itself.
async fn end(client: TcpStream, ending: Ending) {
    let go_away = |last: u32| {
        let said: Vec<u8> = [last, 0].into_iter().flat_map(u32::to_be_bytes).collect();
        Frames::frame(7, 0, 0, &said)
    };
    let mut client = Frames(client);
    let mut greeting = [0; b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".len()];
    if client.0.read_exact(&mut greeting).await.is_err() {
        return;
    }
    client.send([Frames::frame(4, 0, 0, &[])]).await.unwrap();
    while let Some((kind, stream, _)) = client.next().await {
        if kind != 0 {
            continue;
        }
        let said = match ending {
            Ending::GoAwayBefore => vec![go_away(0)],
            Ending::GoAwayAfter => vec![go_away(stream)],
            Ending::Refused => vec![Frames::frame(3, 0, stream, &7_u32.to_be_bytes()), go_away(stream)],
            Ending::Cut => return,
        };
        client.send(said).await.unwrap();
        client.0.shutdown().await.unwrap();
        // The rest of the call, and the client's own goodbye.
        while client.next().await.is_some() {}
    }
}

/// Each direction by itself: what the server says last reaches the client, whatever that one still sends.
async fn pass(client: TcpStream, behind: SocketAddr) {
    let Ok(server) = TcpStream::connect(behind).await else { return };
    client.set_nodelay(true).unwrap();
    server.set_nodelay(true).unwrap();
    let (mut asked, mut told) = client.into_split();
    let (mut tells, mut asks) = server.into_split();
    let there = async {
        // Either of them may be gone.
        let _ = tokio::io::copy(&mut asked, &mut asks).await;
        let _ = asks.shutdown().await;
    };
    let back = async {
        let _ = tokio::io::copy(&mut tells, &mut told).await;
        let _ = told.shutdown().await;
    };
    tokio::join!(there, back);
}

/// What bench says of the servers at `urls`, and its exit status.
fn bench(urls: &[&str], arguments: &[&str]) -> (Value, Option<i32>) {
    let output = support::semel()
        .args(["bench", "--server", &urls.join(","), "--output", "json"])
        .args(arguments)
        .output()
        .unwrap();
    let report = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        panic!("{error} in what bench printed: {}", String::from_utf8_lossy(&output.stderr))
    });
    (report, output.status.code())
}

fn answer(report: &Value, name: &str) -> u64 {
    report["answers"][name].as_u64().unwrap_or_else(|| panic!("no {name} in {report:#}"))
}

fn serve(settings: &[&str]) -> (tempfile::TempDir, ServerProcess) {
    // Under target/, which is on a disk: a temporary directory may be memory.
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let server = ServerProcess::start(&directory.path().join("data"), settings);
    (directory, server)
}

/// A server asks connections to go when they are old, as it does when it stops: a load on its one address is none the
/// wiser.
#[test]
fn connections_that_are_asked_to_go_take_no_call_along() {
    const CONNECTIONS: u64 = 8;
    const LIFECYCLES: u64 = 5_000;
    let (_directory, server) = serve(&["--limits-max-connection-age", "100ms"]);
    let gate = Gate::before(&server, &[]);
    let (report, exit) = bench(
        &[&gate.url],
        &[
            "--lifecycles",
            &LIFECYCLES.to_string(),
            "--concurrency",
            "64",
            "--connections",
            &CONNECTIONS.to_string(),
            "--abort-share",
            "0.1",
            "--renew-share",
            "0.1",
        ],
    );
    println!("{} connections: {report:#}", gate.connections());
    assert_eq!(exit, Some(0), "{report:#}");
    assert_eq!((answer(&report, "failed"), answer(&report, "resent")), (0, 0), "{report:#}");
    assert_eq!((&report["violations_found"], &report["lifecycles"]), (&0.into(), &LIFECYCLES.into()));
    assert!(gate.connections() >= 3 * CONNECTIONS, "each connection was to be turned over");
    support::count("bench_connections", gate.connections());
    assert_eq!(server.terminate().code(), Some(0));
}

const SHORT: &[&str] =
    &["--lifecycles", "20", "--concurrency", "1", "--connections", "1", "--duplicates", "0"];

#[test]
fn a_call_that_was_refused_unbegun_is_sent_over_another_connection() {
    let endings = &[Ending::GoAwayBefore, Ending::Refused, Ending::GoAwayBefore];
    let (_directory, server) = serve(&[]);
    let gate = Gate::before(&server, endings);
    let (report, exit) = bench(&[&gate.url], SHORT);
    assert_eq!((exit, &report["lifecycles"]), (Some(0), &20.into()), "{report:#}");
    assert_eq!((answer(&report, "failed"), answer(&report, "resent")), (0, 0), "{report:#}");
    assert!(answer(&report, "not_begun") >= 3, "{report:#}");
    assert_eq!(gate.connections(), 4);
}

#[test]
fn a_call_that_may_have_begun_fails_at_a_single_address() {
    for endings in [&[Ending::GoAwayAfter] as &'static [_], &[Ending::Cut]] {
        let (_directory, server) = serve(&[]);
        let gate = Gate::before(&server, endings);
        let (report, exit) = bench(&[&gate.url], SHORT);
        assert_eq!(exit, Some(113), "{endings:?}: {report:#}");
        assert_eq!((answer(&report, "failed"), answer(&report, "resent")), (1, 0), "{endings:?}: {report:#}");
        assert_eq!(report["violations"][0]["kind"], "unexpected_error", "{endings:?}: {report:#}");
    }
}

#[test]
fn a_call_that_may_have_begun_counts_as_resent_where_there_is_another_server() {
    let (_directory, server) = serve(&[]);
    // bench looks whether a server is there over a first connection, which brings no call.
    let gate = Gate::before(&server, &[Ending::Cut, Ending::Cut, Ending::GoAwayAfter]);
    let (report, exit) = bench(&[&gate.url, &format!("http://{}", server.grpc)], SHORT);
    assert_eq!((exit, answer(&report, "failed")), (Some(0), 0), "{report:#}");
    assert!(answer(&report, "resent") >= 1, "{report:#}");
}

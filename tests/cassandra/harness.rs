//! That the nodes do not outlive the tests, whatever happens.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::kill;
use nix::unistd::Pid;
use tokio::runtime::Runtime;

use crate::cluster::Cluster;

const CHILD: &str = "SEMEL_TEST_CLUSTER_OF_A_CHILD";

/// In the child of [`nodes_end_with_whoever_started_them`]: starts a node, says which, and waits to be killed.
pub(crate) fn work_as_child() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    let cluster = Cluster::start(1, "");
    println!("NODE {}", cluster.pid(0));
    loop {
        std::thread::park();
    }
}

/// SIGKILL leaves nobody the time to clean up: the pipe does it.
pub(crate) fn nodes_end_with_whoever_started_them(_: &mut Cluster, _: &Runtime) {
    let mut child = Command::new(std::env::current_exe().expect("this binary has a path"))
        .env(CHILD, "1")
        .stdout(Stdio::piped())
        .spawn()
        .expect("this binary starts");
    let lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
    let node = lines
        .map_while(Result::ok)
        .find_map(|line| line.strip_prefix("NODE ")?.parse().ok().map(Pid::from_raw))
        .expect("the child says which node it started");
    assert!(kill(node, None).is_ok(), "the node runs");
    child.kill().expect("the child takes SIGKILL");
    child.wait().expect("the child ends");
    let began = Instant::now();
    while kill(node, None).is_ok() {
        assert!(began.elapsed() < Duration::from_mins(2), "the node outlives the process that started it");
        std::thread::sleep(Duration::from_millis(50));
    }
}

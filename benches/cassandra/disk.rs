//! What records take on the disk once everything is written out and merged.

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use crate::cluster::Cluster;

/// Where nobody listens on 127.0.0.1, which is where Java's management port always is.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// What opens that port.
pub(crate) fn jvm_options(port: u16) -> String {
    format!("-Dcassandra.jmx.local.port={port}\n--add-exports=java.rmi/sun.rmi.registry=ALL-UNNAMED\n")
}

/// Prints what so many completed records take, the state of their transactions included.
pub(crate) fn print(cluster: &Cluster, port: u16, keyspace: &str, records: u64) {
    nodetool(port, &["flush"]);
    nodetool(port, &["compact", keyspace]);
    nodetool(port, &["compact", "system", "paxos"]);
    println!("\n{records} completed records on the disk of one replica, after a flush and a compaction:");
    for (what, keyspace, table) in [
        ("the records", keyspace, "record"),
        ("what transactions keep (system.paxos)", "system", "paxos"),
        ("hints, all of them dropped", keyspace, "hint"),
    ] {
        let bytes = bytes_of(&cluster.directory(0).join("data").join(keyspace), table);
        #[allow(clippy::cast_precision_loss, reason = "a test disk holds less than 2^53 bytes")]
        let each = bytes as f64 / records as f64;
        println!("{what:<52}{each:>9.0} bytes each, {bytes} in all");
    }
}

fn nodetool(port: u16, arguments: &[&str]) {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tools/cassandra/nodetool");
    let output = Command::new(program).arg(port.to_string()).args(arguments).output().unwrap();
    assert!(output.status.success(), "nodetool {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// The files of a table, whose folder has its name and its identity.
fn bytes_of(keyspace: &Path, table: &str) -> u64 {
    let folders = std::fs::read_dir(keyspace).unwrap().map(Result::unwrap).filter(|folder| {
        folder.file_name().to_string_lossy().rsplit_once('-').is_some_and(|(name, _)| name == table)
    });
    folders
        .flat_map(|folder| std::fs::read_dir(folder.path()).unwrap())
        .map(|file| file.unwrap().metadata().unwrap())
        .filter(std::fs::Metadata::is_file)
        .map(|file| file.len())
        .sum()
}

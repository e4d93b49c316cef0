//! The operations port: whoever holds connections to it keeps no probe out.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::attacked::{Attack, get, soon};
use crate::figures::{FIXED, OPERATIONS};

/// How many connections it has at a time.
const PLACES: u64 = 256;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_to_the_operations_port_that_are_held() {
    let long = format!("GET /livez HTTP/1.1\r\nhost: test\r\nx: {}", "y".repeat(300_000));
    let many = format!("GET /livez HTTP/1.1\r\n{}", "x: y\r\n".repeat(50_000));
    let beginnings: [&[u8]; 6] = [
        b"",
        b"GET /metrics HTTP/1.1\r\nhost: t",
        b"POST /livez HTTP/1.1\r\nhost: test\r\ncontent-length: 1000000\r\n\r\n1",
        b"POST /livez HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\nfffffff\r\n1",
        long.as_bytes(),
        many.as_bytes(),
    ];
    Attack::new("operations", FIXED + PLACES * OPERATIONS)
        .with(&["--limits-greeting-time", "3s"])
        .run(async |target, toll| {
            let mut held = JoinSet::new();
            for number in 0..2 * usize::try_from(PLACES).unwrap() {
                let beginning = beginnings[number % beginnings.len()].to_owned();
                let mut socket = TcpStream::connect(&target.operations).await.unwrap();
                held.spawn(async move {
                    // It may be answered, or have to give way, before it has said everything.
                    let mut said = socket.write_all(&beginning).await.is_ok();
                    while said {
                        tokio::time::sleep(Duration::from_millis(100)).await;
                        said = socket.write_all(b"z").await.is_ok();
                    }
                    let _ = socket.read_to_end(&mut Vec::new()).await;
                });
                if number % 16 == 0 {
                    for (path, told) in
                        [("/livez", "ok\n"), ("/readyz", "ok\n"), ("/metrics", "semel_build_info")]
                    {
                        let answer = get(&target.operations, path).await;
                        assert!(
                            answer.starts_with("HTTP/1.1 200") && answer.contains(told),
                            "{path}: {answer}"
                        );
                        toll.add("probes", 1);
                    }
                }
            }
            toll.add("connections", 2 * PLACES);
            toll.add("cut_off", 2 * PLACES);
            soon("held connections are closed", held.join_all()).await;
        })
        .await;
}

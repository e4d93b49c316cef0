//! The first day of docs/OPERATIONS.md, as it stands there: whoever follows it gets what it says.

mod support;

use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};

/// The blocks of the section that are to be run here, in their order.
fn blocks() -> Vec<String> {
    let page = std::fs::read_to_string("docs/OPERATIONS.md").unwrap();
    let (_, section) = page.split_once("## A first day\n").expect("the section is there");
    let (section, _) = section.split_once("\n## ").unwrap();
    let blocks = section.split("```sh\n").skip(1).map(|block| block.split_once("```").unwrap().0.to_owned());
    blocks.collect()
}

/// Two ports that nobody has, or only a moment ago.
fn ports() -> [String; 2] {
    [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap()).map(|port| {
        let address = port.local_addr().unwrap();
        address.port().to_string()
    })
}

#[test]
fn whoever_follows_the_first_day_gets_what_it_says() {
    let blocks = blocks();
    assert_eq!(blocks.len(), 8, "{blocks:#?}");
    let directory = tempfile::tempdir().unwrap();
    let [grpc, operations] = ports();
    let program = Path::new(env!("CARGO_BIN_EXE_semel")).parent().unwrap();
    let mut script = "trap 'kill $server; wait' EXIT\n".to_owned();
    for block in &blocks {
        // The ports of the page may be taken where this runs.
        let block =
            block.replace("7401", &operations).replace("localhost:7400", &format!("localhost:{grpc}"));
        let listen = format!("semel serve --listen 127.0.0.1:{grpc} --ops-listen 127.0.0.1:{operations}");
        let block = block.replace("semel serve", &listen);
        script = script + &block + "echo \"status $?\"; echo =====\n";
    }
    let mut bash = Command::new("bash");
    for (variable, _) in std::env::vars_os() {
        if variable.to_string_lossy().starts_with("SEMEL_") {
            bash.env_remove(variable);
        }
    }
    let path = std::env::join_paths(
        [program.to_owned()].into_iter().chain(std::env::split_paths(&std::env::var_os("PATH").unwrap())),
    );
    bash.env("PATH", path.unwrap()).current_dir(directory.path()).stdin(Stdio::null());
    let output = bash.arg("-c").arg(script).output().expect("bash starts");
    let (said, errors) =
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8_lossy(&output.stderr).into_owned());
    let said: Vec<&str> = said.split("=====\n").collect();
    let at = |block: usize, expected: &[&str]| {
        for text in expected {
            assert!(said[block].contains(text), "{text:?} is not in:\n{}\nerrors:\n{errors}", said[block]);
        }
    };
    at(0, &["status 0"]);
    at(1, &["the configuration is sound", "status 0"]);
    at(2, &["status 0"]);
    at(3, &["started: the key is yours", "tenant               globex", "status 112"]);
    assert!(errors.contains("TENANT_NOT_ALLOWED"), "{errors}");
    at(4, &["unresolved: nobody may run it until an operator resolves it", "status 103"]);
    at(5, &["Begin: unresolved", "trace_id=\"11111111111111111111111111111111\"", "semel.key_hash="]);
    at(
        6,
        &[
            "order-1",
            "1 would be completed",
            "1 records match: 1 completed",
            "1 records match: 1 released",
            "status 0",
        ],
    );
    at(
        7,
        &[
            "replayed: it already happened",
            "ch_42",
            "started: the key is yours",
            r#"["token:ann","acme","UNRESOLVED","COMPLETED"]"#,
            r#"["token:ann","globex","UNRESOLVED","RELEASED"]"#,
        ],
    );
    support::count("first_day_blocks", blocks.len() as u64);
}

//! The committed code of the contract is what its generator writes today; `SEMEL_GENERATE=1` writes it.

use std::path::Path;

#[test]
fn generated_code_is_current() {
    let home = Path::new(env!("CARGO_MANIFEST_DIR"));
    let contract = home.join("../../proto");
    let descriptors = protox::compile(["semel/v1/semel.proto"], [&contract]).expect("the contract compiles");
    let out = tempfile::tempdir().expect("a directory");
    tonic_prost_build::configure()
        .bytes(".semel.v1")
        .btree_map(".semel.v1")
        .server_mod_attribute(".", "#[cfg(feature = \"testing\")]")
        .out_dir(out.path())
        .compile_fds(descriptors)
        .expect("the code is generated");
    let fresh = std::fs::read_to_string(out.path().join("semel.v1.rs")).expect("it is written");
    let committed = home.join("src/generated/semel.v1.rs");
    if std::env::var_os("SEMEL_GENERATE").is_some() {
        std::fs::write(&committed, &fresh).expect("src/generated can be written");
    }
    let is = std::fs::read_to_string(&committed).expect("the generated code is committed");
    assert!(is == fresh, "{} is not what the contract gives: make generate", committed.display());
}

//! Compiles the contract with protox, so that building semel needs no protoc; notes what is built for whom.

use prost::Message;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    // What `/debug` says of the build.
    for (shown, variable) in [("SEMEL_TARGET", "TARGET"), ("SEMEL_PROFILE", "PROFILE")] {
        println!("cargo:rustc-env={shown}={}", std::env::var(variable)?);
    }
    let descriptors = protox::compile(["semel/v1/semel.proto"], ["proto"])?;
    let out = std::path::PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("semel_descriptor.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        .bytes(".semel.v1")
        .codec_path("crate::server::Unpacking")
        .compile_fds(descriptors)?;
    Ok(())
}

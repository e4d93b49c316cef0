//! Whatever takes bytes from outside, fed with what the fuzz targets are fed with: the corpora that are committed, and the
//! real encodings that they began with. `SEMEL_WRITE_SEEDS=DIRECTORY cargo test --test corpora` writes those, and fails.

#[path = "support/mod.rs"]
mod report;
#[path = "../fuzz/src/lib.rs"]
#[allow(unreachable_pub, reason = "to the fuzz targets it is a library")]
mod targets;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use targets::TARGETS;

fn corpora() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus")
}

#[test]
fn every_input_keeps_what_its_door_promises() {
    let mut inputs = 0;
    for target in &TARGETS {
        let mut fed: Vec<(String, Vec<u8>)> =
            (1..).zip((target.seeds)()).map(|(n, seed)| (format!("seed {n}"), seed)).collect();
        let directory = corpora().join(target.name);
        for entry in walkdir::WalkDir::new(&directory).sort_by_file_name() {
            let entry = entry.unwrap_or_else(|error| panic!("the corpus of {}: {error}", target.name));
            if entry.file_type().is_file() {
                fed.push((entry.path().display().to_string(), std::fs::read(entry.path()).unwrap()));
            }
        }
        if let Some(to) = std::env::var_os("SEMEL_WRITE_SEEDS") {
            let to = Path::new(&to).join(target.name);
            std::fs::create_dir_all(&to).unwrap();
            for (name, input) in fed.iter().filter(|(name, _)| name.starts_with("seed")) {
                std::fs::write(to.join(name.replace(' ', "-")), input).unwrap();
            }
            continue;
        }
        for (name, input) in &fed {
            // What panics is in the line before the panic's own.
            println!("{}: {name}", target.name);
            (target.run)(input);
        }
        inputs += fed.len() as u64;
    }
    assert!(inputs > 0, "the seeds are written: run it again without SEMEL_WRITE_SEEDS");
    report::count("fuzz_targets", TARGETS.len() as u64);
    report::count("fuzz_corpus_inputs", inputs);
}

/// What is added in one place and forgotten in another would never be run.
#[test]
fn every_target_is_a_program_and_has_a_corpus() {
    let names: BTreeSet<String> = TARGETS.iter().map(|target| target.name.to_owned()).collect();
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let of = |directory: &str| -> BTreeSet<String> {
        let entries = std::fs::read_dir(fuzz.join(directory)).unwrap();
        entries.map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned()).collect()
    };
    assert_eq!(of("fuzz_targets"), names);
    assert_eq!(of("corpus"), names);
    let manifest: toml::Table = std::fs::read_to_string(fuzz.join("Cargo.toml")).unwrap().parse().unwrap();
    let programs =
        manifest["bin"].as_array().unwrap().iter().map(|bin| bin["name"].as_str().unwrap().to_owned());
    assert_eq!(programs.collect::<BTreeSet<_>>(), names);
}

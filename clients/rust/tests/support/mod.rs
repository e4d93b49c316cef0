//! What the tests share: the vectors, and a count of how many were run.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

use serde_json::Value;

/// The cases of a file of vectors; they are counted.
pub(crate) fn cases(file: &str) -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../vectors").join(format!("{file}.json"));
    let text = std::fs::read_to_string(&path).expect("the vectors are beside the library");
    let read: Value = serde_json::from_str(&text).expect("they are JSON");
    let cases = read["cases"].as_array().expect("they have cases").clone();
    assert!(!cases.is_empty(), "{file} has no case");
    count("client_vectors", cases.len());
    cases
}

/// Reports how often something was done, where counts are gathered.
pub(crate) fn count(name: &str, times: usize) {
    if let Some(path) = std::env::var_os("SEMEL_COUNTS_FILE") {
        let mut file =
            OpenOptions::new().append(true).create(true).open(path).expect("the counts can be written");
        writeln!(file, "{name} {times}").expect("the counts can be written");
    }
}

pub(crate) fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_default()
}

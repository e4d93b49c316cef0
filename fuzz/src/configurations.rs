//! Configuration files: refused with what is wrong, or settings that can be written down again.

use semel::config::{self, Loaded, Problems, Sources};

use super::input::text;
use super::journals::scratch;

/// Reads the bytes as the file of `semel serve --config`.
pub fn run(data: &[u8]) {
    let text = text(data);
    // A configuration names files that are read: those of this machine's devices have no end.
    if ["/dev", "/proc", "/sys"].iter().any(|part| text.contains(part)) {
        return;
    }
    match load(text) {
        Ok(loaded) => {
            let printed = loaded.print();
            let settings =
                |printed: &str| printed.parse::<toml::Table>().map_err(|error| format!("{error}: {printed}"));
            let first =
                settings(&printed).unwrap_or_else(|problem| panic!("what was printed is no TOML: {problem}"));
            // Secrets are hidden in it, and so are no settings.
            if printed.contains("hidden") {
                return;
            }
            let again = load(&printed)
                .unwrap_or_else(|problems| panic!("what was printed is refused: {problems}\n{printed}"));
            assert_eq!(settings(&again.print()), Ok(first), "what was printed means something else");
        }
        Err(problems) => assert!(!problems.to_string().is_empty()),
    }
}

fn load(text: &str) -> Result<Loaded, Problems> {
    let directory = scratch();
    let path = directory.path().join("semel.toml");
    std::fs::write(&path, text).expect("a file can be written");
    config::load(Sources { file: Some(path), ..Sources::default() })
}

/// The example of the project, and files with many settings.
pub fn seeds() -> Vec<Vec<u8>> {
    let example = include_str!("../../semel.example.toml");
    let active: Vec<_> = example.lines().map(|line| line.strip_prefix("# ").unwrap_or(line)).collect();
    let active = active.join("\n");
    [
        example,
        &active,
        "store = \"memory\"\nlisten = \"127.0.0.1:0\"\nmax_waiters = 1\nreplay_cache_bytes = \"1MiB\"\nsettle_within = \"1s\"\n\
         [limits]\nrequest_timeout = \"1h 30m\"\n",
        "store = \"scylla\"\n[scylla]\nnodes = \"127.0.0.1:9042\"\nkeyspace = \"semel\"\n",
        "store = \"embeded\"\nmax_waiters = \"many\"\n",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}

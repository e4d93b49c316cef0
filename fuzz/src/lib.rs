//! Whatever takes bytes from outside, fed with any bytes: what has to hold of each door. The fuzz targets run these on what
//! libFuzzer makes, and tests/corpora runs them on what is committed in fuzz/corpus.

pub mod backups;
pub mod configurations;
pub mod credentials;
pub mod hints;
mod input;
pub mod journals;
pub mod page_tokens;
pub mod policies;
pub mod records;
pub mod requests;
pub mod tokens;

/// A door, by the name of its fuzz target and of its corpus.
pub struct Target {
    /// The name.
    pub name: &'static str,
    /// Feeds the door, and panics where something does not hold.
    pub run: fn(&[u8]),
    /// Real encodings to begin with.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// All of them.
pub const TARGETS: [Target; 10] = [
    Target { name: "backups", run: backups::run, seeds: backups::seeds },
    Target { name: "configurations", run: configurations::run, seeds: configurations::seeds },
    Target { name: "credentials", run: credentials::run, seeds: credentials::seeds },
    Target { name: "hints", run: hints::run, seeds: hints::seeds },
    Target { name: "journals", run: journals::run, seeds: journals::seeds },
    Target { name: "page_tokens", run: page_tokens::run, seeds: page_tokens::seeds },
    Target { name: "policies", run: policies::run, seeds: policies::seeds },
    Target { name: "records", run: records::run, seeds: records::seeds },
    Target { name: "requests", run: requests::run, seeds: requests::seeds },
    Target { name: "tokens", run: tokens::run, seeds: tokens::seeds },
];

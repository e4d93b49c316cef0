//! What is planted, and how it is found again.

use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

/// How every text that is planted begins: whatever has none of it, in a form, has none of them.
const BEGINNING: &str = "cnry00";

/// Where something was planted, and what.
type Secret = (String, Vec<u8>);

/// Everything that was planted.
#[derive(Clone, Default)]
pub(crate) struct Planted(Arc<Mutex<Vec<Secret>>>);

impl Planted {
    /// A new text for `place`: 24 characters, so that its base64 does not depend on what comes after.
    pub(crate) fn plant(&self, place: &str) -> String {
        self.plant_long(place, 24)
    }

    /// A new text for `place` that is so long.
    pub(crate) fn plant_long(&self, place: &str, length: usize) -> String {
        let digits = length - BEGINNING.len();
        let text = format!("{BEGINNING}{:0digits$}", rand::random_range(0..10_u64.pow(14)));
        self.secret(place, text.as_bytes());
        text
    }

    /// What is secret already, such as a private key.
    pub(crate) fn secret(&self, place: &str, secret: &[u8]) {
        assert!(secret.len() >= 16, "what is short is found by chance");
        self.0.lock().unwrap().push((place.to_owned(), secret.to_vec()));
    }

    pub(crate) fn count(&self) -> u64 {
        self.0.lock().unwrap().len() as u64
    }

    /// What is found of them in `output`, in any form. It is never printed itself: it has been found, after all.
    pub(crate) fn found_in(&self, name: &str, output: &[u8]) -> Vec<String> {
        let text = String::from_utf8_lossy(output).to_lowercase();
        let mut all = Vec::new();
        for (form, written) in FORMS {
            let any = text.contains(&written(BEGINNING.as_bytes()).to_lowercase());
            for (place, planted) in self.0.lock().unwrap().iter() {
                if planted.starts_with(BEGINNING.as_bytes()) && !any {
                    continue;
                }
                if let Some(at) = text.find(&written(planted).to_lowercase()) {
                    let line = text[..at].rfind('\n').map_or(0, |start| start + 1);
                    let head: String = text[line..at].chars().take(300).collect();
                    all.push(format!("{name} has what was planted in {place}, {form}, after «{head}»"));
                }
            }
        }
        all
    }
}

type Form = (&'static str, fn(&[u8]) -> String);

/// How a text may come to be written.
const FORMS: [Form; 8] = [
    ("as it is", |bytes| String::from_utf8_lossy(bytes).into_owned()),
    ("in base64", |bytes| base64_behind(0, bytes)),
    ("in base64, behind one byte", |bytes| base64_behind(1, bytes)),
    ("in base64, behind two bytes", |bytes| base64_behind(2, bytes)),
    ("in base64 for URLs", |bytes| base64_behind(0, bytes).replace('+', "-").replace('/', "_")),
    ("in hexadecimal", |bytes| hexadecimal(bytes, "")),
    ("in hexadecimal with colons", |bytes| hexadecimal(bytes, ":")),
    ("as a list of bytes", |bytes| format!("{bytes:?}").trim_matches(['[', ']']).to_owned()),
];

fn hexadecimal(bytes: &[u8], between: &str) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(between)
}

/// What is the same of the base64 of `bytes`, so many bytes past a group of three, whatever stands before and after.
fn base64_behind(before: usize, bytes: &[u8]) -> String {
    let encoded = STANDARD_NO_PAD.encode([&[0_u8; 2][..before], bytes].concat());
    let (first, whole_groups) = ([0, 2, 3][before], (before + bytes.len()) / 3 * 4);
    encoded[first..whole_groups].to_owned()
}

/// Had nothing been searched for, nothing would have been found.
#[test]
fn what_is_planted_is_found_in_each_form_and_wherever_it_stands() {
    let planted = Planted::default();
    let secret = planted.plant("here");
    let key: Vec<u8> = (100..140).collect();
    planted.secret("a key", &key);
    for secret in [secret.as_bytes(), &key[..]] {
        for (form, written) in FORMS {
            let output = format!("a line\nx={}, and more", written(secret));
            assert!(!planted.found_in("a control", output.as_bytes()).is_empty(), "{form}");
        }
        for before in ["", "a", "ab", "abc"] {
            let output = STANDARD_NO_PAD.encode([before.as_bytes(), secret, &b"after"[..]].concat());
            assert!(!planted.found_in("a control", output.as_bytes()).is_empty(), "behind {before}");
        }
    }
    assert!(planted.found_in("a control", b"cnry00, cnry0000 and the like").is_empty());
}

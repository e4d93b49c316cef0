//! Credentials files: refused with the place of what is wrong, or credentials of which none stands for nobody.

use std::collections::HashSet;

use semel::config::parse_credentials;

use super::input::text;

/// Reads the bytes as a credentials file.
pub fn run(data: &[u8]) {
    match parse_credentials("credentials.toml", text(data)) {
        Ok(file) => {
            let names: HashSet<_> = file.tokens.iter().map(|entry| &entry.name).collect();
            let hashes: HashSet<_> = file.tokens.iter().map(|entry| entry.hash).collect();
            assert_eq!(
                (names.len(), hashes.len()),
                (file.tokens.len(), file.tokens.len()),
                "two tokens are one"
            );
            for entry in &file.tokens {
                assert!(
                    !entry.tenants.is_empty() && !entry.roles.is_empty(),
                    "{} may do nothing",
                    entry.name
                );
            }
            assert_eq!(file.credentials().counts().0, file.tokens.len());
        }
        Err(problems) => assert!(problems.to_string().starts_with("credentials.toml"), "{problems}"),
    }
}

/// A file of every field, and one of mistakes.
pub fn seeds() -> Vec<Vec<u8>> {
    let sha256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
    [
        format!(
            "[[token]]\nname = \"billing\"\nsha256 = \"{sha256}\"\ntenants = [\"acme\", \"a*\"]\nroles = [\"client\", \"reader\"]\n\
             created = 2026-11-01\nexpires = 2027-01-16T00:00:00Z\nrevoked = 2026-12-01T00:00:00.5+01:00\n\
             [[certificate]]\nuri = \"spiffe://mesh.example/ns/*\"\ntenants = [\"*\"]\nroles = [\"operator\"]\n"
        ),
        format!(
            "[[token]]\nname = \"\"\nsha256 = \"{}\"\ntenants = []\nroles = [\"root\"]\nexpires = \"soon\"\n[[tokens]]\n",
            &sha256[1..]
        ),
    ]
    .map(String::into_bytes)
    .to_vec()
}

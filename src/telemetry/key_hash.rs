//! How a key is named in logs and traces.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::domain::Key;

/// Names keys without showing them: HMAC-SHA-256 of the identity under the deployment's secret. Without the
/// secret nobody can test a guess against a log line.
#[derive(Clone)]
pub struct KeyHash(Hmac<Sha256>);

impl KeyHash {
    /// Hashes under `secret`, of any length.
    pub fn new(secret: &[u8]) -> Self {
        Self(Hmac::new_from_slice(secret).expect("HMAC takes secrets of every length (RFC 2104)"))
    }

    /// The first 64 bits of the hash, as 16 hexadecimal digits.
    pub fn name(&self, key: &Key) -> String {
        let mut mac = self.0.clone();
        mac.update(&key.to_bytes());
        let digest: [u8; 32] = mac.finalize().into_bytes().into();
        digest[..8].iter().fold(String::with_capacity(16), |name, byte| name + &format!("{byte:02x}"))
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyHash(secret hidden)")
    }
}

#[cfg(test)]
mod tests {
    use super::KeyHash;
    use crate::domain::{Endpoint, IdempotencyKey, Key, Tenant};

    fn key(tenant: &str, endpoint: &str, key: &str) -> Key {
        Key {
            tenant: Tenant::new(tenant).unwrap(),
            endpoint: Endpoint::new(endpoint).unwrap(),
            idempotency_key: IdempotencyKey::new(key).unwrap(),
        }
    }

    #[test]
    fn names_depend_on_secret_and_every_part() {
        let hash = KeyHash::new(b"secret");
        let name = hash.name(&key("a", "b", "c"));
        assert_eq!(name.len(), 16);
        assert_eq!(name, KeyHash::new(b"secret").name(&key("a", "b", "c")));
        assert_ne!(name, KeyHash::new(b"other").name(&key("a", "b", "c")));
        for other in [key("a", "b", "d"), key("a", "d", "c"), key("d", "b", "c"), key("ab", "c", "d")] {
            assert_ne!(name, hash.name(&other));
        }
        KeyHash::new(&[7; 1000]).name(&key("a", "b", "c"));
    }
}

//! The keys that records are encrypted under.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};

use super::{Closed, Sealed, bound_to};
use crate::domain::{Key, Tenant};
use crate::storage::WriteId;

/// How long a key is.
pub const KEY_BYTES: usize = 32;
/// How long a nonce is: long enough to be drawn at random, for as many records as anybody writes.
pub const NONCE_BYTES: usize = 24;

/// The name of a key, as the key file has it. It stands in records and logs.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(Arc<str>);

impl KeyId {
    /// The longest that is accepted, in bytes.
    pub const MAX_BYTES: usize = 64;

    /// Accepts 1 to [`Self::MAX_BYTES`] letters, digits, dots, dashes and underscores.
    pub fn new(text: &str) -> Option<Self> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let fits = (1..=Self::MAX_BYTES).contains(&text.len()) && text.bytes().all(plain);
        fits.then(|| Self(text.into()))
    }

    /// The text itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Which keys there are, and which of them encrypts whose records.
#[derive(Default)]
pub struct Keyring {
    ciphers: HashMap<KeyId, XChaCha20Poly1305>,
    current: Option<KeyId>,
    tenants: BTreeMap<Tenant, KeyId>,
}

impl Keyring {
    /// `current` encrypts what is written for tenants that are not among `tenants`; without it, theirs stays as it is.
    /// Both must be among `keys`: nothing can be written under another.
    pub fn new(
        keys: impl IntoIterator<Item = (KeyId, [u8; KEY_BYTES])>,
        current: Option<KeyId>,
        tenants: impl IntoIterator<Item = (Tenant, KeyId)>,
    ) -> Self {
        let ciphers = keys.into_iter().map(|(id, key)| (id, XChaCha20Poly1305::new(&key.into())));
        Self { ciphers: ciphers.collect(), current, tenants: tenants.into_iter().collect() }
    }

    /// The ids of all keys, in order.
    pub fn ids(&self) -> Vec<KeyId> {
        let mut ids: Vec<_> = self.ciphers.keys().cloned().collect();
        ids.sort_unstable();
        ids
    }

    /// What encrypts the records of tenants that have no key of their own.
    pub const fn current(&self) -> Option<&KeyId> {
        self.current.as_ref()
    }

    /// The tenants that have a key of their own.
    pub const fn tenants(&self) -> &BTreeMap<Tenant, KeyId> {
        &self.tenants
    }

    /// `plain`, under the key of `key`'s tenant; `None` where it has none, and nobody has.
    pub(super) fn seal(&self, key: &Key, write_id: WriteId, plain: &[u8]) -> Option<Sealed> {
        let key_id = self.tenants.get(&key.tenant).or(self.current.as_ref())?;
        let cipher = self.ciphers.get(key_id)?;
        let nonce: [u8; NONCE_BYTES] = rand::random();
        let payload = Payload { msg: plain, aad: &bound_to(key, write_id) };
        // It fails for more than 256 GiB alone.
        let ciphertext =
            cipher.encrypt(&XNonce::from(nonce), payload).expect("a record is smaller than 256 GiB");
        Some(Sealed { key_id: key_id.clone(), write_id, nonce, ciphertext: ciphertext.into() })
    }

    pub(super) fn open(&self, key: &Key, sealed: &Sealed) -> Result<Vec<u8>, Closed> {
        let no_such_key = || Closed::NoSuchKey(sealed.key_id.clone());
        let cipher = self.ciphers.get(&sealed.key_id).ok_or_else(no_such_key)?;
        let payload = Payload { msg: &sealed.ciphertext, aad: &bound_to(key, sealed.write_id) };
        cipher
            .decrypt(&XNonce::from(sealed.nonce), payload)
            .map_err(|_| Closed::NotGenuine(sealed.key_id.clone()))
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyring").field("ids", &self.ids()).finish_non_exhaustive()
    }
}

/// Hands out the keys in force, which a reload may replace between two calls.
#[derive(Debug, Default)]
pub struct Keyrings(RwLock<Arc<Keyring>>);

impl Keyrings {
    /// Begins with `keyring`.
    pub fn new(keyring: Keyring) -> Self {
        Self(RwLock::new(Arc::new(keyring)))
    }

    /// The keys in force.
    pub fn current(&self) -> Arc<Keyring> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts `keyring` in force for every store call from now on.
    pub fn replace(&self, keyring: Keyring) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keyring);
    }
}

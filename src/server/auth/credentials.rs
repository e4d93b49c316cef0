//! What the credentials file says: bearer tokens by their hashes, and whom certificates stand for.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::Rejection;
use crate::domain::{Pattern, Timestamp};
use crate::server::caller::Identity;

/// What each token of semel's own begins with, so that it can be told from others, and found where it has leaked.
pub const TOKEN_PREFIX: &str = "semel_";

/// The SHA-256 of a token. A token is 256 random bits, so no slower hash would make it harder to guess.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TokenHash(pub [u8; 32]);

impl TokenHash {
    /// The hash of `token`.
    pub fn of(token: &str) -> Self {
        Self(Sha256::digest(token.as_bytes()).into())
    }
}

impl fmt::Display for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A token that was handed out.
#[derive(Clone, Debug)]
pub struct Token {
    /// Whom it stands for.
    pub identity: Arc<Identity>,
    /// From when on it is not accepted.
    pub expires: Option<Timestamp>,
    /// Since when it is not accepted, because somebody said so.
    pub revoked: Option<Timestamp>,
}

/// Tokens and certificates, and whom they stand for.
#[derive(Debug, Default)]
pub struct Credentials {
    /// Found by hash, so that how long a look takes tells nothing of a token.
    tokens: HashMap<TokenHash, Token>,
    certificates: Vec<(Pattern, Arc<Identity>)>,
}

impl Credentials {
    /// Certificates are found by their URI, the first that fits.
    pub fn new(tokens: HashMap<TokenHash, Token>, certificates: Vec<(Pattern, Arc<Identity>)>) -> Self {
        Self { tokens, certificates }
    }

    /// How many tokens and how many certificates there are.
    pub fn counts(&self) -> (usize, usize) {
        (self.tokens.len(), self.certificates.len())
    }

    pub(super) fn token(&self, token: &str, now: Timestamp) -> Result<&Arc<Identity>, Rejection> {
        let found = self.tokens.get(&TokenHash::of(token)).ok_or(Rejection::of("token", "unknown"))?;
        let refused = |cause| Err(Rejection::of("token", cause).about(found.identity.name()));
        if found.revoked.is_some() {
            refused("revoked")
        } else if found.expires.is_some_and(|expires| now >= expires) {
            refused("expired")
        } else {
            Ok(&found.identity)
        }
    }

    pub(super) fn certificate(&self, uri: &str) -> Option<&Arc<Identity>> {
        self.certificates.iter().find(|(pattern, _)| pattern.matches(uri)).map(|(_, identity)| identity)
    }
}

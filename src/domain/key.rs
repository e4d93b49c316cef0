//! The identity of a logical operation: tenant, endpoint and idempotency key.

use std::fmt;
use std::sync::Arc;

use super::reason::{Reason, Violation};

macro_rules! bounded_text {
    ($(#[$doc:meta])* $name:ident, $max:literal, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The longest that is accepted, in bytes of UTF-8.
            pub const MAX_BYTES: usize = $max;

            /// Accepts 1 to [`Self::MAX_BYTES`] bytes of any UTF-8.
            pub fn new(text: &str) -> Result<Self, Violation> {
                if text.is_empty() {
                    return Err(Violation::new(Reason::InvalidKey, concat!("is empty; send ", $what)));
                }
                if text.len() > Self::MAX_BYTES {
                    return Err(Violation::new(
                        Reason::InvalidKey,
                        format!("is {} bytes long; at most {} are allowed", text.len(), Self::MAX_BYTES),
                    ));
                }
                Ok(Self(text.into()))
            }

            /// The text itself.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
    };
}

bounded_text!(
    /// Whose operations these are. Nothing ever crosses tenants.
    Tenant, 128, "the tenant's name"
);
bounded_text!(
    /// Which operation, such as `POST /v1/charges`.
    Endpoint, 256, "the operation's name"
);
bounded_text!(
    /// The caller's own key. It may hold personal data, so its `Debug` form hides it.
    IdempotencyKey, 255, "a key that stays the same when this operation is retried"
);

impl fmt::Debug for Tenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Debug for IdempotencyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IdempotencyKey({} bytes, hidden)", self.0.len())
    }
}

/// The whole identity. Equal keys in two tenants, or on two endpoints, are two different identities.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Whose.
    pub tenant: Tenant,
    /// Which operation.
    pub endpoint: Endpoint,
    /// Which instance of it.
    pub idempotency_key: IdempotencyKey,
}

impl Key {
    /// The identity as bytes, each part behind its length, so that no two identities ever meet:
    /// `len(tenant) as u8, tenant, len(endpoint) as u16 big-endian, endpoint, key`.
    pub fn to_bytes(&self) -> Vec<u8> {
        let (tenant, endpoint, key) = (
            self.tenant.as_str().as_bytes(),
            self.endpoint.as_str().as_bytes(),
            self.idempotency_key.as_str().as_bytes(),
        );
        let mut bytes = Vec::with_capacity(3 + tenant.len() + endpoint.len() + key.len());
        #[allow(
            clippy::cast_possible_truncation,
            reason = "Tenant::MAX_BYTES is 128 and Endpoint::MAX_BYTES is 256"
        )]
        {
            bytes.push(tenant.len() as u8);
            bytes.extend_from_slice(tenant);
            bytes.extend_from_slice(&(endpoint.len() as u16).to_be_bytes());
        }
        bytes.extend_from_slice(endpoint);
        bytes.extend_from_slice(key);
        bytes
    }

    /// Reads back what [`Self::to_bytes`] wrote; `None` for anything else.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (tenant_len, rest) = bytes.split_first()?;
        let (tenant, rest) = rest.split_at_checked(usize::from(*tenant_len))?;
        let (endpoint_len, rest) = rest.split_first_chunk::<2>()?;
        let (endpoint, key) = rest.split_at_checked(usize::from(u16::from_be_bytes(*endpoint_len)))?;
        Some(Self {
            tenant: Tenant::new(str::from_utf8(tenant).ok()?).ok()?,
            endpoint: Endpoint::new(str::from_utf8(endpoint).ok()?).ok()?,
            idempotency_key: IdempotencyKey::new(str::from_utf8(key).ok()?).ok()?,
        })
    }
}

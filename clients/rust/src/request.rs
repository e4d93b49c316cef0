//! What a key stands for, and its fingerprint.

use bytes::Bytes;
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::canonical::canonical_json;
use crate::error::{Error, refused};

/// What joined bytes are for: clients/vectors/README.md.
#[derive(Clone, Copy)]
pub(crate) enum Purpose {
    Fingerprint = 1,
    DerivedKey = 2,
    EventKey = 3,
    ContentKey = 4,
}

const LAYOUT: u8 = 1;

/// The digest of the joined parts.
pub(crate) fn joined<'a>(purpose: Purpose, parts: impl IntoIterator<Item = &'a [u8]>) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update([LAYOUT, purpose as u8]);
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

/// A digest in lower-case hexadecimal.
pub(crate) fn hexadecimal(digest: &[u8]) -> String {
    let digit = |half: u8| char::from_digit(half.into(), 16).unwrap_or_default();
    digest.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// What a key stands for: a later call with the same key and another request is refused with
/// [`KeyMismatch`](crate::ErrorKind::KeyMismatch).
///
/// It is hashed here, and never sent. Its `Debug` form does not show it.
///
/// ```
/// # use semel_client::Request;
/// # fn main() -> Result<(), semel_client::Error> {
/// #[derive(serde::Serialize)]
/// struct Charge { amount: u32, sent_at: String }
///
/// let first = Request::json(&Charge { amount: 1250, sent_at: "10:00".into() }).ignoring(["/sent_at"]);
/// let again = Request::json_text(r#"{ "sent_at": "10:01", "amount": 1.25e3 }"#).ignoring(["/sent_at"]);
/// assert_eq!(first.fingerprint()?, again.fingerprint()?);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Request {
    body: Body,
    ignore: Vec<String>,
    method: String,
    path: String,
    headers: Vec<(String, String)>,
}

#[derive(Clone)]
enum Body {
    None,
    Raw(Bytes),
    Json(Bytes),
    /// A value that its encoder refused.
    Unwritable,
}

impl Request {
    /// No request: the key is compared with nothing.
    pub fn none() -> Self {
        Self::of(Body::None)
    }

    /// A value, as `serde_json` writes it.
    pub fn json<V: Serialize + ?Sized>(value: &V) -> Self {
        Self::of(serde_json::to_vec(value).map_or(Body::Unwritable, |text| Body::Json(text.into())))
    }

    /// What is JSON already.
    pub fn json_text(text: impl Into<Bytes>) -> Self {
        Self::of(Body::Json(text.into()))
    }

    /// Bytes, compared byte for byte.
    pub fn raw(bytes: impl Into<Bytes>) -> Self {
        Self::of(Body::Raw(bytes.into()))
    }

    /// A request with its method, its path, and those of its headers that matter. `body` is what the other makers give.
    pub fn http<N: Into<String>, V: Into<String>>(
        method: impl Into<String>,
        path: impl Into<String>,
        headers: impl IntoIterator<Item = (N, V)>,
        body: Self,
    ) -> Self {
        let headers = headers.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        Self { method: method.into(), path: path.into(), headers, ..body }
    }

    /// The same JSON without the members at these JSON pointers (RFC 6901), such as `/metadata/sent_at`.
    #[must_use]
    pub fn ignoring<P: Into<String>>(mut self, pointers: impl IntoIterator<Item = P>) -> Self {
        self.ignore.extend(pointers.into_iter().map(Into::into));
        self
    }

    /// The SHA-256 digest of the request, 32 bytes, the same in every language.
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid) for what not every language reads alike: its reason is `not_json`,
    /// `duplicate_name`, `lone_surrogate`, `integer_too_large`, `not_finite`, `too_deep`, `bad_pointer` or `empty_part`.
    pub fn fingerprint(&self) -> Result<[u8; 32], Error> {
        let (kind, body) = self.content()?;
        let mut headers = Vec::with_capacity(self.headers.len());
        for (name, value) in &self.headers {
            if name.is_empty() {
                return Err(refused("empty_part", "a header of the request has no name"));
            }
            headers.push((name.to_ascii_lowercase(), value.trim_matches([' ', '\t'])));
        }
        // Stable: the values of one name keep their order.
        headers.sort_by(|(one, _), (other, _)| one.cmp(other));
        let parts = [self.method.as_bytes(), self.path.as_bytes(), kind.as_bytes(), &body];
        let headers = headers.iter().flat_map(|(name, value)| [name.as_bytes(), value.as_bytes()]);
        Ok(joined(Purpose::Fingerprint, parts.into_iter().chain(headers)))
    }

    fn of(body: Body) -> Self {
        Self { body, ignore: Vec::new(), method: String::new(), path: String::new(), headers: Vec::new() }
    }

    /// The kind of the body, and its canonical bytes.
    pub(crate) fn content(&self) -> Result<(&'static str, Bytes), Error> {
        if !self.ignore.is_empty() && !matches!(self.body, Body::Json(_) | Body::Unwritable) {
            return Err(refused("bad_pointer", "ignored fields are for JSON alone"));
        }
        match &self.body {
            Body::None => Ok(("none", Bytes::new())),
            Body::Raw(bytes) => Ok(("raw", bytes.clone())),
            Body::Json(text) => Ok(("json", canonical_json(text, &self.ignore)?.into())),
            Body::Unwritable => Err(refused("not_json", "the request cannot be written as JSON")),
        }
    }

    /// Whether there is nothing that could be compared.
    pub(crate) fn is_none(&self) -> bool {
        let Self { body, ignore, method, path, headers } = self;
        matches!(body, Body::None)
            && ignore.is_empty()
            && method.is_empty()
            && path.is_empty()
            && headers.is_empty()
    }
}

impl std::fmt::Debug for Request {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Request")
    }
}

impl From<serde_json::Value> for Request {
    fn from(value: serde_json::Value) -> Self {
        Self::json(&value)
    }
}

impl From<&serde_json::Value> for Request {
    fn from(value: &serde_json::Value) -> Self {
        Self::json(value)
    }
}

impl From<Vec<u8>> for Request {
    fn from(bytes: Vec<u8>) -> Self {
        Self::raw(bytes)
    }
}

impl From<Bytes> for Request {
    fn from(bytes: Bytes) -> Self {
        Self::raw(bytes)
    }
}

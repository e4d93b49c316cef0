//! The trace that an attempt belongs to.

use std::fmt;

/// A W3C traceparent, version 00 (<https://www.w3.org/TR/trace-context/>).
#[derive(Clone, PartialEq, Eq)]
pub struct Traceparent(Box<str>);

impl Traceparent {
    /// Accepts `00-<32 hex>-<16 hex>-<2 hex>` in lower case with ids that are not all zero.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let hex = |part: &str, length: usize| {
            part.len() == length && part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        };
        let set = |part: &str| part.bytes().any(|b| b != b'0');
        (parts.next().is_none()
            && version == "00"
            && hex(trace, 32)
            && hex(span, 16)
            && hex(flags, 2)
            && set(trace)
            && set(span))
        .then(|| Self(text.into()))
    }

    /// The header's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Traceparent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

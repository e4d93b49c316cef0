//! The trace that an attempt belongs to.

use std::fmt;

/// A W3C traceparent, version 00 (<https://www.w3.org/TR/trace-context/>).
#[derive(Clone, PartialEq, Eq)]
pub struct Traceparent(Box<str>);

/// What a traceparent says, as numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceIds {
    /// The trace.
    pub trace: u128,
    /// The span in it.
    pub span: u64,
    /// Whether the caller keeps the trace.
    pub sampled: bool,
}

impl TraceIds {
    /// Accepts what [`Traceparent::parse`] does.
    pub fn parse(text: &str) -> Option<Self> {
        // Every call's is read: byte by byte is several times faster than by the library's way of reading numbers.
        let [b'0', b'0', b'-', rest @ ..] = text.as_bytes() else { return None };
        let (trace, rest) = hex(rest, 32)?;
        let (span, rest) = hex(rest.strip_prefix(b"-")?, 16)?;
        let (flags, rest) = hex(rest.strip_prefix(b"-")?, 2)?;
        let (span, sampled) = (u64::try_from(span).ok()?, flags & 1 == 1);
        (rest.is_empty() && trace != 0 && span != 0).then_some(Self { trace, span, sampled })
    }
}

/// The number that so many digits at the beginning write, in lower case, and what comes after them.
fn hex(text: &[u8], digits: usize) -> Option<(u128, &[u8])> {
    let (number, rest) = text.split_at_checked(digits)?;
    let value = |byte: &u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let number = number.iter().try_fold(0, |number, byte| Some(number << 4 | u128::from(value(byte)?)))?;
    Some((number, rest))
}

impl Traceparent {
    /// Accepts `00-<32 hex>-<16 hex>-<2 hex>` in lower case with ids that are not all zero.
    pub fn parse(text: &str) -> Option<Self> {
        TraceIds::parse(text).map(|_| Self(text.into()))
    }

    /// What it says.
    pub fn ids(&self) -> TraceIds {
        TraceIds::parse(&self.0).expect("every value was parsed once")
    }

    /// The header's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The trace's id: 32 hexadecimal digits.
    pub fn trace_id(&self) -> &str {
        // Every value has two digits and a dash before it.
        &self.0[3..35]
    }
}

impl fmt::Debug for Traceparent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

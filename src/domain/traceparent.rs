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
        // Every call's is read, so this is made to take few instructions.
        let bytes: &[u8; 55] = text.as_bytes().try_into().ok()?;
        if bytes[..3] != *b"00-" || bytes[35] != b'-' || bytes[52] != b'-' {
            return None;
        }
        let trace = u128::from(hex(&bytes[3..19])?) << 64 | u128::from(hex(&bytes[19..35])?);
        let (span, sampled) = (hex(&bytes[36..52])?, hex(&bytes[53..])? & 1 == 1);
        (trace != 0 && span != 0).then_some(Self { trace, span, sampled })
    }
}

/// What is not the value of a digit.
const NO_DIGIT: u8 = 0xff;

/// The value of each byte as a hexadecimal digit in lower case.
const VALUES: [u8; 256] = {
    let mut values = [NO_DIGIT; 256];
    let digits = b"0123456789abcdef";
    let mut value = 0;
    while value < 16 {
        values[digits[value as usize] as usize] = value;
        value += 1;
    }
    values
};

/// The number that at most 16 digits write.
fn hex(digits: &[u8]) -> Option<u64> {
    let (mut number, mut seen) = (0, 0);
    for digit in digits {
        let value = VALUES[usize::from(*digit)];
        seen |= value;
        number = number << 4 | u64::from(value & 0xf);
    }
    (seen != NO_DIGIT).then_some(number)
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

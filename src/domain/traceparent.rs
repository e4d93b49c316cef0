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
        Self::from_bytes(text.as_bytes())
    }

    /// The same of what a header holds, which need not be text.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        // Every call's is read, so this is made to take few instructions.
        let bytes: &[u8; 55] = bytes.try_into().ok()?;
        if bytes[..3] != *b"00-" || bytes[35] != b'-' || bytes[52] != b'-' {
            return None;
        }
        let [trace_high, trace_low] = [sixteen_digits(bytes, 3)?, sixteen_digits(bytes, 19)?];
        let (trace, span) =
            (u128::from(trace_high) << 64 | u128::from(trace_low), sixteen_digits(bytes, 36)?);
        let flags = eight_digits(&[b'0', b'0', b'0', b'0', b'0', b'0', bytes[53], bytes[54]])?;
        (trace != 0 && span != 0).then_some(Self { trace, span, sampled: flags & 1 == 1 })
    }
}

fn sixteen_digits(bytes: &[u8; 55], from: usize) -> Option<u64> {
    let (high, rest) = bytes[from..].split_first_chunk()?;
    Some(u64::from(eight_digits(high)?) << 32 | u64::from(eight_digits(rest.first_chunk()?)?))
}

/// The number that eight hexadecimal digits in lower case write, all of them looked at in one word.
fn eight_digits(digits: &[u8; 8]) -> Option<u32> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let word = u64::from_be_bytes(*digits);
    let letters = (word >> 6) & ONES; // bit 6 is what tells a letter from a figure
    let values = (word & (0x0f * ONES)) + 9 * letters;
    let written = values + 0x30 * ONES + 0x27 * letters;
    let from_ten_on = ((values + 6 * ONES) >> 4) & ONES;
    if written != word || from_ten_on != letters || values & (0x10 * ONES) != 0 {
        return None;
    }
    let pairs = (values | values >> 4) & 0x00ff_00ff_00ff_00ff;
    let fours = (pairs | pairs >> 8) & 0x0000_ffff_0000_ffff;
    u32::try_from((fours | fours >> 16) & 0xffff_ffff).ok()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eight_digits_are_read_as_the_library_reads_them_and_nothing_else_is() {
        for place in 0..7 {
            for (first, second) in
                (0..=u8::MAX).flat_map(|first| (0..=u8::MAX).map(move |second| (first, second)))
            {
                let mut digits = *b"01239af8";
                (digits[place], digits[place + 1]) = (first, second);
                let are_digits = digits.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
                let text = std::str::from_utf8(&digits).ok().filter(|_| are_digits);
                let number = text.and_then(|text| u32::from_str_radix(text, 16).ok());
                assert_eq!(eight_digits(&digits), number, "{digits:?}");
            }
        }
    }

    #[test]
    fn only_a_traceparent_of_version_00_with_ids_is_one() {
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let ids = TraceIds {
            trace: 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736,
            span: 0x00f0_67aa_0ba9_02b7,
            sampled: true,
        };
        assert_eq!(TraceIds::parse(good), Some(ids));
        assert_eq!(TraceIds::parse(&good.replace("-01", "-fe")), Some(TraceIds { sampled: false, ..ids }));
        let bad = [
            good.replace("00-4", "01-4"),
            good.replace('b', "B"),
            good.replace("-01", "-0g"),
            good.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            good.replace("00f067aa0ba902b7", &"0".repeat(16)),
            good.replace("7-0", "7_0"),
            format!("{good}-"),
            good[1..].to_owned(),
            String::new(),
        ];
        for text in bad {
            assert_eq!(TraceIds::parse(&text), None, "{text}");
        }
    }
}

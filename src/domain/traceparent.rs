//! The trace that an attempt belongs to.

use std::fmt;
use std::num::NonZeroU64;

/// A W3C traceparent, version 00 (<https://www.w3.org/TR/trace-context/>).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Traceparent {
    trace: [u64; 2],
    span: NonZeroU64,
    flags: u8,
}

/// Says that a caller keeps its trace.
const SAMPLED: u8 = 1;

impl Traceparent {
    /// Accepts `00-<32 hex>-<16 hex>-<2 hex>` in lower case with ids that are not all zero.
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
        let trace = [sixteen_digits(bytes, 3)?, sixteen_digits(bytes, 19)?];
        let span = NonZeroU64::new(sixteen_digits(bytes, 36)?)?;
        let [_, _, _, flags] =
            eight_digits([b'0', b'0', b'0', b'0', b'0', b'0', bytes[53], bytes[54]])?.to_be_bytes();
        (trace != [0, 0]).then_some(Self { trace, span, flags })
    }

    /// That of a span which is kept; `None` where an id is all zero.
    pub fn of_sampled(trace: [u8; 16], span: [u8; 8]) -> Option<Self> {
        let trace = u128::from_be_bytes(trace);
        let span = NonZeroU64::new(u64::from_be_bytes(span))?;
        #[allow(clippy::cast_possible_truncation, reason = "both halves are taken")]
        let trace = [(trace >> 64) as u64, trace as u64];
        (trace != [0, 0]).then_some(Self { trace, span, flags: SAMPLED })
    }

    /// The trace.
    pub fn trace(self) -> u128 {
        let [high, low] = self.trace.map(u128::from);
        high << 64 | low
    }

    /// The trace's id: 32 hexadecimal digits.
    pub fn trace_id(self) -> String {
        format!("{:032x}", self.trace())
    }

    /// The span in it.
    pub const fn span(self) -> u64 {
        self.span.get()
    }

    /// Whether the caller keeps the trace.
    pub const fn is_sampled(self) -> bool {
        self.flags & SAMPLED == SAMPLED
    }
}

/// The header's text.
impl fmt::Display for Traceparent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace(), self.span, self.flags)
    }
}

impl fmt::Debug for Traceparent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn sixteen_digits(bytes: &[u8; 55], from: usize) -> Option<u64> {
    let (high, rest) = bytes[from..].split_first_chunk()?;
    Some(u64::from(eight_digits(*high)?) << 32 | u64::from(eight_digits(*rest.first_chunk()?)?))
}

/// The number that eight hexadecimal digits in lower case write, all of them looked at in one word.
fn eight_digits(digits: [u8; 8]) -> Option<u32> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let word = u64::from_be_bytes(digits);
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
                assert_eq!(eight_digits(digits), number, "{digits:?}");
            }
        }
    }

    #[test]
    fn only_a_traceparent_of_version_00_with_ids_is_one() {
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let read = Traceparent::parse(good).unwrap();
        assert_eq!(
            (read.trace(), read.span()),
            (0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736, 0x00f0_67aa_0ba9_02b7)
        );
        assert_eq!((read.is_sampled(), read.trace_id()), (true, good[3..35].to_owned()));
        for flags in ["-00", "-01", "-fe", "-ff"] {
            let text = good.replace("-01", flags);
            let read = Traceparent::parse(&text).unwrap();
            assert_eq!((read.to_string(), read.is_sampled()), (text, flags.ends_with(['1', 'f'])));
        }
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
            assert_eq!(Traceparent::parse(&text), None, "{text}");
        }
    }
}

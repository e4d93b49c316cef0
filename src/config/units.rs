//! Lengths of time and sizes as people write them: `24h`, `1h 30m`, `256KiB`.

use std::time::Duration;

/// The longest length of time that any setting takes: a hundred years.
const LONGEST: Duration = Duration::from_hours(24 * 36_525);

/// Texts longer than this, or with more digits in a row, are no lengths of time that a person would write.
const MAX_TEXT_BYTES: usize = 64;
const MAX_DIGITS: usize = 10;

/// What a length of time looks like, for error messages.
pub(crate) const DURATION_FORM: &str = r#"a length of time such as "500ms", "30s", "1h 30m" or "30d""#;

/// What a size looks like, for error messages.
pub(crate) const SIZE_FORM: &str = r#"a size such as "256KiB", "64MiB" or "1GiB""#;

const SIZE_UNITS: [(&str, u64); 10] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("KB", 1_000),
    ("B", 1),
];

/// Reads a length of time.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let digits = text.split(|c: char| !c.is_ascii_digit()).map(str::len).max().unwrap_or(0);
    // Within these bounds no sum of parts can overflow what a Duration holds.
    if text.len() > MAX_TEXT_BYTES || digits > MAX_DIGITS {
        return Err(format!("is too long; write {DURATION_FORM}"));
    }
    if text.trim() == "0" {
        return Ok(Duration::ZERO);
    }
    match humantime::parse_duration(text) {
        Ok(length) if length > LONGEST => Err("is more than 100 years; write a shorter time".to_owned()),
        Ok(length) => Ok(length),
        Err(error) => Err(format!("is not a length of time ({error}); write {DURATION_FORM}")),
    }
}

/// Writes a length of time so that [`parse_duration`] reads it back.
pub fn format_duration(length: Duration) -> String {
    const UNITS: [(&str, u128); 7] = [
        ("d", 86_400_000_000_000),
        ("h", 3_600_000_000_000),
        ("m", 60_000_000_000),
        ("s", 1_000_000_000),
        ("ms", 1_000_000),
        ("us", 1_000),
        ("ns", 1),
    ];
    let mut left = length.as_nanos();
    let mut parts = Vec::new();
    for (unit, nanos) in UNITS {
        if left >= nanos {
            parts.push(format!("{}{unit}", left / nanos));
            left %= nanos;
        }
    }
    if parts.is_empty() { "0s".to_owned() } else { parts.join(" ") }
}

/// Reads a size, in bytes.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let wrong = || format!("is not a size; write {SIZE_FORM}");
    let text = text.trim();
    let unit_at = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    let unit = unit.trim();
    if unit.is_empty() && !number.is_empty() && number != "0" {
        return Err(format!("has no unit; write {SIZE_FORM}"));
    }
    let bytes = if unit.is_empty() {
        1
    } else {
        SIZE_UNITS.iter().find(|(name, _)| *name == unit).map(|(_, bytes)| *bytes).ok_or_else(wrong)?
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    if whole.is_empty() || fraction.is_empty() || fraction.len() > 9 {
        return Err(wrong());
    }
    let whole: u128 = whole.parse().map_err(|_| wrong())?;
    let numerator: u128 = fraction.parse().map_err(|_| wrong())?;
    let denominator = 10_u128.pow(u32::try_from(fraction.len()).unwrap_or(9));
    let parts = numerator * u128::from(bytes);
    if !parts.is_multiple_of(denominator) {
        return Err("is not a whole number of bytes".to_owned());
    }
    whole
        .checked_mul(u128::from(bytes))
        .and_then(|whole| u64::try_from(whole + parts / denominator).ok())
        .filter(|size| i64::try_from(*size).is_ok())
        .ok_or_else(|| "is more bytes than any machine has".to_owned())
}

/// Writes a size so that [`parse_size`] reads it back.
pub fn format_size(bytes: u64) -> String {
    let (unit, size) = SIZE_UNITS
        .iter()
        .take(4)
        .find(|(_, size)| bytes >= *size && bytes.is_multiple_of(*size))
        .unwrap_or(&("B", 1));
    format!("{}{unit}", bytes / size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_written() {
        for (text, seconds) in
            [("24h", 86_400), ("1h 30m", 5_400), ("30d", 2_592_000), ("0s", 0), ("0", 0), ("90 seconds", 90)]
        {
            assert_eq!(parse_duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        assert_eq!(parse_duration("1500us"), Ok(Duration::from_micros(1500)));
    }

    #[test]
    fn durations_refuse_what_nobody_means() {
        for text in
            ["", "5", "-5s", "soon", "1h30", "99999999999s", "18446744073709551615s 1000000000ns", "101y"]
        {
            assert!(parse_duration(text).is_err(), "{text:?} was taken");
        }
        assert!(parse_duration(&"9999999999y".repeat(5)).is_err());
    }

    #[test]
    fn durations_are_written_so_that_they_read_back() {
        for length in [0, 1, 999, 1_000_000_000, 5_400_000_000_000, 2_592_000_000_000_000, 86_399_999_999_999]
        {
            let length = Duration::from_nanos(length);
            assert_eq!(parse_duration(&format_duration(length)), Ok(length));
        }
        assert_eq!(format_duration(Duration::from_mins(90)), "1h 30m");
    }

    #[test]
    fn sizes_read_as_written() {
        for (text, bytes) in [
            ("256KiB", 262_144),
            ("256 KiB", 262_144),
            ("1.5MiB", 1_572_864),
            ("2MB", 2_000_000),
            ("1kB", 1_000),
            ("17B", 17),
            ("0", 0),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn sizes_refuse_what_nobody_means() {
        for text in [
            "",
            "256",
            "KiB",
            "-1KiB",
            "1.KiB",
            ".5KiB",
            "1kib",
            "1.1B",
            "9999999999999TiB",
            "1e3KiB",
            "1..5KiB",
        ] {
            assert!(parse_size(text).is_err(), "{text:?} was taken");
        }
    }

    #[test]
    fn sizes_are_written_so_that_they_read_back() {
        for bytes in [0, 1, 1_000, 1_024, 262_144, 3 << 20, 5 << 30, (5 << 30) + 1] {
            assert_eq!(parse_size(&format_size(bytes)), Ok(bytes));
        }
        assert_eq!(format_size(262_144), "256KiB");
    }
}

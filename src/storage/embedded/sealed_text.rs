//! Small files of text that say so where they are damaged: their last line is a checksum of what is before it.

use xxhash_rust::xxh3::xxh3_64;

/// `text` and its checksum.
pub(super) fn seal(text: &str) -> String {
    format!("{text}check {:016x}\n", xxh3_64(text.as_bytes()))
}

/// The text before the checksum, where it is what was sealed.
pub(super) fn open(sealed: &str) -> Option<&str> {
    let text = sealed.get(..sealed.find("check ")?)?;
    (seal(text) == sealed).then_some(text)
}

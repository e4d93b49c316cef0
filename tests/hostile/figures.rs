//! What things may cost a server, in bytes of memory. docs/SECURITY.md states the same figures, and what follows from
//! them and from the limits; the debug build is held to them.

const KIB: u64 = 1 << 10;
pub(crate) const MIB: u64 = 1 << 20;

/// What there may be beside: honest callers, and what the allocator keeps.
pub(crate) const FIXED: u64 = 16 * MIB;
/// What an honest lifecycle leaves behind in the store, the caches and the metrics.
pub(crate) const RECORD: u64 = 2 * KIB;
/// A connection that has not greeted.
pub(crate) const NOT_GREETED: u64 = 16 * KIB;
/// A TLS handshake that goes on.
pub(crate) const HANDSHAKE: u64 = 64 * KIB;
/// A connection that has greeted.
pub(crate) const GREETED: u64 = 40 * KIB;
/// A stream that was opened.
pub(crate) const STREAM: u64 = 8 * KIB;
/// A call under way, whatever it waits for; its message, where that is large, left out.
pub(crate) const CALL: u64 = 32 * KIB;
/// What a connection has of bodies that nobody has read yet: its window.
pub(crate) const WINDOW: u64 = MIB;
/// How often messages under way may take their room: as they come, as they are put together, and what the allocator
/// keeps between them.
pub(crate) const UNDER_WAY: u64 = 3;
/// A connection to the operations port.
pub(crate) const OPERATIONS: u64 = 32 * KIB;
/// `limits.max_concurrent_streams`, where nothing else is said.
pub(crate) const MOST_STREAMS: u64 = 1_024;
/// `limits.max_request_bytes`, likewise.
pub(crate) const REQUEST: u64 = 4 * MIB;
/// How much a request may unpack to, for each of its bytes.
pub(crate) const UNPACKED: u64 = 16;

/// How many processors unpack requests at once.
pub(crate) fn processors() -> u64 {
    std::thread::available_parallelism().map_or(1, |processors| processors.get() as u64)
}

/// The figures of large messages hold by a setting of the allocator, which is the image's.
#[test]
fn servers_are_started_as_in_the_image() {
    let (_, image) = include_str!("../../Containerfile").split_once("\nFROM scratch\n").expect("the image");
    let (name, value) = crate::support::process::ALLOCATOR;
    let set = image.lines().find(|line| line.starts_with("ENV ")).expect("the image sets variables");
    assert!(set.split(' ').any(|it| it == format!("{name}={value}")), "{set}");
}

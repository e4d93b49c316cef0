//! Floods of frames: each costs its client little, and is to cost the server no more.

use bytes::Bytes;

use crate::attacked::Attack;
use crate::figures::{FIXED, GREETED, MOST_STREAMS, STREAM};
use crate::support::raw::Frames;
use crate::wire::{BEGIN, Hostile, data, headers, indexed, literal};

const END_HEADERS: u8 = Frames::END_HEADERS;
const END_STREAM: u8 = Frames::END_STREAM;

/// How a flood ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ends {
    /// The server ends it, and says `ENHANCE_YOUR_CALM`.
    Calmed,
    /// The server ends it, and says that it breaks the protocol.
    Refused,
    /// It costs the server nothing that lasts, and it goes on as long as its client pays for it.
    Endured,
}

const ENHANCE_YOUR_CALM: u32 = 0xb;

/// Streams in a burst; HTTP/2 numbers those of a client 1, 3, 5…
const STREAMS: u32 = 64;
/// Bursts of a connection, at most; no bound of a server is as far away.
const BURSTS: u32 = 64;
/// Connections that do so at once.
const CONNECTIONS: usize = 8;

struct Flood {
    name: &'static str,
    ends: Ends,
    /// The frames of a burst, by its number.
    burst: fn(u32) -> Vec<Bytes>,
}

/// The streams of a burst.
fn streams(burst: u32) -> impl Iterator<Item = u32> {
    (burst * STREAMS..(burst + 1) * STREAMS).map(|number| 1 + 2 * number)
}

/// Each stream of a burst, by frames of its own.
fn each<const N: usize>(burst: u32, frames: impl Fn(u32) -> [Bytes; N]) -> Vec<Bytes> {
    streams(burst).flat_map(frames).collect()
}

fn open(stream: u32) -> Bytes {
    headers(END_HEADERS, stream, BEGIN, &[])
}

/// HTTP/2 rapid reset, `MadeYouReset` in each form that h2 knows of, CONTINUATION, PING, SETTINGS and PRIORITY floods,
/// empty DATA, header lists that are large once they are unpacked.
const FLOODS: &[Flood] = &[
    // CVE-2023-44487.
    Flood {
        name: "rapid_reset",
        ends: Ends::Calmed,
        burst: |burst| each(burst, |stream| [open(stream), Frames::reset(stream)]),
    },
    // CVE-2025-8671, by each error of a stream.
    Flood {
        name: "reset_by_window_overflow",
        ends: Ends::Calmed,
        burst: |burst| each(burst, |stream| [open(stream), Frames::window_update(stream, i32::MAX as u32)]),
    },
    Flood {
        name: "reset_by_window_update_of_zero",
        ends: Ends::Refused,
        burst: |burst| each(burst, |stream| [open(stream), Frames::window_update(stream, 0)]),
    },
    Flood {
        name: "reset_by_dependency_on_itself",
        ends: Ends::Calmed,
        burst: |burst| {
            each(burst, |stream| {
                let priority = [&stream.to_be_bytes()[..], &[16]].concat();
                [open(stream), Frames::frame(2, 0, stream, &priority)]
            })
        },
    },
    Flood {
        name: "reset_by_headers_after_the_end",
        ends: Ends::Refused,
        burst: |burst| {
            each(burst, |stream| {
                [
                    headers(END_HEADERS | END_STREAM, stream, BEGIN, &[]),
                    headers(END_HEADERS | END_STREAM, stream, BEGIN, &[]),
                ]
            })
        },
    },
    Flood {
        name: "reset_by_data_after_the_end",
        ends: Ends::Refused,
        burst: |burst| {
            each(burst, |stream| {
                [headers(END_HEADERS | END_STREAM, stream, BEGIN, &[]), data(0, stream, &[0; 5])]
            })
        },
    },
    Flood {
        name: "reset_by_data_beyond_its_length",
        ends: Ends::Calmed,
        burst: |burst| {
            each(burst, |stream| {
                [
                    headers(END_HEADERS, stream, BEGIN, &[literal("content-length", b"1")]),
                    data(0, stream, &[0; 5]),
                ]
            })
        },
    },
    Flood {
        name: "reset_by_malformed_headers",
        ends: Ends::Calmed,
        burst: |burst| {
            each(burst, |stream| [headers(END_HEADERS, stream, BEGIN, &[literal("connection", b"close")])])
        },
    },
    // Streams beyond those that are allowed at once, none of which ends.
    Flood {
        name: "streams_without_end",
        ends: Ends::Calmed,
        burst: |burst| each(burst, |stream| [open(stream)]),
    },
    // CVE-2024-27316.
    Flood {
        name: "continuation",
        ends: Ends::Calmed,
        burst: |burst| without_end(burst, &literal("x", &[b'y'; 100])),
    },
    Flood { name: "empty_continuation", ends: Ends::Calmed, burst: |burst| without_end(burst, &[]) },
    // Metadata of a megabyte.
    Flood {
        name: "huge_metadata",
        ends: Ends::Calmed,
        burst: |burst| without_end(burst, &literal("x", &[b'y'; 16_000])),
    },
    // An HPACK bomb: one byte stands for a header of 4,000.
    Flood {
        name: "hpack_bomb",
        ends: Ends::Calmed,
        burst: |burst| {
            let remembered = indexed("x", &[b'y'; 4_000]);
            let bomb = Bytes::from(vec![0x80 | 0x3e; 8_000]);
            each(burst, |stream| [headers(END_HEADERS, stream, BEGIN, &[remembered.clone(), bomb.clone()])])
        },
    },
    // The same, below what h2 calls abuse.
    Flood {
        name: "small_hpack_bomb",
        ends: Ends::Endured,
        burst: |burst| {
            let remembered = indexed("x", &[b'y'; 4_000]);
            let bomb = Bytes::from(vec![0x80 | 0x3e; 10]);
            each(burst, |stream| {
                [headers(END_HEADERS | END_STREAM, stream, BEGIN, &[remembered.clone(), bomb.clone()])]
            })
        },
    },
    Flood {
        name: "empty_data",
        ends: Ends::Calmed,
        burst: |burst| {
            let opened = (burst == 0).then(|| open(1));
            opened.into_iter().chain((0..4_096).map(|_| data(0, 1, &[]))).collect()
        },
    },
    Flood { name: "ping", ends: Ends::Endured, burst: |_| repeated(&Frames::frame(6, 0, 0, &[7; 8])) },
    Flood {
        name: "settings",
        ends: Ends::Endured,
        // The size of the header table, up and down.
        burst: |burst| repeated(&Frames::frame(4, 0, 0, &[0, 1, 0, 0, 16, u8::try_from(burst).unwrap()])),
    },
    Flood {
        name: "priority",
        ends: Ends::Endured,
        burst: |burst| each(burst, |stream| [Frames::frame(2, 0, stream, &[0, 0, 0, 0, 16])]),
    },
    Flood {
        name: "unknown_frames",
        ends: Ends::Endured,
        burst: |_| repeated(&Frames::frame(0xfa, 0, 0, &[0; 1_000])),
    },
    Flood { name: "window_updates", ends: Ends::Endured, burst: |_| repeated(&Frames::window_update(0, 1)) },
    Flood {
        name: "push_promise",
        ends: Ends::Refused,
        burst: |burst| each(burst, |stream| [Frames::frame(5, END_HEADERS, stream, &[0, 0, 0, 2])]),
    },
];

fn repeated(frame: &Bytes) -> Vec<Bytes> {
    vec![frame.clone(); 1_000]
}

/// A header block that goes on.
fn without_end(burst: u32, part: &[u8]) -> Vec<Bytes> {
    let opened = (burst == 0).then(|| headers(0, 1, BEGIN, &[]));
    opened.into_iter().chain((0..100).map(|_| Frames::continuation(1, part))).collect()
}

async fn floods(name: &str) {
    let flood = FLOODS.iter().find(|flood| flood.name == name).unwrap();
    let growth = FIXED + CONNECTIONS as u64 * (GREETED + MOST_STREAMS * STREAM);
    Attack::new(flood.name, growth)
        .run(async |target, toll| {
            let mut connections = Vec::new();
            for _ in 0..CONNECTIONS {
                let mut hostile = Hostile::connect(&target.grpc).await;
                let burst = flood.burst;
                connections.push(tokio::spawn(async move {
                    let mut bursts = 0;
                    while bursts < BURSTS && hostile.send(burst(bursts)).await {
                        bursts += 1;
                    }
                    (hostile.frames, hostile.ended().await)
                }));
            }
            for connection in connections {
                let (frames, heard) = connection.await.unwrap();
                toll.add("connections", 1);
                toll.add("frames", frames);
                toll.add("resets", heard.resets);
                match flood.ends {
                    Ends::Calmed => assert_eq!(heard.goodbye, Some(ENHANCE_YOUR_CALM), "{name}: {heard:?}"),
                    Ends::Refused => {
                        assert!(heard.goodbye.is_some_and(|code| code != 0), "{name}: {heard:?}");
                    }
                    Ends::Endured => assert!(heard.goodbye.is_none_or(|code| code == 0), "{name}: {heard:?}"),
                }
                toll.add("cut_off", u64::from(flood.ends != Ends::Endured));
            }
        })
        .await;
}

macro_rules! floods {
    ($($name:ident),* $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                floods(stringify!($name)).await;
            }
        )*

        #[test]
        fn every_flood_is_tried() {
            let tried = [$(stringify!($name)),*];
            assert_eq!(tried.to_vec(), FLOODS.iter().map(|flood| flood.name).collect::<Vec<_>>());
        }
    };
}

floods!(
    rapid_reset,
    reset_by_window_overflow,
    reset_by_window_update_of_zero,
    reset_by_dependency_on_itself,
    reset_by_headers_after_the_end,
    reset_by_data_after_the_end,
    reset_by_data_beyond_its_length,
    reset_by_malformed_headers,
    streams_without_end,
    continuation,
    empty_continuation,
    huge_metadata,
    hpack_bomb,
    small_hpack_bomb,
    empty_data,
    ping,
    settings,
    priority,
    unknown_frames,
    window_updates,
    push_promise,
);

//! Requests that are no requests: framed wrongly, packed, malformed, endlessly nested, for nobody, in another protocol.

use bytes::{BufMut, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::Code;

use crate::attacked::{Attack, soon};
use crate::figures::{FIXED, REQUEST, UNPACKED, processors};
use crate::report::size;
use crate::support::raw::{RawClient, framed};
use crate::wire::BEGIN;

const COMPLETE: &str = "/semel.v1.IdempotencyService/Complete";
const BATCH_BEGIN: &str = "/semel.v1.IdempotencyService/BatchBegin";
const BATCH_COMPLETE: &str = "/semel.v1.IdempotencyService/BatchComplete";

struct Case {
    name: &'static str,
    path: &'static str,
    headers: &'static [(&'static str, &'static str)],
    body: Bytes,
    told: Code,
}

fn case(name: &'static str, path: &'static str, body: impl Into<Bytes>, told: Code) -> Case {
    Case { name, path, headers: &[], body: body.into(), told }
}

/// A length-delimited field.
fn field(number: u8, value: &[u8]) -> Vec<u8> {
    let mut field = vec![number << 3 | 2];
    prost::encoding::encode_varint(value.len() as u64, &mut field);
    field.extend_from_slice(value);
    field
}

/// A gRPC frame that says of itself what is not so.
fn claiming(packed: u8, length: u32, message: &[u8]) -> Bytes {
    let mut body = BytesMut::new();
    body.put_u8(packed);
    body.put_u32(length);
    body.extend_from_slice(message);
    body.freeze()
}

fn malformed() -> Vec<Case> {
    let whole = framed(&field(2, b"00000000-0000-4000-8000-000000000001"));
    let twice = Bytes::from([&whole[..], &whole].concat());
    let groups = framed(&[0x9b, 0x06].repeat(100_000));
    // gzip of a megabyte of zeros, many times over, is as long as it likes; nothing of it is unpacked.
    let gzip = Case {
        headers: &[("grpc-encoding", "gzip")],
        ..case(
            "a compression bomb",
            BEGIN,
            claiming(1, 20, &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 0x63, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
            Code::Unimplemented,
        )
    };
    vec![
        gzip,
        case("packed without saying how", BEGIN, claiming(1, 2, &[8, 1]), Code::Internal),
        case("packed in no way", BEGIN, claiming(7, 2, &[8, 1]), Code::Internal),
        case("a length without a message", BEGIN, claiming(0, 1_000, &[]), Code::Internal),
        case("a length beyond its message", BEGIN, claiming(0, 1_000, &[0x12, 0]), Code::Internal),
        case("a length beyond everything", BEGIN, claiming(0, u32::MAX, &[0x12, 0]), Code::OutOfRange),
        case("half a prefix", BEGIN, Bytes::from_static(&[0, 0, 0]), Code::Internal),
        case("no message", BEGIN, Bytes::new(), Code::Internal),
        case("two messages", BEGIN, twice, Code::InvalidArgument),
        case("a field without an end", BEGIN, framed(&[0x12, 0xff]), Code::Internal),
        case(
            "a number without an end",
            BEGIN,
            framed(&[0x40, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
            Code::Internal,
        ),
        case("the field zero", BEGIN, framed(&[0x02, 0]), Code::Internal),
        case("no such wire type", BEGIN, framed(&[0x0f]), Code::Internal),
        case("another wire type", BEGIN, framed(&[0x08, 1]), Code::Internal),
        case("text that is no UTF-8", BEGIN, framed(&field(2, &[0xff, 0xfe])), Code::Internal),
        case("groups in groups", BEGIN, groups, Code::Internal),
        case("nothing in it", BEGIN, framed(&[]), Code::InvalidArgument),
        case("no such method", "/semel.v1.IdempotencyService/Finish", framed(&[]), Code::Unimplemented),
        case("no such service", "/semel.v2.IdempotencyService/Begin", framed(&[]), Code::Unimplemented),
        case("no path", "/", framed(&[]), Code::Unimplemented),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_requests() {
    let times = size("SEMEL_HOSTILE_CALLS", 10);
    Attack::new("malformed", FIXED)
        .run(async |target, toll| {
            let mut client = RawClient::connect(&target.grpc).await;
            toll.add("connections", 1);
            let mut wrong = Vec::new();
            for case in malformed() {
                for _ in 0..times {
                    let told = client.send(case.path, case.headers, case.body.clone()).await;
                    let told = told.expect_err(case.name);
                    if told.code() != case.told {
                        wrong.push(format!("{}: {told}", case.name));
                    }
                }
                toll.add("refused", times);
            }
            assert!(wrong.is_empty(), "{wrong:#?}");
        })
        .await;
}

/// Small on the wire, large in memory: two bytes for an item of a batch, a header, a label.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_unpack_to_far_more_than_they_are() {
    let room = usize::try_from(REQUEST).unwrap() - 64;
    let filled = |part: &[u8]| framed(&part.repeat(room / part.len()));
    let labels = |count: u32| {
        let labels = (0..count).flat_map(|number| field(9, &field(1, format!("{number:x}").as_bytes())));
        framed(&labels.collect::<Vec<u8>>())
    };
    let headers = field(4, &[0x22, 0].repeat(room / 2 - 8));
    let some_headers = field(4, &[0x22, 3, 0x0a, 1, b'n'].repeat(room / 5 - 8));
    let bombs = [
        case("empty items to begin", BATCH_BEGIN, filled(&[0x0a, 0]), Code::OutOfRange),
        case("empty items to complete", BATCH_COMPLETE, filled(&[0x0a, 0]), Code::OutOfRange),
        case("items of an empty key", BATCH_BEGIN, filled(&[0x0a, 2, 0x0a, 0]), Code::OutOfRange),
        case("items of an empty result", BATCH_COMPLETE, filled(&[0x0a, 2, 0x22, 0]), Code::OutOfRange),
        case("empty headers", COMPLETE, framed(&headers), Code::OutOfRange),
        case("the smallest headers", COMPLETE, framed(&some_headers), Code::InvalidArgument),
        case("empty labels", BEGIN, filled(&[0x4a, 0]), Code::OutOfRange),
        case("labels", BEGIN, labels(300_000), Code::InvalidArgument),
    ];
    // One at a time: its bytes as they come and as they are kept; and sixteen for each of them on every processor, whose
    // share of memory the allocator keeps.
    Attack::new("unpacked", FIXED + (2 + processors() * UNPACKED) * REQUEST)
        .run(async |target, toll| {
            let mut client = RawClient::connect(&target.grpc).await;
            toll.add("connections", 1);
            for case in &bombs {
                let told = client.send(case.path, case.headers, case.body.clone()).await;
                let told = told.expect_err(case.name);
                assert_eq!(told.code(), case.told, "{}: {told}", case.name);
                toll.add("refused", 1);
            }
        })
        .await;
}

/// What speaks no HTTP/2 at all, or stops to.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_protocols() {
    let spoken: [&[u8]; 7] = [
        b"GET /livez HTTP/1.1\r\nhost: test\r\n\r\n",
        b"POST /semel.v1.IdempotencyService/Begin HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\nffffffff\r\n",
        b"GET / HTTP/1.1\r\nconnection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk\r\n\r\n",
        &[22, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        b"SSH-2.0-OpenSSH_9.9\r\n and more of what is no greeting",
        &[0; 4_096],
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nand then something that is no frame, and is far too long to be one",
    ];
    let times = size("SEMEL_HOSTILE_CALLS", 10);
    Attack::new("other_protocols", FIXED)
        .run(async |target, toll| {
            for spoken in spoken {
                for _ in 0..times {
                    let mut socket = TcpStream::connect(&target.grpc).await.unwrap();
                    // The server may have closed before it was told everything.
                    let _ = socket.write_all(spoken).await;
                    let _ = soon("what speaks something else is closed", socket.read_to_end(&mut Vec::new()))
                        .await;
                }
                toll.add("connections", times);
                toll.add("cut_off", times);
            }
        })
        .await;
}

//! Requests unpacked within a bound: two bytes on the wire may stand for a message of hundreds in memory.

use bytes::Buf;
use prost::Message;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};
use tonic::Status;
use tonic::codec::{BufferSettings, Codec, DecodeBuf, Decoder};
use tonic_prost::{ProstCodec, ProstDecoder, ProstEncoder};

use crate::proto;

/// How much a message may unpack to, for each byte that it has on the wire, and in all where it is short. The
/// smallest header of a result that is allowed takes eleven for each of its five.
const MOST_PER_BYTE: usize = 16;
const LEAST: usize = 1 << 20;

/// What a map's entry takes beside its two texts, about.
const ENTRY: usize = 3 * size_of::<String>();

/// Where a message holds others that can be many.
#[derive(Debug)]
pub(crate) struct Shape {
    /// The fields that may be repeated, and what each element takes by itself.
    repeated: &'static [(u32, usize)],
    /// The fields in which there are such fields.
    nested: &'static [(u32, &'static Shape)],
}

const PLAIN: Shape = Shape { repeated: &[], nested: &[] };
const RESULT: Shape = Shape { repeated: &[(4, size_of::<proto::Header>())], nested: &[] };
const BEGIN: Shape = Shape { repeated: &[(9, ENTRY)], nested: &[] };
const COMPLETE: Shape = Shape { repeated: &[], nested: &[(4, &RESULT)] };
const RESOLVE: Shape = Shape { repeated: &[], nested: &[(3, &RESULT)] };
const BATCH_BEGIN: Shape =
    Shape { repeated: &[(1, size_of::<proto::BeginRequest>())], nested: &[(1, &BEGIN)] };
const BATCH_COMPLETE: Shape =
    Shape { repeated: &[(1, size_of::<proto::CompleteRequest>())], nested: &[(1, &COMPLETE)] };

impl Shape {
    /// Takes from `left` what the elements in `message` will take; `Err` once nothing is left. What is malformed is
    /// left to whoever unpacks it.
    fn take(&self, mut message: &[u8], left: &mut usize) -> Result<(), TooMuch> {
        while message.has_remaining() {
            let Ok((field, wire)) = decode_key(&mut message) else { return Ok(()) };
            if wire != WireType::LengthDelimited {
                if skip_field(wire, field, &mut message, DecodeContext::default()).is_err() {
                    return Ok(());
                }
                continue;
            }
            let length = decode_varint(&mut message).ok().and_then(|length| usize::try_from(length).ok());
            let Some((inner, rest)) = length.and_then(|length| message.split_at_checked(length)) else {
                return Ok(());
            };
            message = rest;
            if let Some((_, bytes)) = self.repeated.iter().find(|(repeated, _)| *repeated == field) {
                *left = left.checked_sub(*bytes).ok_or(TooMuch)?;
            }
            if let Some((_, shape)) = self.nested.iter().find(|(nested, _)| *nested == field) {
                shape.take(inner, left)?;
            }
        }
        Ok(())
    }
}

#[derive(Debug)]
struct TooMuch;

/// A message that comes off the wire.
pub(crate) trait Unpacked: Message + Default + Send + 'static {
    /// Where it can hold many others.
    const SHAPE: &'static Shape;
}

macro_rules! unpacked {
    ($($message:ident: $shape:ident),* $(,)?) => {
        $(impl Unpacked for proto::$message { const SHAPE: &'static Shape = &$shape; })*
    };
}

// The answers are those of the servers that this program calls itself.
unpacked! {
    BeginRequest: BEGIN, BeginResponse: PLAIN, CompleteRequest: COMPLETE, CompleteResponse: PLAIN,
    AbortRequest: PLAIN, AbortResponse: PLAIN, LookupRequest: PLAIN, LookupResponse: PLAIN,
    RenewRequest: PLAIN, RenewResponse: PLAIN, SaveCheckpointRequest: PLAIN, SaveCheckpointResponse: PLAIN,
    BatchBeginRequest: BATCH_BEGIN, BatchBeginResponse: PLAIN,
    BatchCompleteRequest: BATCH_COMPLETE, BatchCompleteResponse: PLAIN,
    ListRecordsRequest: PLAIN, ListRecordsResponse: PLAIN,
    ResolveRecordRequest: RESOLVE, ResolveRecordResponse: PLAIN,
    ForgetRecordRequest: PLAIN, ForgetRecordResponse: PLAIN, GetPolicyRequest: PLAIN, GetPolicyResponse: PLAIN,
}

/// The codec of the contract's methods: build.rs names it.
#[derive(Debug)]
pub(crate) struct Unpacking<T, U>(ProstCodec<T, U>);

impl<T, U> Default for Unpacking<T, U> {
    fn default() -> Self {
        Self(ProstCodec::default())
    }
}

impl<T: Message + Send + 'static, U: Unpacked> Codec for Unpacking<T, U> {
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = Unpacker<U>;

    fn encoder(&mut self) -> Self::Encoder {
        self.0.encoder()
    }

    fn decoder(&mut self) -> Self::Decoder {
        Unpacker(self.0.decoder())
    }
}

/// Unpacks what keeps within the bound.
#[derive(Debug)]
pub(crate) struct Unpacker<U>(ProstDecoder<U>);

impl<U: Unpacked> Decoder for Unpacker<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, message: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        // The whole message is there, in one piece.
        let bytes = message.chunk();
        check::<U>(bytes)?;
        self.0.decode(message)
    }

    fn buffer_settings(&self) -> BufferSettings {
        self.0.buffer_settings()
    }
}

fn check<U: Unpacked>(message: &[u8]) -> Result<(), Status> {
    let most = message.len().saturating_mul(MOST_PER_BYTE).max(LEAST);
    U::SHAPE.take(message, &mut { most }).map_err(|TooMuch| {
        Status::out_of_range(format!(
            "the request has {} bytes, and would take more than {most} in memory; send fewer, larger parts",
            message.len()
        ))
    })
}

#[cfg(test)]
mod tests {
    use prost::Message;
    use tonic::Code;

    use super::check;
    use crate::proto;

    fn batch(items: usize) -> proto::BatchBeginRequest {
        proto::BatchBeginRequest { requests: vec![proto::BeginRequest::default(); items] }
    }

    #[test]
    fn refuses_what_would_unpack_to_far_more_than_it_is() {
        let empty_headers = proto::CompleteRequest {
            result: Some(proto::Result {
                headers: vec![proto::Header::default(); 100_000],
                ..Default::default()
            }),
            ..Default::default()
        };
        for refused in [
            check::<proto::BatchBeginRequest>(&batch(100_000).encode_to_vec()),
            check::<proto::CompleteRequest>(&empty_headers.encode_to_vec()),
            check::<proto::BatchCompleteRequest>(
                &proto::BatchCompleteRequest { requests: vec![empty_headers] }.encode_to_vec(),
            ),
            // Each entry of the map is empty, and the same.
            check::<proto::BeginRequest>(&[0x4a, 0].repeat(100_000)),
        ] {
            assert_eq!(refused.unwrap_err().code(), Code::OutOfRange);
        }
    }

    #[test]
    fn lets_pass_what_the_contract_allows_or_its_own_checks_refuse() {
        let headers = vec![proto::Header { name: "n".into(), value: bytes::Bytes::new() }; 98_304];
        let smallest_headers = proto::CompleteRequest {
            result: Some(proto::Result { headers, ..Default::default() }),
            ..Default::default()
        };
        check::<proto::CompleteRequest>(&smallest_headers.encode_to_vec()).unwrap();
        let key = Some(proto::Key { tenant: "t".into(), endpoint: "e".into(), idempotency_key: "k".into() });
        let attempt_id = "00000000-0000-4000-8000-000000000001".to_owned();
        let begin = proto::BeginRequest { key, attempt_id, ..Default::default() };
        let full = proto::BatchBeginRequest { requests: vec![begin; 2_000] };
        check::<proto::BatchBeginRequest>(&full.encode_to_vec()).unwrap();
        check::<proto::BatchBeginRequest>(&batch(2_000).encode_to_vec()).unwrap();
        // What is malformed is told so by the one who unpacks it.
        for malformed in [&[0x0a][..], &[0xff; 20], &[0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f], &[7], &[0x9b, 6]] {
            check::<proto::BatchBeginRequest>(malformed).unwrap();
        }
    }
}

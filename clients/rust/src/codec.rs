//! How values become results, and are read again.

use std::borrow::Cow;
use std::marker::PhantomData;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{BoxError, Error, ErrorKind};
use crate::failure::{Report, read_failure};
use crate::proto::{self, result::Outcome};

/// Makes results of values, and values of results.
pub trait Codec<T>: Send + Sync {
    /// Names what [`encode`](Self::encode) writes. A replay is read only where it is of the same type, parameters aside.
    fn content_type(&self) -> Cow<'static, str>;

    /// Writes what a work returned.
    ///
    /// # Errors
    ///
    /// Those of the value: the key is then completed without it, as
    /// [`ResultNotStored`](crate::ErrorKind::ResultNotStored) says.
    fn encode(&self, value: &T) -> Result<Vec<u8>, BoxError>;

    /// Reads what is replayed.
    ///
    /// # Errors
    ///
    /// Those of the payload, which become [`UndecodableResult`](crate::ErrorKind::UndecodableResult).
    fn decode(&self, payload: &[u8]) -> Result<T, BoxError>;
}

/// `application/json`, by `serde_json`. It is used where nothing is said.
#[derive(Clone, Copy, Debug, Default)]
pub struct Json;

impl<T: Serialize + DeserializeOwned> Codec<T> for Json {
    fn content_type(&self) -> Cow<'static, str> {
        "application/json".into()
    }

    fn encode(&self, value: &T) -> Result<Vec<u8>, BoxError> {
        Ok(serde_json::to_vec(value)?)
    }

    fn decode(&self, payload: &[u8]) -> Result<T, BoxError> {
        // The encoder's own words quote the payload.
        serde_json::from_slice(payload).map_err(|error| {
            let (kind, line, column) = (error.classify(), error.line(), error.column());
            format!("{kind:?} error of JSON at line {line}, column {column}").into()
        })
    }
}

/// `application/octet-stream`: bytes as they are.
#[derive(Clone, Copy, Debug, Default)]
pub struct RawBytes;

impl<T: AsRef<[u8]> + From<Vec<u8>>> Codec<T> for RawBytes {
    fn content_type(&self) -> Cow<'static, str> {
        "application/octet-stream".into()
    }

    fn encode(&self, value: &T) -> Result<Vec<u8>, BoxError> {
        Ok(value.as_ref().to_vec())
    }

    fn decode(&self, payload: &[u8]) -> Result<T, BoxError> {
        Ok(payload.to_vec().into())
    }
}

/// `application/x-protobuf; messageType="…"`, for works that return the message `M`.
#[derive(Clone, Copy, Debug)]
pub struct Protobuf<M>(PhantomData<fn() -> M>);

impl<M> Protobuf<M> {
    /// The codec of `M`.
    pub fn new() -> Self {
        Self(PhantomData)
    }
}

impl<M> Default for Protobuf<M> {
    fn default() -> Self {
        Self::new()
    }
}

impl<M: prost::Message + prost::Name + Default> Codec<M> for Protobuf<M> {
    fn content_type(&self) -> Cow<'static, str> {
        format!("application/x-protobuf; messageType=\"{}\"", M::full_name()).into()
    }

    fn encode(&self, value: &M) -> Result<Vec<u8>, BoxError> {
        Ok(value.encode_to_vec())
    }

    fn decode(&self, payload: &[u8]) -> Result<M, BoxError> {
        Ok(M::decode(payload)?)
    }
}

/// The report of a value.
pub(crate) fn encoded<T>(codec: &impl Codec<T>, value: &T) -> Report {
    let payload = codec.encode(value);
    let result = proto::Result {
        outcome: Outcome::Success.into(),
        code: 0,
        content_type: codec.content_type().into_owned(),
        headers: Vec::new(),
        payload_omitted: payload.is_err(),
        payload: Bytes::new(),
    };
    match payload {
        Ok(payload) => {
            let result = proto::Result { payload: payload.into(), ..result };
            Report::Result { result, failure: None, omitted: None }
        }
        Err(error) => Report::Result { result, failure: None, omitted: Some(error) },
    }
}

/// What is replayed: a value, or the failure that it was.
pub(crate) fn decoded<T>(codec: &impl Codec<T>, result: proto::Result) -> Result<T, Error<T>> {
    let failed = result.outcome == i32::from(Outcome::Failure);
    if result.payload_omitted {
        let kind = ErrorKind::ResultNotStored { value: None, replayed: true, failed };
        return Err(Error::new(
            kind,
            "PAYLOAD_OMITTED",
            "it was done before, and what it returned was too large to keep",
        ));
    }
    if failed {
        return Err(match read_failure(&result) {
            Some(failure) => {
                let message = format!("the operation failed for good, with code {}", failure.code);
                let kind = ErrorKind::OperationFailed { failure, replayed: true, result: Some(result) };
                Error::new(kind, "FAILED", message)
            }
            None => undecodable(result, "FAILURE", "the stored failure cannot be read"),
        });
    }
    if plain_type(&result.content_type) != plain_type(&codec.content_type()) {
        let message = format!(
            "what is replayed is {:?}, and this call reads {:?}",
            result.content_type,
            codec.content_type()
        );
        return Err(undecodable(result, "CONTENT_TYPE", message));
    }
    codec
        .decode(&result.payload)
        .map_err(|error| undecodable(result, "PAYLOAD", "what is replayed cannot be read").with_source(error))
}

fn undecodable<T>(result: proto::Result, reason: &str, message: impl Into<String>) -> Error<T> {
    Error::new(ErrorKind::UndecodableResult { result }, reason, message)
}

/// A content type without its parameters, in lower case.
pub(crate) fn plain_type(text: &str) -> String {
    text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

//! What works of the suite return, as each codec has it.

use std::borrow::Cow;

use semel_client::{BoxError, Codec};
use serde::ser::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

/// A value of the suite, in the form that a codec takes.
pub(crate) trait Returned: Clone + Send + Sync + 'static {
    /// What a step says.
    fn of(value: &Value) -> Result<Self, BoxError>;
    /// What no encoder takes.
    fn unencodable() -> Result<Self, BoxError>;
    /// As events show it.
    fn shown(&self) -> Value;
}

/// Any JSON, or what cannot be JSON.
#[derive(Clone)]
pub(crate) enum Json {
    Value(Value),
    Unencodable,
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Value(value) => value.serialize(serializer),
            Self::Unencodable => Err(S::Error::custom("this cannot be encoded")),
        }
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Value::deserialize(deserializer).map(Self::Value)
    }
}

impl Returned for Json {
    fn of(value: &Value) -> Result<Self, BoxError> {
        Ok(Self::Value(value.clone()))
    }

    fn unencodable() -> Result<Self, BoxError> {
        Ok(Self::Unencodable)
    }

    fn shown(&self) -> Value {
        match self {
            Self::Value(value) => value.clone(),
            Self::Unencodable => Value::Null,
        }
    }
}

/// Bytes, which the suite writes in hexadecimal.
impl Returned for Vec<u8> {
    fn of(value: &Value) -> Result<Self, BoxError> {
        hexadecimal(value.as_str().unwrap_or_default())
    }

    fn unencodable() -> Result<Self, BoxError> {
        Err("bytes can always be encoded".into())
    }

    fn shown(&self) -> Value {
        let digit = |half: u8| char::from_digit(half.into(), 16).unwrap_or_default();
        self.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect::<String>().into()
    }
}

pub(crate) fn hexadecimal(text: &str) -> Result<Vec<u8>, BoxError> {
    let digits = |at: usize| text.get(at..at + 2).ok_or("half a byte");
    (0..text.len()).step_by(2).map(|at| Ok(u8::from_str_radix(digits(at)?, 16)?)).collect()
}

/// A text, which is a message of protobuf's own.
impl Returned for String {
    fn of(value: &Value) -> Result<Self, BoxError> {
        Ok(value.as_str().ok_or("this is no text")?.to_owned())
    }

    fn unencodable() -> Result<Self, BoxError> {
        Err("messages can always be encoded".into())
    }

    fn shown(&self) -> Value {
        self.clone().into()
    }
}

/// A text, with a codec of the runner's own.
#[derive(Clone)]
pub(crate) struct Text(String);

impl Returned for Text {
    fn of(value: &Value) -> Result<Self, BoxError> {
        Ok(Self(value.as_str().ok_or("this is no text")?.to_owned()))
    }

    fn unencodable() -> Result<Self, BoxError> {
        Err("texts can always be encoded".into())
    }

    fn shown(&self) -> Value {
        self.0.clone().into()
    }
}

/// `text/plain`.
#[derive(Clone, Copy)]
pub(crate) struct PlainText;

impl Codec<Text> for PlainText {
    fn content_type(&self) -> Cow<'static, str> {
        "text/plain".into()
    }

    fn encode(&self, value: &Text) -> Result<Vec<u8>, BoxError> {
        Ok(value.0.clone().into())
    }

    fn decode(&self, payload: &[u8]) -> Result<Text, BoxError> {
        Ok(Text(std::str::from_utf8(payload)?.to_owned()))
    }
}

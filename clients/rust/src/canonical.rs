//! JSON read strictly as RFC 8259 and written canonically as RFC 8785, by clients/vectors/README.md.

use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use crate::error::{Error, refused};

const MOST_DEPTH: usize = 100;
const SAFE_INTEGER: u64 = (1 << 53) - 1;

/// The canonical form of `text`, without the members at the pointers.
pub(crate) fn canonical_json(text: &[u8], ignore: &[String]) -> Result<Vec<u8>, Error> {
    let not_json = || refused("not_json", "the request is not one JSON value in UTF-8");
    let text = std::str::from_utf8(text).map_err(|_| not_json())?;
    serde_json::from_str::<IgnoredAny>(text).map_err(|_| not_json())?;
    check_tokens(text.as_bytes())?;
    let mut document = read(text)?;
    remove_members(&mut document, ignore)?;
    serde_jcs::to_vec(&document).map_err(|_| not_json())
}

/// Refuses what not every language reads alike. The text is known to be JSON.
fn check_tokens(text: &[u8]) -> Result<(), Error> {
    let mut depth = 0;
    let mut at = 0;
    while at < text.len() {
        match text[at] {
            b'"' => {
                at = check_string(text, at + 1)?;
                continue;
            }
            b'[' | b'{' => {
                depth += 1;
                if depth > MOST_DEPTH {
                    return Err(refused(
                        "too_deep",
                        "the request has more than 100 arrays and objects within each other",
                    ));
                }
            }
            b']' | b'}' => depth -= 1,
            b'-' | b'0'..=b'9' => {
                let is_part = |byte: &u8| matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9');
                let length = text[at..].iter().take_while(|byte| is_part(byte)).count();
                check_number(&text[at..at + length])?;
                at += length;
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    Ok(())
}

/// Gives the place behind the string whose content begins at `at`.
fn check_string(text: &[u8], mut at: usize) -> Result<usize, Error> {
    let unit = |at: usize| {
        let digits = text.get(at..at + 6)?.strip_prefix(b"\\u")?;
        u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
    };
    loop {
        match text[at] {
            b'"' => return Ok(at + 1),
            b'\\' => match unit(at) {
                Some(0xD800..=0xDBFF) if matches!(unit(at + 6), Some(0xDC00..=0xDFFF)) => at += 12,
                Some(0xD800..=0xDFFF) => {
                    return Err(refused(
                        "lone_surrogate",
                        "a text of the request has half of a surrogate pair",
                    ));
                }
                Some(_) => at += 6,
                None => at += 2,
            },
            _ => at += 1,
        }
    }
}

fn check_number(digits: &[u8]) -> Result<(), Error> {
    let text = String::from_utf8_lossy(digits);
    if text.contains(['.', 'e', 'E']) {
        return match text.parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(()),
            _ => Err(refused("not_finite", "a number of the request is beyond a double")),
        };
    }
    match text.parse::<i64>() {
        Ok(number) if number.unsigned_abs() <= SAFE_INTEGER => Ok(()),
        _ => Err(refused(
            "integer_too_large",
            "an integer of the request is beyond 2^53 - 1: send it as a text",
        )),
    }
}

fn read(text: &str) -> Result<Value, Error> {
    let twice = Cell::new(false);
    let mut reader = serde_json::Deserializer::from_str(text);
    Strict { twice: &twice }.deserialize(&mut reader).map_err(|_| {
        if twice.get() {
            refused("duplicate_name", "an object of the request has two members of one name")
        } else {
            refused("not_json", "the request is not one JSON value in UTF-8")
        }
    })
}

/// Reads a value in which no object has two members of one name.
#[derive(Clone, Copy)]
struct Strict<'a> {
    twice: &'a Cell<bool>,
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, reader: D) -> Result<Value, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Value, A::Error> {
        let mut array = Vec::new();
        while let Some(element) = elements.next_element_seed(self)? {
            array.push(element);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            let value = members.next_value_seed(self)?;
            if object.insert(name, value).is_some() {
                self.twice.set(true);
                return Err(A::Error::custom("two members of one name"));
            }
        }
        Ok(Value::Object(object))
    }
}

/// Removes the members that JSON pointers (RFC 6901) name. All are looked up before any goes.
fn remove_members(document: &mut Value, pointers: &[String]) -> Result<(), Error> {
    let mut doomed = Vec::new();
    for pointer in pointers {
        let valid = pointer.starts_with('/') && !pointer.replace("~0", "").replace("~1", "").contains('~');
        let (parent, name) = pointer.rsplit_once('/').filter(|_| valid).ok_or_else(|| {
            refused(
                "bad_pointer",
                "an ignored field is no JSON pointer: it begins with /, and ~ is written ~0",
            )
        })?;
        match document.pointer(parent) {
            Some(Value::Array(_)) => {
                return Err(refused("bad_pointer", "an ignored field is an element of an array"));
            }
            Some(Value::Object(_)) => doomed.push((parent, name.replace("~1", "/").replace("~0", "~"))),
            _ => {}
        }
    }
    for (parent, name) in doomed {
        if let Some(Value::Object(members)) = document.pointer_mut(parent) {
            members.remove(&name);
        }
    }
    Ok(())
}

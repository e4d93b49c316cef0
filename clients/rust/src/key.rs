//! Idempotency keys: how good ones are made, and what they are warned of.

use std::fmt;
use std::sync::LazyLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use regex::Regex;
use uuid::{Uuid, Variant, Version};

use crate::error::{Error, refused};
use crate::request::{Purpose, Request, hexadecimal, joined};

const MOST_BYTES: usize = 255;
const UUID_LETTERS: usize = 36;

/// A caller's idempotency key: the same for every retry of one logical operation, and for nothing else.
///
/// Any text of 1 to 255 bytes is one; the makers below make good ones. Its `Debug` form does not show it.
///
/// ```
/// # use semel_client::Key;
/// # fn main() -> Result<(), semel_client::Error> {
/// let key = Key::business("order", ["42", "capture"])?;
/// assert_eq!(key.as_str(), "order:42:capture");
/// assert_eq!(Key::from("").check().unwrap_err().reason(), "empty");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(String);

/// What a key looks like that it should not be: keys are stored, and operators see them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Warning {
    /// It contains something like a mail address.
    MailAddress,
    /// It contains something like the number of a payment card.
    CardNumber,
}

impl Warning {
    /// Its name in every language.
    pub fn name(self) -> &'static str {
        match self {
            Self::MailAddress => "mail_address",
            Self::CardNumber => "card_number",
        }
    }
}

impl Key {
    /// A text, as it is. It is checked when it is used, or by [`check`](Self::check).
    pub fn of(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// A random key (UUID version 4).
    pub fn uuid4() -> Self {
        Self::of(Uuid::new_v4())
    }

    /// A key that begins with the time (UUID version 7).
    pub fn uuid7() -> Self {
        Self::of(Uuid::now_v7())
    }

    /// A UUID of version 4 or 7 in its 36-character form; in lower case.
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid) `not_a_uuid`.
    pub fn uuid(text: &str) -> Result<Self, Error> {
        let read = Uuid::try_parse(text).ok().filter(|read| {
            text.len() == UUID_LETTERS
                && read.get_variant() == Variant::RFC4122
                && matches!(read.get_version(), Some(Version::Random | Version::SortRand))
        });
        read.map(Self::of).ok_or_else(|| refused("not_a_uuid", "the key is no UUID of version 4 or 7"))
    }

    /// What an operation is called in the business: `business("order", ["42"])` is `order:42`.
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid) `empty_part`, or `too_long`.
    pub fn business<P: AsRef<str>>(kind: &str, parts: impl IntoIterator<Item = P>) -> Result<Self, Error> {
        let escaped = |part: &str| part.replace('%', "%25").replace(':', "%3A");
        let mut all = vec![escaped(kind)];
        all.extend(parts.into_iter().map(|part| escaped(part.as_ref())));
        if all.len() < 2 || all.iter().any(String::is_empty) {
            return Err(refused("empty_part", "a business key has a kind and parts, and none is empty"));
        }
        let key = Self::of(all.join(":"));
        key.check()?;
        Ok(key)
    }

    /// A key for an event that carries none, such as a `CloudEvent`. It is as good as its source's ids are: a source that
    /// numbers its events anew makes old keys of new events.
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid) `empty_part`.
    pub fn event(source: &str, kind: &str, id: &str) -> Result<Self, Error> {
        let parts = [source, kind, id];
        if parts.iter().any(|part| part.is_empty()) {
            return Err(refused("empty_part", "an event has a source, a type and an id"));
        }
        let digest = joined(Purpose::EventKey, parts.iter().map(|part| part.as_bytes()));
        Ok(Self::of(format!("evt1_{}", hexadecimal(&digest))))
    }

    /// A key guessed from what is asked for, now. Two honest equal requests within one window become one; a retry that
    /// crosses the window's edge runs a second time. Ask for a real key wherever you can.
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid) `bad_window` where the window is not whole seconds, at least 1; `empty_part`
    /// where there is no request; and what [`Request::fingerprint`] refuses.
    pub fn content(request: &Request, window: Duration) -> Result<Self, Error> {
        Self::content_at(request, window, SystemTime::now())
    }

    /// As [`content`](Self::content), at another time.
    ///
    /// # Errors
    ///
    /// As those of [`content`](Self::content).
    pub fn content_at(request: &Request, window: Duration, at: SystemTime) -> Result<Self, Error> {
        let since = at.duration_since(UNIX_EPOCH).ok();
        let (Some(since), true) = (since, window.as_secs() >= 1 && window.subsec_nanos() == 0) else {
            return Err(refused(
                "bad_window",
                "the window is whole seconds, at least 1, and its time after 1970",
            ));
        };
        let (kind, body) = request.content()?;
        if kind == "none" {
            return Err(refused("empty_part", "there is no request to make a key of"));
        }
        let (window, number) =
            (window.as_secs().to_string(), (since.as_secs() / window.as_secs()).to_string());
        let parts = [window.as_bytes(), number.as_bytes(), kind.as_bytes(), &body];
        Ok(Self::of(format!("cnt1_{}", hexadecimal(&joined(Purpose::ContentKey, parts)))))
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Says why this cannot be a key.
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid) `empty` or `too_long`.
    pub fn check(&self) -> Result<(), Error> {
        match self.0.len() {
            0 => Err(refused("empty", "the key is empty")),
            1..=MOST_BYTES => Ok(()),
            length => {
                let text = format!("the key has {length} bytes, and at most {MOST_BYTES} are allowed");
                Err(refused("too_long", text))
            }
        }
    }

    /// What it looks like that it should not be. It is used all the same.
    pub fn warnings(&self) -> Vec<Warning> {
        let text = self.as_str();
        if text.len() == UUID_LETTERS && Uuid::try_parse(text).is_ok() {
            return Vec::new();
        }
        let mail = MAIL.is_match(text).then_some(Warning::MailAddress);
        let card = DIGITS.find_iter(text).any(|run| {
            let bytes = text.as_bytes();
            let touched =
                |at: Option<usize>| at.and_then(|at| bytes.get(at)).is_some_and(u8::is_ascii_alphanumeric);
            !touched(run.start().checked_sub(1)) && !touched(Some(run.end())) && is_card_number(run.as_str())
        });
        mail.into_iter().chain(card.then_some(Warning::CardNumber)).collect()
    }
}

fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("the two patterns below are constants, and tests use both")
}

static MAIL: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,}"));
static DIGITS: LazyLock<Regex> = LazyLock::new(|| pattern("[0-9](?:[ -]?[0-9])*"));

fn is_card_number(run: &str) -> bool {
    let digits: Vec<u32> = run.chars().filter_map(|letter| letter.to_digit(10)).collect();
    if !(13..=19).contains(&digits.len()) || !(2..=6).contains(&digits[0]) {
        return false;
    }
    let doubled = |digit: u32| if digit > 4 { digit * 2 - 9 } else { digit * 2 };
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(at, &digit)| if at % 2 == 1 { doubled(digit) } else { digit })
        .sum();
    sum.is_multiple_of(10)
}

/// The key for a call further down.
pub(crate) fn derived_key(tenant: &str, endpoint: &str, key: &Key, step: &str) -> Result<String, Error> {
    if step.is_empty() {
        return Err(refused("empty_part", "the step of a derived key is empty"));
    }
    let parts = [tenant, endpoint, key.as_str(), step].map(str::as_bytes);
    let digest = joined(Purpose::DerivedKey, parts);
    let mut first = [0; 16];
    first.copy_from_slice(&digest[..16]);
    Ok(uuid::Builder::from_custom_bytes(first).into_uuid().to_string())
}

impl fmt::Debug for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Key")
    }
}

impl From<&str> for Key {
    fn from(text: &str) -> Self {
        Self::of(text)
    }
}

impl From<String> for Key {
    fn from(text: String) -> Self {
        Self::of(text)
    }
}

impl From<Uuid> for Key {
    fn from(id: Uuid) -> Self {
        Self::of(id)
    }
}

impl From<&Self> for Key {
    fn from(key: &Self) -> Self {
        key.clone()
    }
}

"""Makers and checks of idempotency keys."""

from __future__ import annotations

import os
import re
import time
import uuid
from typing import TYPE_CHECKING, Any

from semel.errors import refused
from semel.request import CONTENT_KEY, DERIVED_KEY, EVENT_KEY, Request, joined, utf8

if TYPE_CHECKING:
    import datetime

MOST_BYTES = 255
_UUID = re.compile(r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}", re.ASCII)
_MAIL = re.compile(r"[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,}", re.ASCII)
_DIGITS = re.compile(r"[0-9](?:[ -]?[0-9])*", re.ASCII)


def check_key(key: str) -> list[str]:
    """Refuse what can be no key; give what the key looks like that it should not be: mail_address, card_number."""
    size = len(utf8(key))
    if size == 0:
        raise refused("empty", "the key is empty")
    if size > MOST_BYTES:
        raise refused("too_long", f"the key has {size} bytes, and at most {MOST_BYTES} are allowed")
    if _UUID.fullmatch(key):
        return []
    found = ["mail_address"] if _MAIL.search(key) else []
    for run in _DIGITS.finditer(key):
        around = key[max(run.start() - 1, 0) : run.start()] + key[run.end() : run.end() + 1]
        if not re.search("[A-Za-z0-9]", around, re.ASCII) and _is_card(re.sub("[ -]", "", run.group())):
            return [*found, "card_number"]
    return found


def _is_card(digits: str) -> bool:
    if not 13 <= len(digits) <= 19 or not "2" <= digits[0] <= "6":
        return False
    doubled = (int(digit) * (1 + place % 2) for place, digit in enumerate(reversed(digits)))
    return sum(number - 9 if number > 9 else number for number in doubled) % 10 == 0


def uuid4_key() -> str:
    """Make a random key (UUID version 4)."""
    return str(uuid.uuid4())


def uuid7_key() -> str:
    """Make a key that begins with the time (UUID version 7, RFC 9562)."""
    value = int(time.time() * 1000) << 80 | int.from_bytes(os.urandom(10), "big")
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return str(uuid.UUID(int=value))


def uuid_key(text: str) -> str:
    """Take a UUID of version 4 or 7, in its 36-character form, for a key."""
    if not _UUID.fullmatch(text) or text[14] not in "47" or text[19] not in "89abAB":
        raise refused("not_a_uuid", "the key is no UUID of version 4 or 7")
    return text.lower()


def business_key(kind: str, *parts: str) -> str:
    """Make a key of what an operation is called in the business: ("order", "42") is order:42."""
    every = (kind, *parts)
    if not parts or not all(every):
        raise refused("empty_part", "a business key has a kind and parts, and none is empty")
    key = ":".join(part.replace("%", "%25").replace(":", "%3A") for part in every)
    check_key(key)
    return key


def event_key(source: str, type: str, id: str) -> str:  # noqa: A002
    """Make a key for an event that carries none, such as a CloudEvent. It is as good as its source's ids are."""
    if not (source and type and id):
        raise refused("empty_part", "an event has a source, a type and an id")
    return "evt1_" + joined(EVENT_KEY, utf8(source), utf8(type), utf8(id)).hex()


def content_key(request: Any, window: datetime.timedelta | int, at: float | None = None) -> str:
    """Guess a key from what is asked for.

    Two honest equal requests within one window (whole seconds) become one; a retry that crosses the window's edge runs
    a second time. Ask for a real key wherever you can.
    """
    length = window if isinstance(window, int) else window.total_seconds()
    seconds, now = int(length), int(time.time() if at is None else at)
    if seconds < 1 or seconds != length or now < 0:
        raise refused("bad_window", "the window is whole seconds, at least 1, and its time after 1970")
    made = Request.of(request)
    kind, body = made.content() if made else (b"none", b"")
    if kind == b"none":
        raise refused("empty_part", "there is no request to make a key of")
    return "cnt1_" + joined(CONTENT_KEY, str(seconds).encode(), str(now // seconds).encode(), kind, body).hex()


def derived_key(tenant: str, endpoint: str, key: str, step: str) -> str:
    """Make the key for a call further down."""
    if not step:
        raise refused("empty_part", "the step of a derived key is empty")
    raw = bytearray(joined(DERIVED_KEY, *map(utf8, (tenant, endpoint, key, step)))[:16])
    raw[6] = raw[6] & 0x0F | 0x80
    raw[8] = raw[8] & 0x3F | 0x80
    return str(uuid.UUID(bytes=bytes(raw)))

"""What a key stands for, and its fingerprint: the same in every language (clients/vectors/README.md)."""

from __future__ import annotations

import hashlib
import json
import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import rfc8785

from semel.errors import refused

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_MOST_DEPTH = 100
_SAFE = 2**53 - 1
_INDEX = re.compile(r"0|[1-9][0-9]*", re.ASCII)

FINGERPRINT, DERIVED_KEY, EVENT_KEY, CONTENT_KEY = 1, 2, 3, 4


def joined(purpose: int, *parts: bytes) -> bytes:
    """Hash parts in the one layout that all libraries share."""
    digest = hashlib.sha256(bytes((1, purpose)))
    for part in parts:
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.digest()


def utf8(text: str) -> bytes:
    """Encode a text, or refuse one that has no UTF-8."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise refused("lone_surrogate", "a text has half of a surrogate pair") from None


def _integer(token: str) -> int:
    # Only as many digits as may be right are converted: more would take long, and Python refuses thousands.
    if len(token) > len(str(-_SAFE)) or abs(int(token)) > _SAFE:
        raise refused("integer_too_large", "an integer of the request is beyond 2^53 - 1: send it as a text")
    return int(token)


def _number(token: str) -> float:
    value = float(token)
    if not math.isfinite(value):
        raise refused("not_finite", "a number of the request is beyond a double")
    return value


def _constant(_: str) -> float:
    raise refused("not_json", "the request is not one JSON value in UTF-8")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise refused("duplicate_name", "an object of the request has two members of one name")
    return members


def _check(value: Any, depth: int) -> None:
    if isinstance(value, str):
        utf8(value)
    elif isinstance(value, dict | list):
        if depth == _MOST_DEPTH:
            raise refused("too_deep", "the request has more than 100 arrays and objects within each other")
        for inner in (*value, *value.values()) if isinstance(value, dict) else value:
            _check(inner, depth + 1)


def _remove(document: Any, pointers: Iterable[str]) -> None:
    """Remove members of objects. All pointers are looked up before any member goes."""
    doomed: list[tuple[dict[str, Any], str]] = []
    for pointer in pointers:
        if not pointer.startswith("/") or re.search(r"~(?![01])", pointer):
            raise refused("bad_pointer", "an ignored field is no JSON pointer")
        *steps, name = (token.replace("~1", "/").replace("~0", "~") for token in pointer[1:].split("/"))
        place = document
        for step in steps:
            if isinstance(place, dict):
                place = place.get(step)
            elif isinstance(place, list) and _INDEX.fullmatch(step) and int(step) < len(place):
                place = place[int(step)]
            else:
                place = None
        if isinstance(place, list):
            raise refused("bad_pointer", "an ignored field is an element of an array")
        if isinstance(place, dict):
            doomed.append((place, name))
    for place, name in doomed:
        place.pop(name, None)


def canonical(text: bytes, ignore: Iterable[str] = ()) -> bytes:
    """Read JSON strictly, leave members out, and write the rest by RFC 8785."""
    try:
        document = json.loads(
            text.decode("utf-8"),
            parse_int=_integer,
            parse_float=_number,
            parse_constant=_constant,
            object_pairs_hook=_object,
        )
    except (UnicodeDecodeError, json.JSONDecodeError):
        raise refused("not_json", "the request is not one JSON value in UTF-8") from None
    except RecursionError:
        raise refused("too_deep", "the request has more than 100 arrays and objects within each other") from None
    _check(document, 0)
    _remove(document, ignore)
    return rfc8785.dumps(document)


@dataclass(frozen=True, slots=True, repr=False)
class Request:
    """What a key stands for: a later call with the same key and another request is refused."""

    kind: str = "none"
    body: bytes = b""
    ignore: Sequence[str] = ()
    method: str = ""
    path: str = ""
    headers: Sequence[tuple[str, str]] = ()

    @staticmethod
    def json(value: Any, ignore: Sequence[str] = ()) -> Request:
        """Take a value that the json module writes; members at the ignored JSON pointers are left out."""
        try:
            text = json.dumps(value, ensure_ascii=True, allow_nan=False)
        except ValueError as error:
            if "JSON compliant" in str(error):
                raise refused("not_finite", "a number of the request is NaN or infinite") from None
            raise refused("not_json", "the request cannot be written as JSON") from None
        except (TypeError, RecursionError):
            raise refused("not_json", "the request cannot be written as JSON") from None
        return Request.json_text(text, ignore)

    @staticmethod
    def json_text(text: str | bytes, ignore: Sequence[str] = ()) -> Request:
        """Take JSON as it is."""
        return Request("json", utf8(text) if isinstance(text, str) else text, tuple(ignore))

    @staticmethod
    def raw(body: bytes) -> Request:
        """Take bytes, which are compared byte for byte."""
        return Request("raw", body)

    @staticmethod
    def http(method: str, path: str, headers: Iterable[tuple[str, str]] = (), body: Request | None = None) -> Request:
        """Take an HTTP request with those of its headers that matter."""
        body = body or Request()
        return Request(body.kind, body.body, body.ignore, method, path, tuple(headers))

    def content(self) -> tuple[bytes, bytes]:
        """Give the kind of the body, and its canonical bytes."""
        if self.kind == "json":
            return b"json", canonical(self.body, self.ignore)
        if self.ignore:
            raise refused("bad_pointer", "ignored fields are for JSON alone")
        return self.kind.encode(), self.body

    def fingerprint(self) -> bytes:
        """Give the SHA-256 digest, the same in every language."""
        headers = [(_lower(name), value.strip(" \t")) for name, value in self.headers]
        if not all(name for name, _ in headers):
            raise refused("empty_part", "a header of the request has no name")
        headers.sort(key=lambda header: utf8(header[0]))
        flat = (utf8(part) for header in headers for part in header)
        return joined(FINGERPRINT, utf8(self.method), utf8(self.path), *self.content(), *flat)

    @staticmethod
    def of(value: Any) -> Request | None:
        """Take what a caller gave: a request, bytes, a value for JSON, or None for no request."""
        if value is None or isinstance(value, Request):
            return value
        return Request.raw(bytes(value)) if isinstance(value, bytes | bytearray) else Request.json(value)

    def __repr__(self) -> str:
        return f"<Request {self.kind}>"


def _lower(name: str) -> str:
    return "".join(chr(ord(c) + 32) if "A" <= c <= "Z" else c for c in name)

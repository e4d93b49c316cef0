#!/usr/bin/env python3
"""Writes the vectors of the client libraries, by README.md beside it; --check compares instead of writing.

Python's standard library alone, and no code of any client: what the clients are held to is not computed by one of
them. The inputs stand in inputs.py, and what is a table in tables.py.
"""

import hashlib
import json
import math
import pathlib
import re
import struct
import sys
import uuid

import inputs
import tables

HERE = pathlib.Path(__file__).resolve().parent
MOST_DEPTH = 100
SAFE = 2**53 - 1
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.ASCII)
MAIL = re.compile(r"[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,}", re.ASCII)
DIGITS = re.compile(r"[0-9](?:[ -]?[0-9])*", re.ASCII)


class Refused(Exception):
    """An input that every library refuses, by this name."""


# --- RFC 8785 -------------------------------------------------------------------------------------------------------


def number_text(value: float) -> str:
    """A double as ECMAScript writes it: the shortest digits that read back, which are also those of Python's repr."""
    if not math.isfinite(value):
        raise Refused("not_finite")
    if value == 0:
        return "0"
    sign = "-" if value < 0 else ""
    mantissa, _, exponent = f"{abs(value)!r}".partition("e")
    whole, _, fraction = mantissa.partition(".")
    digits = (whole + fraction).lstrip("0")
    # The value is 0.DIGITS times ten to the power of `point`.
    point = len(whole) + int(exponent or 0) - (len(whole + fraction) - len(digits))
    digits = digits.rstrip("0")
    count = len(digits)
    if count <= point <= 21:
        return sign + digits + "0" * (point - count)
    if 0 < point <= 21:
        return sign + digits[:point] + "." + digits[point:]
    if -6 < point <= 0:
        return sign + "0." + "0" * -point + digits
    power = point - 1
    rest = "." + digits[1:] if count > 1 else ""
    return f"{sign}{digits[0]}{rest}e{'+' if power > 0 else '-'}{abs(power)}"


SHORT = {"\b": "\\b", "\t": "\\t", "\n": "\\n", "\f": "\\f", "\r": "\\r", '"': '\\"', "\\": "\\\\"}


def string_text(text: str) -> str:
    if any(0xD800 <= ord(c) <= 0xDFFF for c in text):
        raise Refused("lone_surrogate")
    return '"' + "".join(SHORT.get(c) or (f"\\u{ord(c):04x}" if ord(c) < 0x20 else c) for c in text) + '"'


def canonical_text(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case str():
            return string_text(value)
        case float():
            return number_text(value)
        case list():
            return "[" + ",".join(map(canonical_text, value)) + "]"
        case dict():
            for name in value:
                string_text(name)
            names = sorted(value, key=lambda name: name.encode("utf-16-be"))
            return "{" + ",".join(f"{string_text(name)}:{canonical_text(value[name])}" for name in names) + "}"
    raise AssertionError(type(value))


def read_number(token: str) -> float:
    value = float(token)
    if not math.isfinite(value):
        raise Refused("not_finite")
    return value


def read_integer(token: str) -> float:
    if abs(int(token)) > SAFE:
        raise Refused("integer_too_large")
    return float(token)


def read_constant(_: str) -> float:
    raise Refused("not_json")


def read_object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise Refused("duplicate_name")
    return found


def depth(value: object) -> int:
    match value:
        case list():
            return 1 + max(map(depth, value), default=0)
        case dict():
            return 1 + max(map(depth, value.values()), default=0)
    return 0


def read_json(data: bytes) -> object:
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise Refused("not_json") from None
    try:
        value = json.loads(text, parse_float=read_number, parse_int=read_integer, parse_constant=read_constant,
                           object_pairs_hook=read_object)
    except json.JSONDecodeError:
        raise Refused("not_json") from None
    if depth(value) > MOST_DEPTH:
        raise Refused("too_deep")
    return value


def remove(document: object, pointers: list[str]) -> None:
    """Removes members of objects. All pointers are looked up before anything goes."""
    doomed = []
    for pointer in pointers:
        if not pointer.startswith("/") or re.search(r"~(?![01])", pointer):
            raise Refused("bad_pointer")
        tokens = [token.replace("~1", "/").replace("~0", "~") for token in pointer[1:].split("/")]
        place = document
        for token in tokens[:-1]:
            if isinstance(place, dict):
                place = place.get(token)
            elif isinstance(place, list) and re.fullmatch(r"0|[1-9][0-9]*", token, re.ASCII) and int(token) < len(place):
                place = place[int(token)]
            else:
                place = None
        if isinstance(place, list):
            raise Refused("bad_pointer")
        if isinstance(place, dict) and tokens[-1] in place:
            doomed.append((place, tokens[-1]))
    for place, name in doomed:
        place.pop(name, None)


# --- README.md ------------------------------------------------------------------------------------------------------


def utf8(text: str) -> bytes:
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        raise Refused("lone_surrogate") from None


def digest(purpose: int, *parts: bytes) -> bytes:
    joined = bytes([1, purpose]) + b"".join(struct.pack(">Q", len(part)) + part for part in parts)
    return hashlib.sha256(joined).digest()


def body_of(case: dict) -> tuple[bytes, bytes, str | None]:
    """The kind, the bytes, and for JSON the canonical text."""
    pointers = case.get("ignore", [])
    if "json" in case or "json_hex" in case:
        data = utf8(case["json"]) if "json" in case else bytes.fromhex(case["json_hex"])
        value = read_json(data)
        remove(value, pointers)
        text = canonical_text(value)
        return b"json", text.encode("utf-8"), text
    if pointers:
        raise Refused("bad_pointer")
    if "raw_hex" in case:
        return b"raw", bytes.fromhex(case["raw_hex"]), None
    return b"none", b"", None


def fingerprint(case: dict) -> dict:
    kind, body, text = body_of(case)
    headers = [(name.lower(), value.strip(" \t")) for name, value in case.get("headers", [])]
    if any(not name for name, _ in headers):
        raise Refused("empty_part")
    headers.sort(key=lambda header: utf8(header[0]))
    flat = [utf8(part) for header in headers for part in header]
    found = digest(1, utf8(case.get("method", "")), utf8(case.get("path", "")), kind, body, *flat).hex()
    return {"canonical": text, "digest": found} if text is not None else {"digest": found}


def derived_key(case: dict) -> dict:
    if not case["step"]:
        raise Refused("empty_part")
    raw = bytearray(digest(2, *(utf8(case[name]) for name in ("tenant", "endpoint", "key", "step")))[:16])
    raw[6] = raw[6] & 0x0F | 0x80
    raw[8] = raw[8] & 0x3F | 0x80
    return {"derived": str(uuid.UUID(bytes=bytes(raw)))}


def event_key(case: dict) -> dict:
    parts = [case[name] for name in ("source", "type", "id")]
    if not all(parts):
        raise Refused("empty_part")
    return {"key": "evt1_" + digest(3, *map(utf8, parts)).hex()}


def content_key(case: dict) -> dict:
    window, at = case["window_seconds"], case["at_seconds"]
    if window < 1 or at < 0:
        raise Refused("bad_window")
    kind, body, _ = body_of(case)
    if kind == b"none":
        raise Refused("empty_part")
    return {"key": "cnt1_" + digest(4, str(window).encode(), str(at // window).encode(), kind, body).hex()}


def luhn(digits: str) -> bool:
    total = 0
    for place, digit in enumerate(reversed(digits)):
        number = int(digit) * (1 + place % 2)
        total += number - 9 if number > 9 else number
    return total % 10 == 0


def warnings(key: str) -> list[str]:
    if UUID.fullmatch(key.lower()):
        return []
    found = ["mail_address"] if MAIL.search(key) else []
    for run in DIGITS.finditer(key):
        around = key[max(run.start() - 1, 0):run.start()] + key[run.end():run.end() + 1]
        digits = re.sub("[ -]", "", run.group())
        touched = re.search("[A-Za-z0-9]", around, re.ASCII)
        if not touched and 13 <= len(digits) <= 19 and "2" <= digits[0] <= "6" and luhn(digits):
            return [*found, "card_number"]
    return found


def made_key(case: dict) -> str:
    match case["maker"]:
        case "of":
            return case["text"]
        case "uuid":
            text = case["text"].lower() if case["text"].isascii() else ""
            if not UUID.fullmatch(text) or text[14] not in "47" or text[19] not in "89ab":
                raise Refused("not_a_uuid")
            return text
        case "business":
            parts = [case["kind"], *case["parts"]]
            if len(parts) < 2 or not all(parts):
                raise Refused("empty_part")
            return ":".join(part.replace("%", "%25").replace(":", "%3A") for part in parts)
    raise AssertionError(case)


def key_check(case: dict) -> dict:
    key = made_key(case)
    size = len(utf8(key))
    if size == 0:
        raise Refused("empty")
    if size > 255:
        raise Refused("too_long")
    return {"key": key, "warnings": warnings(key)}


HANDOFF = {"attempt": int, "attempt_id": str, "endpoint": str, "fence": int, "key": str, "lease_ms": int,
           "tenant": str, "v": int}


def handoff(case: dict) -> dict:
    if "parts" in case:
        # All its numbers are integers below 2^53, and Python writes those as RFC 8785 does.
        return {"text": canonical_integers({**case["parts"], "v": 1})}
    try:
        value = json.loads(case["text"])
    except json.JSONDecodeError:
        raise Refused("bad_handoff") from None
    well_formed = (isinstance(value, dict) and value.keys() == HANDOFF.keys()
                   and all(type(value[name]) is kind for name, kind in HANDOFF.items()))
    if not well_formed or value["v"] != 1 or value["fence"] < 1 or value["attempt"] < 1:
        raise Refused("bad_handoff")
    return {}


def canonical_integers(members: dict) -> str:
    return canonical_text({name: float(v) if isinstance(v, int) else v for name, v in members.items()})


def computed(make: object, cases: list[dict]) -> list[dict]:
    done = []
    for case in cases:
        try:
            result = make(case)
        except Refused as refused:
            result = {"refused": str(refused)}
        wanted = case.get("refused")
        if wanted is not None and result != {"refused": wanted} or wanted is None and "refused" in result:
            raise SystemExit(f"{case['name']}: came to {result}, and the inputs say {wanted}")
        done.append({**case, **result})
    return done


def check_against_the_rfc() -> None:
    for bits, wanted in inputs.RFC_8785_NUMBERS:
        value = struct.unpack(">d", bytes.fromhex(bits))[0]
        try:
            text = number_text(value)
        except Refused as refused:
            text = str(refused)
        if text != wanted:
            raise SystemExit(f"RFC 8785, appendix B, {bits}: {text}, and the RFC says {wanted}")
    for text, wanted in inputs.RFC_8785_EXAMPLES:
        got = canonical_text(read_json(text.encode())).encode().hex()
        if got != wanted.replace(" ", ""):
            raise SystemExit(f"RFC 8785, section 3.2: {got}")


def main() -> int:
    check_against_the_rfc()
    made = {
        "fingerprints": computed(fingerprint, inputs.fingerprints()),
        "derived_keys": computed(derived_key, inputs.DERIVED_KEYS),
        "event_keys": computed(event_key, inputs.EVENT_KEYS),
        "content_keys": computed(content_key, inputs.CONTENT_KEYS),
        "key_checks": computed(key_check, inputs.KEY_CHECKS),
        "handoffs": computed(handoff, inputs.HANDOFFS),
        # Tables: they are what the libraries are to do, and nothing is computed from them.
        "failures": tables.FAILURES, "failure_payloads": tables.FAILURE_PAYLOADS, "errors": tables.errors(),
        "retries": tables.retries(), "client_options": tables.CLIENT_OPTIONS,
        "item_errors": tables.ITEM_ERRORS,
    }
    stale = []
    for name, cases in made.items():
        names = [case["name"] for case in cases]
        if len(set(names)) != len(names):
            raise SystemExit(f"{name}: used twice: {[each for each in names if names.count(each) > 1]}")
        path = HERE / f"{name}.json"
        content = {"about": inputs.ABOUT[name], "cases": cases}
        text = json.dumps(content, indent=1, ensure_ascii=True) + "\n"
        print(f"{name}: {len(cases)} cases")
        if "--check" not in sys.argv:
            path.write_text(text, encoding="ascii")
        elif not path.exists() or path.read_text(encoding="ascii") != text:
            stale.append(path.name)
    if stale:
        print(f"not what generate.py writes: {', '.join(stale)}", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())

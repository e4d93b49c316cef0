"""What generate.py computes the vectors from."""

import struct

ABOUT = {
    "fingerprints": "Requests and their fingerprints; see README.md, Fingerprints. json is JSON text, json_hex and raw_hex are bytes.",
    "derived_keys": "attempt.derived_key(step); see README.md, Derived keys.",
    "event_keys": "event_key(source, type, id); see README.md, Event keys and content keys.",
    "content_keys": "content_key(request, window, at); see README.md, Event keys and content keys.",
    "key_checks": "Keys as they are made and checked; see README.md, Keys.",
    "handoffs": "Handed-off attempts: parts are written as text; a text without parts is read.",
    "failures": "How a work ended, and what is reported; see ../README.md, Failures told apart.",
    "failure_payloads": "Stored failures as they are read; see README.md, Stored failures. failure null: UndecodableResult.",
    "errors": "What a caller gets; see ../README.md, Errors. in: plain is a plain method, once is once.",
    "client_options": "What a client is made with; see ../README.md, Options and their defaults. Without refused, it is made.",
    "item_errors": "The error in a slot of a batch, and what a caller makes of it; see ../README.md, Plain methods.",
    "retries": "Whether the same call is sent again, and after which pause; see ../README.md, Sending again. of: a plain method, a report of once, a renewal.",
}

# Appendix B, as the RFC prints it; NaN and Infinity are errors there.
RFC_8785_NUMBERS = [
    ("0000000000000000", "0"), ("8000000000000000", "0"), ("0000000000000001", "5e-324"),
    ("8000000000000001", "-5e-324"), ("7fefffffffffffff", "1.7976931348623157e+308"),
    ("ffefffffffffffff", "-1.7976931348623157e+308"), ("4340000000000000", "9007199254740992"),
    ("c340000000000000", "-9007199254740992"), ("4430000000000000", "295147905179352830000"),
    ("7fffffffffffffff", "not_finite"), ("7ff0000000000000", "not_finite"),
    ("44b52d02c7e14af5", "9.999999999999997e+22"), ("44b52d02c7e14af6", "1e+23"),
    ("44b52d02c7e14af7", "1.0000000000000001e+23"), ("444b1ae4d6e2ef4e", "999999999999999700000"),
    ("444b1ae4d6e2ef4f", "999999999999999900000"), ("444b1ae4d6e2ef50", "1e+21"),
    ("3eb0c6f7a0b5ed8c", "9.999999999999997e-7"), ("3eb0c6f7a0b5ed8d", "0.000001"),
    ("41b3de4355555553", "333333333.3333332"), ("41b3de4355555554", "333333333.33333325"),
    ("41b3de4355555555", "333333333.3333333"), ("41b3de4355555556", "333333333.3333334"),
    ("41b3de4355555557", "333333333.33333343"), ("becbf647612f3696", "-0.0000033333333333333333"),
    ("43143ff3c1cb0959", "1424953923781206.2"),
]

RFC_EXAMPLE = (
    '{\n  "numbers": [333333333.33333329, 1E30, 4.50,\n              2e-3, 0.000000000000000000000000001],\n'
    '  "string": "\\u20ac$\\u000F\\u000aA\'\\u0042\\u0022\\u005c\\\\\\"\\/",\n  "literals": [null, true, false]\n}'
)
RFC_NAMES = (
    '{"\\u20ac":"Euro Sign","\\r":"Carriage Return","\\ufb33":"Hebrew Letter Dalet With Dagesh","1":"One",'
    '"\\ud83d\\ude00":"Emoji: Grinning Face","\\u0080":"Control","\\u00f6":"Latin Small Letter O With Diaeresis"}'
)
# Section 3.2.4 prints these bytes; of the names, section 3.2.3 prints the order.
RFC_8785_EXAMPLES = [
    (RFC_EXAMPLE,
     "7b 22 6c 69 74 65 72 61 6c 73 22 3a 5b 6e 75 6c 6c 2c 74 72 75 65 2c 66 61 6c 73 65 5d 2c 22 6e 75 6d 62 65 72 73 22 3a"
     " 5b 33 33 33 33 33 33 33 33 33 2e 33 33 33 33 33 33 33 2c 31 65 2b 33 30 2c 34 2e 35 2c 30 2e 30 30 32 2c 31 65 2d 32 37"
     " 5d 2c 22 73 74 72 69 6e 67 22 3a 22 e2 82 ac 24 5c 75 30 30 30 66 5c 6e 41 27 42 5c 22 5c 5c 5c 5c 5c 22 2f 22 7d"),
    (RFC_NAMES,
     '{"\\r":"Carriage Return","1":"One","\u0080":"Control","\u00f6":"Latin Small Letter O With Diaeresis",'
     '"\u20ac":"Euro Sign","\U0001f600":"Emoji: Grinning Face","\ufb33":"Hebrew Letter Dalet With Dagesh"}'
     .encode().hex()),
]


def json_case(name: str, text: str, **more: object) -> dict:
    return {"name": name, "json": text, **more}


def rfc_number(bits: str, wanted: str) -> dict:
    value = struct.unpack(">d", bytes.fromhex(bits))[0]
    if wanted == "not_finite":
        return json_case(f"RFC 8785 number {bits}, which JSON cannot write", "NaN" if value != value else "Infinity", refused="not_json")
    # 17 digits and an exponent read back as the same double, and are no integer to anybody.
    return json_case(f"RFC 8785 number {bits}", f"{value:.16e}")


def fingerprints() -> list[dict]:
    charge = '{"amount":1250,"currency":"EUR","card":"tok_1"}'
    return [
        # The parts.
        {"name": "no body, no parts"},
        {"name": "method and path alone", "method": "DELETE", "path": "/v1/cards/7"},
        {"name": "method and path do not run together", "method": "DELETE/", "path": "v1/cards/7"},
        {"name": "raw bytes", "raw_hex": "00ff10"},
        {"name": "raw and empty is not none", "raw_hex": ""},
        {"name": "raw bytes that are JSON text stay as they are", "raw_hex": b'{"b":1, "a":2}'.hex()},
        json_case("a charge", charge, method="POST", path="/v1/charges"),
        json_case("a charge, its members in another order, with blanks", ' { "currency" : "EUR" , "card":"tok_1",\n\t"amount": 1250.0 } ',
                  method="POST", path="/v1/charges"),
        json_case("a charge as a value, without method and path", charge),
        json_case("headers are sorted, lower-cased and trimmed", charge, method="POST", path="/v1/charges",
                  headers=[["X-Tenant", " acme\t"], ["Accept-Version", "2"]]),
        json_case("the same headers in another order", charge, method="POST", path="/v1/charges",
                  headers=[["accept-version", "2"], ["x-tenant", "acme"]]),
        json_case("values of one header keep their order", charge, headers=[["x-a", "2"], ["X-A", "1"]]),
        json_case("values of one header in the other order", charge, headers=[["x-a", "1"], ["X-A", "2"]]),
        json_case("a header's value that looks like another header", charge, headers=[["a", "b"], ["c", "d"]]),
        json_case("one header fewer is another request", charge, headers=[["a", "b"]]),
        json_case("an empty header's value", charge, headers=[["a", ""]]),
        json_case("a header without a name", charge, headers=[["", "b"]], refused="empty_part"),
        {"name": "a path that is not ASCII", "method": "GET", "path": "/caf\u00e9", "raw_hex": "01"},
        {"name": "the same path, decomposed, is another", "method": "GET", "path": "/cafe\u0301", "raw_hex": "01"},
        # RFC 8785.
        json_case("RFC 8785 section 3.2.2", RFC_EXAMPLE),
        json_case("RFC 8785 section 3.2.3", RFC_NAMES),
        *(rfc_number(bits, wanted) for bits, wanted in RFC_8785_NUMBERS),
        # Values.
        json_case("null", "null"),
        json_case("true", "true"),
        json_case("an empty object", "{}"),
        json_case("an empty array", "[]"),
        json_case("an empty text", '""'),
        json_case("an empty name", '{"":1}'),
        json_case("zero with a sign", "[-0,-0.0,0e5]"),
        json_case("1 and 1.0 and 10e-1", "[1,1.0,10e-1]"),
        json_case("the largest integer", "9007199254740991"),
        json_case("the smallest integer", "-9007199254740991"),
        json_case("what is too small for a double is 0", "1e-400"),
        json_case("the smallest normal double", "2.2250738585072014e-308"),
        json_case("more digits than a double has", "0.1000000000000000055511151231257827"),
        json_case("six and seven places after the point", "[0.000001,0.0000001]"),
        json_case("21 and 22 digits before the point", "[1e20,1e21,123456789012345680000.0]"),
        json_case("a number between two doubles", "4.35"),
        # Texts.
        json_case("control characters", '"\\u0000\\u0001\\b\\t\\n\\u000b\\f\\r\\u001f\\u007f"'),
        json_case("a slash is not escaped", '"\\/ /"'),
        json_case("a letter that was escaped", '"\\u0041"'),
        json_case("a character beyond the basic plane, escaped and not", '["\\ud83d\\ude00","\U0001f600"]'),
        json_case("separators that JavaScript once escaped", '"\\u2028\\u2029"'),
        json_case("two forms of one letter stay two", '["\u00e9","e\u0301"]'),
        json_case("names sort by UTF-16 units, not by characters", '{"\\uffff":1,"\\ud83d\\ude00":2,"z":3}'),
        json_case("a name that is the beginning of another", '{"ab":1,"a":2,"":3,"a\\u0000":4}'),
        json_case("digits sort as texts", '{"10":1,"9":2,"1":3}'),
        json_case("names that are equal only when case is ignored", '{"a":1,"A":2}'),
        json_case("nested objects are sorted too", '{"b":[{"d":1,"c":[]}],"a":{"z":null,"y":{}}}'),
        json_case("a noncharacter is a character", '"\\uffff\\ufdd0"'),
        json_case("a hundred levels", "[" * 100 + "]" * 100),
        # Ignored fields.
        json_case("an ignored member", '{"amount":1,"sent_at":"now"}', ignore=["/sent_at"]),
        json_case("without that member from the start", '{"amount":1}'),
        json_case("an ignored member that is not there", '{"amount":1}', ignore=["/sent_at", "/a/b"]),
        json_case("an ignored member within others", '{"items":[{"n":1,"note":"x"},{"n":2,"note":"y"}]}', ignore=["/items/1/note"]),
        json_case("escapes in a pointer", '{"a/b":1,"m~n":2,"":3,"k":4}', ignore=["/a~1b", "/m~0n", "/"]),
        json_case("an ignored member within an ignored one", '{"a":{"b":1},"c":2}', ignore=["/a", "/a/b"]),
        json_case("the same pointer twice", '{"a":1,"b":2}', ignore=["/a", "/a"]),
        json_case("an array's place that is not there", '{"items":[]}', ignore=["/items/5/note", "/items/x/note", "/items/-/note"]),
        json_case("a place with a leading zero is none", '{"items":[{"n":1}]}', ignore=["/items/00/n"]),
        json_case("an ignored member of a text", '{"a":"b"}', ignore=["/a/b"]),
        json_case("ignored members of no object", "7", ignore=["/a"]),
        json_case("a pointer without its slash", '{"a":1}', ignore=["a"], refused="bad_pointer"),
        json_case("the empty pointer", '{"a":1}', ignore=[""], refused="bad_pointer"),
        json_case("a pointer with half an escape", '{"a":1}', ignore=["/a~2"], refused="bad_pointer"),
        json_case("a pointer to an element", '{"items":[1,2]}', ignore=["/items/0"], refused="bad_pointer"),
        json_case("a pointer past the end of an array", '{"items":[1,2]}', ignore=["/items/-"], refused="bad_pointer"),
        {"name": "pointers with raw bytes", "raw_hex": "01", "ignore": ["/a"], "refused": "bad_pointer"},
        # Refused alike.
        json_case("2^53", "9007199254740992", refused="integer_too_large"),
        json_case("2^53 + 1", "[9007199254740993]", refused="integer_too_large"),
        json_case("-2^53", '{"a":-9007199254740992}', refused="integer_too_large"),
        json_case("2^64", "18446744073709551616", refused="integer_too_large"),
        json_case("an integer of 400 digits", "1" * 400, refused="integer_too_large"),
        json_case("beyond a double", "1e400", refused="not_finite"),
        json_case("beyond a double, negative", "[-1.5e309]", refused="not_finite"),
        json_case("NaN", "[NaN]", refused="not_json"),
        json_case("minus infinity", "-Infinity", refused="not_json"),
        json_case("a name twice", '{"a":1,"a":1}', refused="duplicate_name"),
        json_case("a name twice, once escaped", '{"b":{"a":1,"\\u0061":2}}', refused="duplicate_name"),
        json_case("a name twice, though ignored", '{"a":1,"a":2}', ignore=["/a"], refused="duplicate_name"),
        json_case("half a pair, high", '"\\ud83d"', refused="lone_surrogate"),
        json_case("half a pair, low", '["x\\ude00y"]', refused="lone_surrogate"),
        json_case("a pair in the wrong order", '"\\ude00\\ud83d"', refused="lone_surrogate"),
        json_case("half a pair before an escape", '"\\ud83d\\u0041"', refused="lone_surrogate"),
        json_case("half a pair in a name", '{"\\ud83d":1}', refused="lone_surrogate"),
        json_case("a hundred and one levels", "[" * 101 + "]" * 101, refused="too_deep"),
        json_case("nothing", "", refused="not_json"),
        json_case("blanks", "  \n", refused="not_json"),
        json_case("two values", "1 2", refused="not_json"),
        json_case("a comma too many", "[1,]", refused="not_json"),
        json_case("a comma too many in an object", '{"a":1,}', refused="not_json"),
        json_case("a leading zero", "01", refused="not_json"),
        json_case("a plus sign", "+1", refused="not_json"),
        json_case("a point without digits", "1.", refused="not_json"),
        json_case("a point without a digit before it", ".5", refused="not_json"),
        json_case("an exponent without digits", "1e", refused="not_json"),
        json_case("a comment", "[1 /* one */]", refused="not_json"),
        json_case("single quotes", "{'a':1}", refused="not_json"),
        json_case("a name without quotes", "{a:1}", refused="not_json"),
        json_case("a tab within a text", '"a\tb"', refused="not_json"),
        json_case("an unknown escape", '"\\x41"', refused="not_json"),
        json_case("an escape that is too short", '"\\u12"', refused="not_json"),
        json_case("another blank than JSON's", "\u00a0[1]", refused="not_json"),
        json_case("a byte order mark", "\ufeff[1]", refused="not_json"),
        json_case("a text without its end", '"abc', refused="not_json"),
        json_case("a word that is none", "True", refused="not_json"),
        {"name": "bytes that are not UTF-8", "json_hex": "22ff22", "refused": "not_json"},
        {"name": "an overlong form", "json_hex": "22c0af22", "refused": "not_json"},
        {"name": "a surrogate in UTF-8", "json_hex": "22eda08022", "refused": "not_json"},
        {"name": "UTF-16", "json_hex": "5b0031005d00", "refused": "not_json"},
    ]


DERIVED_KEYS = [
    {"name": "a step", "tenant": "acme", "endpoint": "payments/Charge", "key": "order-42", "step": "capture"},
    {"name": "another step", "tenant": "acme", "endpoint": "payments/Charge", "key": "order-42", "step": "mail"},
    {"name": "another key", "tenant": "acme", "endpoint": "payments/Charge", "key": "order-43", "step": "capture"},
    {"name": "another endpoint", "tenant": "acme", "endpoint": "payments/Refund", "key": "order-42", "step": "capture"},
    {"name": "another tenant", "tenant": "beta", "endpoint": "payments/Charge", "key": "order-42", "step": "capture"},
    {"name": "the tenant is the credential's", "tenant": "", "endpoint": "payments/Charge", "key": "order-42", "step": "capture"},
    {"name": "parts do not run together", "tenant": "acme", "endpoint": "payments/", "key": "Chargeorder-42", "step": "capture"},
    {"name": "not ASCII", "tenant": "acme", "endpoint": "p\u00f6st/\u20ac", "key": "\U0001f600", "step": "caf\u00e9"},
    {"name": "the same in another form is another", "tenant": "acme", "endpoint": "p\u00f6st/\u20ac", "key": "\U0001f600", "step": "cafe\u0301"},
    {"name": "a step with a zero byte", "tenant": "t", "endpoint": "e", "key": "k", "step": "a\u0000b"},
    {"name": "a number as a step", "tenant": "t", "endpoint": "e", "key": "k", "step": "1"},
    {"name": "no step", "tenant": "t", "endpoint": "e", "key": "k", "step": "", "refused": "empty_part"},
]

EVENT_KEYS = [
    {"name": "an event", "source": "https://github.com/cloudevents", "type": "com.example.created", "id": "A234-1234-1234"},
    {"name": "another id", "source": "https://github.com/cloudevents", "type": "com.example.created", "id": "A234-1234-1235"},
    {"name": "another source", "source": "/orders", "type": "com.example.created", "id": "A234-1234-1234"},
    {"name": "another type", "source": "/orders", "type": "com.example.deleted", "id": "A234-1234-1234"},
    {"name": "parts do not run together", "source": "/order", "type": "scom.example.deleted", "id": "A234-1234-1234"},
    {"name": "not ASCII", "source": "/\u00e4", "type": "\u20ac", "id": "\U0001f600"},
    {"name": "a long id", "source": "s", "type": "t", "id": "x" * 2000},
    {"name": "no source", "source": "", "type": "t", "id": "i", "refused": "empty_part"},
    {"name": "no type", "source": "s", "type": "", "id": "i", "refused": "empty_part"},
    {"name": "no id", "source": "s", "type": "t", "id": "", "refused": "empty_part"},
]

ORDER = '{"customer":"c1","sku":"s7","count":2}'
CONTENT_KEYS = [
    {"name": "an order", "json": ORDER, "window_seconds": 300, "at_seconds": 1700000000},
    {"name": "the same order, written otherwise, in the same window", "json": '{ "count":2.0,"sku":"s7","customer":"c1"}', "window_seconds": 300, "at_seconds": 1700000099},
    {"name": "the last second of the window", "json": ORDER, "window_seconds": 300, "at_seconds": 1700000099},
    {"name": "the first second of the next", "json": ORDER, "window_seconds": 300, "at_seconds": 1700000100},
    {"name": "another window", "json": ORDER, "window_seconds": 600, "at_seconds": 1700000000},
    {"name": "a window of one second", "json": ORDER, "window_seconds": 1, "at_seconds": 1700000000},
    {"name": "at the very beginning", "json": ORDER, "window_seconds": 86400, "at_seconds": 0},
    {"name": "bytes", "raw_hex": "0102", "window_seconds": 60, "at_seconds": 1700000000},
    {"name": "without a field", "json": '{"customer":"c1","sku":"s7","count":2,"sent":1}', "ignore": ["/sent"], "window_seconds": 300, "at_seconds": 1700000000},
    {"name": "no window", "json": ORDER, "window_seconds": 0, "at_seconds": 1700000000, "refused": "bad_window"},
    {"name": "before 1970", "json": ORDER, "window_seconds": 60, "at_seconds": -1, "refused": "bad_window"},
    {"name": "nothing", "window_seconds": 60, "at_seconds": 1, "refused": "empty_part"},
    {"name": "no JSON", "json": "{", "window_seconds": 60, "at_seconds": 1, "refused": "not_json"},
]


def of(name: str, text: str, **more: object) -> dict:
    return {"name": name, "maker": "of", "text": text, **more}


def a_uuid(name: str, text: str, **more: object) -> dict:
    return {"name": name, "maker": "uuid", "text": text, **more}


def business(name: str, kind: str, *parts: str, **more: object) -> dict:
    return {"name": name, "maker": "business", "kind": kind, "parts": list(parts), **more}


KEY_CHECKS = [
    of("an order number", "order-42"),
    of("one byte", "x"),
    of("255 bytes", "x" * 255),
    of("255 bytes that are fewer characters", "\u20ac" * 85),
    of("256 bytes", "x" * 256, refused="too_long"),
    of("256 bytes that are fewer characters", "\u20ac" * 85 + "x", refused="too_long"),
    of("nothing", "", refused="empty"),
    of("a blank is a key", " "),
    of("not ASCII", "bestellung-\u00e4\u20ac\U0001f600"),
    of("a mail address", "jane.doe@example.com"),
    of("a mail address within", "invoice:jane+doe@mail.example.co.uk:7"),
    of("an at sign alone", "order@42"),
    of("an at sign and a point, but no top-level domain", "build@1.2.3"),
    of("a package and its version", "left@pad.1"),
    of("a mail address without a name", "@example.com"),
    of("a card number", "4111111111111111"),
    of("a card number with blanks", "pay 4111 1111 1111 1111 now"),
    of("a card number with hyphens", "card:5500-0000-0000-0004"),
    of("a card number of 15 digits", "378282246310005"),
    of("a card number of 13 digits", "4222222222222"),
    of("a card number of 19 digits", "6304000000000000000"),
    of("digits with a wrong check digit", "4111111111111112"),
    of("digits that begin as no card does", "1111111111111117"),
    of("zeros", "0000000000000000"),
    of("digits touched by a letter", "x4111111111111111"),
    of("digits touched by a letter behind", "4111111111111111x"),
    of("digits between other signs", "a-4111111111111111_b"),
    of("two blanks part two runs", "41111111  11111111"),
    of("twenty digits", "41111111111111111111"),
    of("both", "jane@example.com/4111111111111111"),
    of("the second run is the card", "order 7/4111111111111111"),
    of("a time in milliseconds", "1700000000000"),
    of("a UUID is not looked at", "41111111-1111-4111-8111-411111111111"),
    of("a UUID in capitals", "41111111-1111-4111-8111-4ABCDEFABCDE"),
    a_uuid("version 4", "9f1c2a34-5b6d-4e7f-8a9b-0c1d2e3f4a5b"),
    a_uuid("version 7 in capitals", "018F3E5C-9A1B-7C2D-B3E4-F5061728394A"),
    a_uuid("version 1", "9f1c2a34-5b6d-1e7f-8a9b-0c1d2e3f4a5b", refused="not_a_uuid"),
    a_uuid("version 8", "9f1c2a34-5b6d-8e7f-8a9b-0c1d2e3f4a5b", refused="not_a_uuid"),
    a_uuid("another variant", "9f1c2a34-5b6d-4e7f-ca9b-0c1d2e3f4a5b", refused="not_a_uuid"),
    a_uuid("the nil UUID", "00000000-0000-0000-0000-000000000000", refused="not_a_uuid"),
    a_uuid("without hyphens", "9f1c2a345b6d4e7f8a9b0c1d2e3f4a5b", refused="not_a_uuid"),
    a_uuid("in braces", "{9f1c2a34-5b6d-4e7f-8a9b-0c1d2e3f4a5b}", refused="not_a_uuid"),
    a_uuid("with a blank", "9f1c2a34-5b6d-4e7f-8a9b-0c1d2e3f4a5b ", refused="not_a_uuid"),
    a_uuid("digits that are not ASCII", "9f1c2a34-5b6d-4e7f-8a9b-0c1d2e3f4a5\u0665", refused="not_a_uuid"),
    a_uuid("no UUID", "", refused="not_a_uuid"),
    business("two parts", "order", "42"),
    business("three parts", "invoice", "2026-11", "acme"),
    business("a colon in a part", "order", "a:b", "c"),
    business("the colon elsewhere is another key", "order", "a", "b:c"),
    business("a percent sign", "order", "50%3A", "%"),
    business("a card number as a part", "card", "4111111111111111"),
    business("a mail address as a part", "user", "jane@example.com"),
    business("no part", "order", refused="empty_part"),
    business("an empty part", "order", "42", "", refused="empty_part"),
    business("no kind", "", "42", refused="empty_part"),
    business("too long once it is joined", "order", "x" * 250, refused="too_long"),
]

PARTS = {"tenant": "acme", "endpoint": "payments/Charge", "key": "order-42", "fence": 1764106800000000, "attempt": 1,
         "attempt_id": "9f1c2a34-5b6d-4e7f-8a9b-0c1d2e3f4a5b", "lease_ms": 30000}
WRITTEN = ('{"attempt":1,"attempt_id":"9f1c2a34-5b6d-4e7f-8a9b-0c1d2e3f4a5b","endpoint":"payments/Charge",'
           '"fence":1764106800000000,"key":"order-42","lease_ms":30000,"tenant":"acme","v":1}')
HANDOFFS = [
    {"name": "an attempt", "parts": PARTS},
    {"name": "the tenant is the credential's", "parts": {**PARTS, "tenant": ""}},
    {"name": "texts that need escapes", "parts": {**PARTS, "key": "a\"b\\c\n\u20ac\U0001f600", "endpoint": "/\u2028"}},
    {"name": "a later attempt", "parts": {**PARTS, "attempt": 17, "fence": 9007199254740991}},
    {"name": "another version", "text": WRITTEN.replace('"v":1', '"v":2'), "refused": "bad_handoff"},
    {"name": "without a member", "text": WRITTEN.replace('"tenant":"acme",', ""), "refused": "bad_handoff"},
    {"name": "with an unknown member", "text": WRITTEN.replace('{"attempt"', '{"also":1,"attempt"'), "refused": "bad_handoff"},
    {"name": "a fence as a text", "text": WRITTEN.replace("1764106800000000", '"1764106800000000"'), "refused": "bad_handoff"},
    {"name": "a fence of zero", "text": WRITTEN.replace("1764106800000000", "0"), "refused": "bad_handoff"},
    {"name": "an attempt of zero", "text": WRITTEN.replace('"attempt":1', '"attempt":0'), "refused": "bad_handoff"},
    {"name": "no JSON", "text": "order-42", "refused": "bad_handoff"},
    {"name": "no object", "text": "[1]", "refused": "bad_handoff"},
]

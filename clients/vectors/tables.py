"""Tables of the vectors: what the libraries are to do. generate.py writes them down, and computes nothing from them."""

DECLINED = {"type": "CardDeclined", "message": "insufficient funds", "code": 402, "details": {"decline_code": "51"}}


def ended(name: str, how: dict, report: dict, error: str | None, on_unexpected: str = "unknown") -> dict:
    return {"name": name, "on_unexpected": on_unexpected, "ended": how, "report": report, "error": error}


SUCCEEDS = {"method": "Complete", "outcome": "OUTCOME_SUCCESS"}
FAILS = {"method": "Complete", "outcome": "OUTCOME_FAILURE"}
RELEASES = {"method": "Abort", "disposition": "DISPOSITION_RELEASE"}
GIVES_UP = {"method": "Abort", "disposition": "DISPOSITION_OUTCOME_UNKNOWN"}
FAILURES = [
    ended("it returns", {"returns": {"id": "ch_1"}}, {**SUCCEEDS, "content_type": "application/json"}, None),
    ended("it returns nothing", {"returns": None}, {**SUCCEEDS, "content_type": "application/json"}, None),
    ended("a final failure", {"final": DECLINED},
          {**FAILS, "content_type": "application/vnd.semel.failure+json", "code": 402, "failure": DECLINED}, "OperationFailed"),
    ended("a final failure, whatever the setting", {"final": DECLINED},
          {**FAILS, "content_type": "application/vnd.semel.failure+json", "code": 402, "failure": DECLINED}, "OperationFailed", "release"),
    ended("a final failure with a type alone", {"final": {"type": "Gone"}},
          {**FAILS, "content_type": "application/vnd.semel.failure+json", "code": 0, "failure": {"type": "Gone", "message": "", "code": 0}}, "OperationFailed"),
    ended("nothing happened, try again", {"retryable": {"message": "no connection"}}, RELEASES, "own"),
    ended("nothing happened, try again after a pause", {"retryable": {"message": "busy", "retry_after_ms": 1500}},
          {**RELEASES, "retry_after_ms": 1500}, "own"),
    ended("nothing happened, whatever the setting", {"retryable": {"message": "no connection"}}, RELEASES, "own", "final"),
    ended("it may have happened", {"unknown": {"message": "no answer"}}, GIVES_UP, "own"),
    ended("it may have happened, whatever the setting", {"unknown": {"message": "no answer"}}, GIVES_UP, "own", "release"),
    ended("a timeout", {"timeout": True}, GIVES_UP, "own"),
    ended("a timeout, whatever the setting", {"timeout": True}, GIVES_UP, "own", "release"),
    ended("cancelled in the middle", {"cancelled": True}, GIVES_UP, "own"),
    ended("cancelled in the middle, whatever the setting", {"cancelled": True}, GIVES_UP, "own", "final"),
    ended("an unexpected error", {"unexpected": "boom"}, GIVES_UP, "own"),
    ended("an unexpected error that releases", {"unexpected": "boom"}, RELEASES, "own", "release"),
    ended("an unexpected error that is final", {"unexpected": "boom"},
          {**FAILS, "content_type": "application/vnd.semel.failure+json", "code": 0,
           "failure": {"type": "unexpected", "message": "boom", "code": 0}}, "OperationFailed", "final"),
    ended("a value that cannot be encoded", {"returns_unencodable": True}, {**SUCCEEDS, "payload_omitted": True}, "ResultNotStored"),
]


def stored(name: str, payload: str, failure: dict | None, content_type: str = "application/vnd.semel.failure+json", code: int = 0) -> dict:
    return {"name": name, "content_type": content_type, "code": code, "payload_hex": payload.encode().hex(), "failure": failure}


FAILURE_PAYLOADS = [
    stored("all members", '{"type":"CardDeclined","message":"insufficient funds","code":402,"details":{"decline_code":"51"}}', DECLINED, code=402),
    stored("a type alone", '{"type":"Gone"}', {"type": "Gone", "message": "", "code": 0}),
    stored("an unknown member", '{"type":"Gone","hint":"x"}', {"type": "Gone", "message": "", "code": 0}),
    stored("details that are a list", '{"type":"T","message":"m","code":-1,"details":[1,"a"]}', {"type": "T", "message": "m", "code": -1, "details": [1, "a"]}, code=-1),
    stored("texts that are not ASCII", '{"type":"T\u00e4","message":"\u20ac \U0001f600","code":0}', {"type": "T\u00e4", "message": "\u20ac \U0001f600", "code": 0}),
    stored("a content type with its character set", '{"type":"Gone"}', {"type": "Gone", "message": "", "code": 0}, "application/vnd.semel.failure+json; charset=utf-8"),
    stored("a content type in capitals", '{"type":"Gone"}', {"type": "Gone", "message": "", "code": 0}, "Application/vnd.semel.Failure+JSON"),
    stored("a failure of another program's", "card declined", {"type": "unknown", "message": "", "code": 402}, "text/plain", 402),
    stored("a failure without a content type", "", {"type": "unknown", "message": "", "code": 3}, "", 3),
    stored("no JSON", "{", None),
    stored("no object", '"Gone"', None),
    stored("no type", '{"message":"m"}', None),
    stored("an empty type", '{"type":""}', None),
    stored("a type that is a number", '{"type":7}', None),
    stored("a code that is a text", '{"type":"T","code":"402"}', None),
    stored("a code that is too large", '{"type":"T","code":4294967296}', None),
    stored("a message that is a number", '{"type":"T","message":1}', None),
]

INVALID_ARGUMENT = ["INVALID_KEY", "INVALID_ATTEMPT_ID", "INVALID_FENCE", "INVALID_FINGERPRINT", "FINGERPRINT_REQUIRED",
                    "INVALID_DURATION", "INVALID_RESULT", "RESULT_TOO_LARGE", "INVALID_DISPOSITION", "INVALID_CHECKPOINT",
                    "INVALID_LABELS", "INVALID_DETAIL", "INVALID_RESOLUTION", "INVALID_PAGE", "BATCH_TOO_LARGE"]


def errors() -> list[dict]:
    cases = []

    def say(where: str, call: str, code: str, reason: str | None, error: str, **more: object) -> None:
        name = f"{where} {call}: {code} {reason or 'without a reason'}"
        cases.append({"name": name, "in": where, "call": call, "code": code, "reason": reason, "error": error, **more})

    for reason in INVALID_ARGUMENT:
        say("plain", "Begin", "INVALID_ARGUMENT", reason, "Invalid")
    say("plain", "Begin", "INVALID_ARGUMENT", None, "Invalid")
    say("plain", "Begin", "INVALID_ARGUMENT", "A_LATER_REASON", "Invalid")
    say("plain", "Begin", "OUT_OF_RANGE", None, "Invalid")
    say("plain", "Begin", "FAILED_PRECONDITION", "FINGERPRINT_MISMATCH", "KeyMismatch")
    say("plain", "Begin", "FAILED_PRECONDITION", "KEY_EXPIRED", "KeyExpired")
    say("plain", "Begin", "ABORTED", "ATTEMPT_ENDED", "LeaseLost")
    for call in ("Complete", "Abort", "Renew", "SaveCheckpoint"):
        say("plain", call, "ABORTED", "FENCE_LOST", "LeaseLost")
        say("plain", call, "NOT_FOUND", "KEY_NOT_FOUND", "LeaseLost")
    for call in ("Abort", "Renew", "SaveCheckpoint"):
        say("plain", call, "FAILED_PRECONDITION", "ALREADY_COMPLETED", "LeaseLost")
    say("plain", "Complete", "FAILED_PRECONDITION", "RESULT_CONFLICT", "ResultConflict")
    say("plain", "SaveCheckpoint", "FAILED_PRECONDITION", "CHECKPOINT_CONFLICT", "CheckpointRefused")
    say("plain", "SaveCheckpoint", "FAILED_PRECONDITION", "CHECKPOINT_LIMIT", "CheckpointRefused")
    say("plain", "ResolveRecord", "FAILED_PRECONDITION", "STATE_CONFLICT", "Refused")
    say("plain", "ResolveRecord", "ABORTED", "FENCE_LOST", "LeaseLost")
    say("plain", "ListRecords", "FAILED_PRECONDITION", "NOT_LISTED", "Refused")
    say("plain", "Begin", "FAILED_PRECONDITION", None, "Refused")
    say("plain", "Begin", "FAILED_PRECONDITION", "A_LATER_REASON", "Refused")
    for call in ("Lookup", "ResolveRecord", "ForgetRecord"):
        say("plain", call, "NOT_FOUND", "KEY_NOT_FOUND", "NotFound")
    say("plain", "Begin", "RESOURCE_EXHAUSTED", "QUOTA_EXCEEDED", "Exhausted", retry_info_ms=1000)
    say("plain", "Begin", "RESOURCE_EXHAUSTED", "TOO_MANY_WAITERS", "Exhausted", retry_info_ms=1000)
    say("plain", "BatchBegin", "RESOURCE_EXHAUSTED", "RESPONSE_TOO_LARGE", "Exhausted")
    say("plain", "Begin", "RESOURCE_EXHAUSTED", None, "Exhausted")
    for reason in ("STORE_UNAVAILABLE", "STORE_OUTCOME_UNKNOWN", None):
        say("plain", "Begin", "UNAVAILABLE", reason, "StoreUnavailable")
    for code in ("DEADLINE_EXCEEDED", "CANCELLED", "UNKNOWN"):
        say("plain", "Begin", code, None, "StoreUnavailable")
    for reason in ("CREDENTIAL_REQUIRED", "CREDENTIAL_INVALID", None):
        say("plain", "Begin", "UNAUTHENTICATED", reason, "NotAllowed")
    for reason in ("TENANT_NOT_ALLOWED", "ROLE_REQUIRED", None):
        say("plain", "Begin", "PERMISSION_DENIED", reason, "NotAllowed")
    say("plain", "Begin", "INTERNAL", "INTERNAL", "ServerError")
    for code in ("INTERNAL", "UNIMPLEMENTED", "DATA_LOSS", "ALREADY_EXISTS", "ABORTED"):
        say("plain", "Begin", code, None, "ServerError")
    # In once: Begin's decisions and errors.
    cases += [
        {"name": "once Begin: InProgress", "in": "once", "call": "Begin", "decision": "in_progress", "error": "InProgress"},
        {"name": "once Begin: Unresolved, unknown", "in": "once", "call": "Begin", "decision": "unresolved",
         "unresolved_reason": "REASON_OUTCOME_UNKNOWN", "error": "Unresolved"},
        {"name": "once Begin: Unresolved, attempts exhausted", "in": "once", "call": "Begin", "decision": "unresolved",
         "unresolved_reason": "REASON_ATTEMPTS_EXHAUSTED", "error": "Unresolved"},
        {"name": "once Begin: a decision of a later server", "in": "once", "call": "Begin", "decision": "none", "error": "ServerError"},
    ]
    say("once", "Begin", "FAILED_PRECONDITION", "FINGERPRINT_MISMATCH", "KeyMismatch")
    say("once", "Begin", "FAILED_PRECONDITION", "KEY_EXPIRED", "KeyExpired")
    say("once", "Begin", "ABORTED", "ATTEMPT_ENDED", "LeaseLost")
    say("once", "Begin", "INVALID_ARGUMENT", "FINGERPRINT_REQUIRED", "Invalid")
    say("once", "Begin", "UNAVAILABLE", "STORE_UNAVAILABLE", "StoreUnavailable")
    say("once", "Begin", "PERMISSION_DENIED", "TENANT_NOT_ALLOWED", "NotAllowed")
    # In once: what is said of a Complete after the work ran. The value is never dropped.
    for code, reason in (("ABORTED", "FENCE_LOST"), ("NOT_FOUND", "KEY_NOT_FOUND")):
        say("once", "Complete", code, reason, "LeaseLost", carries_value=True)
    say("once", "Complete", "FAILED_PRECONDITION", "RESULT_CONFLICT", "ResultConflict", carries_value=True)
    say("once", "Complete", "INVALID_ARGUMENT", "RESULT_TOO_LARGE", "ResultNotStored", carries_value=True)
    say("once", "Complete", "OUT_OF_RANGE", None, "ResultNotStored", carries_value=True)
    say("once", "Complete", "RESOURCE_EXHAUSTED", None, "ResultNotStored", carries_value=True)
    for code, reason in (("UNAVAILABLE", "STORE_UNAVAILABLE"), ("UNAVAILABLE", "STORE_OUTCOME_UNKNOWN"), ("UNAVAILABLE", None),
                         ("DEADLINE_EXCEEDED", None), ("INTERNAL", "INTERNAL"), ("INTERNAL", None), ("UNKNOWN", None),
                         ("UNAUTHENTICATED", "CREDENTIAL_INVALID"), ("PERMISSION_DENIED", "TENANT_NOT_ALLOWED"),
                         ("INVALID_ARGUMENT", "INVALID_RESULT"), ("FAILED_PRECONDITION", "A_LATER_REASON")):
        say("once", "Complete", code, reason, "CompletionUnknown", carries_value=True)
    return cases


# What a slot of a batch holds instead of an answer; the number of a code is that of gRPC.
ITEM_ERRORS = [
    {"name": f"{reason or 'without a reason'}", "code": code, "reason": reason, "error": error, **more}
    for code, reason, error, more in (
        (3, "INVALID_KEY", "Invalid", {}),
        (3, "RESULT_TOO_LARGE", "Invalid", {}),
        (9, "FINGERPRINT_MISMATCH", "KeyMismatch", {}),
        (9, "KEY_EXPIRED", "KeyExpired", {}),
        (9, "RESULT_CONFLICT", "ResultConflict", {}),
        (10, "ATTEMPT_ENDED", "LeaseLost", {}),
        (10, "FENCE_LOST", "LeaseLost", {}),
        (5, "KEY_NOT_FOUND", "LeaseLost", {}),
        (8, "QUOTA_EXCEEDED", "Exhausted", {}),
        (8, "RESPONSE_TOO_LARGE", "Exhausted", {}),
        (14, "STORE_UNAVAILABLE", "StoreUnavailable", {"may_have_taken_effect": False}),
        (14, "STORE_OUTCOME_UNKNOWN", "StoreUnavailable", {"may_have_taken_effect": True}),
        (13, "INTERNAL", "ServerError", {}),
        (9, "A_LATER_REASON", "Refused", {}),
        (14, "", "StoreUnavailable", {"may_have_taken_effect": True}),
        (99, "A_REASON_OF_A_CODE_THAT_IS_NONE", "StoreUnavailable", {"may_have_taken_effect": True}),
    )
]


def retries() -> list[dict]:
    cases = []

    def say(call: str, code: str, reason: str | None, again: bool, *, of: str = "plain", retry_info: int | None = None,
            sends: int = 1, left: int = 60000, note: str = "") -> None:
        step = min(1000, 50 * 2 ** (sends - 1))
        low, high = (step / 2, step) if retry_info is None else (retry_info, retry_info + step)
        name = f"{of} {call}: {code} {reason or 'without a reason'}, sent {sends}, {left} ms left"
        if retry_info is not None:
            name += f", RetryInfo {retry_info} ms"
        if note:
            name += f": {note}"
        case = {"name": name, "of": of, "call": call, "code": code, "reason": reason, "retry_info_ms": retry_info,
                "sends": sends, "left_ms": left, "again": again}
        if again:
            case["pause_ms"] = [low, high]
        cases.append(case)

    every = ("Begin", "Complete", "Abort", "Renew", "SaveCheckpoint", "Lookup", "BatchBegin", "BatchComplete", "ResolveRecord")
    for of, call in [*(("plain", call) for call in every), ("report", "Complete"), ("report", "Abort"), ("renewal", "Renew")]:
        say(call, "UNAVAILABLE", "STORE_UNAVAILABLE", True, of=of, retry_info=1000)
        say(call, "UNAVAILABLE", "STORE_OUTCOME_UNKNOWN", True, of=of, retry_info=200)
        say(call, "UNAVAILABLE", None, True, of=of)
        say(call, "DEADLINE_EXCEEDED", None, True, of=of, note="one try's time was over")
    for call in ("Begin", "Lookup", "BatchBegin"):
        say(call, "RESOURCE_EXHAUSTED", "QUOTA_EXCEEDED", True, retry_info=300)
    say("Begin", "RESOURCE_EXHAUSTED", "TOO_MANY_WAITERS", True, retry_info=1000)
    say("Begin", "RESOURCE_EXHAUSTED", "QUOTA_EXCEEDED", False, note="nothing says when")
    say("BatchBegin", "RESOURCE_EXHAUSTED", "RESPONSE_TOO_LARGE", False, note="the same answer would come")
    say("Complete", "RESOURCE_EXHAUSTED", None, False, of="report", note="the message is too large")
    for code, reason in (("CANCELLED", None), ("UNKNOWN", None), ("INTERNAL", None), ("INTERNAL", "INTERNAL")):
        for of, call in (("plain", "Begin"), ("plain", "Renew"), ("report", "Complete"), ("renewal", "Renew")):
            say(call, code, reason, True, of=of, note="a broken stream, or a bug that may pass")
    # The backoff.
    for sends in range(2, 9):
        say("Complete", "UNAVAILABLE", None, True, of="report", sends=sends)
    say("Complete", "UNAVAILABLE", None, True, of="report", sends=40, note="the longest pause")
    say("Complete", "UNAVAILABLE", "STORE_UNAVAILABLE", True, of="report", retry_info=1000, sends=6)
    say("Complete", "UNAVAILABLE", "STORE_UNAVAILABLE", True, of="report", retry_info=0, sends=2)
    # The deadline.
    say("Begin", "UNAVAILABLE", None, False, left=0)
    say("Begin", "UNAVAILABLE", None, False, left=25, note="no pause ends before the deadline")
    say("Begin", "UNAVAILABLE", None, True, left=51)
    say("Begin", "UNAVAILABLE", "STORE_UNAVAILABLE", False, retry_info=1000, left=1000)
    say("Begin", "RESOURCE_EXHAUSTED", "QUOTA_EXCEEDED", False, retry_info=3600000, left=10000)
    # Answers.
    for reason in INVALID_ARGUMENT:
        say("Begin", "INVALID_ARGUMENT", reason, False)
    for code, reason in (("FAILED_PRECONDITION", "FINGERPRINT_MISMATCH"), ("FAILED_PRECONDITION", "KEY_EXPIRED"),
                         ("ABORTED", "ATTEMPT_ENDED"), ("NOT_FOUND", "KEY_NOT_FOUND"), ("PERMISSION_DENIED", "TENANT_NOT_ALLOWED"),
                         ("PERMISSION_DENIED", "ROLE_REQUIRED"), ("UNAUTHENTICATED", "CREDENTIAL_INVALID"),
                         ("UNAUTHENTICATED", "CREDENTIAL_REQUIRED"), ("UNIMPLEMENTED", None), ("OUT_OF_RANGE", None),
                         ("ALREADY_EXISTS", None), ("DATA_LOSS", None), ("INVALID_ARGUMENT", None), ("ABORTED", None)):
        say("Begin", code, reason, False)
    for code, reason in (("ABORTED", "FENCE_LOST"), ("FAILED_PRECONDITION", "RESULT_CONFLICT"), ("NOT_FOUND", "KEY_NOT_FOUND"),
                         ("INVALID_ARGUMENT", "RESULT_TOO_LARGE"), ("PERMISSION_DENIED", "TENANT_NOT_ALLOWED"), ("OUT_OF_RANGE", None)):
        say("Complete", code, reason, False, of="report")
    # A report waits for a credential that is just being replaced; the token file is read again. A plain call does not.
    for call in ("Complete", "Abort"):
        for reason in ("CREDENTIAL_INVALID", "CREDENTIAL_REQUIRED"):
            say(call, "UNAUTHENTICATED", reason, True, of="report")
            say(call, "UNAUTHENTICATED", reason, False)
    # A renewal goes on after what may pass while the lease lasts, though a plain Renew does not: what is wrong with the
    # credential, or with what is between.
    for code, reason in (("UNAUTHENTICATED", "CREDENTIAL_INVALID"), ("PERMISSION_DENIED", "TENANT_NOT_ALLOWED"),
                         ("UNIMPLEMENTED", None), ("RESOURCE_EXHAUSTED", None)):
        say("Renew", code, reason, True, of="renewal")
        say("Renew", code, reason, False)
    # What is said of the renewal itself is final to both.
    for code, reason in (("ABORTED", "FENCE_LOST"), ("FAILED_PRECONDITION", "ALREADY_COMPLETED"), ("NOT_FOUND", "KEY_NOT_FOUND"),
                         ("INVALID_ARGUMENT", "INVALID_FENCE"), ("INVALID_ARGUMENT", "INVALID_DURATION"), ("INVALID_ARGUMENT", None),
                         ("FAILED_PRECONDITION", "A_LATER_REASON"), ("ABORTED", None), ("NOT_FOUND", None), ("OUT_OF_RANGE", None)):
        say("Renew", code, reason, False, of="renewal")
        say("Renew", code, reason, False)
    return cases


def options(name: str, refused: str | None = None, **given: object) -> dict:
    return {"name": name, "options": given, **({"refused": refused} if refused else {})}


CLIENT_OPTIONS = [
    options("nothing said"),
    options("host and port", address="127.0.0.1:7400"),
    options("http", address="http://semel.example.com:7400"),
    options("https", address="https://semel.example.com:7400"),
    options("https without a port", address="https://semel.example.com"),
    options("a slash at the end", address="https://semel.example.com:7400/"),
    options("IPv6", address="http://[::1]:7400"),
    options("another scheme", "ADDRESS", address="ftp://semel.example.com"),
    options("no host", "ADDRESS", address="http://"),
    options("a port that is none", "ADDRESS", address="http://semel.example.com:port"),
    options("a path", "ADDRESS", address="https://semel.example.com/v1"),
    options("a query", "ADDRESS", address="https://semel.example.com?tenant=acme"),
    options("a user and a password", "ADDRESS", address="https://user:secret-password@semel.example.com"),
    options("a token over https", address="https://semel.example.com", token="semel_t"),
    options("a token over http to 127.0.0.1", address="http://127.0.0.1:7400", token="semel_t"),
    options("a token over http to another address of this machine", address="http://127.9.8.7:7400", token="semel_t"),
    options("a token over http to ::1", address="http://[::1]:7400", token="semel_t"),
    options("a token over http to localhost", address="http://localhost:7400", token="semel_t"),
    options("a token over http to somewhere else", "ADDRESS", address="http://semel.example.com:7400", token="semel_t"),
    options("a token over http to a name that looks like this machine", "ADDRESS", address="http://127.0.0.1.example.com:7400", token="semel_t"),
    options("a token over http to an address that looks like this machine", "ADDRESS", address="http://128.0.0.1:7400", token="semel_t"),
    options("a token over http to somewhere else, knowingly", address="http://semel.example.com:7400", token="semel_t", insecure_token=True),
    options("an empty token is none", address="http://semel.example.com:7400", token=""),
    options("a token with a line's end", "TOKEN", address="https://semel.example.com", token="secret-token\n"),
    options("two tokens", "TOKEN", address="https://semel.example.com", token="secret-token secret-other"),
    options("a token that is not ASCII", "TOKEN", address="https://semel.example.com", token="secret-t\u00f6ken"),
    options("authorities over http", "ADDRESS", address="http://127.0.0.1:7400", tls_ca="ca.pem"),
    options("a certificate over http", "ADDRESS", address="http://127.0.0.1:7400", tls_cert="cert.pem", tls_key="key.pem"),
    options("authorities that are not there", "TLS", address="https://semel.example.com", tls_ca="no-such-ca.pem"),
    options("a certificate that is not there", "TLS", address="https://semel.example.com", tls_cert="no-such.pem", tls_key="no-such-key.pem"),
    options("a token's file that is not there", "TOKEN_FILE", address="https://semel.example.com", token_file="no-such-token"),
    options("a token goes before its file", address="https://semel.example.com", token="semel_t", token_file="no-such-token"),
    options("one connection", connections=1),
    options("lengths of time", timeout_ms=1, try_timeout_ms=1, report_timeout_ms=1),
]

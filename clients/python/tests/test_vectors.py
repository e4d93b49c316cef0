"""Every case of clients/vectors."""

from __future__ import annotations

import asyncio
import datetime
import json
import os
import pathlib

import pytest

import semel
from semel import _engine, _run, errors, failure, keys
from semel.request import Request
from semel.v1 import semel_pb2 as pb

VECTORS = pathlib.Path(__file__).resolve().parents[2] / "vectors"


def cases(file):
    return json.loads((VECTORS / f"{file}.json").read_text(encoding="ascii"))["cases"]


@pytest.fixture(scope="module")
def ran():
    """The cases that ran, which are counted when all have."""
    names = []
    yield names
    if path := os.environ.get("SEMEL_COUNTS_FILE"):
        with open(path, "a", encoding="ascii") as counts:
            counts.write(f"client_vectors {len(names)}\n")


@pytest.fixture(autouse=True)
def _count(ran, case):
    yield
    ran.append(case["name"])


def vectors(file):
    return pytest.mark.parametrize("case", cases(file), ids=lambda case: case["name"])


def request_of(case):
    ignore = case.get("ignore", ())
    if "json" in case:
        body = Request.json_text(case["json"], ignore)
    elif "json_hex" in case:
        body = Request.json_text(bytes.fromhex(case["json_hex"]), ignore)
    elif "raw_hex" in case:
        body = Request("raw", bytes.fromhex(case["raw_hex"]), ignore)
    else:
        body = Request()
    return Request.http(case.get("method", ""), case.get("path", ""), map(tuple, case.get("headers", ())), body)


def check(case, name, make):
    if wanted := case.get("refused"):
        with pytest.raises(semel.InvalidError) as raised:
            make()
        assert raised.value.reason == wanted
        return None
    made = make()
    if name:
        assert made == case[name]
    return made


@vectors("fingerprints")
def test_fingerprint(case):
    request = request_of(case)
    check(case, "digest", lambda: request.fingerprint().hex())
    if "canonical" in case:
        assert request.content()[1].decode() == case["canonical"]


@vectors("derived_keys")
def test_derived_key(case):
    parts = (case[name] for name in ("tenant", "endpoint", "key", "step"))
    check(case, "derived", lambda: keys.derived_key(*parts))


@vectors("event_keys")
def test_event_key(case):
    check(case, "key", lambda: keys.event_key(case["source"], case["type"], case["id"]))


@vectors("content_keys")
def test_content_key(case):
    window = datetime.timedelta(seconds=case["window_seconds"])
    check(case, "key", lambda: keys.content_key(request_of(case), window, case["at_seconds"]))


@vectors("key_checks")
def test_key_check(case):
    def make():
        match case["maker"]:
            case "of":
                key = case["text"]
            case "uuid":
                key = keys.uuid_key(case["text"])
            case "business":
                key = keys.business_key(case["kind"], *case["parts"])
        assert keys.check_key(key) == case.get("warnings")
        return key

    check(case, "key", make)


@vectors("handoffs")
def test_handoff(case):
    read = check(case, None, lambda: semel.Handoff.from_text(case["text"]))
    if "parts" in case:
        assert read == semel.Handoff(**case["parts"])
        assert read.to_text() == case["text"]


@vectors("failure_payloads")
def test_failure_payload(case):
    result = pb.Result(
        outcome=2, content_type=case["content_type"], code=case["code"], payload=bytes.fromhex(case["payload_hex"])
    )
    if case["failure"] is None:
        with pytest.raises(semel.UndecodableResultError):
            failure.read_failure(result)
    else:
        assert failure.read_failure(result) == semel.Failure(**case["failure"])


@vectors("failures")
def test_failure(case):
    ((how, given),) = case["ended"].items()
    made = {
        "final": lambda: semel.Final(**given),
        "retryable": lambda: semel.Retryable(given["message"], given.get("retry_after_ms", 0) / 1000),
        "unknown": lambda: semel.Unknown(given["message"]),
        "timeout": TimeoutError,
        "cancelled": asyncio.CancelledError,
        "unexpected": lambda: RuntimeError(given),
    }
    if how.startswith("returns"):
        report = _run.encoded(semel.JsonCodec(), {1} if how == "returns_unencodable" else given)
    else:
        report = failure.report_of(made[how](), semel.Meaning(case["on_unexpected"]))
    wanted = case["report"]
    if wanted["method"] == "Abort":
        assert report.result is None
        assert report.release == (wanted["disposition"] == "DISPOSITION_RELEASE")
        assert report.retry_after * 1000 == wanted.get("retry_after_ms", 0)
        assert report.detail
        return
    assert pb.Result.Outcome.Name(report.result.outcome) == wanted["outcome"]
    assert report.result.code == wanted.get("code", 0)
    assert report.result.payload_omitted == wanted.get("payload_omitted", False)
    assert report.result.content_type == wanted.get("content_type", report.result.content_type)
    if "failure" in wanted:
        assert json.loads(report.result.payload) == wanted["failure"]


def answer_of(case):
    pause = case.get("retry_info_ms")
    return errors.Answer(case["code"], case["reason"] or "", "of a vector", None if pause is None else pause / 1000)


class OneAnswer:
    """A transport on which one method fails, but for a Complete with less content."""

    def __init__(self, case):
        self.case = case

    def __call__(self, _):
        return self

    async def invoke(self, method, request, *_):
        less = method == "Complete" and request.result.payload_omitted
        if method == self.case["call"] and "code" in self.case and not less:
            raise answer_of(self.case)
        if method == "Begin":
            decisions = {
                "in_progress": {"in_progress": pb.InProgress(attempt=1)},
                "unresolved": {"unresolved": pb.Unresolved(attempt=1)},
                "none": {},
            }
            started = pb.Started(fence=1, attempt=1)
            started.lease.FromSeconds(60)
            return pb.BeginResponse(**decisions.get(self.case.get("decision"), {"started": started}))
        return pb.CompleteResponse()

    async def close(self):
        pass


@vectors("errors")
def test_error(case):
    if case["in"] == "plain":
        error = errors.mapped(case["call"], answer_of(case))
    else:
        options = semel.Options(timeout=0.001, report_timeout=0.001)
        with semel.Client(options, transport=OneAnswer(case)) as client, pytest.raises(semel.SemelError) as raised:
            client.once("e", "k", None, lambda _: 7)
        error = raised.value
    assert error.kind == case["error"]
    if case.get("carries_value"):
        assert error.value == 7
    if "retry_info_ms" in case:
        assert error.retry_after == case["retry_info_ms"] / 1000


@vectors("retries")
def test_retry(case):
    answer = answer_of(case)
    shortest, longest = _engine.pauses(answer, case["sends"])
    again = _engine.goes_on(_engine.Purpose[case["of"].upper()], answer)
    assert (again and shortest * 1000 < case["left_ms"]) == case["again"]
    if case["again"]:
        assert [shortest * 1000, longest * 1000] == pytest.approx(case["pause_ms"])


@vectors("client_options")
def test_client_options(case):
    given = {
        name.removesuffix("_ms"): value / 1000 if name.endswith("_ms") else value
        for name, value in case["options"].items()
    }
    if "refused" not in case:
        semel.Client(semel.Options(**given)).close()
        return
    with pytest.raises(semel.InvalidError) as raised:
        semel.Client(semel.Options(**given))
    assert raised.value.reason == case["refused"]
    assert "secret-" not in str(raised.value)


@vectors("item_errors")
def test_item_error(case):
    error = semel.item_error(pb.ItemError(code=case["code"], reason=case["reason"], message="of a vector"))
    assert (error.kind, error.reason) == (case["error"], case["reason"])
    if "may_have_taken_effect" in case:
        assert error.may_have_taken_effect == case["may_have_taken_effect"]

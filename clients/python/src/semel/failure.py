"""How a work ended, and what is said of it: the table of clients/README.md."""

from __future__ import annotations

import asyncio
import concurrent.futures
import enum
import json
from dataclasses import dataclass
from typing import Any

from semel.codec import plain_type
from semel.errors import LeaseLostError, UndecodableResultError
from semel.v1 import semel_pb2 as pb

FAILURE_TYPE = "application/vnd.semel.failure+json"
_MOST_DETAIL = 1024


class Meaning(enum.Enum):
    """What an error of the work says of its side effect."""

    UNKNOWN = "unknown"
    """It may have happened: policy decides whether the next call runs."""
    RELEASE = "release"
    """Nothing happened: the next call runs."""
    FINAL = "final"
    """It failed for good: the failure is stored and replayed."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A final failure, such as a declined card."""

    type: str
    message: str = ""
    code: int = 0
    details: Any = None


class Final(Exception):  # noqa: N818
    """Raised by a work that failed for good."""

    def __init__(self, type: str, message: str = "", code: int = 0, details: Any = None) -> None:  # noqa: A002
        super().__init__(f"{type}: {message}")
        self.failure = Failure(type or "unknown", message, code, details)


class Retryable(Exception):  # noqa: N818
    """Raised by a work that did nothing, and may be tried again: a statement of fact."""

    def __init__(self, message: str = "", retry_after: float = 0) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        """Seconds that the next call is told to wait."""


class Unknown(Exception):  # noqa: N818
    """Raised by a work that may have happened."""


@dataclass(slots=True)
class Report:
    """What is said of how a work ended: a result, or that there is none."""

    result: pb.Result | None = None
    failure: Failure | None = None
    omitted: BaseException | None = None
    release: bool = False
    detail: str = ""
    retry_after: float = 0


def report_of(error: BaseException, on_unexpected: Meaning, classify: Any = None) -> Report:
    """Tell what is said of a work that ended in an error."""
    opinion = classify(error) if classify else None
    if opinion is not None:
        return _meaning(error, Meaning(opinion))
    match error:
        case Final():
            return failed(error.failure)
        case Retryable():
            return Report(release=True, detail=_detail(error), retry_after=error.retry_after)
        case Unknown():
            return _meaning(error, Meaning.UNKNOWN)
    return _meaning(error, Meaning.UNKNOWN if ended_midway(error) else on_unexpected)


def ended_midway(error: BaseException) -> bool:
    """Say whether the error is a timeout or a cancellation: what was under way may have happened."""
    midway = (TimeoutError, asyncio.CancelledError, concurrent.futures.CancelledError, LeaseLostInWorkError)
    if isinstance(error, midway) or not isinstance(error, Exception):
        return True
    code = getattr(error, "code", None)
    name = getattr(code(), "name", "") if callable(code) else ""
    return name in ("DEADLINE_EXCEEDED", "CANCELLED")


class LeaseLostInWorkError(LeaseLostError):
    """Raised by attempt.check() within a work whose key is lost."""


def _meaning(error: BaseException, meaning: Meaning) -> Report:
    if meaning is Meaning.FINAL:
        return failed(error.failure if isinstance(error, Final) else Failure("unexpected", str(error)))
    return Report(release=meaning is Meaning.RELEASE, detail=_detail(error))


def failed(failure: Failure) -> Report:
    """Make the report of a final failure."""
    members: dict[str, Any] = {"type": failure.type, "message": failure.message, "code": failure.code}
    if failure.details is not None:
        members["details"] = failure.details
    result = pb.Result(outcome=pb.Result.OUTCOME_FAILURE, code=failure.code, content_type=FAILURE_TYPE)
    report = Report(result=result, failure=failure)
    try:
        result.payload = json.dumps(members, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        result.payload_omitted, report.omitted = True, error
    return report


def _detail(error: BaseException) -> str:
    text = f"{type(error).__name__}: {error}".encode("utf-8", "replace")
    return text[:_MOST_DETAIL].decode("utf-8", "ignore")


def read_failure(result: pb.Result) -> Failure:
    """Read what is stored of a final failure."""
    if plain_type(result.content_type) != FAILURE_TYPE:
        return Failure("unknown", "", result.code)
    try:
        members = json.loads(result.payload)
    except (ValueError, RecursionError):
        members = None
    if isinstance(members, dict):
        kind, message, code = members.get("type"), members.get("message", ""), members.get("code", 0)
        fits = type(code) is int and -(2**31) <= code < 2**31
        if isinstance(kind, str) and kind and isinstance(message, str) and fits:
            return Failure(kind, message, code, members.get("details"))
    error = UndecodableResultError("the stored failure cannot be read", reason="FAILURE")
    error.result = result
    raise error

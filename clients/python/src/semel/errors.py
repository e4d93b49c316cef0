"""What can go wrong: clients/README.md says when each of these is raised. No text contains a key or a payload."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import datetime

    from semel.failure import Failure
    from semel.handoff import Handoff
    from semel.v1 import semel_pb2


class SemelError(Exception):
    """Every error of this library."""

    kind = "ServerError"

    def __init__(self, message: str, *, code: str = "", reason: str = "", retry_after: float | None = None) -> None:
        super().__init__(f"{reason}: {message}" if reason else message)
        self.code = code
        """gRPC's name of the code, or empty where the library itself refused."""
        self.reason = reason
        """That of google.rpc.ErrorInfo, or the library's own."""
        self.retry_after = retry_after
        """Seconds after which asking again is worth it, where that is known."""


class KeyMismatchError(SemelError):
    """The key stands for another request. Do nothing; find out why the caller reused it."""

    kind = "KeyMismatch"


class KeyExpiredError(SemelError):
    """A late retry: it may have run. Do nothing."""

    kind = "KeyExpired"


class InProgressError(SemelError):
    """Another attempt runs. Ask again after retry_after."""

    kind = "InProgress"
    attempt = 0
    backing_off = False
    """Nobody runs: the last attempt asked for a pause."""


class UnresolvedError(SemelError):
    """Nobody knows what an earlier attempt did, or the attempts are used up. Do nothing; tell a person."""

    kind = "Unresolved"
    unresolved_reason = ""
    detail = ""
    attempt = 0
    since: datetime.datetime | None = None


class _CarryingError(SemelError):
    """An error of a call whose work may have returned a value, which is not dropped."""

    value: Any = None
    has_value = False


class LeaseLostError(_CarryingError):
    """The key is not this attempt's any more. If the work returned a value, it may stand beside another's."""

    kind = "LeaseLost"
    refused = False
    """The server said so; else the lease could not be renewed."""


class StoreUnavailableError(SemelError):
    """No answer within the deadline. Nothing ran."""

    kind = "StoreUnavailable"
    may_have_taken_effect = True
    """False only where the server said each time that nothing was written."""


class ExhaustedError(SemelError):
    """A quota or a limit is reached. Ask again after retry_after."""

    kind = "Exhausted"


class NotAllowedError(SemelError):
    """The credential is missing, wrong, or not sufficient."""

    kind = "NotAllowed"


class InvalidError(SemelError):
    """The server or this library refused an argument. Fix the caller."""

    kind = "Invalid"
    fields: tuple[tuple[str, str], ...] = ()
    """The wrong fields, and what is wrong with each, where the server said so."""


class ServerError(SemelError):
    """A bug of the server, or an answer that this library does not know."""


class OperationFailedError(SemelError):
    """The operation failed for good, now or when it was first called."""

    kind = "OperationFailed"
    failure: Failure
    replayed = False
    result: semel_pb2.Result | None = None


class CompletionUnknownError(_CarryingError):
    """The work ran, and nobody knows whether its result is stored. Deliver it later with complete_handoff."""

    kind = "CompletionUnknown"
    failure: Failure | None = None
    handoff: Handoff


class ResultNotStoredError(_CarryingError):
    """The work ran, now or before; its value was too large, or could not be encoded."""

    kind = "ResultNotStored"
    replayed = False
    failed = False
    """What is not stored is a final failure."""


class ResultConflictError(_CarryingError):
    """The attempt is already completed with another result. The first stands."""

    kind = "ResultConflict"


class UndecodableResultError(SemelError):
    """What is replayed cannot be read by this call's codec."""

    kind = "UndecodableResult"
    result: semel_pb2.Result

    @property
    def content_type(self) -> str:
        """That of what is stored."""
        return self.result.content_type


class CheckpointRefusedError(SemelError):
    """The point holds another value, or there are too many."""

    kind = "CheckpointRefused"


class NotFoundError(SemelError):
    """Nothing is known of the key."""

    kind = "NotFound"


class RefusedError(SemelError):
    """The record's state, or the store, does not allow it."""

    kind = "Refused"


def refused(reason: str, message: str) -> InvalidError:
    """Make an error of the library's own."""
    return InvalidError(message, reason=reason)


@dataclass(slots=True)
class Answer(Exception):  # noqa: N818
    """What a call came to that was not answered with OK, as the transport tells it."""

    code: str
    reason: str = ""
    message: str = ""
    pause: float | None = None
    fields: tuple[tuple[str, str], ...] = field(default=())

    def __hash__(self) -> int:
        return id(self)


_NAMES = (
    *("OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS"),
    *("PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED"),
    *("INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED"),
)
"""gRPC's codes, by their numbers."""
_OWNERS = frozenset({"Complete", "Abort", "Renew", "SaveCheckpoint"})
_PRECONDITIONS: dict[str, type[SemelError]] = {
    "FINGERPRINT_MISMATCH": KeyMismatchError,
    "KEY_EXPIRED": KeyExpiredError,
    "RESULT_CONFLICT": ResultConflictError,
    "ALREADY_COMPLETED": LeaseLostError,
    "CHECKPOINT_CONFLICT": CheckpointRefusedError,
    "CHECKPOINT_LIMIT": CheckpointRefusedError,
}
_CODES: dict[str, type[SemelError]] = {
    "INVALID_ARGUMENT": InvalidError,
    "OUT_OF_RANGE": InvalidError,
    "RESOURCE_EXHAUSTED": ExhaustedError,
    "UNAVAILABLE": StoreUnavailableError,
    "DEADLINE_EXCEEDED": StoreUnavailableError,
    "CANCELLED": StoreUnavailableError,
    "UNKNOWN": StoreUnavailableError,
    "UNAUTHENTICATED": NotAllowedError,
    "PERMISSION_DENIED": NotAllowedError,
}


def item_error(item: semel_pb2.ItemError) -> SemelError:
    """Make the typed error of a slot of a batch that holds an error instead of a response."""
    code = _NAMES[item.code] if 0 <= item.code < len(_NAMES) else "UNKNOWN"
    return mapped("Complete", Answer(code, item.reason, item.message))


def mapped(method: str, answer: Answer) -> SemelError:
    """Make the typed error of what a call of a method came to."""
    match answer.code:
        case "FAILED_PRECONDITION":
            kind = _PRECONDITIONS.get(answer.reason, RefusedError)
        case "ABORTED" if answer.reason in ("FENCE_LOST", "ATTEMPT_ENDED"):
            kind = LeaseLostError
        case "NOT_FOUND":
            kind = LeaseLostError if method in _OWNERS else NotFoundError
        case code:
            kind = _CODES.get(code, ServerError)
    error = kind(answer.message, code=answer.code, reason=answer.reason, retry_after=answer.pause)
    if isinstance(error, InvalidError):
        error.fields = answer.fields
    if isinstance(error, LeaseLostError):
        error.refused = True
    if isinstance(error, StoreUnavailableError):
        error.may_have_taken_effect = answer.reason != "STORE_UNAVAILABLE"
    return error

"""One once on its way: clients/README.md, step by step. Both clients drive this."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import datetime
import time
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from opentelemetry.trace import StatusCode

from semel._engine import Engine, Purpose, Sent
from semel._lease import Lease, key_of, lease_lost
from semel._telemetry import logger
from semel.attempt import Checkpoint
from semel.codec import Codec, JsonCodec, plain_type
from semel.errors import (
    CompletionUnknownError,
    ExhaustedError,
    InProgressError,
    InvalidError,
    KeyExpiredError,
    KeyMismatchError,
    LeaseLostError,
    NotAllowedError,
    OperationFailedError,
    ResultConflictError,
    ResultNotStoredError,
    SemelError,
    ServerError,
    StoreUnavailableError,
    UndecodableResultError,
    UnresolvedError,
    refused,
)
from semel.failure import Failure, Meaning, Report, read_failure, report_of
from semel.handoff import Handoff
from semel.keys import check_key
from semel.request import Request
from semel.v1 import semel_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from opentelemetry.trace import Span

T = TypeVar("T")
_MOST_RESULT = 3 << 20
_active: contextvars.ContextVar[tuple[tuple[str, str, str], ...]] = contextvars.ContextVar("semel_active", default=())


@dataclass(frozen=True, slots=True)
class Outcome(Generic[T]):
    """What once came to."""

    value: T
    replayed: bool = False
    """It ran before, and nothing ran now."""
    handed_off: bool = False
    """Another process is to report."""
    protected: bool = True
    """False where the work ran only because of fail_open."""
    fence: int = 0
    attempt: int = 0
    completed_at: datetime.datetime | None = None
    """When what is replayed was stored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OnceOptions:
    """What one once may ask for. Lengths of time are seconds; None takes the client's, or the policy's."""

    wait: float = 0.0
    lease: float | None = None
    retention: float | None = None
    first_sent: datetime.datetime | None = None
    retry: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)
    when_unavailable: str = "fail_closed"
    codec: Codec = field(default_factory=JsonCodec)
    on_unexpected: Meaning | str | None = None
    classify: Callable[[BaseException], Meaning | str | None] | None = None
    timeout: float | None = None


_DECISIONS: list[tuple[type[BaseException], str]] = [
    (KeyMismatchError, "mismatch"),
    (KeyExpiredError, "expired"),
    (StoreUnavailableError, "unavailable"),
    (InvalidError, "invalid"),
    (LeaseLostError, "attempt_ended"),
    (ExhaustedError, "quota_exceeded"),
    (asyncio.CancelledError, "cancelled"),
]


class Run:
    """A once or a resume."""

    def __init__(self, engine: Engine, endpoint: str, key: str, options: OnceOptions) -> None:
        if options.when_unavailable not in ("fail_closed", "fail_open"):
            raise refused("OPTIONS", "when_unavailable is fail_closed or fail_open")
        self.engine = engine
        self.endpoint = endpoint
        self.key = key
        self.options = options
        self.handoff = Handoff(engine.tenant, endpoint, key, 0, 0, "", 0)
        self.checkpoints: list[Checkpoint] = []
        self.replayed: Outcome[Any] | None = None
        self.protected = True
        self.lease: Lease | None = None
        self._decision = ""
        self._result = ""
        self._earlier = ""

    def check(self) -> None:
        """Refuse what need not be sent."""
        self.engine.usable()
        warnings = check_key(self.key)
        if (self.engine.tenant, self.endpoint, self.key) in _active.get():
            raise refused("NESTED", "this runs within the work of the same key, which would wait for itself")
        for warning in warnings:
            self.engine.telemetry.warnings.add(1, {"semel.endpoint": self.endpoint, "semel.warning": warning})
            logger.warning("an idempotency key of %s looks like personal data: %s", self.endpoint, warning)

    def enter(self) -> contextvars.Token[Any]:
        """Note that this flow of execution is within the work."""
        return _active.set((*_active.get(), (self.engine.tenant, self.endpoint, self.key)))

    @staticmethod
    def leave(token: contextvars.Token[Any]) -> None:
        """And that it is not any more."""
        _active.reset(token)

    def begin_request(self, request: Any) -> pb.BeginRequest:
        """Make the Begin, which stays the same however often it is sent."""
        made = Request.of(request)
        options = self.options
        begin = pb.BeginRequest(
            key=key_of(self.handoff),
            attempt_id=str(uuid.uuid4()),
            fingerprint=made.fingerprint() if made else b"",
            retry=options.retry,
            labels=dict(options.labels),
        )
        if options.lease is not None:
            begin.lease.FromTimedelta(datetime.timedelta(seconds=options.lease))
        if options.retention is not None:
            begin.retention.FromTimedelta(datetime.timedelta(seconds=options.retention))
        if options.first_sent is not None:
            begin.first_sent.FromDatetime(options.first_sent.astimezone(datetime.UTC))
        return begin

    async def acquire(self, begin: pb.BeginRequest) -> bool:
        """Begin. True: the work is to run; False: `replayed` has what it came to before."""
        sent = Sent()
        try:
            decided, sent = await self._begin(begin, sent)
        except StoreUnavailableError as error:
            if self.options.when_unavailable == "fail_open":
                self._run_unprotected(error)
                return True
            if error.may_have_taken_effect:
                self.engine.withdraw(begin)
            raise
        match decided.WhichOneof("decision"):
            case "started":
                self._decision = "started"
                started = decided.started
                lease_ms = started.lease.ToMilliseconds()
                self.handoff = Handoff(
                    self.engine.tenant,
                    self.endpoint,
                    self.key,
                    started.fence,
                    started.attempt,
                    begin.attempt_id,
                    lease_ms,
                )
                self.checkpoints = [Checkpoint(point.name, point.value) for point in started.checkpoints]
                waited = started.waited.ToTimedelta().total_seconds()
                await self._secure(Lease(self.engine, self.handoff, sent.at + waited))
                return True
            case "replayed":
                self._decision, self._earlier = "replayed", decided.replayed.original_traceparent
                self._replay(decided.replayed)
                return False
            case "in_progress":
                self._decision = "in_progress"
                raise _in_progress(decided.in_progress)
            case "unresolved":
                self._decision = "unresolved"
                raise _unresolved(decided.unresolved)
        raise ServerError("the server decided what this library does not know; upgrade it", reason="DECISION")

    async def _begin(self, begin: pb.BeginRequest, sent: Sent) -> tuple[Any, Sent]:
        until = time.monotonic() + self.options.wait
        while True:
            left = max(until - time.monotonic(), 0.0)
            begin.ClearField("wait")
            if left > 0:
                begin.wait.FromTimedelta(datetime.timedelta(seconds=left))
            sent = Sent()
            try:
                decided = await self.engine.send("Begin", begin, sent, within=self.options.timeout, wait=left)
            except asyncio.CancelledError:
                if sent.sends:
                    self.engine.withdraw(begin)
                raise
            if decided.WhichOneof("decision") != "in_progress" or left == 0:
                return decided, sent
            pause = decided.in_progress.retry_after.ToTimedelta().total_seconds()
            await asyncio.sleep(min(pause, max(until - time.monotonic(), 0.0)))

    def _run_unprotected(self, why: StoreUnavailableError) -> None:
        self.protected, self._decision = False, "unprotected"
        self.engine.telemetry.unprotected.add(1, {"semel.endpoint": self.endpoint})
        logger.warning("semel cannot be reached (%s), and a work of %s runs unprotected", why.code, self.endpoint)

    async def resume(self, handoff: Handoff) -> None:
        """Take an attempt that was handed off."""
        self._decision, self.handoff = "started", handoff
        lease = Lease(self.engine, handoff, time.monotonic())
        await lease.renew()
        self.lease = lease

    async def _secure(self, lease: Lease) -> None:
        if lease.is_late:
            try:
                await lease.renew()
            except SemelError as error:
                lost = lease_lost(error)
                if not lost.refused:
                    await self._abort(Report(release=True, detail="nothing ran"))
                self._result = "lost"
                raise lost from error
        self.lease = lease

    def keep(self, lose: Callable[[LeaseLostError], None]) -> None:
        """Renew from now on."""
        if self.lease:
            self.lease.keep(lose)

    async def settle(self, value: Any, error: BaseException | None, handed_off: bool) -> Outcome[Any] | None:
        """Report how the work ended, and give or raise what its caller gets.

        None: that is the work's own error. It is not raised here, for an exit of the work would end the loop.
        """
        try:
            return await self._settle(value, error, handed_off)
        finally:
            if self.lease:
                self.lease.stop()

    async def _settle(self, value: Any, error: BaseException | None, handed_off: bool) -> Outcome[Any] | None:
        handoff, lost = self.handoff, self.lease.lost if self.lease else None
        if not self.protected or handed_off:
            self._result = "handed_off" if handed_off else ""
            if error:
                return None
            return Outcome(value, False, handed_off, self.protected, handoff.fence, handoff.attempt)
        if lost and lost.refused:
            self._result = "lost"
            raise _carry(lost, value, error)
        if error is None:
            report = encoded(self.options.codec, value)
        else:
            unexpected = Meaning(self.options.on_unexpected or self.engine.options.on_unexpected)
            report = report_of(error, unexpected, self.options.classify)
        if report.result is not None:
            await self.complete(report, value)
            return Outcome(value, False, False, True, handoff.fence, handoff.attempt)
        await self._abort(report)
        if lost:
            self._result = "lost"
            raise _carry(lost, value, error)
        return None

    async def complete(self, report: Report, value: Any) -> None:
        """Report a result, and as much of it as is taken. Raises what the caller gets instead of the value."""
        result = report.result or pb.Result()
        if len(result.payload) + len(result.content_type) > _MOST_RESULT:
            result = _smaller(result)
            report.omitted = report.omitted or ValueError("the result is larger than any policy allows")
        deadline = time.monotonic() + self.engine.options.report_timeout
        handoff = self.handoff
        while True:
            request = pb.CompleteRequest(
                key=key_of(handoff), fence=handoff.fence, attempt_id=handoff.attempt_id, result=result
            )
            if self.options.retention is not None:
                request.retention.FromTimedelta(datetime.timedelta(seconds=self.options.retention))
            try:
                within = deadline - time.monotonic()
                await self.engine.send("Complete", request, Sent(), within=within, purpose=Purpose.REPORT)
            except SemelError as error:
                too_large = error.reason == "RESULT_TOO_LARGE" or (
                    error.code in ("OUT_OF_RANGE", "RESOURCE_EXHAUSTED") and not error.reason
                )
                if too_large and not (result.payload_omitted and not result.content_type):
                    result, report.omitted = _smaller(result), error
                    continue
                raise self._not_completed(report, value, error) from error
            break
        self._result = "failed" if report.failure else "completed"
        if report.omitted is not None:
            omitted = ResultNotStoredError("the work is done, and its result is not kept", reason="PAYLOAD_OMITTED")
            omitted.failed, omitted.value, omitted.has_value = bool(report.failure), value, not report.failure
            raise omitted from report.omitted
        if report.failure:
            raise operation_failed(report.failure)

    def _not_completed(self, report: Report, value: Any, error: SemelError) -> SemelError:
        if isinstance(error, LeaseLostError | ResultConflictError):
            self._result = "lost"
            error.value, error.has_value = value, not report.failure
            return error
        self._undelivered("Complete", error)
        unknown = CompletionUnknownError(
            "the work ran, and it is not known whether its result is stored", code=error.code, reason="UNDELIVERED"
        )
        unknown.value, unknown.has_value = value, not report.failure
        unknown.failure, unknown.handoff = report.failure, self.handoff
        return unknown

    def _undelivered(self, method: str, error: SemelError) -> None:
        self._result = "undelivered"
        said = {"semel.endpoint": self.endpoint, "rpc.method": f"semel.v1.IdempotencyService/{method}"}
        self.engine.telemetry.undelivered.add(1, said)
        logger.warning("%s of %s could not be delivered: %s %s", method, self.endpoint, error.code, error.reason)

    async def _abort(self, report: Report) -> None:
        handoff, kinds = self.handoff, pb.AbortRequest
        request = pb.AbortRequest(
            key=key_of(handoff),
            fence=handoff.fence,
            attempt_id=handoff.attempt_id,
            disposition=kinds.DISPOSITION_RELEASE if report.release else kinds.DISPOSITION_OUTCOME_UNKNOWN,
            detail=report.detail,
        )
        if report.retry_after > 0:
            request.retry_after.FromTimedelta(datetime.timedelta(seconds=report.retry_after))
        self._result = "released" if report.release else "given_up"
        try:
            await self.engine.send(
                "Abort", request, Sent(), within=self.engine.options.report_timeout, purpose=Purpose.REPORT
            )
        except LeaseLostError:
            return  # it is done: a later attempt began
        except SemelError as error:
            self._undelivered("Abort", error)

    def _replay(self, replayed: pb.Replayed) -> None:
        value = decode(self.options.codec, replayed.result)
        at = replayed.completed_at.ToDatetime(datetime.UTC)
        self.replayed = Outcome(value, True, False, True, replayed.fence, replayed.attempt, at)

    @contextlib.contextmanager
    def observed(self) -> Iterator[None]:
        """Have a span and the metrics of what runs within; nothing in it waits, so asyncio takes it as it is."""
        began, error = time.monotonic(), None
        with self.engine.telemetry.tracer.start_as_current_span(
            "semel.once", record_exception=False, set_status_on_exception=False
        ) as span:
            try:
                yield
            except BaseException as raised:
                error = raised
                raise
            finally:
                self._tell(span, began, error)

    def _tell(self, span: Span, began: float, error: BaseException | None) -> None:
        """Say what it came to."""
        if not self._decision:
            words = (word for kind, word in _DECISIONS if isinstance(error, kind))
            denied = "denied" if getattr(error, "code", "") == "PERMISSION_DENIED" else "unauthenticated"
            self._decision = denied if isinstance(error, NotAllowedError) else next(words, "internal")
        said: dict[str, Any] = {"semel.endpoint": self.endpoint, "semel.decision": self._decision}
        if self._result:
            said["semel.outcome"] = self._result
        telemetry = self.engine.telemetry
        telemetry.once.add(1, said)
        telemetry.duration.record(time.monotonic() - began, said)
        span.set_attributes({**said, "semel.tenant": self.engine.tenant})
        if self.handoff.fence:
            span.set_attributes({"semel.attempt": self.handoff.attempt, "semel.fence": self.handoff.fence})
        for link in telemetry.link(self._earlier) if self._earlier else ():
            span.add_link(link.context, link.attributes)
        if error is not None:
            kind = error.kind if isinstance(error, SemelError) else "Own"
            span.set_attribute("error.type", kind)
            span.set_status(StatusCode.ERROR, kind)


def _smaller(result: pb.Result) -> pb.Result:
    content_type = "" if result.payload_omitted else result.content_type
    return pb.Result(outcome=result.outcome, code=result.code, payload_omitted=True, content_type=content_type)


def encoded(codec: Codec, value: Any) -> Report:
    """Make the report of a value."""
    result = pb.Result(outcome=pb.Result.OUTCOME_SUCCESS, content_type=codec.content_type)
    try:
        result.payload = codec.encode(value)
    except Exception as error:
        result.payload_omitted = True
        return Report(result=result, omitted=error)
    return Report(result=result)


def operation_failed(failure: Failure, result: pb.Result | None = None) -> OperationFailedError:
    """Make the error of a final failure, whose text has nothing of its payload."""
    error = OperationFailedError(f"the operation failed for good, with code {failure.code}", reason="FAILED")
    error.failure, error.replayed, error.result = failure, result is not None, result
    return error


def decode(codec: Codec, result: pb.Result) -> Any:
    """Read what is replayed: a value, or the failure that it was."""
    failed = result.outcome == pb.Result.OUTCOME_FAILURE
    if result.payload_omitted:
        omitted = ResultNotStoredError(
            "it was done before, and what it returned was too large to keep", reason="PAYLOAD_OMITTED"
        )
        omitted.replayed, omitted.failed = True, failed
        raise omitted
    if failed:
        raise operation_failed(read_failure(result), result)
    if plain_type(result.content_type) != plain_type(codec.content_type):
        message = f"what is replayed is {result.content_type!r}, and this call reads {codec.content_type!r}"
        undecodable = UndecodableResultError(message, reason="CONTENT_TYPE")
        undecodable.result = result
        raise undecodable
    try:
        return codec.decode(result.payload)
    except Exception as error:
        undecodable = UndecodableResultError("what is replayed cannot be read", reason="PAYLOAD")
        undecodable.result = result
        raise undecodable from error


def _carry(lost: LeaseLostError, value: Any, error: BaseException | None) -> LeaseLostError:
    lost.value, lost.has_value = (value, True) if error is None else (None, False)
    if error is not None:
        lost.__cause__ = error
    return lost


def _in_progress(decision: pb.InProgress) -> InProgressError:
    doing = "gave the key up, and asked for a pause" if decision.backing_off else "is running"
    pause = decision.retry_after.ToTimedelta().total_seconds()
    error = InProgressError(f"attempt {decision.attempt} {doing}", retry_after=pause)
    error.attempt, error.backing_off = decision.attempt, decision.backing_off
    return error


def _unresolved(decision: pb.Unresolved) -> UnresolvedError:
    exhausted = decision.reason == pb.Unresolved.REASON_ATTEMPTS_EXHAUSTED
    why = "the attempts are used up" if exhausted else "nobody knows whether an earlier attempt did it"
    error = UnresolvedError(f"{why}; an operator has to resolve it")
    error.unresolved_reason = pb.Unresolved.Reason.Name(decision.reason)
    error.detail, error.attempt = decision.detail, decision.attempt
    error.since = decision.since.ToDatetime(datetime.UTC)
    return error

"""A fake that answers in the place of a server."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from semel.errors import Answer
from semel.failure import FAILURE_TYPE, Failure
from semel.v1 import semel_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Mapping

    from semel.options import Options

_LEASE_SECONDS = 3600


class Call(NamedTuple):
    """What the client called."""

    method: str
    endpoint: str
    key: str


@dataclass(slots=True)
class Decision:
    """What a scripted Begin comes to."""

    response: pb.BeginResponse | None = None
    lost: bool = False

    @staticmethod
    def started(attempt: int = 1, checkpoints: Mapping[str, bytes] | None = None) -> Decision:
        """Have the work run, as this attempt, with what earlier ones saved."""
        points = [pb.Checkpoint(name=name, value=value) for name, value in (checkpoints or {}).items()]
        return Decision(pb.BeginResponse(started=pb.Started(attempt=max(attempt, 1), checkpoints=points)))

    @staticmethod
    def replayed(value: Any = None, *, failure: Failure | None = None, result: pb.Result | None = None) -> Decision:
        """Replay a value as JSON, a final failure, or any result."""
        if failure:
            members = {
                "type": failure.type,
                "message": failure.message,
                "code": failure.code,
                "details": failure.details,
            }
            payload = json.dumps(members).encode()
            result = pb.Result(
                outcome=pb.Result.OUTCOME_FAILURE, code=failure.code, content_type=FAILURE_TYPE, payload=payload
            )
        result = result or pb.Result(
            outcome=pb.Result.OUTCOME_SUCCESS, content_type="application/json", payload=json.dumps(value).encode()
        )
        return Decision(pb.BeginResponse(replayed=pb.Replayed(result=result, fence=1, attempt=1)))

    @staticmethod
    def in_progress(attempt: int = 1, retry_after: float = 1.0) -> Decision:
        """Say that another attempt runs."""
        response = pb.BeginResponse(in_progress=pb.InProgress(attempt=attempt))
        response.in_progress.retry_after.FromMilliseconds(int(retry_after * 1000))
        return Decision(response)

    @staticmethod
    def unresolved(reason: str = "REASON_OUTCOME_UNKNOWN", detail: str = "") -> Decision:
        """Say that nobody knows, or that the attempts are used up."""
        unresolved = pb.Unresolved(reason=reason, detail=detail, attempt=1)
        return Decision(pb.BeginResponse(unresolved=unresolved))

    @staticmethod
    def fence_lost() -> Decision:
        """Have the work run, and refuse whatever its owner says afterwards."""
        decision = Decision.started()
        decision.lost = True
        return decision

    @staticmethod
    def unavailable() -> Decision:
        """Answer nothing."""
        return Decision()


@dataclass(slots=True)
class _Record:
    begin: pb.BeginRequest
    fence: int
    attempt: int
    lost: bool
    state: str = "in_progress"
    result: pb.Result | None = None
    checkpoints: list[pb.Checkpoint] = field(default_factory=list)


class Fake:
    """Answers in the place of a server: Client(transport=fake). Keys without a script are kept as a server would."""

    def __init__(self) -> None:
        self._calls: list[Call] = []
        self._scripts: dict[tuple[str, str], list[Decision]] = {}
        self._records: dict[tuple[str, str], _Record] = {}
        self._fences = 0

    def __call__(self, _: Options) -> Fake:
        """Be the transport of a client."""
        return self

    def script(self, endpoint: str, key: str, *decisions: Decision) -> None:
        """Say what the Begins of a key come to, one after the other; the last one stays."""
        self._scripts[endpoint, key] = list(decisions)

    def calls(self) -> list[Call]:
        """Give what was called, in order."""
        return list(self._calls)

    async def close(self) -> None:
        """Nothing is held."""

    async def invoke(self, method: str, request: Any, *_: Any) -> Any:
        """Answer one call."""
        place = (request.key.endpoint, request.key.idempotency_key)
        self._calls.append(Call(method, *place))
        answer = getattr(self, f"_{method}", None)
        if answer is None:
            raise Answer("UNIMPLEMENTED", message="the fake does not know this method")
        return answer(place, request)

    def _Begin(self, place: tuple[str, str], request: pb.BeginRequest) -> pb.BeginResponse:  # noqa: N802
        kept = self._records.get(place)
        again = kept is not None and kept.state == "in_progress" and kept.begin.attempt_id == request.attempt_id
        script = self._scripts.get(place)
        if script and not again:
            decision = script.pop(0) if len(script) > 1 else script[0]
            if decision.response is None:
                raise Answer("UNAVAILABLE", message="the fake is told to be unavailable")
            if decision.response.WhichOneof("decision") != "started":
                return decision.response
            started = decision.response.started
            return self._start(place, request, started.attempt, list(started.checkpoints), decision.lost)
        if kept is None:
            return self._start(place, request, 1, [], lost=False)
        if again:
            return self._started(kept)
        prints = {bytes(kept.begin.fingerprint), bytes(request.fingerprint)} - {b""}
        if kept.state != "released" and len(prints) > 1:
            raise Answer("FAILED_PRECONDITION", "FINGERPRINT_MISMATCH", "refused by the fake")
        if kept.state == "completed":
            replayed = pb.Replayed(result=kept.result, fence=kept.fence, attempt=kept.attempt)
            return pb.BeginResponse(replayed=replayed)
        if kept.state == "in_progress":
            return Decision.in_progress(kept.attempt).response or pb.BeginResponse()
        return self._start(place, request, kept.attempt + 1, kept.checkpoints, lost=False)

    def _start(
        self,
        place: tuple[str, str],
        request: pb.BeginRequest,
        attempt: int,
        checkpoints: list[pb.Checkpoint],
        lost: bool,
    ) -> pb.BeginResponse:
        self._fences += 1
        begin = pb.BeginRequest()
        begin.CopyFrom(request)
        self._records[place] = _Record(begin, self._fences, attempt, lost, checkpoints=checkpoints)
        return self._started(self._records[place])

    def _started(self, kept: _Record) -> pb.BeginResponse:
        started = pb.Started(fence=kept.fence, attempt=kept.attempt, checkpoints=kept.checkpoints)
        started.lease.FromSeconds(_LEASE_SECONDS)
        return pb.BeginResponse(started=started)

    def _owned(self, place: tuple[str, str], request: Any) -> _Record:
        kept = self._records.get(place)
        if kept is None:
            raise Answer("NOT_FOUND", "KEY_NOT_FOUND", "refused by the fake")
        if kept.lost or kept.fence != request.fence or kept.begin.attempt_id != request.attempt_id:
            raise Answer("ABORTED", "FENCE_LOST", "refused by the fake")
        return kept

    def _Complete(self, place: tuple[str, str], request: pb.CompleteRequest) -> pb.CompleteResponse:  # noqa: N802
        kept = self._owned(place, request)
        repeated = kept.state == "completed"
        if repeated and kept.result != request.result:
            raise Answer("FAILED_PRECONDITION", "RESULT_CONFLICT", "refused by the fake")
        kept.state, kept.result = "completed", pb.Result()
        kept.result.CopyFrom(request.result)
        return pb.CompleteResponse(repeated_call=repeated)

    def _Abort(self, place: tuple[str, str], request: pb.AbortRequest) -> pb.AbortResponse:  # noqa: N802
        kept = self._owned(place, request)
        if kept.state == "completed":
            raise Answer("FAILED_PRECONDITION", "ALREADY_COMPLETED", "refused by the fake")
        kept.state = "released" if request.disposition == pb.AbortRequest.DISPOSITION_RELEASE else "given_up"
        return pb.AbortResponse()

    def _Renew(self, place: tuple[str, str], request: pb.RenewRequest) -> pb.RenewResponse:  # noqa: N802
        self._owned(place, request)
        response = pb.RenewResponse()
        response.lease.FromSeconds(_LEASE_SECONDS)
        return response

    def _SaveCheckpoint(  # noqa: N802
        self, place: tuple[str, str], request: pb.SaveCheckpointRequest
    ) -> pb.SaveCheckpointResponse:
        kept = self._owned(place, request)
        for point in kept.checkpoints:
            if point.name == request.name:
                if point.value != request.value:
                    raise Answer("FAILED_PRECONDITION", "CHECKPOINT_CONFLICT", "refused by the fake")
                return pb.SaveCheckpointResponse(repeated_call=True)
        kept.checkpoints.append(pb.Checkpoint(name=request.name, value=request.value, fence=kept.fence))
        return pb.SaveCheckpointResponse()

    def _Lookup(self, place: tuple[str, str], request: pb.LookupRequest) -> pb.LookupResponse:  # noqa: N802
        kept = self._records.get(place)
        if kept is None:
            raise Answer("NOT_FOUND", "KEY_NOT_FOUND", "refused by the fake")
        states = {"in_progress": 1, "completed": 2, "released": 3, "given_up": 5}
        state = pb.State.Name(states[kept.state])
        record = pb.Record(key=request.key, state=state, fence=kept.fence, attempt=kept.attempt, result=kept.result)
        return pb.LookupResponse(record=record)

"""The blocking client."""

from __future__ import annotations

import contextlib
import functools
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

from semel._loop import wait_for
from semel._run import OnceOptions, Outcome, Run, encoded
from semel.aio import AsyncClient
from semel.attempt import Attempt
from semel.errors import refused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from semel._transport import Transport
    from semel.errors import LeaseLostError
    from semel.handoff import Handoff
    from semel.options import Options
    from semel.v1 import semel_pb2 as pb

T = TypeVar("T")


class Block(Generic[T]):
    """What `with client.attempt(…)` gives: the attempt, or what it came to before."""

    def __init__(self, attempt: Attempt | None, outcome: Outcome[T] | None) -> None:
        self._attempt = attempt
        self.outcome = outcome
        """What it came to: at once where it is replayed, else after the block."""
        self.result: T | None = None
        """What the block did; it is stored when the block ends."""

    @property
    def started(self) -> bool:
        """Whether the block is to do the work."""
        return self._attempt is not None

    @property
    def attempt(self) -> Attempt:
        """The attempt, where it is started."""
        if self._attempt is None:
            raise refused("REPLAYED", "it ran before: there is no attempt, and nothing is to be done")
        return self._attempt

    @property
    def value(self) -> T:
        """The value, now or when it ran."""
        if self.outcome is None:
            raise refused("NOT_DONE", "the block has not ended")
        return self.outcome.value


class Client:
    """Calls a semel server. It is made once, shared by all threads, and closed at the end.

    Calls and renewals of all clients of a process run in one background event loop; works run in the threads of their
    callers.
    """

    def __init__(
        self, options: Options | None = None, *, transport: Callable[[Options], Transport] | None = None
    ) -> None:
        self._client = AsyncClient(options, transport=transport)
        self._engine = self._client._engine

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections, when what is given back in the background is, two seconds at most."""
        wait_for(self._client.close())

    def once(self, endpoint: str, key: str, request: Any, work: Callable[[Attempt], T], **options: Any) -> Outcome[T]:
        """Run the work if nobody has for this endpoint and key; or return what whoever did returned.

        The options are those of OnceOptions. attempt.lost is set when the key is lost while the work runs. semel.errors
        says what is raised.
        """
        with self.attempt(endpoint, key, request, **options) as block:
            if block.started:
                block.result = work(block.attempt)
        assert block.outcome is not None  # the block has ended without an error
        return block.outcome

    @contextlib.contextmanager
    def attempt(self, endpoint: str, key: str, request: Any, **options: Any) -> Iterator[Block[Any]]:
        """Give a block that does the work if block.started, and sets block.result; an error is told apart as ever."""
        run = Run(self._engine, endpoint, key, OnceOptions(**options))
        with run.observed():
            run.check()
            if not wait_for(run.acquire(run.begin_request(request))):
                yield Block(None, run.replayed)
                return
            yield from self._own(run)

    def resume(self, handoff: Handoff, work: Callable[[Attempt], T], **options: Any) -> Outcome[T]:
        """Go on with an attempt that another process handed off."""
        run = Run(self._engine, handoff.endpoint, handoff.key, OnceOptions(**options))

        @contextlib.contextmanager
        def resumed() -> Iterator[Block[T]]:
            with run.observed():
                run.check()
                wait_for(run.resume(handoff))
                yield from self._own(run)

        with resumed() as block:
            block.result = work(block.attempt)
        assert block.outcome is not None  # the block has ended without an error
        return block.outcome

    def complete_handoff(self, handoff: Handoff, value: Any, **options: Any) -> None:
        """Report the value of an attempt that was handed off, or whose own report could not be delivered."""
        self._engine.usable()
        run = Run(self._engine, handoff.endpoint, handoff.key, OnceOptions(**options))
        run.handoff = handoff
        wait_for(run.complete(encoded(run.options.codec, value), value))

    def idempotent(
        self, endpoint: str, *, key: Callable[..., str], request: Callable[..., Any] | None = None, **options: Any
    ) -> Callable[[Callable[..., T]], Callable[..., Outcome[T]]]:
        """Decorate a function: each call is a once, by the key and request made of its arguments."""

        def decorate(function: Callable[..., T]) -> Callable[..., Outcome[T]]:
            @functools.wraps(function)
            def call(*args: Any, **kwargs: Any) -> Outcome[T]:
                asked = request(*args, **kwargs) if request else None
                work = lambda _: function(*args, **kwargs)  # noqa: E731
                return self.once(endpoint, key(*args, **kwargs), asked, work, **options)

            return call

        return decorate

    def _own(self, run: Run) -> Iterator[Block[Any]]:
        attempt = Attempt(run.handoff, run.checkpoints)
        attempt.save = lambda point: wait_for(_drop(self._client.save_checkpoint(point)))
        block: Block[Any] = Block(attempt, None)

        async def keep() -> None:
            def lose(lost: LeaseLostError) -> None:
                attempt.lose(lost)

            run.keep(lose)

        wait_for(keep())
        token, error = run.enter(), None
        try:
            yield block
        except BaseException as raised:  # whatever it is, it is reported before it goes on
            error = raised
        finally:
            run.leave(token)
        block.outcome = wait_for(run.settle(block.result, error, attempt.handed_off))
        if block.outcome is None and error is not None:
            raise error

    def begin(self, request: pb.BeginRequest) -> pb.BeginResponse:
        """Reserve a key, or tell what became of it. Make an attempt_id for each attempt."""
        return wait_for(self._client.begin(request))

    def complete(self, request: pb.CompleteRequest) -> pb.CompleteResponse:
        """Record the result of the attempt that holds the fence."""
        return wait_for(self._client.complete(request))

    def abort(self, request: pb.AbortRequest) -> pb.AbortResponse:
        """Give the key up without a result."""
        return wait_for(self._client.abort(request))

    def lookup(self, request: pb.LookupRequest) -> pb.LookupResponse:
        """Tell what is known of a key, and change nothing."""
        return wait_for(self._client.lookup(request))

    def renew(self, request: pb.RenewRequest) -> pb.RenewResponse:
        """Extend the owner's lease."""
        return wait_for(self._client.renew(request))

    def save_checkpoint(self, request: pb.SaveCheckpointRequest) -> pb.SaveCheckpointResponse:
        """Save a recovery point under the owner's fence."""
        return wait_for(self._client.save_checkpoint(request))

    def batch_begin(self, request: pb.BatchBeginRequest) -> pb.BatchBeginResponse:
        """Begin up to 1,000 keys; each item stands alone."""
        return wait_for(self._client.batch_begin(request))

    def batch_complete(self, request: pb.BatchCompleteRequest) -> pb.BatchCompleteResponse:
        """Complete up to 1,000 keys; each item stands alone."""
        return wait_for(self._client.batch_complete(request))

    def list_records(self, request: pb.ListRecordsRequest) -> pb.ListRecordsResponse:
        """Page through a tenant's live records."""
        return wait_for(self._client.list_records(request))

    def resolve_record(self, request: pb.ResolveRecordRequest) -> pb.ResolveRecordResponse:
        """Settle a record whose outcome nobody knows."""
        return wait_for(self._client.resolve_record(request))

    def forget_record(self, request: pb.ForgetRecordRequest) -> pb.ForgetRecordResponse:
        """Erase everything of a record but its fence."""
        return wait_for(self._client.forget_record(request))

    def get_policy(self, request: pb.GetPolicyRequest) -> pb.GetPolicyResponse:
        """Tell the policy in force for a tenant and an endpoint."""
        return wait_for(self._client.get_policy(request))


async def _drop(awaited: Any) -> None:
    await awaited

"""The asyncio client."""

from __future__ import annotations

import asyncio
import functools
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

from semel._engine import Engine
from semel._run import OnceOptions, Outcome, Run, encoded
from semel._transport import GrpcTransport
from semel.attempt import AsyncAttempt
from semel.options import Options
from semel.v1 import semel_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from semel._transport import Transport
    from semel.errors import LeaseLostError
    from semel.handoff import Handoff

T = TypeVar("T")


class AsyncClient:
    """Calls a semel server from asyncio. It belongs to the event loop in which it is first used."""

    def __init__(
        self, options: Options | None = None, *, transport: Callable[[Options], Transport] | None = None
    ) -> None:
        self._engine = Engine(options or Options(), transport or GrpcTransport)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections, when what is given back in the background is, two seconds at most."""
        await self._engine.close()

    async def once(
        self,
        endpoint: str,
        key: str,
        request: Any,
        work: Callable[[AsyncAttempt], Awaitable[T]],
        **options: Any,
    ) -> Outcome[T]:
        """Run the work if nobody has for this endpoint and key; or return what whoever did returned.

        The options are those of OnceOptions. The work is cancelled when the caller is, and when the key is lost; what
        it returns all the same is reported. semel.errors says what is raised.
        """
        run = Run(self._engine, endpoint, key, OnceOptions(**options))
        with run.observed():
            run.check()
            if not await run.acquire(run.begin_request(request)):
                assert run.replayed is not None  # acquire says that it is there
                return run.replayed
            return await self._own(run, work)

    async def resume(
        self, handoff: Handoff, work: Callable[[AsyncAttempt], Awaitable[T]], **options: Any
    ) -> Outcome[T]:
        """Go on with an attempt that another process handed off."""
        run = Run(self._engine, handoff.endpoint, handoff.key, OnceOptions(**options))
        with run.observed():
            run.check()
            await run.resume(handoff)
            return await self._own(run, work)

    async def complete_handoff(self, handoff: Handoff, value: Any, **options: Any) -> None:
        """Report the value of an attempt that was handed off, or whose own report could not be delivered."""
        self._engine.usable()
        run = Run(self._engine, handoff.endpoint, handoff.key, OnceOptions(**options))
        run.handoff = handoff
        await run.complete(encoded(run.options.codec, value), value)

    def idempotent(
        self, endpoint: str, *, key: Callable[..., str], request: Callable[..., Any] | None = None, **options: Any
    ) -> Callable[[Callable[..., Awaitable[T]]], Callable[..., Awaitable[Outcome[T]]]]:
        """Decorate a coroutine function: each call is a once, by the key and request made of its arguments."""

        def decorate(function: Callable[..., Awaitable[T]]) -> Callable[..., Awaitable[Outcome[T]]]:
            @functools.wraps(function)
            async def call(*args: Any, **kwargs: Any) -> Outcome[T]:
                asked = request(*args, **kwargs) if request else None
                work = lambda _: function(*args, **kwargs)  # noqa: E731
                return await self.once(endpoint, key(*args, **kwargs), asked, work, **options)

            return call

        return decorate

    async def _own(self, run: Run, work: Callable[[AsyncAttempt], Awaitable[T]]) -> Outcome[T]:
        attempt = AsyncAttempt(run.handoff, run.checkpoints)

        async def save(point: pb.SaveCheckpointRequest) -> None:
            await self.save_checkpoint(point)

        attempt.save = save

        async def working() -> T:
            return await work(attempt)

        token = run.enter()
        task = asyncio.ensure_future(working())  # it has this context, the note of the key included
        run.leave(token)

        def lose(lost: LeaseLostError) -> None:
            attempt.lose(lost)
            task.cancel()

        run.keep(lose)
        value, error = await _ended(task)
        settling = asyncio.ensure_future(run.settle(value, error, attempt.handed_off))
        outcome = await _whatever_the_caller_does(settling)
        if outcome is None and error is not None:
            raise error
        return cast("Outcome[T]", outcome)  # without an error there is an outcome

    async def begin(self, request: pb.BeginRequest) -> pb.BeginResponse:
        """Reserve a key, or tell what became of it. Make an attempt_id for each attempt."""
        wait = max(request.wait.ToTimedelta().total_seconds(), 0.0)
        return await self._engine.plain(pb.BeginResponse, self._keyed(request), wait)

    async def complete(self, request: pb.CompleteRequest) -> pb.CompleteResponse:
        """Record the result of the attempt that holds the fence."""
        return await self._engine.plain(pb.CompleteResponse, self._keyed(request))

    async def abort(self, request: pb.AbortRequest) -> pb.AbortResponse:
        """Give the key up without a result."""
        return await self._engine.plain(pb.AbortResponse, self._keyed(request))

    async def lookup(self, request: pb.LookupRequest) -> pb.LookupResponse:
        """Tell what is known of a key, and change nothing."""
        return await self._engine.plain(pb.LookupResponse, self._keyed(request))

    async def renew(self, request: pb.RenewRequest) -> pb.RenewResponse:
        """Extend the owner's lease."""
        return await self._engine.plain(pb.RenewResponse, self._keyed(request))

    async def save_checkpoint(self, request: pb.SaveCheckpointRequest) -> pb.SaveCheckpointResponse:
        """Save a recovery point under the owner's fence."""
        return await self._engine.plain(pb.SaveCheckpointResponse, self._keyed(request))

    async def batch_begin(self, request: pb.BatchBeginRequest) -> pb.BatchBeginResponse:
        """Begin up to 1,000 keys; each item stands alone."""
        items = [self._keyed(item) for item in request.requests]
        return await self._engine.plain(pb.BatchBeginResponse, pb.BatchBeginRequest(requests=items))

    async def batch_complete(self, request: pb.BatchCompleteRequest) -> pb.BatchCompleteResponse:
        """Complete up to 1,000 keys; each item stands alone."""
        items = [self._keyed(item) for item in request.requests]
        return await self._engine.plain(pb.BatchCompleteResponse, pb.BatchCompleteRequest(requests=items))

    async def list_records(self, request: pb.ListRecordsRequest) -> pb.ListRecordsResponse:
        """Page through a tenant's live records."""
        return await self._engine.plain(pb.ListRecordsResponse, self._tenanted(request))

    async def resolve_record(self, request: pb.ResolveRecordRequest) -> pb.ResolveRecordResponse:
        """Settle a record whose outcome nobody knows."""
        return await self._engine.plain(pb.ResolveRecordResponse, self._keyed(request))

    async def forget_record(self, request: pb.ForgetRecordRequest) -> pb.ForgetRecordResponse:
        """Erase everything of a record but its fence."""
        return await self._engine.plain(pb.ForgetRecordResponse, self._keyed(request))

    async def get_policy(self, request: pb.GetPolicyRequest) -> pb.GetPolicyResponse:
        """Tell the policy in force for a tenant and an endpoint."""
        return await self._engine.plain(pb.GetPolicyResponse, self._tenanted(request))

    def _keyed(self, request: Any) -> Any:
        if request.key.tenant:
            return request
        made = type(request)()
        made.CopyFrom(request)
        made.key.tenant = self._engine.tenant
        return made

    def _tenanted(self, request: Any) -> Any:
        if request.tenant:
            return request
        made = type(request)()
        made.CopyFrom(request)
        made.tenant = self._engine.tenant
        return made


async def _ended(task: asyncio.Task[T]) -> tuple[T | None, BaseException | None]:
    """Wait for a work to end, which is cancelled when its caller is."""
    while True:
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError:
            task.cancel()
            continue
        if task.cancelled():
            return None, asyncio.CancelledError()
        error = task.exception()
        return (None, error) if error else (task.result(), None)


async def _whatever_the_caller_does(task: asyncio.Task[T]) -> T:
    """Wait for a report, which does not end when its caller is cancelled."""
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError:
            continue
    return task.result()

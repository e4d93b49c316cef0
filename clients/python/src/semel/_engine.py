"""Sending calls until they are answered. Everything here runs in one event loop."""

from __future__ import annotations

import asyncio
import enum
import os
import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from google.protobuf.message import Message
from opentelemetry.trace import SpanKind, StatusCode

from semel._telemetry import Telemetry
from semel._transport import GrpcTransport, full_name
from semel.errors import Answer, SemelError, StoreUnavailableError, mapped, refused
from semel.options import Options, Token
from semel.v1 import semel_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from semel._transport import Transport

R = TypeVar("R", bound=Message)
_FIRST_PAUSE = 0.05
_LONGEST_PAUSE = 1.0
_WITHDRAW_WITHIN = 2.0
_AGAIN = frozenset({"UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED", "UNKNOWN", "INTERNAL"})


class Purpose(enum.Enum):
    """What a call is for: the codes that it, too, is sent again after."""

    PLAIN = frozenset[str]()
    REPORT = frozenset({"UNAUTHENTICATED"})
    """The word of an attempt that ran waits for a credential that is being replaced."""
    RENEWAL = frozenset({"UNAUTHENTICATED", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "UNIMPLEMENTED"})
    """A renewal while the work runs waits for whatever may pass while the lease lasts."""


def goes_on(purpose: Purpose, answer: Answer) -> bool:
    """Say whether a call that came to this is sent again."""
    if answer.code == "RESOURCE_EXHAUSTED" and answer.pause is not None:
        return True
    return answer.code in _AGAIN or answer.code in purpose.value


def pauses(answer: Answer, sends: int) -> tuple[float, float]:
    """Give the bounds between which the pause before the next send is drawn."""
    step = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** min(sends - 1, 10))
    if answer.pause is not None:
        return answer.pause, answer.pause + step
    return step / 2, step


@dataclass(slots=True)
class Sent:
    """What became of a call."""

    at: float = 0.0
    """When that was sent which was answered, on the monotonic clock."""
    sends: int = 0
    code: str = "OK"


class Engine:
    """A client's calls."""

    def __init__(self, options: Options, make_transport: Callable[[Options], Transport] = GrpcTransport) -> None:
        self.options = options.filled()
        self.tenant = self.options.tenant or ""
        self.telemetry = Telemetry()
        self._token = Token(self.options)
        self._make_transport = make_transport
        self._transport: Transport | None = None
        self._pid = os.getpid()
        self._closed = False
        self._gone = False
        self._background: set[asyncio.Task[Any]] = set()

    def usable(self) -> None:
        """Refuse what a closed client, or a forked one, is asked."""
        if self._closed:
            raise refused("CLIENT_CLOSED", "the client is closed")
        if self._pid != os.getpid():
            raise refused("FORKED", "this process was forked: make the client after that, in the child")

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Do something in the background, which close waits for."""
        task = asyncio.ensure_future(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def close(self) -> None:
        """Wait for what is given back in the background, and close the connections."""
        if self._closed:
            return
        self._closed = True
        if self._background:
            await asyncio.wait(self._background, timeout=_WITHDRAW_WITHIN)
        self._gone = True
        if self._transport:
            await self._transport.close()

    async def plain(self, response: type[R], request: Message, wait: float = 0.0) -> R:
        """Send a plain method's call: the one that this is the response of."""
        self.usable()
        method = response.DESCRIPTOR.name.removesuffix("Response")
        answer: R = await self.send(method, request, Sent(), wait=wait)
        return answer

    async def send(
        self,
        method: str,
        request: Any,
        sent: Sent,
        *,
        within: float | None = None,
        once: float | None = None,
        wait: float = 0.0,
        purpose: Purpose = Purpose.PLAIN,
    ) -> Any:
        """Send a request until it is answered: only what may be, and always unchanged. `sent` is filled as it goes."""
        name = full_name(method)
        attributes = {"rpc.system.name": "grpc", "rpc.method": name}
        with self.telemetry.tracer.start_as_current_span(
            name, kind=SpanKind.CLIENT, attributes=attributes, record_exception=False, set_status_on_exception=False
        ) as span:
            try:
                return await self._resend(
                    method,
                    request,
                    sent,
                    (self.options.timeout if within is None else within) + wait,
                    (self.options.try_timeout if once is None else once) + wait,
                    purpose,
                )
            except SemelError:
                span.set_attribute("error.type", sent.code)
                span.set_status(StatusCode.ERROR, sent.code)
                raise
            finally:
                span.set_attributes({"rpc.response.status_code": sent.code, "semel.client.sends": sent.sends})
                if sent.sends > 1:
                    said = {"rpc.method": name, "rpc.response.status_code": sent.code}
                    self.telemetry.retries.add(sent.sends - 1, said)

    async def _resend(self, method: str, request: Any, sent: Sent, within: float, once: float, purpose: Purpose) -> Any:
        sent.at = time.monotonic()
        deadline = sent.at + within
        nothing_written = True
        while True:
            if self._gone:
                raise refused("CLIENT_CLOSED", "the client was closed meanwhile")
            sent.sends += 1
            try:
                answer = await self._send_once(method, request, min(once, deadline - sent.at))
            except Answer as failure:
                sent.code = failure.code
                nothing_written = nothing_written and failure.reason == "STORE_UNAVAILABLE"
                error = failure.with_traceback(None)  # which would keep this frame
            else:
                sent.code = "OK"
                return answer
            # Outside of the handler: a cancellation in the pause has no such context.
            again = await self._pause(purpose, error, sent.sends, deadline)
            if again is None:
                typed = mapped(method, error)
                if isinstance(typed, StoreUnavailableError):
                    typed.may_have_taken_effect = not nothing_written
                raise typed
            sent.at = again

    async def _pause(self, purpose: Purpose, failure: Answer, sends: int, deadline: float) -> float | None:
        """Pause before a call that came to this is sent again, and say when that is; None where it is not."""
        pause = random.uniform(*pauses(failure, sends))
        if not goes_on(purpose, failure) or pause >= deadline - time.monotonic():
            return None
        if failure.code == "UNAUTHENTICATED":
            self._token.forget()
        await asyncio.sleep(pause)
        # It may have lasted longer than asked, and what has no time left for its answer is not sent.
        now = time.monotonic()
        return now if now < deadline else None

    async def _send_once(self, method: str, request: Any, within: float) -> Any:
        if self._transport is None:
            self._transport = self._make_transport(self.options)
        metadata = self.telemetry.carried()
        if token := self._token.bearer():
            metadata.append(("authorization", f"Bearer {token}"))
        return await self._transport.invoke(method, request, within, metadata)

    def withdraw(self, request: pb.BeginRequest) -> None:
        """Give back, in the background, what may have been granted to a Begin that nobody listens to any more."""
        self.spawn(self._withdraw(request))

    async def _withdraw(self, request: pb.BeginRequest) -> None:
        try:
            async with asyncio.timeout(_WITHDRAW_WITHIN):
                found = await self.send("Lookup", pb.LookupRequest(key=request.key), Sent(), within=_WITHDRAW_WITHIN)
                if found.record.state != pb.STATE_IN_PROGRESS:
                    return
                request.ClearField("wait")
                begun = await self.send("Begin", request, Sent(), within=_WITHDRAW_WITHIN)
                if begun.WhichOneof("decision") != "started":
                    return
                abort = pb.AbortRequest(
                    key=request.key,
                    fence=begun.started.fence,
                    attempt_id=request.attempt_id,
                    disposition=pb.AbortRequest.DISPOSITION_RELEASE,
                    detail="nothing ran",
                )
                await self.send("Abort", abort, Sent(), within=_WITHDRAW_WITHIN)
        except (SemelError, TimeoutError):
            return  # its lease ends in any case

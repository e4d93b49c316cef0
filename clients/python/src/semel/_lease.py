"""A lease that is renewed by timers of the event loop: no thread, and no task while nothing is due."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from semel._engine import Purpose, Sent
from semel._telemetry import logger
from semel.errors import LeaseLostError, SemelError
from semel.v1 import semel_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Callable

    from semel._engine import Engine
    from semel.handoff import Handoff

_SHORTEST_RENEWAL = 0.05


class Lease:
    """What an attempt holds, from `since` on."""

    def __init__(self, engine: Engine, handoff: Handoff, since: float) -> None:
        self._engine = engine
        self._handoff = handoff
        self._length = handoff.lease_ms / 1000
        self._since = since
        self._timer: asyncio.TimerHandle | None = None
        self._renewal: asyncio.Task[None] | None = None
        self._ended = False
        self.lost: LeaseLostError | None = None

    @property
    def is_late(self) -> bool:
        """Half of the lease was gone before its work could begin."""
        return time.monotonic() - self._since >= self._length / 2

    def keep(self, lose: Callable[[LeaseLostError], None]) -> None:
        """Renew a third into each lease from now on, and say once when ownership is lost."""
        if self._ended:
            return

        def due() -> None:
            self._renewal = asyncio.ensure_future(self._renew_or_lose(lose))

        wait = self._since + self._length / 3 - time.monotonic()
        self._timer = asyncio.get_running_loop().call_later(max(wait, 0), due)

    async def _renew_or_lose(self, lose: Callable[[LeaseLostError], None]) -> None:
        try:
            await self.renew()
        except SemelError as error:
            if self._ended:
                return
            self._ended = True
            self.lost = lease_lost(error)
            endpoint = self._handoff.endpoint
            self._engine.telemetry.lost.add(1, {"semel.endpoint": endpoint})
            logger.warning("ownership of a key of %s is lost while its work runs: %s", endpoint, self.lost.reason)
            lose(self.lost)
        else:
            self.keep(lose)

    async def renew(self) -> None:
        """Send a Renew until it is answered, or the lease counts as lost: a tenth of it before its end."""
        handoff, sent = self._handoff, Sent()
        until = self._since + self._length * 0.9
        renewed = await self._engine.send(
            "Renew",
            pb.RenewRequest(key=key_of(handoff), fence=handoff.fence, attempt_id=handoff.attempt_id),
            sent,
            within=until - time.monotonic(),
            once=min(max(self._length / 6, _SHORTEST_RENEWAL), self._engine.options.try_timeout),
            purpose=Purpose.RENEWAL,
        )
        self._since = sent.at
        self._length = renewed.lease.ToTimedelta().total_seconds() or self._length

    def stop(self) -> None:
        """End renewals."""
        self._ended = True
        if self._timer:
            self._timer.cancel()
        if self._renewal:
            self._renewal.cancel()


def lease_lost(error: SemelError) -> LeaseLostError:
    """Say why a lease is lost."""
    if isinstance(error, LeaseLostError):
        return error
    lost = LeaseLostError("the lease could not be renewed", reason="LEASE_OVER")
    lost.__cause__ = error
    return lost


def key_of(handoff: Handoff) -> pb.Key:
    """Give the key as the contract has it."""
    return pb.Key(tenant=handoff.tenant, endpoint=handoff.endpoint, idempotency_key=handoff.key)

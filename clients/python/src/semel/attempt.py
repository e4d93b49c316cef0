"""The attempt that owns a key while its work runs."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from semel._lease import key_of
from semel.errors import LeaseLostError, refused
from semel.failure import LeaseLostInWorkError
from semel.keys import derived_key
from semel.v1 import semel_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from semel.handoff import Handoff


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A recovery point: what an attempt saved for the next one."""

    name: str
    value: bytes


class _Attempt:
    def __init__(self, handoff: Handoff, checkpoints: list[Checkpoint]) -> None:
        self._handoff = handoff
        self._checkpoints = checkpoints
        self._lost: LeaseLostError | None = None
        self.handed_off = False
        self.lost = threading.Event()
        """Set when the key is not ours any more."""

    @property
    def fence(self) -> int:
        """Rises with every attempt of the key: pass it to whatever can refuse a stale writer. 0 where unprotected."""
        return self._handoff.fence

    @property
    def number(self) -> int:
        """Counts the attempts of the key, 1 for the first. 0 where unprotected."""
        return self._handoff.attempt

    @property
    def protected(self) -> bool:
        """False where the work runs only because of fail_open: others may run it, too."""
        return self.fence > 0

    @property
    def checkpoints(self) -> list[Checkpoint]:
        """What earlier attempts and this one saved, oldest first."""
        return list(self._checkpoints)

    def derived_key(self, step: str) -> str:
        """Give the idempotency key for a call further down: the same in every attempt and in every language."""
        return derived_key(self._handoff.tenant, self._handoff.endpoint, self._handoff.key, step)

    def handoff(self) -> Handoff:
        """Give the attempt to another process. once then reports nothing; it renews until its work ends."""
        if not self.protected:
            raise refused("UNPROTECTED", "the attempt owns nothing that could be handed off")
        self.handed_off = True
        return self._handoff

    def check(self) -> None:
        """Raise where the key is lost: for works of many steps."""
        if self._lost is not None:
            raise LeaseLostInWorkError(str(self._lost))

    def lose(self, lost: LeaseLostError) -> None:
        """Tell the work."""
        self._lost = lost
        self.lost.set()

    def _point(self, name: str, value: bytes) -> pb.SaveCheckpointRequest:
        handoff = self._handoff
        return pb.SaveCheckpointRequest(
            key=key_of(handoff), fence=handoff.fence, attempt_id=handoff.attempt_id, name=name, value=value
        )

    def _saved(self, name: str, value: bytes) -> None:
        if all(point.name != name for point in self._checkpoints):
            self._checkpoints.append(Checkpoint(name, bytes(value)))


class Attempt(_Attempt):
    """The attempt of a blocking client."""

    save: Callable[[pb.SaveCheckpointRequest], None]

    def checkpoint(self, name: str, value: bytes) -> None:
        """Save a recovery point, which the next attempt gets. Where unprotected, nothing is sent."""
        if self.protected:
            self.save(self._point(name, value))
        self._saved(name, value)


class AsyncAttempt(_Attempt):
    """The attempt of an asyncio client."""

    save: Callable[[pb.SaveCheckpointRequest], Awaitable[None]]

    async def checkpoint(self, name: str, value: bytes) -> None:
        """Save a recovery point, which the next attempt gets. Where unprotected, nothing is sent."""
        if self.protected:
            await self.save(self._point(name, value))
        self._saved(name, value)

"""Attempts on their way to another process."""

from __future__ import annotations

import json
from dataclasses import dataclass

import rfc8785

from semel.errors import refused

_MEMBERS: dict[str, type] = {
    "attempt": int,
    "attempt_id": str,
    "endpoint": str,
    "fence": int,
    "key": str,
    "lease_ms": int,
    "tenant": str,
    "v": int,
}


@dataclass(frozen=True, slots=True, repr=False)
class Handoff:
    """An attempt that another process may finish. It holds the idempotency key: keep it where keys are kept."""

    tenant: str
    endpoint: str
    key: str
    fence: int
    attempt: int
    attempt_id: str
    lease_ms: int

    def to_text(self) -> str:
        """Write the form that every language reads."""
        return rfc8785.dumps({name: 1 if name == "v" else getattr(self, name) for name in _MEMBERS}).decode()

    @staticmethod
    def from_text(text: str) -> Handoff:
        """Read what any language wrote."""
        try:
            members = json.loads(text)
        except ValueError:
            members = None
        whole = (
            isinstance(members, dict)
            and members.keys() == _MEMBERS.keys()
            and all(type(members[name]) is kind for name, kind in _MEMBERS.items())
            and members["v"] == 1
            and members["fence"] >= 1
            and members["attempt"] >= 1
        )
        if not whole:
            raise refused("bad_handoff", "this is no handed-off attempt of a version that this library reads")
        del members["v"]
        return Handoff(**members)

    def __repr__(self) -> str:
        return f"<Handoff of attempt {self.attempt} of {self.endpoint}>"

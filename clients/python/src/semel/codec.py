"""How values become results, and are read again."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from google.protobuf.message import Message


class Codec(Protocol):
    """Makes payloads of values, and values of payloads."""

    content_type: str

    def encode(self, value: Any) -> bytes:
        """Write what a work returned; what it raises means that the value cannot be stored."""

    def decode(self, payload: bytes) -> Any:
        """Read what is replayed; what it raises means that it cannot be read."""


class JsonCodec:
    """JSON of the json module: what is used if nothing is said."""

    content_type = "application/json"

    def encode(self, value: Any) -> bytes:
        """Write a value."""
        return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()

    def decode(self, payload: bytes) -> Any:
        """Read a value."""
        return json.loads(payload)


class BytesCodec:
    """Raw bytes."""

    content_type = "application/octet-stream"

    def encode(self, value: Any) -> bytes:
        """Write bytes."""
        if not isinstance(value, bytes | bytearray | memoryview):
            raise TypeError(f"{type(value).__name__} is not bytes")
        return bytes(value)

    def decode(self, payload: bytes) -> bytes:
        """Read bytes."""
        return payload


class ProtoCodec:
    """Messages of one protobuf type."""

    def __init__(self, message_type: type[Message]) -> None:
        self._type = message_type
        self.content_type = f'application/x-protobuf; messageType="{message_type.DESCRIPTOR.full_name}"'

    def encode(self, value: Any) -> bytes:
        """Write a message."""
        if not isinstance(value, self._type):
            raise TypeError(f"{type(value).__name__} is not {self._type.__name__}")
        return value.SerializeToString()

    def decode(self, payload: bytes) -> Message:
        """Read a message."""
        return self._type.FromString(payload)


def plain_type(content_type: str) -> str:
    """Give a content type without its parameters, in lower case."""
    return content_type.partition(";")[0].strip().lower()

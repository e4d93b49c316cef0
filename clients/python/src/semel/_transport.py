"""The way to the server: gRPC over a few HTTP/2 connections."""

from __future__ import annotations

import urllib.parse
from typing import TYPE_CHECKING, Any, Protocol

import grpc
import grpc.aio
from google.rpc import error_details_pb2, status_pb2

from semel._version import __version__
from semel.errors import Answer
from semel.options import read_pem
from semel.v1 import semel_pb2 as pb

if TYPE_CHECKING:
    from semel.options import Options

_OPERATORS = frozenset({"ListRecords", "ResolveRecord", "ForgetRecord", "GetPolicy"})
_OPTIONS = [
    ("grpc.enable_retries", 0),  # this library sends again by itself
    ("grpc.service_config_disable_resolution", 1),
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.ping_timeout_ms", 5_000),  # a minute else, which goes before the one above
    ("grpc.min_reconnect_backoff_ms", 50),
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.max_receive_message_length", 64 << 20),
    ("grpc.primary_user_agent", f"semel-python/{__version__}"),
    ("grpc.use_local_subchannel_pool", 1),  # each channel is a connection of its own
]


class Transport(Protocol):
    """Carries calls. Raises Answer for whatever is not OK."""

    async def invoke(self, method: str, request: Any, timeout: float, metadata: list[tuple[str, str]]) -> Any:  # noqa: ASYNC109
        """Carry one send."""

    async def close(self) -> None:
        """Let go of what it holds."""


def full_name(method: str) -> str:
    """Give a method's name on the wire, without its slash."""
    return f"semel.v1.{'OperatorService' if method in _OPERATORS else 'IdempotencyService'}/{method}"


class GrpcTransport:
    """Connections to one server, used in turn. It belongs to the event loop in which it is made."""

    def __init__(self, options: Options) -> None:
        url = urllib.parse.urlsplit(options.address or "")
        target = f"dns:///{url.netloc}" if url.port else f"dns:///{url.netloc}:{443 if url.scheme == 'https' else 80}"
        # Each has an option of its own, or gRPC would share one connection.
        settings = [[*_OPTIONS, ("semel.connection", number)] for number in range(options.connections)]
        if url.scheme == "https":
            credentials = _credentials(options)
            self._channels = [grpc.aio.secure_channel(target, credentials, each) for each in settings]
        else:
            self._channels = [grpc.aio.insecure_channel(target, each) for each in settings]
        self._turn = 0

    async def invoke(self, method: str, request: Any, timeout: float, metadata: list[tuple[str, str]]) -> Any:  # noqa: ASYNC109
        """Send on the connection whose turn it is."""
        self._turn += 1
        response = getattr(pb, f"{method}Response")
        call = self._channels[self._turn % len(self._channels)].unary_unary(
            f"/{full_name(method)}",
            request_serializer=type(request).SerializeToString,
            response_deserializer=response.FromString,
        )
        try:
            return await call(request, timeout=max(timeout, 0.001), metadata=metadata)
        except grpc.aio.AioRpcError as error:
            raise _answer(error) from error

    async def close(self) -> None:
        """Close the connections."""
        for channel in self._channels:
            await channel.close()


def _credentials(options: Options) -> grpc.ChannelCredentials:
    ca, key, cert = (read_pem(file) for file in (options.tls_ca, options.tls_key, options.tls_cert))
    return grpc.ssl_channel_credentials(ca, key, cert)


def _answer(error: grpc.aio.AioRpcError) -> Answer:
    answer = Answer(error.code().name, message=error.details() or "no answer")
    for name, value in error.trailing_metadata() or ():
        if name == "grpc-status-details-bin":
            status = status_pb2.Status.FromString(value)
            for detail in status.details:
                _read_detail(detail, answer)
    return answer


def _read_detail(detail: Any, answer: Answer) -> None:
    info, retry, bad = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo(), error_details_pb2.BadRequest()
    if detail.Unpack(info):
        answer.reason = info.reason
    elif detail.Unpack(retry):
        answer.pause = retry.retry_delay.ToTimedelta().total_seconds()
    elif detail.Unpack(bad):
        answer.fields = tuple((each.field, each.description) for each in bad.field_violations)

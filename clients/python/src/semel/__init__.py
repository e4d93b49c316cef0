"""Has a side effect happen once: across retries, crashes, replicas and languages.

>>> with semel.Client() as client:
...     outcome = client.once("payments/Charge", "order-42", order, lambda attempt: charge(order))
"""

from semel._run import OnceOptions, Outcome
from semel._service_config import service_config
from semel._version import __version__
from semel.aio import AsyncClient
from semel.attempt import AsyncAttempt, Attempt, Checkpoint
from semel.client import Block, Client
from semel.codec import BytesCodec, Codec, JsonCodec, ProtoCodec
from semel.errors import (
    CheckpointRefusedError,
    CompletionUnknownError,
    ExhaustedError,
    InProgressError,
    InvalidError,
    KeyExpiredError,
    KeyMismatchError,
    LeaseLostError,
    NotAllowedError,
    NotFoundError,
    OperationFailedError,
    RefusedError,
    ResultConflictError,
    ResultNotStoredError,
    SemelError,
    ServerError,
    StoreUnavailableError,
    UndecodableResultError,
    UnresolvedError,
    item_error,
)
from semel.failure import Failure, Final, Meaning, Retryable, Unknown
from semel.handoff import Handoff
from semel.keys import business_key, check_key, content_key, event_key, uuid4_key, uuid7_key, uuid_key
from semel.options import Options
from semel.request import Request

__all__ = [
    "AsyncAttempt",
    "AsyncClient",
    "Attempt",
    "Block",
    "BytesCodec",
    "Checkpoint",
    "CheckpointRefusedError",
    "Client",
    "Codec",
    "CompletionUnknownError",
    "ExhaustedError",
    "Failure",
    "Final",
    "Handoff",
    "InProgressError",
    "InvalidError",
    "JsonCodec",
    "KeyExpiredError",
    "KeyMismatchError",
    "LeaseLostError",
    "Meaning",
    "NotAllowedError",
    "NotFoundError",
    "OnceOptions",
    "OperationFailedError",
    "Options",
    "Outcome",
    "ProtoCodec",
    "RefusedError",
    "Request",
    "ResultConflictError",
    "ResultNotStoredError",
    "Retryable",
    "SemelError",
    "ServerError",
    "StoreUnavailableError",
    "UndecodableResultError",
    "Unknown",
    "UnresolvedError",
    "__version__",
    "business_key",
    "check_key",
    "content_key",
    "event_key",
    "item_error",
    "service_config",
    "uuid4_key",
    "uuid7_key",
    "uuid_key",
]

import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class State(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    STATE_UNSPECIFIED: _ClassVar[State]
    STATE_IN_PROGRESS: _ClassVar[State]
    STATE_COMPLETED: _ClassVar[State]
    STATE_RELEASED: _ClassVar[State]
    STATE_UNRESOLVED: _ClassVar[State]
    STATE_LEASE_LOST: _ClassVar[State]
STATE_UNSPECIFIED: State
STATE_IN_PROGRESS: State
STATE_COMPLETED: State
STATE_RELEASED: State
STATE_UNRESOLVED: State
STATE_LEASE_LOST: State

class Key(_message.Message):
    __slots__ = ("tenant", "endpoint", "idempotency_key")
    TENANT_FIELD_NUMBER: _ClassVar[int]
    ENDPOINT_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    endpoint: str
    idempotency_key: str
    def __init__(self, tenant: _Optional[str] = ..., endpoint: _Optional[str] = ..., idempotency_key: _Optional[str] = ...) -> None: ...

class BeginRequest(_message.Message):
    __slots__ = ("key", "attempt_id", "fingerprint", "lease", "retention", "wait", "first_sent", "retry", "labels")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    KEY_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_ID_FIELD_NUMBER: _ClassVar[int]
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    LEASE_FIELD_NUMBER: _ClassVar[int]
    RETENTION_FIELD_NUMBER: _ClassVar[int]
    WAIT_FIELD_NUMBER: _ClassVar[int]
    FIRST_SENT_FIELD_NUMBER: _ClassVar[int]
    RETRY_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    key: Key
    attempt_id: str
    fingerprint: bytes
    lease: _duration_pb2.Duration
    retention: _duration_pb2.Duration
    wait: _duration_pb2.Duration
    first_sent: _timestamp_pb2.Timestamp
    retry: bool
    labels: _containers.ScalarMap[str, str]
    def __init__(self, key: _Optional[_Union[Key, _Mapping]] = ..., attempt_id: _Optional[str] = ..., fingerprint: _Optional[bytes] = ..., lease: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., retention: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., wait: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., first_sent: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., retry: _Optional[bool] = ..., labels: _Optional[_Mapping[str, str]] = ...) -> None: ...

class BeginResponse(_message.Message):
    __slots__ = ("started", "replayed", "in_progress", "unresolved")
    STARTED_FIELD_NUMBER: _ClassVar[int]
    REPLAYED_FIELD_NUMBER: _ClassVar[int]
    IN_PROGRESS_FIELD_NUMBER: _ClassVar[int]
    UNRESOLVED_FIELD_NUMBER: _ClassVar[int]
    started: Started
    replayed: Replayed
    in_progress: InProgress
    unresolved: Unresolved
    def __init__(self, started: _Optional[_Union[Started, _Mapping]] = ..., replayed: _Optional[_Union[Replayed, _Mapping]] = ..., in_progress: _Optional[_Union[InProgress, _Mapping]] = ..., unresolved: _Optional[_Union[Unresolved, _Mapping]] = ...) -> None: ...

class Started(_message.Message):
    __slots__ = ("fence", "attempt", "lease", "lease_expires_at", "checkpoints", "waited")
    FENCE_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    LEASE_FIELD_NUMBER: _ClassVar[int]
    LEASE_EXPIRES_AT_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINTS_FIELD_NUMBER: _ClassVar[int]
    WAITED_FIELD_NUMBER: _ClassVar[int]
    fence: int
    attempt: int
    lease: _duration_pb2.Duration
    lease_expires_at: _timestamp_pb2.Timestamp
    checkpoints: _containers.RepeatedCompositeFieldContainer[Checkpoint]
    waited: _duration_pb2.Duration
    def __init__(self, fence: _Optional[int] = ..., attempt: _Optional[int] = ..., lease: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., lease_expires_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., checkpoints: _Optional[_Iterable[_Union[Checkpoint, _Mapping]]] = ..., waited: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class Replayed(_message.Message):
    __slots__ = ("result", "fence", "attempt", "completed_at", "expires_at", "original_traceparent")
    RESULT_FIELD_NUMBER: _ClassVar[int]
    FENCE_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    COMPLETED_AT_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AT_FIELD_NUMBER: _ClassVar[int]
    ORIGINAL_TRACEPARENT_FIELD_NUMBER: _ClassVar[int]
    result: Result
    fence: int
    attempt: int
    completed_at: _timestamp_pb2.Timestamp
    expires_at: _timestamp_pb2.Timestamp
    original_traceparent: str
    def __init__(self, result: _Optional[_Union[Result, _Mapping]] = ..., fence: _Optional[int] = ..., attempt: _Optional[int] = ..., completed_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., expires_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., original_traceparent: _Optional[str] = ...) -> None: ...

class InProgress(_message.Message):
    __slots__ = ("attempt", "retry_after", "lease_expires_at", "original_traceparent", "backing_off")
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    RETRY_AFTER_FIELD_NUMBER: _ClassVar[int]
    LEASE_EXPIRES_AT_FIELD_NUMBER: _ClassVar[int]
    ORIGINAL_TRACEPARENT_FIELD_NUMBER: _ClassVar[int]
    BACKING_OFF_FIELD_NUMBER: _ClassVar[int]
    attempt: int
    retry_after: _duration_pb2.Duration
    lease_expires_at: _timestamp_pb2.Timestamp
    original_traceparent: str
    backing_off: bool
    def __init__(self, attempt: _Optional[int] = ..., retry_after: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., lease_expires_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., original_traceparent: _Optional[str] = ..., backing_off: _Optional[bool] = ...) -> None: ...

class Unresolved(_message.Message):
    __slots__ = ("reason", "attempt", "detail", "since", "original_traceparent")
    class Reason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        REASON_UNSPECIFIED: _ClassVar[Unresolved.Reason]
        REASON_OUTCOME_UNKNOWN: _ClassVar[Unresolved.Reason]
        REASON_ATTEMPTS_EXHAUSTED: _ClassVar[Unresolved.Reason]
    REASON_UNSPECIFIED: Unresolved.Reason
    REASON_OUTCOME_UNKNOWN: Unresolved.Reason
    REASON_ATTEMPTS_EXHAUSTED: Unresolved.Reason
    REASON_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIELD_NUMBER: _ClassVar[int]
    ORIGINAL_TRACEPARENT_FIELD_NUMBER: _ClassVar[int]
    reason: Unresolved.Reason
    attempt: int
    detail: str
    since: _timestamp_pb2.Timestamp
    original_traceparent: str
    def __init__(self, reason: _Optional[_Union[Unresolved.Reason, str]] = ..., attempt: _Optional[int] = ..., detail: _Optional[str] = ..., since: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., original_traceparent: _Optional[str] = ...) -> None: ...

class Result(_message.Message):
    __slots__ = ("outcome", "code", "content_type", "headers", "payload", "payload_omitted")
    class Outcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        OUTCOME_UNSPECIFIED: _ClassVar[Result.Outcome]
        OUTCOME_SUCCESS: _ClassVar[Result.Outcome]
        OUTCOME_FAILURE: _ClassVar[Result.Outcome]
    OUTCOME_UNSPECIFIED: Result.Outcome
    OUTCOME_SUCCESS: Result.Outcome
    OUTCOME_FAILURE: Result.Outcome
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    CONTENT_TYPE_FIELD_NUMBER: _ClassVar[int]
    HEADERS_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_OMITTED_FIELD_NUMBER: _ClassVar[int]
    outcome: Result.Outcome
    code: int
    content_type: str
    headers: _containers.RepeatedCompositeFieldContainer[Header]
    payload: bytes
    payload_omitted: bool
    def __init__(self, outcome: _Optional[_Union[Result.Outcome, str]] = ..., code: _Optional[int] = ..., content_type: _Optional[str] = ..., headers: _Optional[_Iterable[_Union[Header, _Mapping]]] = ..., payload: _Optional[bytes] = ..., payload_omitted: _Optional[bool] = ...) -> None: ...

class Header(_message.Message):
    __slots__ = ("name", "value")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    name: str
    value: bytes
    def __init__(self, name: _Optional[str] = ..., value: _Optional[bytes] = ...) -> None: ...

class CompleteRequest(_message.Message):
    __slots__ = ("key", "fence", "attempt_id", "result", "retention")
    KEY_FIELD_NUMBER: _ClassVar[int]
    FENCE_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_ID_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    RETENTION_FIELD_NUMBER: _ClassVar[int]
    key: Key
    fence: int
    attempt_id: str
    result: Result
    retention: _duration_pb2.Duration
    def __init__(self, key: _Optional[_Union[Key, _Mapping]] = ..., fence: _Optional[int] = ..., attempt_id: _Optional[str] = ..., result: _Optional[_Union[Result, _Mapping]] = ..., retention: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class CompleteResponse(_message.Message):
    __slots__ = ("completed_at", "expires_at", "repeated_call")
    COMPLETED_AT_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AT_FIELD_NUMBER: _ClassVar[int]
    REPEATED_CALL_FIELD_NUMBER: _ClassVar[int]
    completed_at: _timestamp_pb2.Timestamp
    expires_at: _timestamp_pb2.Timestamp
    repeated_call: bool
    def __init__(self, completed_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., expires_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., repeated_call: _Optional[bool] = ...) -> None: ...

class AbortRequest(_message.Message):
    __slots__ = ("key", "fence", "attempt_id", "disposition", "detail", "retry_after")
    class Disposition(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        DISPOSITION_UNSPECIFIED: _ClassVar[AbortRequest.Disposition]
        DISPOSITION_RELEASE: _ClassVar[AbortRequest.Disposition]
        DISPOSITION_OUTCOME_UNKNOWN: _ClassVar[AbortRequest.Disposition]
    DISPOSITION_UNSPECIFIED: AbortRequest.Disposition
    DISPOSITION_RELEASE: AbortRequest.Disposition
    DISPOSITION_OUTCOME_UNKNOWN: AbortRequest.Disposition
    KEY_FIELD_NUMBER: _ClassVar[int]
    FENCE_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_ID_FIELD_NUMBER: _ClassVar[int]
    DISPOSITION_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    RETRY_AFTER_FIELD_NUMBER: _ClassVar[int]
    key: Key
    fence: int
    attempt_id: str
    disposition: AbortRequest.Disposition
    detail: str
    retry_after: _duration_pb2.Duration
    def __init__(self, key: _Optional[_Union[Key, _Mapping]] = ..., fence: _Optional[int] = ..., attempt_id: _Optional[str] = ..., disposition: _Optional[_Union[AbortRequest.Disposition, str]] = ..., detail: _Optional[str] = ..., retry_after: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class AbortResponse(_message.Message):
    __slots__ = ("repeated_call",)
    REPEATED_CALL_FIELD_NUMBER: _ClassVar[int]
    repeated_call: bool
    def __init__(self, repeated_call: _Optional[bool] = ...) -> None: ...

class RenewRequest(_message.Message):
    __slots__ = ("key", "fence", "attempt_id", "lease")
    KEY_FIELD_NUMBER: _ClassVar[int]
    FENCE_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_ID_FIELD_NUMBER: _ClassVar[int]
    LEASE_FIELD_NUMBER: _ClassVar[int]
    key: Key
    fence: int
    attempt_id: str
    lease: _duration_pb2.Duration
    def __init__(self, key: _Optional[_Union[Key, _Mapping]] = ..., fence: _Optional[int] = ..., attempt_id: _Optional[str] = ..., lease: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class RenewResponse(_message.Message):
    __slots__ = ("lease", "lease_expires_at")
    LEASE_FIELD_NUMBER: _ClassVar[int]
    LEASE_EXPIRES_AT_FIELD_NUMBER: _ClassVar[int]
    lease: _duration_pb2.Duration
    lease_expires_at: _timestamp_pb2.Timestamp
    def __init__(self, lease: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., lease_expires_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class Checkpoint(_message.Message):
    __slots__ = ("name", "value", "fence")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    FENCE_FIELD_NUMBER: _ClassVar[int]
    name: str
    value: bytes
    fence: int
    def __init__(self, name: _Optional[str] = ..., value: _Optional[bytes] = ..., fence: _Optional[int] = ...) -> None: ...

class SaveCheckpointRequest(_message.Message):
    __slots__ = ("key", "fence", "attempt_id", "name", "value")
    KEY_FIELD_NUMBER: _ClassVar[int]
    FENCE_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    key: Key
    fence: int
    attempt_id: str
    name: str
    value: bytes
    def __init__(self, key: _Optional[_Union[Key, _Mapping]] = ..., fence: _Optional[int] = ..., attempt_id: _Optional[str] = ..., name: _Optional[str] = ..., value: _Optional[bytes] = ...) -> None: ...

class SaveCheckpointResponse(_message.Message):
    __slots__ = ("repeated_call",)
    REPEATED_CALL_FIELD_NUMBER: _ClassVar[int]
    repeated_call: bool
    def __init__(self, repeated_call: _Optional[bool] = ...) -> None: ...

class LookupRequest(_message.Message):
    __slots__ = ("key",)
    KEY_FIELD_NUMBER: _ClassVar[int]
    key: Key
    def __init__(self, key: _Optional[_Union[Key, _Mapping]] = ...) -> None: ...

class LookupResponse(_message.Message):
    __slots__ = ("record",)
    RECORD_FIELD_NUMBER: _ClassVar[int]
    record: Record
    def __init__(self, record: _Optional[_Union[Record, _Mapping]] = ...) -> None: ...

class Record(_message.Message):
    __slots__ = ("key", "state", "fence", "attempt", "fingerprint", "first_seen_at", "changed_at", "lease_expires_at", "expires_at", "result", "unresolved", "checkpoints", "labels", "original_traceparent", "resolution_note")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    KEY_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    FENCE_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    FIRST_SEEN_AT_FIELD_NUMBER: _ClassVar[int]
    CHANGED_AT_FIELD_NUMBER: _ClassVar[int]
    LEASE_EXPIRES_AT_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AT_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    UNRESOLVED_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINTS_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    ORIGINAL_TRACEPARENT_FIELD_NUMBER: _ClassVar[int]
    RESOLUTION_NOTE_FIELD_NUMBER: _ClassVar[int]
    key: Key
    state: State
    fence: int
    attempt: int
    fingerprint: bytes
    first_seen_at: _timestamp_pb2.Timestamp
    changed_at: _timestamp_pb2.Timestamp
    lease_expires_at: _timestamp_pb2.Timestamp
    expires_at: _timestamp_pb2.Timestamp
    result: Result
    unresolved: Unresolved
    checkpoints: _containers.RepeatedCompositeFieldContainer[Checkpoint]
    labels: _containers.ScalarMap[str, str]
    original_traceparent: str
    resolution_note: str
    def __init__(self, key: _Optional[_Union[Key, _Mapping]] = ..., state: _Optional[_Union[State, str]] = ..., fence: _Optional[int] = ..., attempt: _Optional[int] = ..., fingerprint: _Optional[bytes] = ..., first_seen_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., changed_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., lease_expires_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., expires_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., result: _Optional[_Union[Result, _Mapping]] = ..., unresolved: _Optional[_Union[Unresolved, _Mapping]] = ..., checkpoints: _Optional[_Iterable[_Union[Checkpoint, _Mapping]]] = ..., labels: _Optional[_Mapping[str, str]] = ..., original_traceparent: _Optional[str] = ..., resolution_note: _Optional[str] = ...) -> None: ...

class BatchBeginRequest(_message.Message):
    __slots__ = ("requests",)
    REQUESTS_FIELD_NUMBER: _ClassVar[int]
    requests: _containers.RepeatedCompositeFieldContainer[BeginRequest]
    def __init__(self, requests: _Optional[_Iterable[_Union[BeginRequest, _Mapping]]] = ...) -> None: ...

class BatchBeginResponse(_message.Message):
    __slots__ = ("items",)
    class Item(_message.Message):
        __slots__ = ("response", "error")
        RESPONSE_FIELD_NUMBER: _ClassVar[int]
        ERROR_FIELD_NUMBER: _ClassVar[int]
        response: BeginResponse
        error: ItemError
        def __init__(self, response: _Optional[_Union[BeginResponse, _Mapping]] = ..., error: _Optional[_Union[ItemError, _Mapping]] = ...) -> None: ...
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    items: _containers.RepeatedCompositeFieldContainer[BatchBeginResponse.Item]
    def __init__(self, items: _Optional[_Iterable[_Union[BatchBeginResponse.Item, _Mapping]]] = ...) -> None: ...

class BatchCompleteRequest(_message.Message):
    __slots__ = ("requests",)
    REQUESTS_FIELD_NUMBER: _ClassVar[int]
    requests: _containers.RepeatedCompositeFieldContainer[CompleteRequest]
    def __init__(self, requests: _Optional[_Iterable[_Union[CompleteRequest, _Mapping]]] = ...) -> None: ...

class BatchCompleteResponse(_message.Message):
    __slots__ = ("items",)
    class Item(_message.Message):
        __slots__ = ("response", "error")
        RESPONSE_FIELD_NUMBER: _ClassVar[int]
        ERROR_FIELD_NUMBER: _ClassVar[int]
        response: CompleteResponse
        error: ItemError
        def __init__(self, response: _Optional[_Union[CompleteResponse, _Mapping]] = ..., error: _Optional[_Union[ItemError, _Mapping]] = ...) -> None: ...
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    items: _containers.RepeatedCompositeFieldContainer[BatchCompleteResponse.Item]
    def __init__(self, items: _Optional[_Iterable[_Union[BatchCompleteResponse.Item, _Mapping]]] = ...) -> None: ...

class ItemError(_message.Message):
    __slots__ = ("code", "reason", "message")
    CODE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    code: int
    reason: str
    message: str
    def __init__(self, code: _Optional[int] = ..., reason: _Optional[str] = ..., message: _Optional[str] = ...) -> None: ...

class ListRecordsRequest(_message.Message):
    __slots__ = ("tenant", "endpoint", "state", "page_size", "page_token")
    TENANT_FIELD_NUMBER: _ClassVar[int]
    ENDPOINT_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    endpoint: str
    state: State
    page_size: int
    page_token: str
    def __init__(self, tenant: _Optional[str] = ..., endpoint: _Optional[str] = ..., state: _Optional[_Union[State, str]] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListRecordsResponse(_message.Message):
    __slots__ = ("records", "next_page_token")
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    records: _containers.RepeatedCompositeFieldContainer[Record]
    next_page_token: str
    def __init__(self, records: _Optional[_Iterable[_Union[Record, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class ResolveRecordRequest(_message.Message):
    __slots__ = ("key", "fence", "result", "release", "note", "force")
    KEY_FIELD_NUMBER: _ClassVar[int]
    FENCE_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    RELEASE_FIELD_NUMBER: _ClassVar[int]
    NOTE_FIELD_NUMBER: _ClassVar[int]
    FORCE_FIELD_NUMBER: _ClassVar[int]
    key: Key
    fence: int
    result: Result
    release: bool
    note: str
    force: bool
    def __init__(self, key: _Optional[_Union[Key, _Mapping]] = ..., fence: _Optional[int] = ..., result: _Optional[_Union[Result, _Mapping]] = ..., release: _Optional[bool] = ..., note: _Optional[str] = ..., force: _Optional[bool] = ...) -> None: ...

class ResolveRecordResponse(_message.Message):
    __slots__ = ("record",)
    RECORD_FIELD_NUMBER: _ClassVar[int]
    record: Record
    def __init__(self, record: _Optional[_Union[Record, _Mapping]] = ...) -> None: ...

class ForgetRecordRequest(_message.Message):
    __slots__ = ("key", "fence", "force")
    KEY_FIELD_NUMBER: _ClassVar[int]
    FENCE_FIELD_NUMBER: _ClassVar[int]
    FORCE_FIELD_NUMBER: _ClassVar[int]
    key: Key
    fence: int
    force: bool
    def __init__(self, key: _Optional[_Union[Key, _Mapping]] = ..., fence: _Optional[int] = ..., force: _Optional[bool] = ...) -> None: ...

class ForgetRecordResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetPolicyRequest(_message.Message):
    __slots__ = ("tenant", "endpoint")
    TENANT_FIELD_NUMBER: _ClassVar[int]
    ENDPOINT_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    endpoint: str
    def __init__(self, tenant: _Optional[str] = ..., endpoint: _Optional[str] = ...) -> None: ...

class GetPolicyResponse(_message.Message):
    __slots__ = ("lease", "max_lease", "retention", "max_retention", "max_wait", "max_attempts", "rerun_after_lost_lease", "fingerprint_required", "max_result_bytes", "unresolved_retention", "max_retry_after", "requests_per_second", "burst", "max_open_keys", "source")
    LEASE_FIELD_NUMBER: _ClassVar[int]
    MAX_LEASE_FIELD_NUMBER: _ClassVar[int]
    RETENTION_FIELD_NUMBER: _ClassVar[int]
    MAX_RETENTION_FIELD_NUMBER: _ClassVar[int]
    MAX_WAIT_FIELD_NUMBER: _ClassVar[int]
    MAX_ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    RERUN_AFTER_LOST_LEASE_FIELD_NUMBER: _ClassVar[int]
    FINGERPRINT_REQUIRED_FIELD_NUMBER: _ClassVar[int]
    MAX_RESULT_BYTES_FIELD_NUMBER: _ClassVar[int]
    UNRESOLVED_RETENTION_FIELD_NUMBER: _ClassVar[int]
    MAX_RETRY_AFTER_FIELD_NUMBER: _ClassVar[int]
    REQUESTS_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    BURST_FIELD_NUMBER: _ClassVar[int]
    MAX_OPEN_KEYS_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    lease: _duration_pb2.Duration
    max_lease: _duration_pb2.Duration
    retention: _duration_pb2.Duration
    max_retention: _duration_pb2.Duration
    max_wait: _duration_pb2.Duration
    max_attempts: int
    rerun_after_lost_lease: bool
    fingerprint_required: bool
    max_result_bytes: int
    unresolved_retention: _duration_pb2.Duration
    max_retry_after: _duration_pb2.Duration
    requests_per_second: float
    burst: int
    max_open_keys: int
    source: str
    def __init__(self, lease: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., max_lease: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., retention: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., max_retention: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., max_wait: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., max_attempts: _Optional[int] = ..., rerun_after_lost_lease: _Optional[bool] = ..., fingerprint_required: _Optional[bool] = ..., max_result_bytes: _Optional[int] = ..., unresolved_retention: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., max_retry_after: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., requests_per_second: _Optional[float] = ..., burst: _Optional[int] = ..., max_open_keys: _Optional[int] = ..., source: _Optional[str] = ...) -> None: ...

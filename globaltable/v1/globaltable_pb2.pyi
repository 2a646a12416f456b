from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class OpKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    OP_KIND_UNSPECIFIED: _ClassVar[OpKind]
    OP_KIND_BIND: _ClassVar[OpKind]
    OP_KIND_MOVE: _ClassVar[OpKind]
    OP_KIND_UNBIND: _ClassVar[OpKind]

class OutcomeStatus(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    OUTCOME_STATUS_UNSPECIFIED: _ClassVar[OutcomeStatus]
    OUTCOME_STATUS_APPLIED: _ClassVar[OutcomeStatus]
    OUTCOME_STATUS_EXISTS: _ClassVar[OutcomeStatus]
    OUTCOME_STATUS_VERSION_CONFLICT: _ClassVar[OutcomeStatus]
    OUTCOME_STATUS_NOT_BOUND: _ClassVar[OutcomeStatus]
    OUTCOME_STATUS_INVALID_ARGUMENT: _ClassVar[OutcomeStatus]
    OUTCOME_STATUS_UNAVAILABLE: _ClassVar[OutcomeStatus]
    OUTCOME_STATUS_OVERLOADED: _ClassVar[OutcomeStatus]
    OUTCOME_STATUS_UNKNOWN: _ClassVar[OutcomeStatus]
    OUTCOME_STATUS_ELSEWHERE: _ClassVar[OutcomeStatus]
    OUTCOME_STATUS_PERMISSION_DENIED: _ClassVar[OutcomeStatus]

class ChangeKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CHANGE_KIND_UNSPECIFIED: _ClassVar[ChangeKind]
    CHANGE_KIND_BOUND: _ClassVar[ChangeKind]
    CHANGE_KIND_MOVED: _ClassVar[ChangeKind]
    CHANGE_KIND_UNBOUND: _ClassVar[ChangeKind]

class Role(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ROLE_UNSPECIFIED: _ClassVar[Role]
    ROLE_FOLLOWER: _ClassVar[Role]
    ROLE_CANDIDATE: _ClassVar[Role]
    ROLE_LEADER: _ClassVar[Role]
OP_KIND_UNSPECIFIED: OpKind
OP_KIND_BIND: OpKind
OP_KIND_MOVE: OpKind
OP_KIND_UNBIND: OpKind
OUTCOME_STATUS_UNSPECIFIED: OutcomeStatus
OUTCOME_STATUS_APPLIED: OutcomeStatus
OUTCOME_STATUS_EXISTS: OutcomeStatus
OUTCOME_STATUS_VERSION_CONFLICT: OutcomeStatus
OUTCOME_STATUS_NOT_BOUND: OutcomeStatus
OUTCOME_STATUS_INVALID_ARGUMENT: OutcomeStatus
OUTCOME_STATUS_UNAVAILABLE: OutcomeStatus
OUTCOME_STATUS_OVERLOADED: OutcomeStatus
OUTCOME_STATUS_UNKNOWN: OutcomeStatus
OUTCOME_STATUS_ELSEWHERE: OutcomeStatus
OUTCOME_STATUS_PERMISSION_DENIED: OutcomeStatus
CHANGE_KIND_UNSPECIFIED: ChangeKind
CHANGE_KIND_BOUND: ChangeKind
CHANGE_KIND_MOVED: ChangeKind
CHANGE_KIND_UNBOUND: ChangeKind
ROLE_UNSPECIFIED: Role
ROLE_FOLLOWER: Role
ROLE_CANDIDATE: Role
ROLE_LEADER: Role

class Op(_message.Message):
    __slots__ = ("kind", "key", "unit", "version", "sequence")
    KIND_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    UNIT_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    kind: OpKind
    key: str
    unit: str
    version: int
    sequence: int
    def __init__(self, kind: _Optional[_Union[OpKind, str]] = ..., key: _Optional[str] = ..., unit: _Optional[str] = ..., version: _Optional[int] = ..., sequence: _Optional[int] = ...) -> None: ...

class WriteRequest(_message.Message):
    __slots__ = ("table", "client_id", "ops")
    TABLE_FIELD_NUMBER: _ClassVar[int]
    CLIENT_ID_FIELD_NUMBER: _ClassVar[int]
    OPS_FIELD_NUMBER: _ClassVar[int]
    table: str
    client_id: int
    ops: _containers.RepeatedCompositeFieldContainer[Op]
    def __init__(self, table: _Optional[str] = ..., client_id: _Optional[int] = ..., ops: _Optional[_Iterable[_Union[Op, _Mapping]]] = ...) -> None: ...

class Binding(_message.Message):
    __slots__ = ("unit", "version", "revision")
    UNIT_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    unit: str
    version: int
    revision: int
    def __init__(self, unit: _Optional[str] = ..., version: _Optional[int] = ..., revision: _Optional[int] = ...) -> None: ...

class Outcome(_message.Message):
    __slots__ = ("status", "binding", "detail")
    STATUS_FIELD_NUMBER: _ClassVar[int]
    BINDING_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    status: OutcomeStatus
    binding: Binding
    detail: str
    def __init__(self, status: _Optional[_Union[OutcomeStatus, str]] = ..., binding: _Optional[_Union[Binding, _Mapping]] = ..., detail: _Optional[str] = ...) -> None: ...

class WriteResponse(_message.Message):
    __slots__ = ("outcomes", "retry_delay_ms")
    OUTCOMES_FIELD_NUMBER: _ClassVar[int]
    RETRY_DELAY_MS_FIELD_NUMBER: _ClassVar[int]
    outcomes: _containers.RepeatedCompositeFieldContainer[Outcome]
    retry_delay_ms: int
    def __init__(self, outcomes: _Optional[_Iterable[_Union[Outcome, _Mapping]]] = ..., retry_delay_ms: _Optional[int] = ...) -> None: ...

class WriteStreamRequest(_message.Message):
    __slots__ = ("number", "timeout_ms", "table", "client_id", "kinds", "keys", "units", "versions", "sequences", "traceparents")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_MS_FIELD_NUMBER: _ClassVar[int]
    TABLE_FIELD_NUMBER: _ClassVar[int]
    CLIENT_ID_FIELD_NUMBER: _ClassVar[int]
    KINDS_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    UNITS_FIELD_NUMBER: _ClassVar[int]
    VERSIONS_FIELD_NUMBER: _ClassVar[int]
    SEQUENCES_FIELD_NUMBER: _ClassVar[int]
    TRACEPARENTS_FIELD_NUMBER: _ClassVar[int]
    number: int
    timeout_ms: int
    table: str
    client_id: int
    kinds: _containers.RepeatedScalarFieldContainer[OpKind]
    keys: _containers.RepeatedScalarFieldContainer[str]
    units: _containers.RepeatedScalarFieldContainer[str]
    versions: _containers.RepeatedScalarFieldContainer[int]
    sequences: _containers.RepeatedScalarFieldContainer[int]
    traceparents: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, number: _Optional[int] = ..., timeout_ms: _Optional[int] = ..., table: _Optional[str] = ..., client_id: _Optional[int] = ..., kinds: _Optional[_Iterable[_Union[OpKind, str]]] = ..., keys: _Optional[_Iterable[str]] = ..., units: _Optional[_Iterable[str]] = ..., versions: _Optional[_Iterable[int]] = ..., sequences: _Optional[_Iterable[int]] = ..., traceparents: _Optional[_Iterable[str]] = ...) -> None: ...

class WritePart(_message.Message):
    __slots__ = ("number", "positions", "statuses", "units", "versions", "revisions", "details")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    POSITIONS_FIELD_NUMBER: _ClassVar[int]
    STATUSES_FIELD_NUMBER: _ClassVar[int]
    UNITS_FIELD_NUMBER: _ClassVar[int]
    VERSIONS_FIELD_NUMBER: _ClassVar[int]
    REVISIONS_FIELD_NUMBER: _ClassVar[int]
    DETAILS_FIELD_NUMBER: _ClassVar[int]
    number: int
    positions: _containers.RepeatedScalarFieldContainer[int]
    statuses: _containers.RepeatedScalarFieldContainer[OutcomeStatus]
    units: _containers.RepeatedScalarFieldContainer[str]
    versions: _containers.RepeatedScalarFieldContainer[int]
    revisions: _containers.RepeatedScalarFieldContainer[int]
    details: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, number: _Optional[int] = ..., positions: _Optional[_Iterable[int]] = ..., statuses: _Optional[_Iterable[_Union[OutcomeStatus, str]]] = ..., units: _Optional[_Iterable[str]] = ..., versions: _Optional[_Iterable[int]] = ..., revisions: _Optional[_Iterable[int]] = ..., details: _Optional[_Iterable[str]] = ...) -> None: ...

class WriteStreamResponse(_message.Message):
    __slots__ = ("parts", "retry_delay_ms")
    PARTS_FIELD_NUMBER: _ClassVar[int]
    RETRY_DELAY_MS_FIELD_NUMBER: _ClassVar[int]
    parts: _containers.RepeatedCompositeFieldContainer[WritePart]
    retry_delay_ms: int
    def __init__(self, parts: _Optional[_Iterable[_Union[WritePart, _Mapping]]] = ..., retry_delay_ms: _Optional[int] = ...) -> None: ...

class ReadRequest(_message.Message):
    __slots__ = ("table", "keys", "linearizable")
    TABLE_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    LINEARIZABLE_FIELD_NUMBER: _ClassVar[int]
    table: str
    keys: _containers.RepeatedScalarFieldContainer[str]
    linearizable: bool
    def __init__(self, table: _Optional[str] = ..., keys: _Optional[_Iterable[str]] = ..., linearizable: bool = ...) -> None: ...

class ReadResult(_message.Message):
    __slots__ = ("binding", "read_revision")
    BINDING_FIELD_NUMBER: _ClassVar[int]
    READ_REVISION_FIELD_NUMBER: _ClassVar[int]
    binding: Binding
    read_revision: int
    def __init__(self, binding: _Optional[_Union[Binding, _Mapping]] = ..., read_revision: _Optional[int] = ...) -> None: ...

class ReadResponse(_message.Message):
    __slots__ = ("results",)
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[ReadResult]
    def __init__(self, results: _Optional[_Iterable[_Union[ReadResult, _Mapping]]] = ...) -> None: ...

class ScanRequest(_message.Message):
    __slots__ = ("table", "prefix", "page_size", "page_token", "slots")
    TABLE_FIELD_NUMBER: _ClassVar[int]
    PREFIX_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    SLOTS_FIELD_NUMBER: _ClassVar[int]
    table: str
    prefix: str
    page_size: int
    page_token: bytes
    slots: bytes
    def __init__(self, table: _Optional[str] = ..., prefix: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[bytes] = ..., slots: _Optional[bytes] = ...) -> None: ...

class ScanEntry(_message.Message):
    __slots__ = ("key", "binding")
    KEY_FIELD_NUMBER: _ClassVar[int]
    BINDING_FIELD_NUMBER: _ClassVar[int]
    key: str
    binding: Binding
    def __init__(self, key: _Optional[str] = ..., binding: _Optional[_Union[Binding, _Mapping]] = ...) -> None: ...

class ScanResponse(_message.Message):
    __slots__ = ("entries", "next_page_token")
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    entries: _containers.RepeatedCompositeFieldContainer[ScanEntry]
    next_page_token: bytes
    def __init__(self, entries: _Optional[_Iterable[_Union[ScanEntry, _Mapping]]] = ..., next_page_token: _Optional[bytes] = ...) -> None: ...

class GroupRevision(_message.Message):
    __slots__ = ("group", "revision")
    GROUP_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    group: int
    revision: int
    def __init__(self, group: _Optional[int] = ..., revision: _Optional[int] = ...) -> None: ...

class WatchRequest(_message.Message):
    __slots__ = ("table", "key", "prefix", "after", "groups")
    TABLE_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    PREFIX_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    GROUPS_FIELD_NUMBER: _ClassVar[int]
    table: str
    key: str
    prefix: str
    after: _containers.RepeatedCompositeFieldContainer[GroupRevision]
    groups: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, table: _Optional[str] = ..., key: _Optional[str] = ..., prefix: _Optional[str] = ..., after: _Optional[_Iterable[_Union[GroupRevision, _Mapping]]] = ..., groups: _Optional[_Iterable[int]] = ...) -> None: ...

class Change(_message.Message):
    __slots__ = ("kind", "key", "unit", "version", "revision", "group")
    KIND_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    UNIT_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    kind: ChangeKind
    key: str
    unit: str
    version: int
    revision: int
    group: int
    def __init__(self, kind: _Optional[_Union[ChangeKind, str]] = ..., key: _Optional[str] = ..., unit: _Optional[str] = ..., version: _Optional[int] = ..., revision: _Optional[int] = ..., group: _Optional[int] = ...) -> None: ...

class WatchResponse(_message.Message):
    __slots__ = ("changes", "position")
    CHANGES_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    changes: _containers.RepeatedCompositeFieldContainer[Change]
    position: _containers.RepeatedCompositeFieldContainer[GroupRevision]
    def __init__(self, changes: _Optional[_Iterable[_Union[Change, _Mapping]]] = ..., position: _Optional[_Iterable[_Union[GroupRevision, _Mapping]]] = ...) -> None: ...

class StatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GroupStatus(_message.Message):
    __slots__ = ("group", "role", "term", "leader_region", "preferred_region", "commit_revision", "applied_revision", "first_log_index", "last_log_index", "failed", "failure", "rebuilding", "slots", "not_ready", "pending_ops")
    GROUP_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    TERM_FIELD_NUMBER: _ClassVar[int]
    LEADER_REGION_FIELD_NUMBER: _ClassVar[int]
    PREFERRED_REGION_FIELD_NUMBER: _ClassVar[int]
    COMMIT_REVISION_FIELD_NUMBER: _ClassVar[int]
    APPLIED_REVISION_FIELD_NUMBER: _ClassVar[int]
    FIRST_LOG_INDEX_FIELD_NUMBER: _ClassVar[int]
    LAST_LOG_INDEX_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    REBUILDING_FIELD_NUMBER: _ClassVar[int]
    SLOTS_FIELD_NUMBER: _ClassVar[int]
    NOT_READY_FIELD_NUMBER: _ClassVar[int]
    PENDING_OPS_FIELD_NUMBER: _ClassVar[int]
    group: int
    role: Role
    term: int
    leader_region: str
    preferred_region: str
    commit_revision: int
    applied_revision: int
    first_log_index: int
    last_log_index: int
    failed: bool
    failure: str
    rebuilding: str
    slots: int
    not_ready: str
    pending_ops: int
    def __init__(self, group: _Optional[int] = ..., role: _Optional[_Union[Role, str]] = ..., term: _Optional[int] = ..., leader_region: _Optional[str] = ..., preferred_region: _Optional[str] = ..., commit_revision: _Optional[int] = ..., applied_revision: _Optional[int] = ..., first_log_index: _Optional[int] = ..., last_log_index: _Optional[int] = ..., failed: bool = ..., failure: _Optional[str] = ..., rebuilding: _Optional[str] = ..., slots: _Optional[int] = ..., not_ready: _Optional[str] = ..., pending_ops: _Optional[int] = ...) -> None: ...

class PeerStatus(_message.Message):
    __slots__ = ("node", "region", "connected", "round_trip_s")
    NODE_FIELD_NUMBER: _ClassVar[int]
    REGION_FIELD_NUMBER: _ClassVar[int]
    CONNECTED_FIELD_NUMBER: _ClassVar[int]
    ROUND_TRIP_S_FIELD_NUMBER: _ClassVar[int]
    node: str
    region: str
    connected: bool
    round_trip_s: float
    def __init__(self, node: _Optional[str] = ..., region: _Optional[str] = ..., connected: bool = ..., round_trip_s: _Optional[float] = ...) -> None: ...

class WorkStatus(_message.Message):
    __slots__ = ("ops", "applied", "overloaded", "failed", "keys_read", "commit_bounds_s", "commit_counts")
    OPS_FIELD_NUMBER: _ClassVar[int]
    APPLIED_FIELD_NUMBER: _ClassVar[int]
    OVERLOADED_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    KEYS_READ_FIELD_NUMBER: _ClassVar[int]
    COMMIT_BOUNDS_S_FIELD_NUMBER: _ClassVar[int]
    COMMIT_COUNTS_FIELD_NUMBER: _ClassVar[int]
    ops: int
    applied: int
    overloaded: int
    failed: int
    keys_read: int
    commit_bounds_s: _containers.RepeatedScalarFieldContainer[float]
    commit_counts: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, ops: _Optional[int] = ..., applied: _Optional[int] = ..., overloaded: _Optional[int] = ..., failed: _Optional[int] = ..., keys_read: _Optional[int] = ..., commit_bounds_s: _Optional[_Iterable[float]] = ..., commit_counts: _Optional[_Iterable[int]] = ...) -> None: ...

class StatusResponse(_message.Message):
    __slots__ = ("cluster", "node", "region", "version", "uptime_s", "tables", "groups", "peers", "slots", "work")
    CLUSTER_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    REGION_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    UPTIME_S_FIELD_NUMBER: _ClassVar[int]
    TABLES_FIELD_NUMBER: _ClassVar[int]
    GROUPS_FIELD_NUMBER: _ClassVar[int]
    PEERS_FIELD_NUMBER: _ClassVar[int]
    SLOTS_FIELD_NUMBER: _ClassVar[int]
    WORK_FIELD_NUMBER: _ClassVar[int]
    cluster: str
    node: str
    region: str
    version: str
    uptime_s: float
    tables: _containers.RepeatedScalarFieldContainer[str]
    groups: _containers.RepeatedCompositeFieldContainer[GroupStatus]
    peers: _containers.RepeatedCompositeFieldContainer[PeerStatus]
    slots: int
    work: WorkStatus
    def __init__(self, cluster: _Optional[str] = ..., node: _Optional[str] = ..., region: _Optional[str] = ..., version: _Optional[str] = ..., uptime_s: _Optional[float] = ..., tables: _Optional[_Iterable[str]] = ..., groups: _Optional[_Iterable[_Union[GroupStatus, _Mapping]]] = ..., peers: _Optional[_Iterable[_Union[PeerStatus, _Mapping]]] = ..., slots: _Optional[int] = ..., work: _Optional[_Union[WorkStatus, _Mapping]] = ...) -> None: ...

class TopologyRequest(_message.Message):
    __slots__ = ("table", "known_version", "known_moves")
    TABLE_FIELD_NUMBER: _ClassVar[int]
    KNOWN_VERSION_FIELD_NUMBER: _ClassVar[int]
    KNOWN_MOVES_FIELD_NUMBER: _ClassVar[int]
    table: str
    known_version: int
    known_moves: int
    def __init__(self, table: _Optional[str] = ..., known_version: _Optional[int] = ..., known_moves: _Optional[int] = ...) -> None: ...

class TopologyNode(_message.Message):
    __slots__ = ("name", "region", "address")
    NAME_FIELD_NUMBER: _ClassVar[int]
    REGION_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    name: str
    region: str
    address: str
    def __init__(self, name: _Optional[str] = ..., region: _Optional[str] = ..., address: _Optional[str] = ...) -> None: ...

class TopologyGroup(_message.Message):
    __slots__ = ("holders", "of_others")
    HOLDERS_FIELD_NUMBER: _ClassVar[int]
    OF_OTHERS_FIELD_NUMBER: _ClassVar[int]
    holders: _containers.RepeatedScalarFieldContainer[int]
    of_others: bool
    def __init__(self, holders: _Optional[_Iterable[int]] = ..., of_others: bool = ...) -> None: ...

class TopologyResponse(_message.Message):
    __slots__ = ("version", "node", "moves", "slots", "owners", "nodes", "groups")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    MOVES_FIELD_NUMBER: _ClassVar[int]
    SLOTS_FIELD_NUMBER: _ClassVar[int]
    OWNERS_FIELD_NUMBER: _ClassVar[int]
    NODES_FIELD_NUMBER: _ClassVar[int]
    GROUPS_FIELD_NUMBER: _ClassVar[int]
    version: int
    node: str
    moves: int
    slots: int
    owners: _containers.RepeatedScalarFieldContainer[int]
    nodes: _containers.RepeatedCompositeFieldContainer[TopologyNode]
    groups: _containers.RepeatedCompositeFieldContainer[TopologyGroup]
    def __init__(self, version: _Optional[int] = ..., node: _Optional[str] = ..., moves: _Optional[int] = ..., slots: _Optional[int] = ..., owners: _Optional[_Iterable[int]] = ..., nodes: _Optional[_Iterable[_Union[TopologyNode, _Mapping]]] = ..., groups: _Optional[_Iterable[_Union[TopologyGroup, _Mapping]]] = ...) -> None: ...

class PlacementRequest(_message.Message):
    __slots__ = ("table",)
    TABLE_FIELD_NUMBER: _ClassVar[int]
    table: str
    def __init__(self, table: _Optional[str] = ...) -> None: ...

class PlacementResponse(_message.Message):
    __slots__ = ("cheapest", "expected_s")
    CHEAPEST_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_S_FIELD_NUMBER: _ClassVar[int]
    cheapest: _containers.RepeatedScalarFieldContainer[int]
    expected_s: float
    def __init__(self, cheapest: _Optional[_Iterable[int]] = ..., expected_s: _Optional[float] = ...) -> None: ...

class ErrorDetail(_message.Message):
    __slots__ = ("reason", "message", "retry_delay_ms", "oldest")
    class Reason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        REASON_UNSPECIFIED: _ClassVar[ErrorDetail.Reason]
        REASON_INVALID_ARGUMENT: _ClassVar[ErrorDetail.Reason]
        REASON_LIMIT_EXCEEDED: _ClassVar[ErrorDetail.Reason]
        REASON_UNKNOWN_TABLE: _ClassVar[ErrorDetail.Reason]
        REASON_OVERLOADED: _ClassVar[ErrorDetail.Reason]
        REASON_NO_QUORUM: _ClassVar[ErrorDetail.Reason]
        REASON_COMPACTED: _ClassVar[ErrorDetail.Reason]
        REASON_LAGGED: _ClassVar[ErrorDetail.Reason]
        REASON_ELSEWHERE: _ClassVar[ErrorDetail.Reason]
        REASON_PERMISSION_DENIED: _ClassVar[ErrorDetail.Reason]
    REASON_UNSPECIFIED: ErrorDetail.Reason
    REASON_INVALID_ARGUMENT: ErrorDetail.Reason
    REASON_LIMIT_EXCEEDED: ErrorDetail.Reason
    REASON_UNKNOWN_TABLE: ErrorDetail.Reason
    REASON_OVERLOADED: ErrorDetail.Reason
    REASON_NO_QUORUM: ErrorDetail.Reason
    REASON_COMPACTED: ErrorDetail.Reason
    REASON_LAGGED: ErrorDetail.Reason
    REASON_ELSEWHERE: ErrorDetail.Reason
    REASON_PERMISSION_DENIED: ErrorDetail.Reason
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    RETRY_DELAY_MS_FIELD_NUMBER: _ClassVar[int]
    OLDEST_FIELD_NUMBER: _ClassVar[int]
    reason: ErrorDetail.Reason
    message: str
    retry_delay_ms: int
    oldest: _containers.RepeatedCompositeFieldContainer[GroupRevision]
    def __init__(self, reason: _Optional[_Union[ErrorDetail.Reason, str]] = ..., message: _Optional[str] = ..., retry_delay_ms: _Optional[int] = ..., oldest: _Optional[_Iterable[_Union[GroupRevision, _Mapping]]] = ...) -> None: ...

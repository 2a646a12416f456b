from globaltable.v1 import globaltable_pb2 as _globaltable_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class NoteLevelRequest(_message.Message):
    __slots__ = ("level", "only_asked")
    LEVEL_FIELD_NUMBER: _ClassVar[int]
    ONLY_ASKED_FIELD_NUMBER: _ClassVar[int]
    level: int
    only_asked: bool
    def __init__(self, level: _Optional[int] = ..., only_asked: bool = ...) -> None: ...

class LevelsStanding(_message.Message):
    __slots__ = ("oldest", "newest", "noted")
    OLDEST_FIELD_NUMBER: _ClassVar[int]
    NEWEST_FIELD_NUMBER: _ClassVar[int]
    NOTED_FIELD_NUMBER: _ClassVar[int]
    oldest: int
    newest: int
    noted: int
    def __init__(self, oldest: _Optional[int] = ..., newest: _Optional[int] = ..., noted: _Optional[int] = ...) -> None: ...

class GetHoldingRequest(_message.Message):
    __slots__ = ("group", "slot")
    GROUP_FIELD_NUMBER: _ClassVar[int]
    SLOT_FIELD_NUMBER: _ClassVar[int]
    group: int
    slot: int
    def __init__(self, group: _Optional[int] = ..., slot: _Optional[int] = ...) -> None: ...

class HoldingStanding(_message.Message):
    __slots__ = ("holding",)
    HOLDING_FIELD_NUMBER: _ClassVar[int]
    holding: bytes
    def __init__(self, holding: _Optional[bytes] = ...) -> None: ...

class TakeStepRequest(_message.Message):
    __slots__ = ("group", "step")
    GROUP_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    group: int
    step: bytes
    def __init__(self, group: _Optional[int] = ..., step: _Optional[bytes] = ...) -> None: ...

class StepOutcome(_message.Message):
    __slots__ = ("status", "detail")
    STATUS_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    status: int
    detail: str
    def __init__(self, status: _Optional[int] = ..., detail: _Optional[str] = ...) -> None: ...

class DescribeRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class HeldGroup(_message.Message):
    __slots__ = ("group", "applied_revision", "refusal")
    GROUP_FIELD_NUMBER: _ClassVar[int]
    APPLIED_REVISION_FIELD_NUMBER: _ClassVar[int]
    REFUSAL_FIELD_NUMBER: _ClassVar[int]
    group: int
    applied_revision: int
    refusal: str
    def __init__(self, group: _Optional[int] = ..., applied_revision: _Optional[int] = ..., refusal: _Optional[str] = ...) -> None: ...

class DescribeResponse(_message.Message):
    __slots__ = ("cluster", "cluster_id", "node", "region", "version", "tables", "slots", "groups", "held")
    CLUSTER_FIELD_NUMBER: _ClassVar[int]
    CLUSTER_ID_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    REGION_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    TABLES_FIELD_NUMBER: _ClassVar[int]
    SLOTS_FIELD_NUMBER: _ClassVar[int]
    GROUPS_FIELD_NUMBER: _ClassVar[int]
    HELD_FIELD_NUMBER: _ClassVar[int]
    cluster: str
    cluster_id: str
    node: str
    region: str
    version: str
    tables: _containers.RepeatedScalarFieldContainer[str]
    slots: int
    groups: int
    held: _containers.RepeatedCompositeFieldContainer[HeldGroup]
    def __init__(self, cluster: _Optional[str] = ..., cluster_id: _Optional[str] = ..., node: _Optional[str] = ..., region: _Optional[str] = ..., version: _Optional[str] = ..., tables: _Optional[_Iterable[str]] = ..., slots: _Optional[int] = ..., groups: _Optional[int] = ..., held: _Optional[_Iterable[_Union[HeldGroup, _Mapping]]] = ...) -> None: ...

class BackupRequest(_message.Message):
    __slots__ = ("groups",)
    GROUPS_FIELD_NUMBER: _ClassVar[int]
    groups: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, groups: _Optional[_Iterable[int]] = ...) -> None: ...

class BackupBegin(_message.Message):
    __slots__ = ("group", "revision", "term", "node", "rows_about")
    GROUP_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    TERM_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    ROWS_ABOUT_FIELD_NUMBER: _ClassVar[int]
    group: int
    revision: int
    term: int
    node: str
    rows_about: int
    def __init__(self, group: _Optional[int] = ..., revision: _Optional[int] = ..., term: _Optional[int] = ..., node: _Optional[str] = ..., rows_about: _Optional[int] = ...) -> None: ...

class BackupEnd(_message.Message):
    __slots__ = ("group",)
    GROUP_FIELD_NUMBER: _ClassVar[int]
    group: int
    def __init__(self, group: _Optional[int] = ...) -> None: ...

class BackupPart(_message.Message):
    __slots__ = ("begin", "rows", "end")
    BEGIN_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    begin: BackupBegin
    rows: bytes
    end: BackupEnd
    def __init__(self, begin: _Optional[_Union[BackupBegin, _Mapping]] = ..., rows: _Optional[bytes] = ..., end: _Optional[_Union[BackupEnd, _Mapping]] = ...) -> None: ...

class BeginRestoreRequest(_message.Message):
    __slots__ = ("backup_id", "found_empty")
    BACKUP_ID_FIELD_NUMBER: _ClassVar[int]
    FOUND_EMPTY_FIELD_NUMBER: _ClassVar[int]
    backup_id: str
    found_empty: bool
    def __init__(self, backup_id: _Optional[str] = ..., found_empty: bool = ...) -> None: ...

class FindRowRequest(_message.Message):
    __slots__ = ("group",)
    GROUP_FIELD_NUMBER: _ClassVar[int]
    group: int
    def __init__(self, group: _Optional[int] = ...) -> None: ...

class FindRowResponse(_message.Message):
    __slots__ = ("found", "table", "key")
    FOUND_FIELD_NUMBER: _ClassVar[int]
    TABLE_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    found: bool
    table: str
    key: str
    def __init__(self, found: bool = ..., table: _Optional[str] = ..., key: _Optional[str] = ...) -> None: ...

class NoteRestoreRequest(_message.Message):
    __slots__ = ("backup_id", "version", "chunks", "done")
    BACKUP_ID_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    CHUNKS_FIELD_NUMBER: _ClassVar[int]
    DONE_FIELD_NUMBER: _ClassVar[int]
    backup_id: str
    version: int
    chunks: int
    done: bool
    def __init__(self, backup_id: _Optional[str] = ..., version: _Optional[int] = ..., chunks: _Optional[int] = ..., done: bool = ...) -> None: ...

class RestoreStanding(_message.Message):
    __slots__ = ("version", "chunks", "done")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    CHUNKS_FIELD_NUMBER: _ClassVar[int]
    DONE_FIELD_NUMBER: _ClassVar[int]
    version: int
    chunks: int
    done: bool
    def __init__(self, version: _Optional[int] = ..., chunks: _Optional[int] = ..., done: bool = ...) -> None: ...

class ImportRequest(_message.Message):
    __slots__ = ("names", "units", "versions", "client_ids", "sequences")
    NAMES_FIELD_NUMBER: _ClassVar[int]
    UNITS_FIELD_NUMBER: _ClassVar[int]
    VERSIONS_FIELD_NUMBER: _ClassVar[int]
    CLIENT_IDS_FIELD_NUMBER: _ClassVar[int]
    SEQUENCES_FIELD_NUMBER: _ClassVar[int]
    names: _containers.RepeatedScalarFieldContainer[bytes]
    units: _containers.RepeatedScalarFieldContainer[str]
    versions: _containers.RepeatedScalarFieldContainer[int]
    client_ids: _containers.RepeatedScalarFieldContainer[int]
    sequences: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, names: _Optional[_Iterable[bytes]] = ..., units: _Optional[_Iterable[str]] = ..., versions: _Optional[_Iterable[int]] = ..., client_ids: _Optional[_Iterable[int]] = ..., sequences: _Optional[_Iterable[int]] = ...) -> None: ...

class ImportResponse(_message.Message):
    __slots__ = ("imported", "present", "refused", "undecided", "detail", "retry_delay_ms")
    class Refused(_message.Message):
        __slots__ = ("position", "unit", "version")
        POSITION_FIELD_NUMBER: _ClassVar[int]
        UNIT_FIELD_NUMBER: _ClassVar[int]
        VERSION_FIELD_NUMBER: _ClassVar[int]
        position: int
        unit: str
        version: int
        def __init__(self, position: _Optional[int] = ..., unit: _Optional[str] = ..., version: _Optional[int] = ...) -> None: ...
    IMPORTED_FIELD_NUMBER: _ClassVar[int]
    PRESENT_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    UNDECIDED_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    RETRY_DELAY_MS_FIELD_NUMBER: _ClassVar[int]
    imported: int
    present: int
    refused: _containers.RepeatedCompositeFieldContainer[ImportResponse.Refused]
    undecided: _containers.RepeatedScalarFieldContainer[int]
    detail: str
    retry_delay_ms: int
    def __init__(self, imported: _Optional[int] = ..., present: _Optional[int] = ..., refused: _Optional[_Iterable[_Union[ImportResponse.Refused, _Mapping]]] = ..., undecided: _Optional[_Iterable[int]] = ..., detail: _Optional[str] = ..., retry_delay_ms: _Optional[int] = ...) -> None: ...

class BarrierRequest(_message.Message):
    __slots__ = ("group",)
    GROUP_FIELD_NUMBER: _ClassVar[int]
    group: int
    def __init__(self, group: _Optional[int] = ...) -> None: ...

class BarrierResponse(_message.Message):
    __slots__ = ("applied_revision",)
    APPLIED_REVISION_FIELD_NUMBER: _ClassVar[int]
    applied_revision: int
    def __init__(self, applied_revision: _Optional[int] = ...) -> None: ...

class DigestRequest(_message.Message):
    __slots__ = ("group", "revision", "slots")
    GROUP_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    SLOTS_FIELD_NUMBER: _ClassVar[int]
    group: int
    revision: int
    slots: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, group: _Optional[int] = ..., revision: _Optional[int] = ..., slots: _Optional[_Iterable[int]] = ...) -> None: ...

class DigestStanding(_message.Message):
    __slots__ = ("passed", "applied_revision")
    PASSED_FIELD_NUMBER: _ClassVar[int]
    APPLIED_REVISION_FIELD_NUMBER: _ClassVar[int]
    passed: bool
    applied_revision: int
    def __init__(self, passed: bool = ..., applied_revision: _Optional[int] = ...) -> None: ...

class DigestResult(_message.Message):
    __slots__ = ("rows", "slots", "digests", "history_digest")
    ROWS_FIELD_NUMBER: _ClassVar[int]
    SLOTS_FIELD_NUMBER: _ClassVar[int]
    DIGESTS_FIELD_NUMBER: _ClassVar[int]
    HISTORY_DIGEST_FIELD_NUMBER: _ClassVar[int]
    rows: int
    slots: _containers.RepeatedScalarFieldContainer[int]
    digests: bytes
    history_digest: bytes
    def __init__(self, rows: _Optional[int] = ..., slots: _Optional[_Iterable[int]] = ..., digests: _Optional[bytes] = ..., history_digest: _Optional[bytes] = ...) -> None: ...

class DigestPart(_message.Message):
    __slots__ = ("standing", "result", "rows")
    STANDING_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    standing: DigestStanding
    result: DigestResult
    rows: bytes
    def __init__(self, standing: _Optional[_Union[DigestStanding, _Mapping]] = ..., result: _Optional[_Union[DigestResult, _Mapping]] = ..., rows: _Optional[bytes] = ...) -> None: ...

class GetTopologyRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ReplicaStanding(_message.Message):
    __slots__ = ("group", "leads", "term", "leader", "voters", "learners", "committed", "removed", "refusal")
    GROUP_FIELD_NUMBER: _ClassVar[int]
    LEADS_FIELD_NUMBER: _ClassVar[int]
    TERM_FIELD_NUMBER: _ClassVar[int]
    LEADER_FIELD_NUMBER: _ClassVar[int]
    VOTERS_FIELD_NUMBER: _ClassVar[int]
    LEARNERS_FIELD_NUMBER: _ClassVar[int]
    COMMITTED_FIELD_NUMBER: _ClassVar[int]
    REMOVED_FIELD_NUMBER: _ClassVar[int]
    REFUSAL_FIELD_NUMBER: _ClassVar[int]
    group: int
    leads: bool
    term: int
    leader: str
    voters: _containers.RepeatedScalarFieldContainer[str]
    learners: _containers.RepeatedScalarFieldContainer[str]
    committed: bool
    removed: bool
    refusal: str
    def __init__(self, group: _Optional[int] = ..., leads: bool = ..., term: _Optional[int] = ..., leader: _Optional[str] = ..., voters: _Optional[_Iterable[str]] = ..., learners: _Optional[_Iterable[str]] = ..., committed: bool = ..., removed: bool = ..., refusal: _Optional[str] = ...) -> None: ...

class RoundTrip(_message.Message):
    __slots__ = ("node", "round_trip_s", "samples")
    NODE_FIELD_NUMBER: _ClassVar[int]
    ROUND_TRIP_S_FIELD_NUMBER: _ClassVar[int]
    SAMPLES_FIELD_NUMBER: _ClassVar[int]
    node: str
    round_trip_s: float
    samples: int
    def __init__(self, node: _Optional[str] = ..., round_trip_s: _Optional[float] = ..., samples: _Optional[int] = ...) -> None: ...

class TopologyStanding(_message.Message):
    __slots__ = ("node", "json", "unsettled", "replicas", "round_trips", "claims", "levels", "release")
    NODE_FIELD_NUMBER: _ClassVar[int]
    JSON_FIELD_NUMBER: _ClassVar[int]
    UNSETTLED_FIELD_NUMBER: _ClassVar[int]
    REPLICAS_FIELD_NUMBER: _ClassVar[int]
    ROUND_TRIPS_FIELD_NUMBER: _ClassVar[int]
    CLAIMS_FIELD_NUMBER: _ClassVar[int]
    LEVELS_FIELD_NUMBER: _ClassVar[int]
    RELEASE_FIELD_NUMBER: _ClassVar[int]
    node: str
    json: str
    unsettled: _containers.RepeatedScalarFieldContainer[int]
    replicas: _containers.RepeatedCompositeFieldContainer[ReplicaStanding]
    round_trips: _containers.RepeatedCompositeFieldContainer[RoundTrip]
    claims: _containers.RepeatedCompositeFieldContainer[SlotClaims]
    levels: LevelsStanding
    release: str
    def __init__(self, node: _Optional[str] = ..., json: _Optional[str] = ..., unsettled: _Optional[_Iterable[int]] = ..., replicas: _Optional[_Iterable[_Union[ReplicaStanding, _Mapping]]] = ..., round_trips: _Optional[_Iterable[_Union[RoundTrip, _Mapping]]] = ..., claims: _Optional[_Iterable[_Union[SlotClaims, _Mapping]]] = ..., levels: _Optional[_Union[LevelsStanding, _Mapping]] = ..., release: _Optional[str] = ...) -> None: ...

class SlotClaims(_message.Message):
    __slots__ = ("geo", "slots", "orders", "groups")
    GEO_FIELD_NUMBER: _ClassVar[int]
    SLOTS_FIELD_NUMBER: _ClassVar[int]
    ORDERS_FIELD_NUMBER: _ClassVar[int]
    GROUPS_FIELD_NUMBER: _ClassVar[int]
    geo: str
    slots: _containers.RepeatedScalarFieldContainer[int]
    orders: _containers.RepeatedScalarFieldContainer[int]
    groups: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, geo: _Optional[str] = ..., slots: _Optional[_Iterable[int]] = ..., orders: _Optional[_Iterable[int]] = ..., groups: _Optional[_Iterable[int]] = ...) -> None: ...

class MemberNode(_message.Message):
    __slots__ = ("name", "region", "peer", "client", "learner")
    NAME_FIELD_NUMBER: _ClassVar[int]
    REGION_FIELD_NUMBER: _ClassVar[int]
    PEER_FIELD_NUMBER: _ClassVar[int]
    CLIENT_FIELD_NUMBER: _ClassVar[int]
    LEARNER_FIELD_NUMBER: _ClassVar[int]
    name: str
    region: str
    peer: str
    client: str
    learner: bool
    def __init__(self, name: _Optional[str] = ..., region: _Optional[str] = ..., peer: _Optional[str] = ..., client: _Optional[str] = ..., learner: bool = ...) -> None: ...

class ReplaceNode(_message.Message):
    __slots__ = ("name", "node")
    NAME_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    name: str
    node: MemberNode
    def __init__(self, name: _Optional[str] = ..., node: _Optional[_Union[MemberNode, _Mapping]] = ...) -> None: ...

class Drain(_message.Message):
    __slots__ = ("where", "undo")
    WHERE_FIELD_NUMBER: _ClassVar[int]
    UNDO_FIELD_NUMBER: _ClassVar[int]
    where: str
    undo: bool
    def __init__(self, where: _Optional[str] = ..., undo: bool = ...) -> None: ...

class Leaders(_message.Message):
    __slots__ = ("nodes",)
    NODES_FIELD_NUMBER: _ClassVar[int]
    nodes: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, nodes: _Optional[_Iterable[str]] = ...) -> None: ...

class Growth(_message.Message):
    __slots__ = ("groups", "geo", "empty")
    GROUPS_FIELD_NUMBER: _ClassVar[int]
    GEO_FIELD_NUMBER: _ClassVar[int]
    EMPTY_FIELD_NUMBER: _ClassVar[int]
    groups: int
    geo: str
    empty: bool
    def __init__(self, groups: _Optional[int] = ..., geo: _Optional[str] = ..., empty: bool = ...) -> None: ...

class MoveSlots(_message.Message):
    __slots__ = ("slots", "to")
    SLOTS_FIELD_NUMBER: _ClassVar[int]
    TO_FIELD_NUMBER: _ClassVar[int]
    slots: str
    to: int
    def __init__(self, slots: _Optional[str] = ..., to: _Optional[int] = ...) -> None: ...

class DealSlots(_message.Message):
    __slots__ = ("geo",)
    GEO_FIELD_NUMBER: _ClassVar[int]
    geo: str
    def __init__(self, geo: _Optional[str] = ...) -> None: ...

class UndoSlots(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GeoRegions(_message.Message):
    __slots__ = ("name", "regions")
    NAME_FIELD_NUMBER: _ClassVar[int]
    REGIONS_FIELD_NUMBER: _ClassVar[int]
    name: str
    regions: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, name: _Optional[str] = ..., regions: _Optional[_Iterable[str]] = ...) -> None: ...

class FinalizeUpgrade(_message.Message):
    __slots__ = ("level",)
    LEVEL_FIELD_NUMBER: _ClassVar[int]
    level: int
    def __init__(self, level: _Optional[int] = ...) -> None: ...

class ChangeTopologyRequest(_message.Message):
    __slots__ = ("add", "remove", "replace", "replicas", "drain", "leaders", "geo_regions", "grow", "move_slots", "deal_slots", "undo_slots", "finalize")
    ADD_FIELD_NUMBER: _ClassVar[int]
    REMOVE_FIELD_NUMBER: _ClassVar[int]
    REPLACE_FIELD_NUMBER: _ClassVar[int]
    REPLICAS_FIELD_NUMBER: _ClassVar[int]
    DRAIN_FIELD_NUMBER: _ClassVar[int]
    LEADERS_FIELD_NUMBER: _ClassVar[int]
    GEO_REGIONS_FIELD_NUMBER: _ClassVar[int]
    GROW_FIELD_NUMBER: _ClassVar[int]
    MOVE_SLOTS_FIELD_NUMBER: _ClassVar[int]
    DEAL_SLOTS_FIELD_NUMBER: _ClassVar[int]
    UNDO_SLOTS_FIELD_NUMBER: _ClassVar[int]
    FINALIZE_FIELD_NUMBER: _ClassVar[int]
    add: MemberNode
    remove: str
    replace: ReplaceNode
    replicas: int
    drain: Drain
    leaders: Leaders
    geo_regions: GeoRegions
    grow: Growth
    move_slots: MoveSlots
    deal_slots: DealSlots
    undo_slots: UndoSlots
    finalize: FinalizeUpgrade
    def __init__(self, add: _Optional[_Union[MemberNode, _Mapping]] = ..., remove: _Optional[str] = ..., replace: _Optional[_Union[ReplaceNode, _Mapping]] = ..., replicas: _Optional[int] = ..., drain: _Optional[_Union[Drain, _Mapping]] = ..., leaders: _Optional[_Union[Leaders, _Mapping]] = ..., geo_regions: _Optional[_Union[GeoRegions, _Mapping]] = ..., grow: _Optional[_Union[Growth, _Mapping]] = ..., move_slots: _Optional[_Union[MoveSlots, _Mapping]] = ..., deal_slots: _Optional[_Union[DealSlots, _Mapping]] = ..., undo_slots: _Optional[_Union[UndoSlots, _Mapping]] = ..., finalize: _Optional[_Union[FinalizeUpgrade, _Mapping]] = ...) -> None: ...

from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class RouteSource(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ROUTE_SOURCE_UNSPECIFIED: _ClassVar[RouteSource]
    ROUTE_SOURCE_RULE: _ClassVar[RouteSource]
    ROUTE_SOURCE_CACHE: _ClassVar[RouteSource]
    ROUTE_SOURCE_READ: _ClassVar[RouteSource]
    ROUTE_SOURCE_CREATED: _ClassVar[RouteSource]
    ROUTE_SOURCE_GRACE: _ClassVar[RouteSource]
    ROUTE_SOURCE_PROVISIONAL: _ClassVar[RouteSource]

class Layer(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    LAYER_UNSPECIFIED: _ClassVar[Layer]
    LAYER_L0: _ClassVar[Layer]
    LAYER_L1: _ClassVar[Layer]
    LAYER_L2: _ClassVar[Layer]

class RouteFailure(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ROUTE_FAILURE_UNSPECIFIED: _ClassVar[RouteFailure]
    ROUTE_FAILURE_INVALID_ARGUMENT: _ClassVar[RouteFailure]
    ROUTE_FAILURE_NO_HOME: _ClassVar[RouteFailure]
    ROUTE_FAILURE_NOT_BOUND: _ClassVar[RouteFailure]
    ROUTE_FAILURE_NO_UNIT: _ClassVar[RouteFailure]
    ROUTE_FAILURE_UNAVAILABLE: _ClassVar[RouteFailure]
    ROUTE_FAILURE_UNKNOWN: _ClassVar[RouteFailure]
    ROUTE_FAILURE_INTERNAL: _ClassVar[RouteFailure]

class UnitState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    UNIT_STATE_UNSPECIFIED: _ClassVar[UnitState]
    UNIT_STATE_SERVING: _ClassVar[UnitState]
    UNIT_STATE_DRAINED: _ClassVar[UnitState]
    UNIT_STATE_UNHEALTHY: _ClassVar[UnitState]
ROUTE_SOURCE_UNSPECIFIED: RouteSource
ROUTE_SOURCE_RULE: RouteSource
ROUTE_SOURCE_CACHE: RouteSource
ROUTE_SOURCE_READ: RouteSource
ROUTE_SOURCE_CREATED: RouteSource
ROUTE_SOURCE_GRACE: RouteSource
ROUTE_SOURCE_PROVISIONAL: RouteSource
LAYER_UNSPECIFIED: Layer
LAYER_L0: Layer
LAYER_L1: Layer
LAYER_L2: Layer
ROUTE_FAILURE_UNSPECIFIED: RouteFailure
ROUTE_FAILURE_INVALID_ARGUMENT: RouteFailure
ROUTE_FAILURE_NO_HOME: RouteFailure
ROUTE_FAILURE_NOT_BOUND: RouteFailure
ROUTE_FAILURE_NO_UNIT: RouteFailure
ROUTE_FAILURE_UNAVAILABLE: RouteFailure
ROUTE_FAILURE_UNKNOWN: RouteFailure
ROUTE_FAILURE_INTERNAL: RouteFailure
UNIT_STATE_UNSPECIFIED: UnitState
UNIT_STATE_SERVING: UnitState
UNIT_STATE_DRAINED: UnitState
UNIT_STATE_UNHEALTHY: UnitState

class RouteQuery(_message.Message):
    __slots__ = ("dimension", "key", "region", "creator", "attributes")
    class AttributesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    DIMENSION_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    REGION_FIELD_NUMBER: _ClassVar[int]
    CREATOR_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    dimension: str
    key: str
    region: str
    creator: str
    attributes: _containers.ScalarMap[str, str]
    def __init__(self, dimension: _Optional[str] = ..., key: _Optional[str] = ..., region: _Optional[str] = ..., creator: _Optional[str] = ..., attributes: _Optional[_Mapping[str, str]] = ...) -> None: ...

class ResolveRequest(_message.Message):
    __slots__ = ("queries", "lookup")
    QUERIES_FIELD_NUMBER: _ClassVar[int]
    LOOKUP_FIELD_NUMBER: _ClassVar[int]
    queries: _containers.RepeatedCompositeFieldContainer[RouteQuery]
    lookup: bool
    def __init__(self, queries: _Optional[_Iterable[_Union[RouteQuery, _Mapping]]] = ..., lookup: bool = ...) -> None: ...

class Route(_message.Message):
    __slots__ = ("dimension", "key", "unit", "version", "expires_at_s", "header", "address")
    DIMENSION_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    UNIT_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AT_S_FIELD_NUMBER: _ClassVar[int]
    HEADER_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    dimension: str
    key: str
    unit: str
    version: int
    expires_at_s: int
    header: bytes
    address: str
    def __init__(self, dimension: _Optional[str] = ..., key: _Optional[str] = ..., unit: _Optional[str] = ..., version: _Optional[int] = ..., expires_at_s: _Optional[int] = ..., header: _Optional[bytes] = ..., address: _Optional[str] = ...) -> None: ...

class RouteResult(_message.Message):
    __slots__ = ("route", "source", "layer", "failure", "message")
    ROUTE_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    LAYER_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    route: Route
    source: RouteSource
    layer: Layer
    failure: RouteFailure
    message: str
    def __init__(self, route: _Optional[_Union[Route, _Mapping]] = ..., source: _Optional[_Union[RouteSource, str]] = ..., layer: _Optional[_Union[Layer, str]] = ..., failure: _Optional[_Union[RouteFailure, str]] = ..., message: _Optional[str] = ...) -> None: ...

class ResolveResponse(_message.Message):
    __slots__ = ("results",)
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[RouteResult]
    def __init__(self, results: _Optional[_Iterable[_Union[RouteResult, _Mapping]]] = ...) -> None: ...

class HeldKey(_message.Message):
    __slots__ = ("dimension", "key", "version")
    DIMENSION_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    dimension: str
    key: str
    version: int
    def __init__(self, dimension: _Optional[str] = ..., key: _Optional[str] = ..., version: _Optional[int] = ...) -> None: ...

class WatchRoutesRequest(_message.Message):
    __slots__ = ("hold", "release")
    HOLD_FIELD_NUMBER: _ClassVar[int]
    RELEASE_FIELD_NUMBER: _ClassVar[int]
    hold: _containers.RepeatedCompositeFieldContainer[HeldKey]
    release: _containers.RepeatedCompositeFieldContainer[HeldKey]
    def __init__(self, hold: _Optional[_Iterable[_Union[HeldKey, _Mapping]]] = ..., release: _Optional[_Iterable[_Union[HeldKey, _Mapping]]] = ...) -> None: ...

class RouteUpdate(_message.Message):
    __slots__ = ("route",)
    ROUTE_FIELD_NUMBER: _ClassVar[int]
    route: Route
    def __init__(self, route: _Optional[_Union[Route, _Mapping]] = ...) -> None: ...

class WatchRoutesResponse(_message.Message):
    __slots__ = ("updates",)
    UPDATES_FIELD_NUMBER: _ClassVar[int]
    updates: _containers.RepeatedCompositeFieldContainer[RouteUpdate]
    def __init__(self, updates: _Optional[_Iterable[_Union[RouteUpdate, _Mapping]]] = ...) -> None: ...

class GetPolicyRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class SetPolicyRequest(_message.Message):
    __slots__ = ("name", "text", "version")
    NAME_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    name: str
    text: str
    version: int
    def __init__(self, name: _Optional[str] = ..., text: _Optional[str] = ..., version: _Optional[int] = ...) -> None: ...

class PolicyResponse(_message.Message):
    __slots__ = ("text", "version")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    text: str
    version: int
    def __init__(self, text: _Optional[str] = ..., version: _Optional[int] = ...) -> None: ...

class ListUnitsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class UnitStatus(_message.Message):
    __slots__ = ("name", "region", "address", "capacity", "tags", "state")
    NAME_FIELD_NUMBER: _ClassVar[int]
    REGION_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    CAPACITY_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    name: str
    region: str
    address: str
    capacity: float
    tags: _containers.RepeatedScalarFieldContainer[str]
    state: UnitState
    def __init__(self, name: _Optional[str] = ..., region: _Optional[str] = ..., address: _Optional[str] = ..., capacity: _Optional[float] = ..., tags: _Optional[_Iterable[str]] = ..., state: _Optional[_Union[UnitState, str]] = ...) -> None: ...

class ListUnitsResponse(_message.Message):
    __slots__ = ("units",)
    UNITS_FIELD_NUMBER: _ClassVar[int]
    units: _containers.RepeatedCompositeFieldContainer[UnitStatus]
    def __init__(self, units: _Optional[_Iterable[_Union[UnitStatus, _Mapping]]] = ...) -> None: ...

class DrainUnitRequest(_message.Message):
    __slots__ = ("unit", "serve")
    UNIT_FIELD_NUMBER: _ClassVar[int]
    SERVE_FIELD_NUMBER: _ClassVar[int]
    unit: str
    serve: bool
    def __init__(self, unit: _Optional[str] = ..., serve: bool = ...) -> None: ...

class DrainUnitResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

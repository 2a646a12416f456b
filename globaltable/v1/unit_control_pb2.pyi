from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class UnitAnswer(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    UNIT_ANSWER_UNSPECIFIED: _ClassVar[UnitAnswer]
    UNIT_ANSWER_DONE: _ClassVar[UnitAnswer]
    UNIT_ANSWER_BUSY: _ClassVar[UnitAnswer]
    UNIT_ANSWER_SUPERSEDED: _ClassVar[UnitAnswer]
    UNIT_ANSWER_FAILED: _ClassVar[UnitAnswer]
UNIT_ANSWER_UNSPECIFIED: UnitAnswer
UNIT_ANSWER_DONE: UnitAnswer
UNIT_ANSWER_BUSY: UnitAnswer
UNIT_ANSWER_SUPERSEDED: UnitAnswer
UNIT_ANSWER_FAILED: UnitAnswer

class KeyHandover(_message.Message):
    __slots__ = ("key", "version", "source", "target", "forced")
    KEY_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    FORCED_FIELD_NUMBER: _ClassVar[int]
    key: str
    version: int
    source: str
    target: str
    forced: bool
    def __init__(self, key: _Optional[str] = ..., version: _Optional[int] = ..., source: _Optional[str] = ..., target: _Optional[str] = ..., forced: bool = ...) -> None: ...

class DrainKeysRequest(_message.Message):
    __slots__ = ("dimension", "handovers", "timeout_s")
    DIMENSION_FIELD_NUMBER: _ClassVar[int]
    HANDOVERS_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_S_FIELD_NUMBER: _ClassVar[int]
    dimension: str
    handovers: _containers.RepeatedCompositeFieldContainer[KeyHandover]
    timeout_s: float
    def __init__(self, dimension: _Optional[str] = ..., handovers: _Optional[_Iterable[_Union[KeyHandover, _Mapping]]] = ..., timeout_s: _Optional[float] = ...) -> None: ...

class ReceiveKeysRequest(_message.Message):
    __slots__ = ("dimension", "handovers")
    DIMENSION_FIELD_NUMBER: _ClassVar[int]
    HANDOVERS_FIELD_NUMBER: _ClassVar[int]
    dimension: str
    handovers: _containers.RepeatedCompositeFieldContainer[KeyHandover]
    def __init__(self, dimension: _Optional[str] = ..., handovers: _Optional[_Iterable[_Union[KeyHandover, _Mapping]]] = ...) -> None: ...

class KeyPlace(_message.Message):
    __slots__ = ("key", "unit", "version")
    KEY_FIELD_NUMBER: _ClassVar[int]
    UNIT_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    key: str
    unit: str
    version: int
    def __init__(self, key: _Optional[str] = ..., unit: _Optional[str] = ..., version: _Optional[int] = ...) -> None: ...

class SettleKeysRequest(_message.Message):
    __slots__ = ("dimension", "places")
    DIMENSION_FIELD_NUMBER: _ClassVar[int]
    PLACES_FIELD_NUMBER: _ClassVar[int]
    dimension: str
    places: _containers.RepeatedCompositeFieldContainer[KeyPlace]
    def __init__(self, dimension: _Optional[str] = ..., places: _Optional[_Iterable[_Union[KeyPlace, _Mapping]]] = ...) -> None: ...

class UnitReply(_message.Message):
    __slots__ = ("answer", "detail")
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    answer: UnitAnswer
    detail: str
    def __init__(self, answer: _Optional[_Union[UnitAnswer, str]] = ..., detail: _Optional[str] = ...) -> None: ...

class UnitReplies(_message.Message):
    __slots__ = ("replies",)
    REPLIES_FIELD_NUMBER: _ClassVar[int]
    replies: _containers.RepeatedCompositeFieldContainer[UnitReply]
    def __init__(self, replies: _Optional[_Iterable[_Union[UnitReply, _Mapping]]] = ...) -> None: ...

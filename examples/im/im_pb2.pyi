from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class CreateRequest(_message.Message):
    __slots__ = ("chat",)
    CHAT_FIELD_NUMBER: _ClassVar[int]
    chat: str
    def __init__(self, chat: _Optional[str] = ...) -> None: ...

class CreateResponse(_message.Message):
    __slots__ = ("unit", "created")
    UNIT_FIELD_NUMBER: _ClassVar[int]
    CREATED_FIELD_NUMBER: _ClassVar[int]
    unit: str
    created: bool
    def __init__(self, unit: _Optional[str] = ..., created: bool = ...) -> None: ...

class SendRequest(_message.Message):
    __slots__ = ("chat", "message_id", "text")
    CHAT_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_ID_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    chat: str
    message_id: str
    text: str
    def __init__(self, chat: _Optional[str] = ..., message_id: _Optional[str] = ..., text: _Optional[str] = ...) -> None: ...

class SendResponse(_message.Message):
    __slots__ = ("number",)
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    number: int
    def __init__(self, number: _Optional[int] = ...) -> None: ...

class FollowRequest(_message.Message):
    __slots__ = ("chat", "after")
    CHAT_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    chat: str
    after: int
    def __init__(self, chat: _Optional[str] = ..., after: _Optional[int] = ...) -> None: ...

class Message(_message.Message):
    __slots__ = ("number", "message_id", "text", "unit")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_ID_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    UNIT_FIELD_NUMBER: _ClassVar[int]
    number: int
    message_id: str
    text: str
    unit: str
    def __init__(self, number: _Optional[int] = ..., message_id: _Optional[str] = ..., text: _Optional[str] = ..., unit: _Optional[str] = ...) -> None: ...

class ExportRequest(_message.Message):
    __slots__ = ("chat", "version")
    CHAT_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    chat: str
    version: int
    def __init__(self, chat: _Optional[str] = ..., version: _Optional[int] = ...) -> None: ...

class ExportResponse(_message.Message):
    __slots__ = ("messages",)
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
    messages: _containers.RepeatedCompositeFieldContainer[Message]
    def __init__(self, messages: _Optional[_Iterable[_Union[Message, _Mapping]]] = ...) -> None: ...

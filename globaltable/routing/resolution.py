"""What a router answers, and what it asks to be able to: plain values.

Responsible for what they are; `resolving` decides which of them comes when.
"""

import enum
from collections.abc import Generator
from typing import NamedTuple, Protocol

from globaltable.errors import Rejected, Unavailable
from globaltable.model import Binding
from globaltable.routing.config import Layer
from globaltable.routing.route import Route


class Source(enum.Enum):
    """Where an answer came from."""

    RULE = "rule"
    """It follows from the configuration: layers L0 and L1."""
    CACHE = "cache"
    """It was known here, and has not expired."""
    READ = "read"
    """GlobalTable said so now."""
    CREATED = "created"
    """It was bound by this call."""
    GRACE = "grace"
    """It was known here and has expired, and GlobalTable could not be asked: it may be old."""
    PROVISIONAL = "provisional"
    """Nobody knows it and GlobalTable could not be asked: where the policy would place it. It is
    bound to no unit, and may yet be bound to another one."""


class Resolution(NamedTuple):
    """A route, and how it came about. `header` is the signed route; None where there is none."""

    route: Route
    layer: Layer
    source: Source
    header: bytes | None = None


class NoUnit(Unavailable):
    """No unit may be given the session: the policy has no opinion, or all are drained or ill."""


class NoHome(Rejected):
    """No rule of the dimension knows the key."""


class Signer(Protocol):
    """What signs routes: `routing.header.HeaderSigner`."""

    def sign(self, route: Route, now_s: float) -> bytes: ...


class Verb(enum.Enum):
    """What GlobalTable is asked."""

    READ = "read"
    READ_BEHIND_BARRIER = "read behind a barrier"
    BIND = "bind"


class Ask(NamedTuple):
    """A question to GlobalTable. `timeout_s` None is the router's own."""

    verb: Verb
    table: str
    key: str
    unit: str = ""
    timeout_s: float | None = None


class Answer(NamedTuple):
    """What it said: None if the key is not bound."""

    binding: Binding | None


Resolving = Generator[Ask, Answer, Resolution]


class RouteChange(NamedTuple):
    """A key's unit has changed; None if it is bound to none any more."""

    dimension: str
    key: str
    unit: str | None
    version: int

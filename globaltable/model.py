"""The plain values everything else is about: ops, outcomes, bindings.

Responsible for what a request and its result *are*. It knows nothing of what makes them valid
(`validation`), of encodings (`wire`), of how ops take effect (`table`) or of replication (`group`).

A key is named inside the core by its *qualified name*: the table, a NUL byte, and the key, in
UTF-8. Tables hold no NUL, so names of different tables never collide and a table's names share a
prefix.
"""

import enum
from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

if TYPE_CHECKING:
    from globaltable.slot_steps import Step

SEPARATOR: Final = b"\0"

SYSTEM_TABLE: Final = "globaltable:system"
"""What a cluster keeps about itself among its bindings. No caller's table can be named so."""


class OpKind(enum.IntEnum):
    """What an op asks for. The numbers are those of the stored and the wire format."""

    BIND = 1
    MOVE = 2
    UNBIND = 3
    IMPORT = 4
    """A row of another place taken over as it is: from a backup, or from another group. No caller
    of the public API can ask for it."""


class OutcomeStatus(enum.IntEnum):
    """How an op ended. The numbers are those of `globaltable.v1.OutcomeStatus`."""

    APPLIED = 1
    EXISTS = 2
    VERSION_CONFLICT = 3
    NOT_BOUND = 4
    INVALID_ARGUMENT = 5
    UNAVAILABLE = 6
    OVERLOADED = 7
    UNKNOWN = 8
    ELSEWHERE = 9
    PERMISSION_DENIED = 10


class Binding(NamedTuple):
    """Where a key lives. `revision` is the group's log index at which this version was made."""

    unit: str
    version: int
    revision: int
    created: bool = False
    """True in the answer to the bind that made it."""


class Op(NamedTuple):
    """One request on one key. `(client_id, sequence)` is its identity: a retry carries the same.

    An import carries the row: its unit ("" for a tombstone), its version, and the identity of the
    op that made it, so that a retry of that op is known for what it is where the row now stands.
    """

    kind: OpKind
    name: bytes
    unit: str
    version: int
    client_id: int
    sequence: int


class Batch(NamedTuple):
    """The ops of one log entry, proposed by one node.

    `as_of` is the revision at which the proposing replica stood. The table refuses a batch whose
    `as_of` is older than the history it keeps, for it could no longer tell a duplicate.
    A batch without ops is a read barrier, or the one step of a slot's move that it carries.
    """

    batch_id: bytes
    as_of: int
    ops: tuple[Op, ...]
    step: "Step | None" = None

    @property
    def outcomes(self) -> int:
        """How many there are once it is applied."""
        return len(self.ops) if self.step is None else 1


class Outcome(NamedTuple):
    """How an op ended, with the binding it made or ran into."""

    status: OutcomeStatus
    binding: Binding | None = None
    detail: str = ""
    group: int = -1
    """ELSEWHERE: the group to which the key's slot went, if that is known."""


T = TypeVar("T", bound=tuple[Any, ...])


def from_columns(kind: type[T], *columns: Iterable[Any]) -> list[T]:
    """Values of a NamedTuple, from a column for each of its fields; as many as the shortest has, so
    that a `repeat` may be one. Half of what it costs to call `kind` for each."""
    make = partial(tuple.__new__, kind)
    return list(map(make, zip(*columns)))  # noqa: B905


def qualified_name(table: str, key: str) -> bytes:
    """The name of `key` of `table`. Both must be valid: this is the inverse of `split_name`."""
    return table.encode() + SEPARATOR + key.encode()


TOPOLOGY_NAME: Final = qualified_name(SYSTEM_TABLE, "topology-elreykv")
"""The binding whose unit is the topology. The CRC-32 of this very name is 0: it is in slot 0, and
so in group 0, whatever the number of slots and groups."""


def is_name(name: bytes) -> bool:
    """Whether `split_name` can take it apart."""
    table, separator, key = name.partition(SEPARATOR)
    try:
        name.decode()
    except UnicodeDecodeError:
        return False
    return bool(table and separator and key)


def split_name(name: bytes) -> tuple[str, str]:
    """The table and the key of a qualified name."""
    table, separator, key = name.partition(SEPARATOR)
    assert separator, name
    return table.decode(), key.decode()

"""What can go wrong, grouped by what the caller can do about it.

::

    GlobalTableError
    ├── Rejected                 the op was refused and changed nothing; do not send it again as is
    │   ├── InvalidArgument      a value is malformed, or the table is unknown
    │   ├── LimitExceeded        a value or a batch is over its bound
    │   ├── PermissionDenied     the client's certificate gives it no right to this
    │   ├── NotBound             move or unbind of a key that is not bound
    │   ├── StepRefused          a step of a slot's move is out of order; look at the holdings anew
    │   ├── UpgradeNotFinal      nodes of an older release could not read it; finalize the upgrade
    │   └── VersionConflict      the key has changed; carries the current binding
    ├── Unavailable              the op did not happen; sending it again is safe
    │   ├── ConnectFailed        no node could be reached that holds it
    │   ├── NoQuorum             no majority of regions could be reached in time
    │   ├── Elsewhere            the node asked holds no replica of the group; another does
    │   │   └── SlotElsewhere    the group asked does not hold the slot; another does
    │   └── Overloaded           a queue is full; carries the delay after which to retry
    ├── DeadlineExceeded         the deadline passed; the op did not happen
    │   └── OutcomeUnknown       the deadline passed and the op may have happened
    ├── WatchError               a watch cannot continue where it stood; scan, and watch anew
    │   ├── Compacted            the changes asked for are no longer kept
    │   └── Lagged               the watcher read too slowly
    ├── ProtocolError            a peer or a server sent what it must not
    │   └── NewerFormat          it is of a release that this one does not understand
    ├── ConfigError              a configuration is wrong; nothing was started
    └── StorageError             a disk failed or holds what cannot be true
        └── Corrupt              a record's checksum or shape is wrong
"""

from collections.abc import Mapping

from globaltable.model import Binding


class GlobalTableError(Exception):
    """The root of every error this package raises on purpose."""


class Rejected(GlobalTableError):
    """Refused: nothing changed, and the same request would be refused again."""


class InvalidArgument(Rejected, ValueError):
    """A value is malformed."""


class LimitExceeded(InvalidArgument):
    """A value or a batch is over its bound (`globaltable.limits`)."""


class PermissionDenied(Rejected):
    """Who asks has not the right to, or has not shown who it is."""


class NotBound(Rejected):
    """The key is not bound, so it cannot be moved or unbound."""

    def __init__(self, key: str) -> None:
        super().__init__(f"{key!r} is not bound; bind it first")
        self.key = key


class VersionConflict(Rejected):
    """The key's version is not the one the caller holds."""

    def __init__(self, key: str, expected: int, current: Binding) -> None:
        super().__init__(
            f"{key!r} is at version {current.version} in unit {current.unit!r}, not at version "
            f"{expected}; decide anew from the current binding"
        )
        self.key = key
        self.expected = expected
        self.current = current


class StepRefused(Rejected):
    """A step of a slot's move is out of order in the group that was asked to take it."""


class UpgradeNotFinal(Rejected):
    """What is asked for needs a level that is not in force yet (`globaltable.levels`)."""


class Unavailable(GlobalTableError):
    """Did not happen; a retry is safe."""


class ConnectFailed(Unavailable):
    """None of the nodes known to hold it could be reached."""


class NoQuorum(Unavailable):
    """No leader with a majority was found in time."""


class Elsewhere(Unavailable):
    """The node holds no replica of a group asked for. The client library asks one that does."""


class SlotElsewhere(Elsewhere):
    """The slot of a key is not held by the group that was asked. `group` is where it went from
    there, if that is known."""

    def __init__(self, slot: int, group: int | None) -> None:
        where = "in another group" if group is None else f"in group {group}"
        super().__init__(f"slot {slot} is {where} by now; ask for the topology anew")
        self.slot = slot
        self.group = group


class Overloaded(Unavailable):
    """Refused early because a queue is full."""

    def __init__(self, message: str, retry_delay_s: float) -> None:
        super().__init__(message)
        self.retry_delay_s = retry_delay_s


class DeadlineExceeded(GlobalTableError, TimeoutError):
    """The deadline passed, and the op is known not to have happened."""


class OutcomeUnknown(DeadlineExceeded):
    """The deadline passed after the op was sent: it may or may not have happened.

    Reading the key with `linearizable=True` tells.
    """


class WatchError(GlobalTableError):
    """The watch has lost its place. `oldest` maps a group to the oldest revision it still keeps."""

    def __init__(self, message: str, oldest: Mapping[int, int]) -> None:
        super().__init__(message)
        self.oldest = dict(oldest)


class Compacted(WatchError):
    """The changes asked for are no longer kept."""


class Lagged(WatchError):
    """The watcher read so slowly that changes it had not yet seen are no longer kept."""


class ProtocolError(GlobalTableError):
    """Bytes or messages that no correct peer or server sends."""


class NewerFormat(ProtocolError):
    """What was read is of a format or a level that this release does not understand."""


class ConfigError(GlobalTableError, ValueError):
    """The configuration is wrong; the message names the setting and the value."""


class StorageError(GlobalTableError):
    """The disk failed, is full, or holds what cannot be true."""


class Corrupt(StorageError):
    """A stored record fails its checksum or does not decode."""

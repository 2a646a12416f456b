"""A unit's own fence: which messages it may accept, told without asking anybody.

A header says what was true when it was signed. The fence is what this unit knows since: of each
key the version at which it *owns* it, the highest version at which it has *closed* it, and where
else it is known to live. It is a pure state machine; time, headers already verified and durable
rows come as arguments.

The promise: if two units accept messages of a key, at versions v < w, those at v were all accepted
before the first at w, and each is among the data that w begins with. The rules that keep it:

1. **A version, once closed, is never served again.** A drain ends by closing the key at its
   version, and that is durable before the drain is acknowledged. A move is committed, by
   compare-and-set from that version, only then. So a header of before a move is refused for ever,
   here and after a restart, whatever its expiry. What makes the key come back is only a higher
   version: of a move back (A 1, B 2, A 3), a rebind after an unbind, or an undone move, which binds
   anew to the same unit; that also makes a slow mover's commit fail, which expects the version of
   before. A drain is acknowledged only by the unit that it is meant for, and under its lease: no
   other process serves in its name then.
2. **A header, or GlobalTable's word, admits alone** only if it names this unit at a version above
   all that is closed here and not below what is known of elsewhere. That such a version exists
   proves that its predecessor was drained, and its data handed over: nothing is waited for.
3. **What is under way is counted.** A drain waits until nothing is; a message of a drained key is
   told to come again. Who drains and gives up lets go (`let_go`), unless it had begun to persist.
4. **Nothing is served without the unit's lease** (`lease`), and nothing is acknowledged that is not
   *confirmed* under the same lease, for a process may be paused between the two. A move by force,
   of a unit that does not answer, takes the lease away and waits until it has ended.
5. **After its lease was taken away a unit trusts no version that it has not made itself.** It does
   not know what was moved by force meanwhile. On the first message for a key it *claims* it: a
   compare-and-set to itself, which costs what a linearizable read would. If the move by force has
   come first, the claim fails and tells where to; if it comes second, it fails. `distrust` is
   durable before the lease is taken again, and stays.
6. **Data is received only for a version that is still current**: while it is taken in no message is
   accepted, and then GlobalTable is asked. A mover's late copy cannot cover newer messages.

Why a lease and not the header's expiry: a header is signed by who may itself be cut off, from a
route that was true some time before, and renewed; its expiry bounds nothing. The lease does, and
with no clock compared to another. It is also how long known sessions go on with no GlobalTable.

What it cannot see: a binding that is moved or unbound without its drain (`globaltable move` on a
routing table). Not thread-safe: one event loop asks it.
"""

import enum
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Final, NamedTuple, Protocol, Self

from globaltable.errors import InvalidArgument, OutcomeUnknown, Unavailable
from globaltable.routing.lease import Lease
from globaltable.routing.route import Route

ENTRIES_MAX_DEFAULT: Final = 1_000_000
"""Keys remembered at a time, some 300 bytes each. One that was forgotten is told again by its
header, GlobalTable or the store."""

RETRY_AFTER_S: Final = 0.05
"""When a message of a key that is being moved should come again."""

_FORGET_TRIES: Final = 64


class Verdict(enum.Enum):
    """What is to become of a message."""

    SERVE = "serve"
    """This unit owns the key, at the version told: accept it, within `Fence.enter`."""
    MOVED = "moved"
    """The key lives elsewhere, and the sender does not know: answer with the new route."""
    FORWARD = "forward"
    """The sender knows that it lives elsewhere: hand the message on to that unit."""
    MOVING = "moving"
    """It is being moved: to be sent again after `retry_after_s`, here or where it is by then."""
    ASK = "ask"
    """Nothing is known here: GlobalTable must be asked."""
    LAPSED = "lapsed"
    """The unit has no lease, and so does not know whether the key is still its own."""
    NOT_BOUND = "not bound"
    """GlobalTable knows no such key. (The fence itself never says so.)"""


class Admission(NamedTuple):
    verdict: Verdict
    unit: str = ""
    """Of `SERVE`, this unit; of `MOVED` and `FORWARD`, the other."""
    version: int = 0
    """At which it lives there."""
    retry_after_s: float = 0.0


class Drained(enum.Enum):
    """How far a drain is."""

    UNDER_WAY = "messages are under way"
    EMPTY = "nothing is under way: to be persisted, and then closed"
    CLOSED = "closed before, durably"
    SUPERSEDED = "this unit owns a higher version: the drain is of the past"


class Reception(enum.Enum):
    """Whether the data of a key may be taken in."""

    BEGUN = "no message is admitted until it has ended"
    BUSY = "messages, a drain or another reception are under way"
    SUPERSEDED = "this unit owns a higher version: the data is of the past"


class Closed(NamedTuple):
    """A durable row of the fence: nothing at `version` or below is served here again."""

    dimension: str
    key: str
    version: int
    to: str
    """Whom it was meant for; empty if it was to be unbound. Not where it went: moves fail."""


class ClosedRows(Protocol):
    """What the fence reads of its store (`fence_store`)."""

    def closed_version(self, dimension: str, key: str) -> int:
        """The highest version that is durably closed; 0 if there is none."""


class Moving(Unavailable):
    """The key is no longer to be entered here; it is being moved. Nothing happened."""

    def __init__(self, key: str) -> None:
        super().__init__(f"{key!r} is being moved; try again after {RETRY_AFTER_S} s")
        self.retry_after_s = RETRY_AFTER_S


class NotConfirmed(OutcomeUnknown):
    """The unit lost its lease while the message was under way: it must not be acknowledged.

    It may be among what the next owner has, or not; to send it again there is safe if messages
    carry an id.
    """


class _Entry:
    """What is known of one key."""

    __slots__ = (
        "asked_s",
        "closed",
        "closed_since_s",
        "drains",
        "last_known",
        "owned",
        "receiving",
        "under_way",
    )

    def __init__(self, closed: int, now_s: float) -> None:
        self.closed = closed
        self.closed_since_s = now_s
        self.owned = 0
        """The version at which messages are admitted: 0 if none, else above `closed`."""
        self.last_known: tuple[int, str] = (0, "")
        """The highest version known that is not `owned`, and its unit: another, or, of a unit that
        trusts nobody, this one."""
        self.drains = 0
        """Who drains it now. While anybody does, nothing is admitted."""
        self.receiving = False
        self.under_way = 0
        self.asked_s = -RETRY_AFTER_S

    @property
    def is_busy(self) -> bool:
        return bool(self.under_way or self.drains or self.receiving)


class Permit:
    """A message under way. A context manager; a drain of its key waits until it is left."""

    __slots__ = ("_entry", "_epoch", "_fence", "_name", "version")

    def __init__(self, fence: "Fence", name: tuple[str, str], version: int) -> None:
        self._fence = fence
        self._name = name
        self.version = version
        """The version at which the message is accepted: what its data may be stamped with."""

    def __enter__(self) -> Self:
        """Raises `Moving` if the key is not to be entered at this version, or no longer."""
        self._entry = self._fence.entered(self._name, self.version)
        self._epoch = self._fence.lease.epoch
        self._entry.under_way += 1
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._entry.under_way -= 1
        assert self._entry.under_way >= 0, self._name
        if not self._entry.under_way:
            self._fence.on_idle()

    def confirm(self, now_s: float) -> None:
        """To be called once the message is durable, and before it is acknowledged.

        Raises `NotConfirmed` if the lease is no longer held, or was lost since it was entered, or
        the key is known to live elsewhere by now.
        """
        lease = self._fence.lease
        if lease.epoch != self._epoch or not lease.held(now_s):
            why = "the unit's lease ended"
        elif self._entry.last_known[0] > self.version:
            why = f"the key was moved to {self._entry.last_known[1]!r} without a drain"
        else:
            return
        raise NotConfirmed(
            f"{self._name[1]!r}: {why} while the message was under way; it must not be "
            "acknowledged, and is to be sent again"
        )


class Fence:
    """The fence of the unit named `unit`. Times are of the unit's own clock, which only counts."""

    def __init__(
        self,
        unit: str,
        lease: Lease,
        rows: ClosedRows,
        *,
        distrust: bool = False,
        entries_max: int = ENTRIES_MAX_DEFAULT,
        on_idle: Callable[[], None] = lambda: None,
    ) -> None:
        """`distrust` is what the store says (rule 5). `on_idle` is told whenever the last message
        of a key that was under way has left."""
        if entries_max < 1:
            raise InvalidArgument(f"entries_max must be at least 1, not {entries_max}")
        self.unit = unit
        self.lease = lease
        self.distrust = distrust
        self.on_idle = on_idle
        self._rows = rows
        self._entries_max = entries_max
        self._entries: dict[tuple[str, str], _Entry] = {}

    def __len__(self) -> int:
        return len(self._entries)

    # --- messages --------------------------------------------------------------------------------

    def admit(self, dimension: str, key: str, route: Route | None, now_s: float) -> Admission:
        """What is to become of a message that came with this route, verified and not expired."""
        entry = self._entry(dimension, key, now_s)
        if entry.drains or entry.receiving:
            return Admission(Verdict.MOVING, retry_after_s=RETRY_AFTER_S)
        if route is not None and route.version > max(entry.closed, entry.owned):
            self._take_in(entry, route.unit, route.version)
        if entry.owned:
            if not self.lease.held(now_s):
                return Admission(Verdict.LAPSED, retry_after_s=RETRY_AFTER_S)
            return Admission(Verdict.SERVE, self.unit, entry.owned)
        version, unit = entry.last_known
        said = route.version if route is not None else 0
        if version > entry.closed and said <= version and unit != self.unit:
            return Admission(Verdict.FORWARD if said == version else Verdict.MOVED, unit, version)
        if now_s - entry.asked_s < RETRY_AFTER_S:
            return Admission(Verdict.MOVING, retry_after_s=RETRY_AFTER_S)
        if not self.lease.held(now_s):
            return Admission(Verdict.LAPSED, retry_after_s=RETRY_AFTER_S)
        return Admission(Verdict.ASK)

    def enter(self, dimension: str, key: str, version: int) -> Permit:
        """Accept a message that was just told `SERVE` at this version: `with fence.enter(...)`."""
        return Permit(self, (dimension, key), version)

    def entered(self, name: tuple[str, str], version: int) -> _Entry:
        entry = self._entries.get(name)
        if entry is None or entry.drains or entry.receiving or entry.owned != version:
            raise Moving(name[1])
        return entry

    # --- what others say -------------------------------------------------------------------------

    def learned(self, dimension: str, key: str, unit: str, version: int, now_s: float) -> None:
        """A binding of GlobalTable's: read, watched, or told by a mover. It may be old."""
        self._take_in(self._entry(dimension, key, now_s), unit, version)

    def remembers(self, dimension: str, key: str) -> bool:
        """Whether anything is known of a key, without asking the store."""
        return (dimension, key) in self._entries

    def claimed(self, dimension: str, key: str, version: int, epoch: int, now_s: float) -> None:
        """This unit has bound the key to itself at `version`, by a claim begun in this epoch.

        One begun before the lease was lost proves nothing: a move by force may have followed it.
        """
        entry = self._entry(dimension, key, now_s)
        known = version, self.unit
        newest = version > entry.last_known[0] or entry.last_known == known
        if epoch == self.lease.epoch and newest and version > entry.closed:
            entry.owned = max(entry.owned, version)

    def _take_in(self, entry: _Entry, unit: str, version: int) -> None:
        if unit != self.unit:
            if version > max(entry.owned, entry.last_known[0]):
                entry.last_known = version, unit
                entry.owned = 0
        elif version > max(entry.closed, entry.last_known[0]):
            if not self.distrust:
                entry.owned = max(entry.owned, version)
            elif not entry.owned:
                entry.last_known = version, unit  # here, by what it is told: to be claimed

    def asked(self, dimension: str, key: str, now_s: float) -> None:
        """GlobalTable was asked, and that did not help: not to be asked again at once."""
        self._entry(dimension, key, now_s).asked_s = now_s

    def closed(self, dimension: str, key: str, now_s: float) -> tuple[int, float]:
        """The version at which a key is closed here, 0 for none, and for how many seconds that
        has been known."""
        entry = self._entry(dimension, key, now_s)
        return entry.closed, now_s - entry.closed_since_s

    # --- moves away ------------------------------------------------------------------------------

    def drain(self, dimension: str, key: str, version: int, now_s: float) -> Drained:
        """Admit no more messages of a key at this version.

        If the answer is `UNDER_WAY` or `EMPTY`, whoever called must end it by `close` or `let_go`.
        """
        entry = self._entry(dimension, key, now_s)
        if entry.owned > version:
            return Drained.SUPERSEDED
        if entry.closed >= version:
            return Drained.CLOSED
        entry.drains += 1
        return Drained.UNDER_WAY if entry.under_way else Drained.EMPTY

    def is_empty(self, dimension: str, key: str) -> bool:
        """Whether nothing is under way of a key that is being drained."""
        return not self._draining(dimension, key).under_way

    def close(self, rows: Iterable[Closed], now_s: float) -> None:
        """The rows are durable, and the drains that asked for them over."""
        for row in rows:
            entry = self._draining(row.dimension, row.key)
            assert not entry.under_way, f"{row} was persisted while messages were under way"
            entry.drains -= 1
            entry.closed = max(entry.closed, row.version)
            entry.closed_since_s = now_s
            if entry.owned <= entry.closed:
                entry.owned = 0

    def let_go(self, dimension: str, key: str) -> None:
        """A drain was given up, before anything was persisted for it."""
        self._draining(dimension, key).drains -= 1

    def _draining(self, dimension: str, key: str) -> _Entry:
        entry = self._entries.get((dimension, key))
        assert entry is not None and entry.drains > 0, f"{key!r} is not being drained"
        return entry

    # --- moves here ------------------------------------------------------------------------------

    def begin_receiving(self, dimension: str, key: str, version: int, now_s: float) -> Reception:
        """Take in the data of a version that another unit closed.

        If it has `BEGUN` no message is admitted until `end_receiving`; only after this GlobalTable
        is to be asked whether the version is still current (rule 6).
        """
        entry = self._entry(dimension, key, now_s)
        if entry.owned > version:
            return Reception.SUPERSEDED
        if entry.is_busy:
            return Reception.BUSY
        entry.owned = 0
        entry.receiving = True
        return Reception.BEGUN

    def end_receiving(self, dimension: str, key: str) -> None:
        entry = self._entries[dimension, key]
        assert entry.receiving, f"{key!r} is not being received"
        entry.receiving = False

    # --- the lease -------------------------------------------------------------------------------

    def lose_lease(self) -> None:
        """The lease was taken away: nothing that was known to be owned is, until it is claimed.

        `distrust` must be durable before the lease is taken again.
        """
        self.lease.lost()
        self.distrust = True
        for entry in self._entries.values():
            if entry.owned > entry.last_known[0]:
                entry.last_known = entry.owned, self.unit
            entry.owned = 0

    # --- entries ---------------------------------------------------------------------------------

    def _entry(self, dimension: str, key: str, now_s: float) -> _Entry:
        """The entry of a key, which is then the one used last."""
        name = dimension, key
        entry = self._entries.pop(name, None)
        if entry is None:
            if len(self._entries) >= self._entries_max:
                self._forget_one()
            entry = _Entry(self._rows.closed_version(dimension, key), now_s)
        self._entries[name] = entry
        return entry

    def _forget_one(self) -> None:
        """Forget what was used longest ago; what is busy stays, and is bounded by what is under
        way."""
        for name in [name for name, _ in zip(self._entries, range(_FORGET_TRIES), strict=False)]:
            entry = self._entries.pop(name)
            if not entry.is_busy:
                return
            self._entries[name] = entry

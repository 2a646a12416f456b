"""Whether the replicas of each group hold the same, asked while they serve.

All replicas of a group are asked for what they hold at one revision, a little ahead of where they
stand. Each says at once whether it will see it; if one has passed it already, one further ahead is
tried. A quiet group is led there by read barriers, which take an entry each. Digests of slots are
compared first; of slots that differ the rows are, at a later revision: bytes on a disk that are
wrong stay so, until their key is written anew.
"""

import contextlib
import heapq
from collections.abc import Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Final, NamedTuple, Protocol, cast

from globaltable.admin.nodes import Node, Nodes, asking, describe
from globaltable.backup.records import decode_rows
from globaltable.errors import Corrupt, GlobalTableError, ProtocolError, Unavailable
from globaltable.row_keys import SLOT_BYTES
from globaltable.v1 import admin_pb2 as pb
from globaltable.wire.rows import Row, decode_row

LOOKAHEADS: Final = (0, 8, 64, 512, 4_096)
"""Revisions ahead of the replica that is furthest, one after the other."""
KEYS_MAX: Final = 100
"""Keys that are named of each group; more are counted."""
DIGEST_BYTES: Final = 16
BARRIER_TIMEOUT_S: Final = 5.0

Camps = tuple[tuple[str, ...], ...]
"""Nodes that hold the same, together; the most first."""


class KeyDifference(NamedTuple):
    name: bytes
    rows: dict[str, Row | None]
    """By node, what it holds. None: nothing, not even a tombstone."""


class SlotDifference(NamedTuple):
    slot: int
    camps: Camps


class Comparison(NamedTuple):
    """Of one group."""

    group: int
    revision: int
    """0 if nothing could be compared."""
    rows: int
    nodes: tuple[str, ...]
    """Whose replicas were compared."""
    not_compared: dict[str, str]
    """By node, why."""
    slots: tuple[SlotDifference, ...] = ()
    keys: tuple[KeyDifference, ...] = ()
    keys_unnamed: int = 0
    history: Camps = ()
    """Who remembers which ops, if they do not agree."""

    @property
    def same(self) -> bool:
        return not self.slots and not self.history


def check(nodes: Nodes) -> Iterator[Comparison]:
    """Group by group."""
    for group in range(nodes.groups):
        yield _compare(nodes, group)


def _compare(nodes: Nodes, group: int) -> Comparison:
    not_compared = {
        node.name: node.refusal(group) or ""
        for node in nodes.nodes
        if node.holds(group) and not node.serves(group)
    }
    not_compared.update((address, str(error)) for address, error in nodes.missing.items())
    serving = nodes.serving(group)
    results: dict[str, pb.DigestResult] = {}
    revision = 0
    if len(serving) > 1:
        with _meeting(serving, group, ()) as meeting:
            revision = meeting.revision
            for node, call in meeting.calls:
                try:
                    results[node.name] = _result(node, call)
                except GlobalTableError as error:
                    not_compared[node.name] = str(error)
    if len(results) < 2:
        not_compared.update(
            (node.name, "there is no other to compare it with")
            for node in serving
            if node.name not in not_compared
        )
        return Comparison(group, 0, 0, (), not_compared)
    by_node = {name: _digests(result) for name, result in results.items()}
    slots = tuple(_differences(by_node))
    history = _camps({name: result.history_digest for name, result in results.items()})
    keys, unnamed = _keys(serving, group, [one.slot for one in slots]) if slots else ((), 0)
    return Comparison(
        group=group,
        revision=revision,
        rows=max(result.rows for result in results.values()),
        nodes=tuple(results),
        not_compared=not_compared,
        slots=slots,
        keys=tuple(keys),
        keys_unnamed=unnamed,
        history=history if len(history) > 1 else (),
    )


# --- one revision ---------------------------------------------------------------------------------


class Call(Protocol):
    def __iter__(self) -> Iterator[pb.DigestPart]: ...

    def __next__(self) -> pb.DigestPart: ...

    def cancel(self) -> object: ...


class _Meeting(NamedTuple):
    revision: int
    calls: list[tuple[Node, Call]]


@contextlib.contextmanager
def _meeting(serving: Sequence[Node], group: int, slots: Sequence[int]) -> Iterator[_Meeting]:
    """All these replicas at one revision, each about to tell what it holds."""
    calls: list[tuple[Node, Call]] = []
    try:
        for lookahead in LOOKAHEADS:
            revision = max(_applied(node, group) for node in serving) + lookahead
            request = pb.DigestRequest(group=group, revision=revision, slots=slots)
            calls += [(node, cast(Call, node.stub.Digest(request))) for node in serving]
            if all(_will_be_seen(node, call) for node, call in calls):
                _lead_there(serving[0], group, revision)
                yield _Meeting(revision, calls)
                return
            _cancel(calls)
        raise Unavailable(
            f"group {group} goes on so fast that no revision {LOOKAHEADS[-1]} ahead is met; "
            "check it again when less is written"
        )
    finally:
        _cancel(calls)


def _cancel(calls: list[tuple[Node, Call]]) -> None:
    for _, call in calls:
        call.cancel()
    calls.clear()


def _applied(node: Node, group: int) -> int:
    description = describe(node.address, node.stub)
    return max((one.applied_revision for one in description.held if one.group == group), default=0)


def _will_be_seen(node: Node, call: Call) -> bool:
    with asking(node.address):
        part = next(call, None)
    if part is None or part.WhichOneof("part") != "standing":
        raise ProtocolError(f"{node.address} does not say where it stands")
    return not part.standing.passed


def _lead_there(node: Node, group: int, revision: int) -> None:
    """Each barrier is an entry in the log, unless others are there already."""
    applied = 0
    while applied < revision:
        request = pb.BarrierRequest(group=group)
        with asking(node.address):
            response = node.stub.Barrier(request, timeout=BARRIER_TIMEOUT_S)
        applied = response.applied_revision


def _parts(node: Node, call: Call) -> Iterator[pb.DigestPart]:
    """Behind the first."""
    with asking(node.address):
        for part in call:
            if part.WhichOneof("part") == "standing":
                raise Unavailable(
                    f"its replica did not come to the revision in time, or passed over it; it is "
                    f"at {part.standing.applied_revision}"
                )
            yield part


def _result(node: Node, call: Call) -> pb.DigestResult:
    for part in _parts(node, call):
        return part.result
    raise ProtocolError(f"{node.address} told nothing of what it holds")


# --- differences ----------------------------------------------------------------------------------


def _digests(result: pb.DigestResult) -> dict[int, bytes]:
    size = DIGEST_BYTES
    if len(result.digests) != size * len(result.slots):
        raise ProtocolError(f"{len(result.digests)} bytes of digests for {len(result.slots)} slots")
    return {
        slot: result.digests[size * at : size * at + size] for at, slot in enumerate(result.slots)
    }


def _differences(by_node: dict[str, dict[int, bytes]]) -> Iterator[SlotDifference]:
    for slot in sorted({slot for digests in by_node.values() for slot in digests}):
        camps = _camps({name: digests.get(slot, b"") for name, digests in by_node.items()})
        if len(camps) > 1:
            yield SlotDifference(slot, camps)


def _camps(held: dict[str, bytes]) -> Camps:
    camps: dict[bytes, list[str]] = {}
    for name, digest in held.items():
        camps.setdefault(digest, []).append(name)
    return tuple(tuple(camp) for camp in sorted(camps.values(), key=len, reverse=True))


def _keys(
    serving: Sequence[Node], group: int, slots: Sequence[int]
) -> tuple[list[KeyDifference], int]:
    """The keys that differ in these slots, and how many more than are named."""
    found: list[KeyDifference] = []
    unnamed = 0
    with _meeting(serving, group, slots) as meeting:
        names = [node.name for node, _ in meeting.calls]
        rows = [_rows(at, node, call) for at, (node, call) in enumerate(meeting.calls)]
        for key, same_key in groupby(heapq.merge(*rows), key=itemgetter(0)):
            held = {names[at]: data for _, at, data in same_key}
            if len(held) == len(names) and len(set(held.values())) == 1:
                continue
            if len(found) == KEYS_MAX:
                unnamed += 1
                continue
            decoded = {name: _row(held.get(name)) for name in names}
            found.append(KeyDifference(key[SLOT_BYTES:], decoded))
    return found, unnamed


def _rows(at: int, node: Node, call: Call) -> Iterator[tuple[bytes, int, bytes]]:
    for part in _parts(node, call):
        try:
            for key, data in decode_rows(part.rows):
                yield key, at, data
        except Corrupt as error:
            raise ProtocolError(f"{node.address} sends what are no rows: {error}") from error


def _row(data: bytes | None) -> Row | None:
    return decode_row(data) if data is not None else None

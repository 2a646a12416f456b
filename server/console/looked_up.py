"""One binding, and what is still known of how it came to be as it is.

The binding is a Read. Its past is what a watcher of the key would be told that comes back to the
oldest position its group keeps: the group's last ops (`history`), without their times, for none are
kept. How far that reaches is told along.

Invariant: of the past at most `CHANGES_MAX` changes are returned, the newest, and it is looked for
no longer than `PAST_TIMEOUT_S`.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import aclosing
from typing import Any, Final, NamedTuple

import grpc

from globaltable.server.console.calls import SERVICE, CallRefused, Calls, Shown
from globaltable.server.console.changes import change_shown
from globaltable.v1 import globaltable_pb2 as pb

CHANGES_MAX: Final = 100
PAST_TIMEOUT_S: Final = 3.0
READ_TIMEOUT_S: Final = 3.0


class Place(NamedTuple):
    """Where a key is, as this node knows."""

    slot: int
    group: int
    applied: int
    """As far as the replica here has come; 0 if there is none that serves."""
    floor: int
    """The group's history begins behind this revision."""
    kept_ops: int
    """It has so many."""


class _Past(NamedTuple):
    changes: deque[pb.Change]
    left_out: int
    since: int
    why_none: str


async def look_up(
    calls: Calls,
    shown: Shown,
    table: str,
    key: str,
    place_of: Callable[[str, str], Place],
    *,
    linearizable: bool,
) -> dict[str, Any]:
    """`place_of` is asked of names that can be. Raises `CallRefused`."""
    read = pb.ReadRequest(table=table, keys=[key], linearizable=linearizable)
    answer = await calls.ask(SERVICE + "Read", read, shown, READ_TIMEOUT_S)
    (result,) = answer.results
    binding = result.binding
    place = place_of(table, key)
    past = await _past(calls, shown, table, key, place)
    return {
        "table": table,
        "key": key,
        "slot": place.slot,
        "group": place.group,
        "linearizable": linearizable,
        "read_revision": result.read_revision,
        "binding": {
            "unit": binding.unit,
            "version": binding.version,
            "revision": binding.revision,
        }
        if result.HasField("binding")
        else None,
        "past": {
            "changes": [change_shown(change) for change in past.changes],
            "left_out": past.left_out,
            "since_revision": past.since,
            "kept_ops": place.kept_ops,
            "why_none": past.why_none,
        },
    }


async def _past(calls: Calls, shown: Shown, table: str, key: str, place: Place) -> _Past:
    """The changes since the oldest position that a watcher of the key may come back to: its group's
    floor, or later, if its slot came from another group."""
    since = place.floor
    for _ in range(2):
        try:
            return await _changes_since(calls, shown, table, key, place, since)
        except CallRefused as refused:
            if refused.code is not grpc.StatusCode.OUT_OF_RANGE:
                return _Past(deque(), 0, since, str(refused))
            since = max(refused.oldest.get(place.group, since), since)
    return _Past(deque(), 0, since, "the history moves on faster than it can be read")


async def _changes_since(
    calls: Calls, shown: Shown, table: str, key: str, place: Place, since: int
) -> _Past:
    request = pb.WatchRequest(table=table, key=key)
    request.after.add(group=place.group, revision=since)
    changes: deque[pb.Change] = deque(maxlen=CHANGES_MAX)
    found = 0
    answers: Any = await calls.stream(SERVICE + "Watch", request, shown)
    try:
        async with asyncio.timeout(PAST_TIMEOUT_S), aclosing(answers):
            async for answer in answers:
                found += len(answer.changes)
                changes.extend(answer.changes)
                position = {one.group: one.revision for one in answer.position}
                if position.get(place.group, place.applied) >= place.applied:
                    break
                # The node's turns come first.
                await asyncio.sleep(0)
    except TimeoutError:
        return _Past(deque(), 0, since, f"it was not read within {PAST_TIMEOUT_S:g} s")
    return _Past(changes, found - len(changes), since, "")

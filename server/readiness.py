"""Whether a node may be sent requests, and if not, what is not well: asked of its state as it is.

Readiness is about what a caller would meet: a group held here that has no leader known, serves
nobody, or is far behind. It says nothing of whether the process should be restarted: a node without
a majority is not ready, and a restart would not help it.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

from globaltable.server.core import NodeCore

BEHIND_ENTRIES_MAX: Final = 1_024
"""A replica that lacks more entries than this, of those its leader has told to be committed, reads
what is old. It is an eighth of the log that is kept by default, beyond which a snapshot is sent."""
DISK_STALLED_S: Final = 2.0
"""A turn that is not durable after this waits for a disk that hangs: syncs take milliseconds."""


class Readiness(NamedTuple):
    """By name, why not; empty if ready. Names are `group/N`, `disk` and `node`."""

    ills: Mapping[str, str]

    @property
    def is_ready(self) -> bool:
        return not self.ills

    def of_group(self, number: int) -> str:
        """Why a group is not ready; empty if it is."""
        return self.ills.get(f"group/{number}", "")


def readiness(
    core: NodeCore, *, persisting_for_s: float = 0.0, stopping: bool = False
) -> Readiness:
    """`persisting_for_s`: how long the log has been at its oldest write."""
    ills: dict[str, str] = {}
    for number in sorted({*core.replicas, *core.failures}):
        if reason := ill_of_group(core, number):
            ills[f"group/{number}"] = reason
    if persisting_for_s > DISK_STALLED_S:
        ills["disk"] = f"the log has been at one write for {persisting_for_s:.1f} s"
    if stopping:
        ills["node"] = "it is stopping"
    return Readiness(ills)


def ill_of_group(core: NodeCore, number: int) -> str:
    """Why a group that is held here is not ready; empty if it is."""
    refusal = core.refusal(number)
    if refusal:
        return refusal
    replica = core.replicas[number]
    guard = replica.guard
    if not guard.has_live_leader:
        return "no leader is heard from"
    if guard.installing:
        return "a snapshot is being installed"
    if guard.entries_behind > BEHIND_ENTRIES_MAX:
        return f"{guard.entries_behind} committed entries behind its leader"
    return ""

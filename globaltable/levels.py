"""Feature levels: what every member of a cluster can read, as one number that only rises.

Entries of a log, rows and topologies are read by every member, for as long as they are kept. So
what a release brings that the one before cannot read is not written as soon as a node of the new
release runs, but once the *level in force*, a field of the topology, allows it. A node understands
a range of levels, says so in its handshake, and refuses data, clusters and peers beyond it.

The level in force is raised by an operator alone (`globaltable upgrade --finalize`), and never
lowered; until then every node may go back to the release before. It is raised in two rounds
(`server.level_raising`): every member is asked whether it understands the new level, and then has
to *note* it, durably, in its data directory, which no older release starts on from then on. Only
when all have noted it is it set, by the same compare-and-set as every change of the topology, from
the version whose members were asked. So, whoever crashes or is cut off, and when:

* as long as one member has not noted it, it is not in force, and nothing is written by it;
* once it is in force, every member runs a release that understands it, and none can be replaced on
  its disk by one that does not. A member may not know yet that it is in force, and need not: it can
  read what comes, and is refused what it asks for that needs it;
* a node on any other disk (one that was lost, one that is new) must pass a handshake first, and
  every member refuses there whoever does not understand what it has noted itself.

What is left of a raise that ended half-way is a mark in some directories: those nodes cannot go
back, and to ask again completes it.

A text that names no level is of before there were any, and counts as the first.
"""

import enum
from typing import Final, NamedTuple

from globaltable.errors import UpgradeNotFinal

FIRST: Final = 1


class Levels(NamedTuple):
    """From the oldest to the newest, both understood."""

    oldest: int
    newest: int

    def understands(self, level: int) -> bool:
        return self.oldest <= level <= self.newest

    def __str__(self) -> str:
        if self.oldest == self.newest:
            return f"level {self.newest}"
        return f"levels {self.oldest} to {self.newest}"


UNDERSTOOD: Final = Levels(oldest=FIRST, newest=2)
"""By this release. Each understands the newest of the one before."""
OF_BEFORE: Final = Levels(oldest=FIRST, newest=FIRST)
"""What a node understands that says nothing of levels."""


class Feature(enum.Enum):
    """What older releases cannot read, in words for operators."""

    SLOTS = "more groups, and moves of slots between groups"


SINCE: Final = {Feature.SLOTS: 2}
"""The level that each needs."""


def enabled_by(above: int, level: int) -> list[str]:
    """What a raise from one level to another allows."""
    return [feature.value for feature, since in SINCE.items() if above < since <= level]


def require(level: int, feature: Feature) -> None:
    """Raises `UpgradeNotFinal` if a feature is not allowed by the level in force."""
    if level < SINCE[feature]:
        raise UpgradeNotFinal(
            f"{feature.value}: level {SINCE[feature]} is needed, and level {level} is in force, "
            "for nodes of an older release could not read what comes of it; finalize the upgrade "
            "first (globaltable upgrade --finalize)"
        )


def why_not_understood(level: int, understood: Levels = UNDERSTOOD) -> str:
    """What is wrong, and what to do about it; empty if a level is understood."""
    if understood.understands(level):
        return ""
    if level > understood.newest:
        remedy = "start it with the release that the cluster was upgraded to, or a later one"
    else:
        remedy = "start the release before, and finalize the upgrade to it first"
    return f"level {level} is in force, and this release understands {understood}: {remedy}"

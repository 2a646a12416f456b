"""Leadership goes where all prefer it, and stays where it is if they do not agree."""

import random

import pytest

from globaltable.group import Replica
from globaltable.members import Members
from globaltable.raft.adaptor import Timing
from globaltable.replica_limits import ReplicaLimits
from globaltable.topology import Group
from tests.simulation.disk import Platter, SimLog, SimTable

TIMING = Timing(heartbeat_s=0.05, election_min_s=0.5, election_max_s=1.0)


class _Trio:
    """Three replicas of one group, each with a plan of its own; messages arrive at once."""

    def __init__(self, preferred: dict[str, str], *, told: bool) -> None:
        """`preferred`: whom each would have lead. `told`: they know of the others' plans."""
        self._now = 100.0
        self.leaders: list[str] = []
        """Whoever led, in turn."""
        self._logs = {name: SimLog(Platter()) for name in "abc"}
        self._replicas = {
            name: Replica(
                group=Group(0, (preferred[name], *sorted({*"abc"} - {preferred[name]}))),
                members=Members(("a", "b", "c")),
                node=name,
                slots=16,
                image=log.load(0),
                store=SimTable(Platter()),
                timing=TIMING,
                limits=ReplicaLimits(),
                rng=random.Random(name),
                now=self._now,
            )
            for name, log in self._logs.items()
        }
        for name, replica in self._replicas.items():
            for peer in {*"abc"} - {name}:
                same = preferred[name] == preferred[peer]
                replica.set_connected(peer, True, same_plan=same or not told)

    def run(self, seconds: float) -> None:
        until = self._now + seconds
        while self._now < until:
            self._now += TIMING.heartbeat_s / 2
            turns = [*self._replicas]
            while turns:
                turns += self._turn(turns.pop(0))

    def _turn(self, name: str) -> list[str]:
        """One turn of a replica; who has got a message by it that does not wait for the clock."""
        replica = self._replicas[name]
        ready = replica.step(self._now)
        if ready.write is not None:
            self._logs[name].commit([ready.write])
        sent = [*ready.at_once, *ready.messages, *replica.complete().messages]
        due = [to for to, message in sent if self._replicas[to].receive(name, message)]
        if replica.is_leader and self.leaders[-1:] != [name]:
            self.leaders.append(name)
        return [*due, name] if replica.wants_step else due


@pytest.mark.parametrize("preferred", ["a", "b", "c"])
def test_it_comes_to_the_one_that_all_prefer(preferred: str) -> None:
    trio = _Trio(dict.fromkeys("abc", preferred), told=True)
    trio.run(20.0)
    assert trio.leaders[-1] == preferred


ALL_OTHERS = [{"a": "b", "b": "c", "c": "a"}, {"a": "b", "b": "a", "c": "a"}]


@pytest.mark.parametrize("preferred", ALL_OTHERS)
def test_nodes_that_disagree_would_hand_it_to_and_fro_for_ever(preferred: dict[str, str]) -> None:
    """What comes of it if they do not know, so that the next test means something."""
    trio = _Trio(preferred, told=False)
    trio.run(30.0)
    assert len(trio.leaders) > 5


@pytest.mark.parametrize("preferred", ALL_OTHERS)
def test_nodes_that_know_they_disagree_leave_it_where_it_is(preferred: dict[str, str]) -> None:
    trio = _Trio(preferred, told=True)
    trio.run(30.0)
    assert len(trio.leaders) == 1


def test_it_moves_once_the_peer_comes_back_with_the_same_plan() -> None:
    trio = _Trio({"a": "b", "b": "a", "c": "a"}, told=True)
    trio.run(10.0)
    (leader,) = trio.leaders
    preferred = trio._replicas[leader].group.preferred
    trio._replicas[leader].set_connected(preferred, False)
    trio._replicas[leader].set_connected(preferred, True, same_plan=True)
    trio.run(10.0)
    assert trio.leaders[:2] == [leader, preferred]

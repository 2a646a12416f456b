"""Who must agree before a level is in force, in which order, and what is left if it ends half-way.

Members are asked over real sockets; the deciding compare-and-set of group 0 alone is the test's.
"""

import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import grpc
import pytest

from globaltable.errors import NoQuorum, Rejected
from globaltable.server.directories import Directories
from globaltable.server.level_raising import LevelRaising
from globaltable.server.live_topology import LiveTopology
from globaltable.server.slot_claims import SlotClaims
from globaltable.server.topology_changes import TopologyChanges
from globaltable.store import identity
from globaltable.store.known_topology import Known
from globaltable.testing.cluster import free_ports
from globaltable.topology import Node, Topology, spread
from globaltable.topology_change import Change, TopologyRefused, with_level
from globaltable.v1 import admin_pb2 as pb
from globaltable.v1 import admin_pb2_grpc as pb_grpc

NAMES = ("a", "b", "c")


class _NoDirectories:
    met: Any = {}  # noqa: RUF012


class _Changes:
    """Group 0, as far as a raise needs it."""

    def __init__(self, live: LiveTopology) -> None:
        self.live = live
        self.fails = False
        self.meanwhile: Change | None = None
        """What somebody else changes just before the raise is decided."""

    async def current(self, timeout_s: float | None) -> Topology:
        return self.live.newest

    async def make(self, change: Change, timeout_s: float | None) -> Topology:
        if self.fails:
            raise NoQuorum("cut off")
        if self.meanwhile is not None:
            self.live.adopt(self.meanwhile(self.live.newest))
        after = change(self.live.newest)
        self.live.adopt(after)
        return after


class _Member(pb_grpc.AdminServiceServicer):
    """One that answers as a node does, or as one that was replaced meanwhile."""

    def __init__(self, directory: Path, name: str, topology: Topology) -> None:
        directory.mkdir()
        lock = identity.claim(directory, cluster="im", node=name, groups=3, slots=64)
        os.close(lock)
        self.directory = directory
        self.refuses_to_note = False
        self.live = _live(directory, name, topology)
        self.changes = _Changes(self.live)
        self.raising = LevelRaising(name, self.live, cast(TopologyChanges, self.changes), None)

    @property
    def noted(self) -> int:
        return identity.noted_level(self.directory)

    async def NoteLevel(  # noqa: N802
        self, request: pb.NoteLevelRequest, context: Any
    ) -> pb.LevelsStanding:
        if self.refuses_to_note and not request.only_asked:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "it was stopped just now")
        try:
            return self.raising.note(request)
        except Rejected as error:
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, str(error))
            raise


def _live(directory: Path, node: str, topology: Topology, noted_level: int = 1) -> LiveTopology:
    def ignore(*_: object) -> None: ...

    return LiveTopology(
        node=node,
        directory=directory,
        known=Known(topology, topology),
        claims=SlotClaims(),
        directories=cast(Directories, _NoDirectories()),
        tell=ignore,
        peers=list,
        on_change=ignore,
        on_plan=ignore,
        on_lost=ignore,
        noted_level=noted_level,
    )


class Cluster:
    """Three members of a cluster at the first level; `a` is asked to raise it."""

    def __init__(self, directory: Path) -> None:
        self.ports = dict(zip(NAMES, free_ports(3), strict=True))
        nodes = [Node(n, n, f"{n}:1", f"127.0.0.1:{port}") for n, port in self.ports.items()]
        topology = replace(spread("im", nodes, 3, 3, 64), level=1)
        self.members = {name: _Member(directory / name, name, topology) for name in NAMES}
        self.servers: dict[str, grpc.aio.Server] = {}

    async def serve(self, name: str, servicer: pb_grpc.AdminServiceServicer) -> None:
        server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        pb_grpc.add_AdminServiceServicer_to_server(servicer, server)
        assert server.add_insecure_port(f"127.0.0.1:{self.ports[name]}")
        await server.start()
        self.servers[name] = server

    async def stop(self, name: str) -> None:
        await self.servers.pop(name).stop(None)

    async def raise_to(self, level: int) -> None:
        await self.members["a"].raising.raise_to(level, 5.0)

    @property
    def noted(self) -> list[int]:
        return [member.noted for member in self.members.values()]

    @property
    def level(self) -> int:
        return self.members["a"].live.newest.level


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    cluster = Cluster(tmp_path)
    async with AsyncExitStack() as stack:
        for name, member in cluster.members.items():
            await cluster.serve(name, member)
            stack.push_async_callback(member.raising.close)
        yield cluster
        for name in list(cluster.servers):
            await cluster.stop(name)


async def test_it_is_in_force_once_all_have_noted_it(cluster: Cluster) -> None:
    await cluster.raise_to(2)
    assert cluster.noted == [2, 2, 2] and cluster.level == 2
    with pytest.raises(TopologyRefused, match="level 2 is in force already"):
        await cluster.raise_to(2)
    with pytest.raises(TopologyRefused, match="never lowered"):
        await cluster.raise_to(1)


async def test_nobody_notes_what_a_member_of_before_cannot_read(cluster: Cluster) -> None:
    """It knows no such call."""
    await cluster.stop("c")
    await cluster.serve("c", pb_grpc.AdminServiceServicer())
    with pytest.raises(TopologyRefused, match=r"^level 2 .* c: its release is of before"):
        await cluster.raise_to(2)
    assert cluster.noted == [1, 1, 1] and cluster.level == 1


async def test_nobody_notes_what_a_member_was_not_asked_about(cluster: Cluster) -> None:
    await cluster.stop("b")
    with pytest.raises(TopologyRefused, match=r"b: it cannot be asked \(UNAVAILABLE"):
        await cluster.raise_to(2)
    assert cluster.noted == [1, 1, 1] and cluster.level == 1


async def test_a_level_that_no_release_here_understands_is_refused(cluster: Cluster) -> None:
    with pytest.raises(TopologyRefused, match=r"a cannot raise the level: level 7 .* levels 1 to"):
        await cluster.raise_to(7)
    with pytest.raises(Rejected, match="level 7 is in force, and this release understands"):
        cluster.members["b"].raising.note(pb.NoteLevelRequest(level=7))
    assert cluster.noted == [1, 1, 1]


async def test_who_is_lost_between_being_asked_and_noting_it_keeps_it_out_of_force(
    cluster: Cluster,
) -> None:
    """The others have noted it, and cannot go back; to ask again completes it."""
    cluster.members["c"].refuses_to_note = True
    with pytest.raises(TopologyRefused, match=r"c: it cannot be asked.*with no older release"):
        await cluster.raise_to(2)
    assert cluster.noted == [2, 2, 1] and cluster.level == 1
    cluster.members["c"].refuses_to_note = False
    await cluster.raise_to(2)
    assert cluster.noted == [2, 2, 2] and cluster.level == 2


async def test_who_raises_it_may_be_lost_before_it_is_decided(cluster: Cluster) -> None:
    cluster.members["a"].changes.fails = True
    with pytest.raises(NoQuorum):
        await cluster.raise_to(2)
    assert cluster.noted == [2, 2, 2] and cluster.level == 1
    cluster.members["a"].changes.fails = False
    await cluster.raise_to(2)
    assert cluster.level == 2


async def test_who_came_meanwhile_was_not_asked(cluster: Cluster) -> None:
    def somebody_else(topology: Topology) -> Topology:
        return replace(topology, version=topology.version + 1)

    cluster.members["a"].changes.meanwhile = somebody_else
    with pytest.raises(TopologyRefused, match=r"changed version 0 .* who has come was not asked"):
        await cluster.raise_to(2)
    assert cluster.level == 1


async def test_members_that_are_to_go_are_waited_for(cluster: Cluster) -> None:
    live = cluster.members["a"].live
    live.adopt(replace(live.newest, version=1))
    with pytest.raises(TopologyRefused, match=r"version 1\) is under way: groups 0, 1, 2 may have"):
        await cluster.raise_to(2)
    live.settle([0, 1, 2])
    await cluster.raise_to(2)
    assert cluster.level == 2


def test_a_member_starts_with_what_its_directory_says(tmp_path: Path) -> None:
    """However far the raise came that it noted it for."""
    topology = replace(spread("im", [Node(n, n) for n in NAMES], 3, 3, 64), level=1)
    member = _Member(tmp_path / "a", "a", topology)
    member.live.note_level(2)
    again = _live(tmp_path / "a", "a", topology, noted_level=member.noted)
    assert (again.noted_level, again.newest.level) == (2, 1)
    again.adopt(with_level(topology, 2))
    assert again.newest.level == 2

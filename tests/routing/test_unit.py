"""A unit's decisions, its lease and its control, on simulated time and over real gRPC."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc.aio
import pytest

from globaltable.errors import ConnectFailed, InvalidArgument
from globaltable.routing.client.lease_keeper import LeaseKeeper
from globaltable.routing.client.unit import Decision, Unit, UnitSettings
from globaltable.routing.fence import Fence, Verdict
from globaltable.routing.handover import Answer, Handover, Place, Reply, UnitLost
from globaltable.routing.lease import Lease, LeaseRecord, Standing, lease_key, wait_s
from globaltable.routing.route import Route
from globaltable.routing.service.unit_control import KEYS_MAX, RemoteUnit, UnitControlService
from tests.routing.simulated_disk import Disk, Headers, Store
from tests.routing.simulated_table import SimulatedClient, SimulatedTable
from tests.routing.simulated_time import run_simulated

LEASE_S = 10.0
D, K = "chat", "cid:1"


@dataclass
class Scene:
    """A unit A on simulated time, and the tables it asks."""

    chats: SimulatedTable = field(default_factory=SimulatedTable)
    meta: SimulatedTable = field(default_factory=SimulatedTable)
    disk: Disk = field(default_factory=lambda: Disk("A"))
    received: list[Handover] = field(default_factory=list)

    @contextlib.asynccontextmanager
    async def unit(self, **how: Any) -> AsyncIterator[Unit]:
        dice = random.Random(1)
        loop = asyncio.get_running_loop()
        self.clients = SimulatedClient(self.chats, dice), SimulatedClient(self.meta, dice)

        async def receive(_dimension: str, handover: Handover) -> None:
            if handover.key == "bad":
                raise OSError("the disk is full")
            self.received.append(handover)

        async with Unit(
            "A",
            meta=self.clients[1],
            tables={D: self.clients[0]},
            store=Store(self.disk, dice),
            verifier=Headers(),
            signer=Headers(),
            receive=receive,
            settings=UnitSettings(lease_s=LEASE_S, reclaim_after_s=5.0),
            clock=loop.time,
            wall_clock=lambda: 1_000.0 + loop.time(),
            **how,
        ) as unit:
            await unit.ready()
            yield unit

    def cut(self) -> None:
        for client in self.clients:
            client.cut = True


def header(unit: str, version: int, expires_at_s: int = 5_000, key: str = K) -> bytes:
    return Headers().sign(Route(D, key, unit, version, expires_at_s), 0.0)


def test_what_neither_fence_nor_header_tells_is_asked() -> None:
    scene = Scene()
    scene.chats.write(K, "A", 0.0)
    scene.chats.write("far", "B", 0.0)

    async def main() -> None:
        async with scene.unit() as unit:
            told: list[Decision] = await asyncio.gather(*(unit.decide(D, K) for _ in range(20)))
            assert {one.verdict for one in told} == {Verdict.SERVE}
            assert told[0].route is not None and told[0].route[:4] == (D, K, "A", 1)
            assert Headers().verify(told[0].header, 0.0) == told[0].route
            far = await unit.decide(D, "far")
            assert far.verdict is Verdict.MOVED and far.route is not None and far.route.unit == "B"
            assert (await unit.decide(D, "nowhere")).verdict is Verdict.NOT_BOUND
            with pytest.raises(InvalidArgument, match="no dimension"):
                await unit.decide("room", K)

    run_simulated(main())


def test_a_header_near_its_expiry_is_renewed_and_a_good_one_is_not() -> None:
    async def main() -> None:
        async with Scene().unit() as unit:
            good = await unit.decide(D, K, header("A", 1))
            assert (good.verdict, good.header) == (Verdict.SERVE, b"")
            soon = await unit.decide(D, K, header("A", 1, 1_050))
            assert soon.route is not None and soon.route.expires_at_s > 1_250
            assert Headers().verify(soon.header, 0.0) == soon.route

    run_simulated(main())


def test_a_header_that_is_refused_or_of_another_key_says_nothing() -> None:
    async def main() -> None:
        async with Scene().unit() as unit:
            assert (await unit.decide(D, K, header("A", 1, key="other"))).verdict is (
                Verdict.NOT_BOUND
            )
            assert unit.headers_refused == 1

    run_simulated(main())


def test_without_globaltable_known_sessions_go_on_until_the_lease_ends() -> None:
    scene = Scene()
    scene.chats.write("new", "A", 0.0)

    async def main() -> None:
        async with scene.unit() as unit:
            await unit.decide(D, K, header("A", 1))
            scene.cut()
            await asyncio.sleep(0.6 * LEASE_S)
            known = await unit.decide(D, K)
            by_header = await unit.decide(D, "k2", header("A", 4, key="k2"))
            new = await unit.decide(D, "new")
            verdicts = known.verdict, by_header.verdict, new.verdict
            assert verdicts == (Verdict.SERVE, Verdict.SERVE, Verdict.ASK)
            assert known.provisional and new.provisional and new.retry_after_s > 0
            await asyncio.sleep(0.5 * LEASE_S)
            assert (await unit.decide(D, K)).verdict is Verdict.LAPSED

    run_simulated(main())


def test_a_drained_session_whose_mover_is_lost_is_taken_back_at_a_new_version() -> None:
    scene = Scene()
    scene.chats.write(K, "A", 0.0)

    async def main() -> None:
        async with scene.unit() as unit:
            handover = Handover(K, 1, "A", "B")
            assert await unit.drain(D, [handover, handover], 1.0) == [Reply(Answer.DONE)] * 2
            assert scene.disk.rows == {(D, K): 1}
            assert (await unit.decide(D, K, header("A", 1))).verdict is Verdict.MOVING
            await asyncio.sleep(6.0)
            back = await unit.decide(D, K, header("A", 1))
            assert back.verdict is Verdict.SERVE and back.route is not None
            assert back.route.version == 2 and scene.chats.bindings[K][:2] == ("A", 2)

    run_simulated(main())


def test_a_drain_that_waits_too_long_leaves_the_session_as_it_was() -> None:
    async def main() -> None:
        async with Scene().unit() as unit:
            decision = await unit.decide(D, K, header("A", 1))
            with unit.enter(decision):
                (reply,) = await unit.drain(D, [Handover(K, 1, "A", "B")], 0.5)
                assert reply.answer is Answer.BUSY
            assert (await unit.decide(D, K)).verdict is Verdict.SERVE

    run_simulated(main())


def test_a_unit_closes_nothing_in_the_name_of_another_nor_without_its_lease() -> None:
    """It may be reached where another was; or another process may hold the lease, and serve."""
    scene = Scene()
    scene.chats.write(K, "A", 0.0)

    async def main() -> None:
        async with scene.unit() as unit:
            with pytest.raises(UnitLost, match="taken for 'B'"):
                await unit.drain(D, [Handover(K, 1, "B", "A")], 1.0)
            with pytest.raises(UnitLost, match="taken for 'B'"):
                await unit.receive(D, [Handover(K, 1, "A", "B")])
            unit.fence.lease.lost()
            (reply,) = await unit.drain(D, [Handover(K, 1, "A", "B")], 1.0)
            assert reply.answer is Answer.BUSY and not scene.disk.rows
            (reply,) = await unit.receive(D, [Handover(K, 1, "B", "A")])
            assert reply.answer is Answer.BUSY and not scene.received

    run_simulated(main())


def test_data_is_received_only_of_what_is_current_and_failures_are_told() -> None:
    scene = Scene()
    for key in (K, "bad"):
        scene.chats.write(key, "B", 0.0)
    scene.chats.write("gone", "C", 0.0)

    async def main() -> None:
        async with scene.unit() as unit:
            keys = (K, "bad", "gone", "unknown")
            told = await unit.receive(D, [Handover(key, 1, "B", "A") for key in keys])
            assert [one.answer for one in told] == [
                Answer.DONE,
                Answer.FAILED,
                Answer.SUPERSEDED,
                Answer.SUPERSEDED,
            ]
            assert told[1].detail == "OSError: the disk is full"
            assert [one.key for one in scene.received] == [K]
            scene.chats.write(K, "A", 1.0)
            await unit.settle(D, [Place(K, "A", 2)])
            assert (await unit.decide(D, K)).verdict is Verdict.SERVE

    run_simulated(main())


def test_a_session_is_ended_behind_its_own_fence_and_its_next_life_is_another() -> None:
    scene = Scene()
    scene.chats.write(K, "A", 0.0)

    async def main() -> None:
        async with scene.unit() as unit:
            assert await unit.end(D, K)
            assert K not in scene.chats.bindings and scene.disk.rows[D, K] == 1
            scene.chats.write(K, "A", 5.0)
            assert (await unit.decide(D, K, header("A", 1))).verdict is not Verdict.SERVE
            served = await unit.decide(D, K, header("A", 3))
            assert served.verdict is Verdict.SERVE
            assert not await unit.end(D, "unknown")

    run_simulated(main())


# --- the lease ------------------------------------------------------------------------------------


def keeper(
    meta: SimulatedTable, disk: Disk, seed: int = 1
) -> tuple[LeaseKeeper, Fence, SimulatedClient]:
    dice = random.Random(seed)
    store = Store(disk, dice)
    fence = Fence(disk.unit, Lease(LEASE_S), store, distrust=disk.distrust)
    client = SimulatedClient(meta, dice)
    loop = asyncio.get_running_loop()
    return LeaseKeeper(client, fence, store, loop.time), fence, client


def test_a_restart_goes_on_with_the_lease_and_a_lost_store_waits_for_it() -> None:
    async def main() -> None:
        meta, disk, now_s = SimulatedTable(), Disk("A"), asyncio.get_running_loop().time
        first, fence, _ = keeper(meta, disk)
        await first.renew()
        assert fence.lease.held(now_s()) and not fence.distrust
        again, fence, _ = keeper(meta, disk)
        await again.renew()
        assert fence.lease.held(now_s()) and not disk.distrust
        new_disk = Disk("A")
        new_disk.identity = "another"
        other, fence, _ = keeper(meta, new_disk)
        began_s = now_s()
        await other.renew()
        assert fence.distrust and new_disk.distrust, "what the lost store had closed is not known"
        assert not fence.lease.held(now_s())
        while now_s() < began_s + wait_s(LEASE_S):
            await asyncio.sleep(1.0)
            await other.renew()
        await other.renew()
        assert fence.lease.held(now_s())

    run_simulated(main())


def test_a_revoked_lease_is_known_as_lost_before_it_is_taken_again() -> None:
    async def main() -> None:
        meta, disk, now_s = SimulatedTable(), Disk("A"), asyncio.get_running_loop().time
        kept, fence, client = keeper(meta, disk)
        await kept.renew()
        revoked = LeaseRecord(Standing.REVOKED, disk.identity, LEASE_S)
        meta.write(lease_key("A"), revoked.text(), now_s())
        await kept.renew()
        assert disk.distrust and fence.lease.epoch == 1 and fence.lease.held(now_s())
        client.cut = True
        with pytest.raises(ConnectFailed):
            await kept.renew()

    run_simulated(main())


# --- its control, over gRPC -----------------------------------------------------------------------


class Recorder:
    """A unit that only notes what it is asked."""

    def __init__(self) -> None:
        self.asked: list[Any] = []

    async def drain(
        self, dimension: str, handovers: Sequence[Handover], timeout_s: float
    ) -> list[Reply]:
        self.asked.append((dimension, list(handovers), timeout_s))
        return [Reply(Answer.BUSY, "2 under way")]

    async def receive(self, dimension: str, handovers: Sequence[Handover]) -> list[Reply]:
        self.asked.append((dimension, list(handovers)))
        return [Reply(Answer.FAILED, "no room")]

    async def settle(self, dimension: str, places: Sequence[Place]) -> list[Reply]:
        self.asked.append((dimension, list(places)))
        return [Reply(Answer.DONE)]


async def test_what_a_mover_asks_reaches_the_unit_as_it_was_asked() -> None:
    recorder = Recorder()
    server = grpc.aio.server()
    port = server.add_insecure_port("127.0.0.1:0")
    UnitControlService(recorder).add_to(server)
    await server.start()
    remote = RemoteUnit("A", f"127.0.0.1:{port}")
    try:
        handover = Handover(K, 7, "A", "B", forced=True)
        assert await remote.drain(D, [handover], 0.5) == [Reply(Answer.BUSY, "2 under way")]
        assert await remote.receive(D, [handover]) == [Reply(Answer.FAILED, "no room")]
        assert await remote.settle(D, [Place(K, "B", 8)]) == [Reply(Answer.DONE)]
        assert recorder.asked == [(D, [handover], 0.5), (D, [handover]), (D, [Place(K, "B", 8)])]
        for bad in ({"version": 0}, {"key": ""}, {"source": ""}, {"target": "x" * 65}):
            with pytest.raises(InvalidArgument):
                await remote.drain(D, [handover._replace(**bad)], 0.5)
        with pytest.raises(InvalidArgument, match="at most"):
            await remote.receive(D, [handover] * (KEYS_MAX + 1))
        with pytest.raises(InvalidArgument, match="timeout_s"):
            await remote.drain(D, [handover], -1.0)
        assert len(recorder.asked) == 3, "nothing bad has reached it"
        await server.stop(None)
        with pytest.raises(UnitLost, match="does not answer"):
            await remote.settle(D, [Place(K, "B", 8)])
    finally:
        await remote.close()
        await server.stop(None)

"""Real nodes, real units with their fences on disk: sessions are moved by the shell command while
they are written to, back again, and away from a unit that is lost."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from globaltable.bench.routing.cells import (
    DIMENSION,
    META_TABLE,
    TABLE,
    TABLES,
    Cell,
    Ledger,
    open_cells,
)
from globaltable.bench.routing.moves import Writers, measure
from globaltable.client import GlobalTable
from globaltable.routing.client.unit import UnitSettings
from globaltable.routing.fence import Verdict
from globaltable.routing.lease import control_key
from globaltable.testing import LocalCluster

pytestmark = [pytest.mark.cluster, pytest.mark.long]

KEYS = [f"t{number % 2}:{number}" for number in range(20)]
LEASE_S = 1.0


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    with LocalCluster(tables=TABLES) as running:
        yield running


@pytest.fixture
async def cells(
    cluster: LocalCluster, tmp_path: Path
) -> AsyncIterator[tuple[dict[str, Cell], Ledger]]:
    addresses = list(cluster.addresses.values())
    settings = UnitSettings(lease_s=LEASE_S)
    async with open_cells(addresses, "ABC", tmp_path, settings=settings) as opened:
        yield opened


async def command(cluster: LocalCluster, *words: str) -> tuple[int, str]:
    """`globaltable route move`: its exit status and output."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "globaltable", "route", "move", *words),
        env={**os.environ, "GLOBALTABLE_ENDPOINTS": ",".join(cluster.addresses.values())},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await asyncio.wait_for(process.communicate(), 40)
    assert process.returncode is not None
    return process.returncode, output.decode()


async def goes_on(load: Writers) -> None:
    """Messages are acknowledged, one after the other."""
    enough = load.sent + 20
    async with asyncio.timeout(20):
        while load.sent < enough:
            await asyncio.sleep(0.05)


async def answers(cell: Cell, keys: list[str]) -> set[Verdict]:
    return {(await cell.unit.decide(DIMENSION, key)).verdict for key in keys}


async def where(chats: GlobalTable) -> dict[str, str]:
    held = await chats.get_many(KEYS, linearizable=True)
    return {key: binding.unit for key, binding in held.items()}


async def test_sessions_go_and_come_back_while_they_are_written_to(
    cluster: LocalCluster, cells: tuple[dict[str, Cell], Ledger]
) -> None:
    units, ledger = cells
    async with GlobalTable.connect(cluster.addresses.values(), table=TABLE) as chats:
        await asyncio.gather(*(chats.bind(key, "A") for key in KEYS))
        load = Writers(units, KEYS, ledger, chats, pause_s=0.005)
        writing = asyncio.create_task(load.run(1))
        status, told = await command(cluster, "--prefix", "t1:", "--to", "B", "--json")
        done = json.loads(told)
        assert (status, done["state"], done["moved"]) == (0, "done", 10)
        assert set((await where(chats)).values()) == {"A", "B"}
        status, told = await command(cluster, "--undo", done["job"])
        assert status == 0 and "undone: 10 moved" in told
        assert set((await where(chats)).values()) == {"A"}
        status, told = await command(cluster, "--status")
        assert done["job"] in told and "undone" in told and "prefix t1: to B" in told
        await goes_on(load)
        load.stopping = True
        await writing
    assert not ledger.wrong


async def test_a_lost_unit_is_moved_by_force_once_its_lease_has_ended(
    cluster: LocalCluster, cells: tuple[dict[str, Cell], Ledger]
) -> None:
    """A cannot reach GlobalTable, nor be told; it goes on until its lease ends, and not longer."""
    units, ledger = cells
    addresses = cluster.addresses.values()
    async with (
        GlobalTable.connect(addresses, table=TABLE) as chats,
        GlobalTable.connect(addresses, table=META_TABLE) as meta,
    ):
        await asyncio.gather(*(chats.bind(key, "A") for key in KEYS))
        load = Writers(units, KEYS, ledger, chats, pause_s=0.005)
        writing = asyncio.create_task(load.run(2))
        await goes_on(load)
        served = list(units["A"].sessions)
        keeping = units["A"].unit._keeping
        assert keeping is not None
        keeping.cancel()
        control = await meta.get(control_key("A"), linearizable=True)
        assert control is not None
        await meta.unbind(control_key("A"), version=control.version)
        status, told = await command(cluster, "--unit", "A", "--to", "spread", "--force", "--json")
        done = json.loads(told.splitlines()[-1])
        assert (status, done["state"]) == (0, "done")
        assert done["waited_s"] > LEASE_S
        assert set((await where(chats)).values()) == {"B", "C"}
        await goes_on(load)
        load.stopping = True
        await writing
        async with asyncio.timeout(20):
            # It has heard of the moves of what it served, and says so, though it has no lease.
            while await answers(units["A"], served) != {Verdict.MOVED}:
                await asyncio.sleep(0.05)
    assert not ledger.wrong


@pytest.mark.slow
def test_two_thousand_sessions_are_moved_under_live_writes(tmp_path: Path) -> None:
    with LocalCluster(tables=TABLES) as cluster:
        found = asyncio.run(measure(cluster, tmp_path, 2_000))
    assert (found["moved"], found["left"]) == (2_000, 0)
    assert (found["wrong"], found["lost"]) == (0, 0)
    assert found["messages"] > 100 and found["met_a_move"] > 0

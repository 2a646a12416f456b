"""Sessions are moved away from a unit while they are written to; how fast, and what writers notice.

Three nodes; three units in one process, each with its fence on disk and its control over gRPC;
writers beside them that keep headers as clients do. All sessions of
unit A are spread over the others. Everything shares this machine's cores: so a message takes what
it takes a busy machine, and the time that a session is closed is an upper bound.
"""

import asyncio
import json
import random
import tempfile
import time
from argparse import ArgumentParser, Namespace
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from globaltable.bench import machine
from globaltable.bench.histogram import Histogram
from globaltable.bench.routing.cells import (
    DIMENSION,
    META_TABLE,
    TABLE,
    TABLES,
    Cell,
    Ledger,
    open_cells,
)
from globaltable.client import GlobalTable
from globaltable.routing.fence import Verdict
from globaltable.routing.moves import SPREAD, Job, SelectionKind
from globaltable.routing.service import jobs
from globaltable.routing.service.mover import MoverSettings
from globaltable.routing.service.unit_control import RemoteUnits
from globaltable.testing import LocalCluster

SUMMARY: Final = "moves of sessions under live writes: how fast, and what writers notice"
BINDS_AT_A_TIME: Final = 200


def add_options(parser: ArgumentParser) -> None:
    parser.add_argument("--sessions", type=int, default=10_000, help="of unit A (%(default)s)")
    parser.add_argument("--writers", type=int, default=8, help="at a time (%(default)s)")
    parser.add_argument(
        "--pause-ms", type=float, default=5.0, help="of a writer, between messages (%(default)s)"
    )
    parser.add_argument("--rate", type=float, default=0.0, help="keys a second; 0: no bound")
    parser.add_argument("--round-trip-ms", type=float, default=10.0, help="(%(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")


@dataclass
class Writers:
    """Who write, and what they saw."""

    cells: dict[str, Cell]
    keys: list[str]
    ledger: Ledger
    chats: GlobalTable
    pause_s: float
    """Of each writer, between two messages."""
    calm: Histogram = field(default_factory=Histogram)
    """Messages whose session was not being moved."""
    moved: Histogram = field(default_factory=Histogram)
    """Messages that were told to come again, from the first attempt to the acknowledgement."""
    stopping: bool = False
    sent: int = 0

    async def run(self, number: int) -> None:
        dice = random.Random(number)
        headers: dict[str, bytes] = {}
        units = dict.fromkeys(self.keys, "A")
        while not self.stopping:
            key = dice.choice(self.keys)
            self.sent += 1
            await self._send(key, self.sent, headers, units)
            if self.pause_s:
                await asyncio.sleep(self.pause_s)

    async def _send(
        self, key: str, message: int, headers: dict[str, bytes], units: dict[str, str]
    ) -> None:
        began_s = time.monotonic()
        met_a_move = False
        while True:
            told = await self.cells[units[key]].send(key, message, headers.get(key, b""))
            if told.header:
                headers[key] = told.header
            if told.verdict is Verdict.SERVE:
                break
            if told.unit:
                units[key] = told.unit  # it has been moved, and what was kept of it is old
            else:
                met_a_move = True
                await asyncio.sleep(0.01)
                if told.verdict is Verdict.LAPSED:
                    binding = await self.chats.get(key)  # that unit cannot tell where it is
                    units[key] = binding.unit if binding is not None else units[key]
        took = self.moved if met_a_move else self.calm
        took.record(time.monotonic() - began_s)


async def measure(
    cluster: LocalCluster,
    directory: Path,
    sessions: int,
    *,
    writers: int = 8,
    pause_s: float = 0.005,
    rate_per_s: float = 0.0,
) -> dict[str, float]:
    """Move them all; the figures, with `wrong` and `lost`, which must be 0."""
    addresses = list(cluster.addresses.values())
    keys = [f"cid:{number}" for number in range(sessions)]
    async with (
        GlobalTable.connect(addresses, table=TABLE) as chats,
        GlobalTable.connect(addresses, table=META_TABLE) as meta,
        open_cells(addresses, "ABC", directory) as (cells, ledger),
    ):
        for start in range(0, sessions, BINDS_AT_A_TIME):
            part = keys[start : start + BINDS_AT_A_TIME]
            await asyncio.gather(*(chats.bind(key, "A") for key in part))
        load = Writers(cells, keys, ledger, chats, pause_s)
        writing = [asyncio.create_task(load.run(number)) for number in range(writers)]
        units = RemoteUnits(meta)
        try:
            await asyncio.sleep(1.0)
            load.calm = Histogram()
            job = Job(DIMENSION, TABLE, SelectionKind.UNIT, "A", SPREAD)
            began_s, sent = time.monotonic(), load.sent
            settings = MoverSettings(rate_per_s=rate_per_s)
            runner = jobs.JobRunner(meta, lambda _: chats, units.reach, settings)
            summary = await runner.run(await jobs.create(meta, job))
            took_s = time.monotonic() - began_s
            sent = load.sent - sent
            await asyncio.sleep(0.5)
        finally:
            load.stopping = True
            await asyncio.gather(*writing)
            await units.close()
        held = {key: binding async for key, binding in chats.scan()}
        lost = sum(
            cells[held[key].unit].sessions.get(key, [])[: len(messages)] != messages
            for key, messages in ledger.messages.items()
        )
    return {
        "sessions": sessions,
        "moved": summary.moved,
        "left": summary.left + sum(binding.unit == "A" for binding in held.values()),
        "moves_per_s": summary.moved / took_s,
        "messages": sent,
        "messages_per_s": sent / took_s,
        "wrong": len(ledger.wrong),
        "lost": lost,
        "calm_p50_ms": load.calm.percentile_ms(50),
        "calm_p99_ms": load.calm.percentile_ms(99),
        "met_a_move": load.moved.count,
        "met_a_move_p50_ms": load.moved.percentile_ms(50) if load.moved.count else 0.0,
        "met_a_move_p99_ms": load.moved.percentile_ms(99) if load.moved.count else 0.0,
        "met_a_move_max_ms": load.moved.max_ms if load.moved.count else 0.0,
    }


def run(options: Namespace) -> int:
    before = machine.describe()
    print("  ".join(f"{name}: {value}" for name, value in before.items()))
    with (
        tempfile.TemporaryDirectory(prefix="globaltable-moves-") as directory,
        LocalCluster(tables=TABLES, round_trip_ms=options.round_trip_ms) as cluster,
    ):
        found = asyncio.run(
            measure(
                cluster,
                Path(directory),
                options.sessions,
                writers=options.writers,
                pause_s=options.pause_ms / 1_000,
                rate_per_s=options.rate,
            )
        )
    rows = (
        ("moved", f"{found['moved']:,.0f}, {found['left']:.0f} left"),
        ("moves a second", f"{found['moves_per_s']:,.0f}"),
        ("messages acknowledged meanwhile, a second", f"{found['messages_per_s']:,.0f}"),
        ("accepted by a wrong unit", f"{found['wrong']:.0f}"),
        ("sessions that lost a message", f"{found['lost']:.0f}"),
        ("messages that met no move, p50, p99", _ms(found, "calm", "p50", "p99")),
        ("messages that met one", f"{found['met_a_move']:,.0f}"),
        ("from first attempt, p50, p99, max", _ms(found, "met_a_move", "p50", "p99", "max")),
    )
    for name, value in rows:
        print(f"{name:44}{value}")
    if options.json:
        text = json.dumps({"machine": before, "moves": found}, indent=1)
        options.json.write_text(text + "\n", encoding="utf-8")
    return int(bool(found["wrong"] or found["lost"] or found["left"]))


def _ms(found: dict[str, float], of: str, *names: str) -> str:
    return ", ".join(f"{found[f'{of}_{name}_ms']:.1f}" for name in names) + " ms"

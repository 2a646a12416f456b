"""The demo from its first process to its exit status."""

import asyncio
import contextlib
import json
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final

import uvloop
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from globaltable.client import GlobalTable
from globaltable.demo import outage
from globaltable.demo.latency import summarize
from globaltable.demo.ledger import Ledger
from globaltable.demo.race import one_at_a_time, race
from globaltable.demo.report import Figures, print_report
from globaltable.testing import LocalCluster

TABLE: Final = "im.session"
REGIONS: Final = ("beijing", "shanghai", "shenzhen")
SINGLE_OPS: Final = 300
OUTAGE_SHARE: Final = 0.3
"""Of the sessions that are raced, so many more are raced while a node is killed."""
_TIMEOUT_S: Final = 30.0


def run(
    sessions: int, round_trip_ms: float, json_file: Path | None, *, console: bool = False
) -> int:
    """0 if every promise was kept, 1 if not. With `console` the nodes have pages for browsers, and
    are kept until Control-C."""
    screen = Console(highlight=False)
    if json_file is not None:
        json_file.touch()
    screen.print(
        f"Starting three region nodes on 127.0.0.1, {round_trip_ms:g} ms round trip between any two"
    )
    with LocalCluster(
        REGIONS, tables=(TABLE,), round_trip_ms=round_trip_ms, console=console
    ) as cluster:
        for node, url in cluster.consoles.items():
            screen.print(f"Console of {node}: {url}")
        figures = uvloop.run(_Demo(screen, cluster, sessions, round_trip_ms).run())
        _report(screen, figures, json_file)
        if console:
            screen.print("\nThe nodes go on, and so do their consoles, until Control-C")
            with contextlib.suppress(KeyboardInterrupt):
                threading.Event().wait()
    return 0 if figures.holds else 1


def _report(screen: Console, figures: Figures, json_file: Path | None) -> None:
    print_report(screen, figures)
    if json_file is not None:
        json_file.write_text(json.dumps(figures.to_json(), indent=2) + "\n", encoding="utf-8")
    verdict = "[green]kept[/]" if figures.holds else "[red]BROKEN[/]"
    screen.print(f"\nExactly one unit for each session: {verdict}")


class _Demo:
    def __init__(
        self, console: Console, cluster: LocalCluster, sessions: int, round_trip_ms: float
    ) -> None:
        self._console = console
        self._cluster = cluster
        self._sessions = sessions
        self._ledger = Ledger()
        self._figures = Figures(round_trip_ms)

    async def run(self) -> Figures:
        await self._one_at_a_time()
        await self._race()
        await self._outage()
        await self._check()
        return self._figures

    async def _one_at_a_time(self) -> None:
        ops = min(SINGLE_OPS, self._sessions)
        async with self._connected() as clients:
            with self._progress("Binding one at a time", ops * len(clients)) as advance:
                durations = await one_at_a_time(clients, ops, self._ledger, advance)
        self._figures.one_at_a_time = {r: summarize(took) for r, took in durations.items()}

    async def _race(self) -> None:
        keys = [f"session:{number}" for number in range(self._sessions)]
        async with self._connected() as clients:
            with self._progress("Racing from three regions", 3 * len(keys)) as advance:
                began = time.perf_counter()
                durations = await race(clients, keys, self._ledger, advance)
                took = time.perf_counter() - began
        self._figures.binds_per_s = sum(map(len, durations.values())) / took
        self._figures.racing = {r: summarize(took) for r, took in durations.items()}

    async def _outage(self) -> None:
        cluster, figures = self._cluster, self._figures
        keys = [f"outage:{n}" for n in range(max(1, int(self._sessions * OUTAGE_SHARE)))]
        killed = figures.killed_region = cluster.regions[0]
        led = [g.group for g in cluster.status(killed).groups if g.leader_region == killed]
        async with self._connected(elsewhere=True) as clients:
            with self._progress(f"Racing on, {killed} is killed", 3 * len(keys)) as advance:
                racing = asyncio.create_task(race(clients, keys, self._ledger, advance))
                resumption = await outage.measure(
                    clients[cluster.regions[1]],
                    cluster.config.topology(),
                    led,
                    lambda: cluster.kill(killed),
                    self._ledger,
                )
                await racing
        figures.resumed_led_by_it_s = resumption.led_by_it
        figures.resumed_led_by_others_s = resumption.led_by_others
        wanted = self._applied(cluster.regions[1])
        began = time.perf_counter()
        cluster.start(killed)
        await asyncio.to_thread(cluster.wait_ready)
        while (took := time.perf_counter() - began) < _TIMEOUT_S:
            applied = self._applied(killed)
            if all(applied[group] >= revision for group, revision in wanted.items()):
                break
            await asyncio.sleep(0.02)
        figures.caught_up_s = took

    def _applied(self, region: str) -> dict[int, int]:
        return {g.group: g.applied_revision for g in self._cluster.status(region).groups}

    async def _check(self) -> None:
        """Every binding, as each replica holds it, against what the callers were told."""
        await self._settled()
        replicas: dict[str, dict[str, str]] = {}
        async with self._connected() as clients:
            for region, client in clients.items():
                replicas[region] = {key: one.unit async for key, one in client.scan()}
        figures, ledger = self._figures, self._ledger
        figures.sessions = len(ledger)
        figures.answers = ledger.answers
        figures.winners = ledger.winners
        figures.bindings_per_replica = {r: len(held) for r, held in replicas.items()}
        first, *others = replicas.values()
        figures.replicas_equal = all(other == first for other in others)
        figures.bound_twice = ledger.bound_twice(replicas)
        figures.lost = ledger.lost(replicas)

    async def _settled(self) -> None:
        """Local reads are compared, so let every replica apply what the others have."""
        deadline = time.perf_counter() + _TIMEOUT_S
        while time.perf_counter() < deadline:
            first, *others = map(self._applied, self._cluster.regions)
            if all(other == first for other in others):
                return
            await asyncio.sleep(0.05)

    @asynccontextmanager
    async def _connected(self, *, elsewhere: bool = False) -> AsyncIterator[dict[str, GlobalTable]]:
        """A client in each region, of its own node; with `elsewhere`, of the others after it."""
        addresses = self._cluster.addresses
        async with AsyncExitStack() as stack:
            clients: dict[str, GlobalTable] = {}
            for region, own in addresses.items():
                nodes = [own]
                if elsewhere:
                    nodes += [other for other in addresses.values() if other != own]
                client = GlobalTable.connect(nodes, table=TABLE, timeout=_TIMEOUT_S, discover=False)
                clients[region] = await stack.enter_async_context(client)
            yield clients

    @contextmanager
    def _progress(self, what: str, total: int) -> Iterator[Callable[[], None]]:
        """A bar on a terminal, a line elsewhere."""
        if not self._console.is_terminal:
            self._console.print(f"{what}: {total:,} binds")
            yield lambda: None
            return
        columns = (
            TextColumn("{task.description:<32}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=self._console) as progress:
            task = progress.add_task(what, total=total)
            yield lambda: progress.advance(task)

"""One round: a fresh cluster, recorded clients, faults of nodes and of the network beside them.

Responsible for the order of things: set up, load, faults, their end, recovery, judgement.

Invariant: whatever is raised, nodes, network, mounts and files of the round are gone afterwards;
of a round that fails, the history and the nodes' logs are kept.
"""

import asyncio
import contextlib
import random
import shutil
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from globaltable.bench.crowd import crowd
from globaltable.client import GlobalTable
from globaltable.server.config import Limits, Timeouts
from globaltable.testing import LocalCluster
from tests.faults import clocks
from tests.faults.emulator import Emulator
from tests.faults.full_disk import small_disk
from tests.faults.history import write_history
from tests.faults.judge import Judgement, judge
from tests.faults.mix import OF_NODES, OF_THE_NETWORK, Mix
from tests.faults.recorder import Recorder
from tests.faults.recovery import wait_recovered
from tests.faults.scene import Fault, FaultKind, Scene
from tests.faults.workload import TABLE, Plan, run

REGIONS: Final = ("a", "b", "c")
_LEAST_LEFT_S: Final = 2.5
"""With less time left, no further fault is begun."""
_LOAD_BEYOND_S: Final = 1.5
_MEASURE_PERIOD_S: Final = 0.5
_CONNECT_TIMEOUT_S: Final = 30.0
_ROWS_BEFORE: Final = 3_000
"""So that a snapshot takes a while."""
_SMALL: Final = Limits(log_entries_per_group=64, flush_ops=200, snapshot_chunk_bytes=1_024)


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a round."""

    mix: Mix
    done: Counter[str]
    judgement: Judgement
    problems: tuple[str, ...]
    """Everything but broken promises: what did not recover, or did not say what it should."""
    recovered_s: float
    rss_bytes_max: int
    kept_at: Path | None

    @property
    def passed(self) -> bool:
        return self.judgement.kept and not self.problems

    @property
    def history(self) -> Path | None:
        return self.kept_at / "history.jsonl" if self.kept_at is not None else None


async def play(mix: Mix, seconds: float) -> Result:
    """Play a round in which faults happen for so long."""
    recorder = Recorder()
    directory = Path(tempfile.mkdtemp(prefix="globaltable-faults-"))
    problems: list[str] = []
    recovered_s = 0.0
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, directory, ignore_errors=True)
        scene = _set_up(mix, directory, stack)
        try:
            await _under_load(mix, scene, seconds, recorder)
            recovered_s = await asyncio.to_thread(wait_recovered, scene.cluster)
        except Exception as error:
            problems += _told(error)
        scene.measure()
        judgement = await asyncio.to_thread(judge, recorder.history())
        kept_at = None
        if problems or not judgement.kept:
            kept_at = _keep(mix, directory, recorder)
    return Result(
        mix, scene.done, judgement, tuple(problems), recovered_s, scene.rss_bytes_max, kept_at
    )


def _keep(mix: Mix, directory: Path, recorder: Recorder) -> Path:
    kept_at = Path(tempfile.mkdtemp(prefix=f"globaltable-faults-failed-{mix.seed}-"))
    write_history(kept_at / "history.jsonl", recorder.history())
    for log in directory.glob("*.log"):
        shutil.copy(log, kept_at)
    return kept_at


def _set_up(mix: Mix, directory: Path, stack: contextlib.ExitStack) -> Scene:
    rng = random.Random(f"faults {mix.seed}")
    settings: dict[str, Any] = {"groups": 3, "timeouts": Timeouts(flush_interval_s=0.5)}
    if mix.has(FaultKind.SNAPSHOT):
        settings["limits"] = _SMALL
    emulated: Emulator | None = None
    wrappers: dict[str, tuple[str, ...]] = dict.fromkeys(REGIONS, ())
    if mix.packets:
        emulated = stack.enter_context(Emulator(REGIONS, mix.seed))
        settings["hosts"] = emulated.hosts
        wrappers |= emulated.wrappers
    clock_file = None
    if mix.has(FaultKind.CLOCK):
        clock_file = directory / "clock"
        faked = tuple(clocks.wrapper(clock_file))
        wrappers = {region: (*words, *faked) for region, words in wrappers.items()}
    cluster = LocalCluster(
        REGIONS,
        tables=[TABLE],
        link_faults=emulated is None,
        directory=directory,
        wrappers=wrappers,
        **settings,
    )
    on_small_disk = ""
    if mix.has(FaultKind.DISK):
        region = rng.choice(REGIONS)
        if stack.enter_context(small_disk(cluster.data_dir(region))):
            on_small_disk = region
    stack.enter_context(cluster)
    return Scene(cluster, emulated or cluster.links, rng, 0.0, on_small_disk, clock_file)


async def _under_load(mix: Mix, scene: Scene, seconds: float, recorder: Recorder) -> None:
    addresses = scene.cluster.addresses
    if mix.has(FaultKind.SNAPSHOT):
        await _fill_table(list(addresses.values()))
    plan = Plan(seed=mix.seed, seconds=seconds + _LOAD_BEYOND_S, timeout_s=1.0)
    with contextlib.ExitStack() as standing:
        if mix.idle_watchers:
            gathering = crowd(list(addresses.values()), mix.idle_watchers, TABLE)
            clients = await asyncio.to_thread(standing.enter_context, gathering)
            scene.done["idle watchers"] += len(clients)
        scene.until = asyncio.get_running_loop().time() + seconds
        async with asyncio.TaskGroup() as group:
            loading = group.create_task(run(plan, addresses, recorder, scene.lives))
            measuring = group.create_task(_measure(scene))
            await _until_all_ask(recorder, scene.regions)
            group.create_task(_one_after_the_other(scene, [OF_NODES[k] for k in mix.of_nodes]))
            network = [OF_THE_NETWORK[kind] for kind in mix.of_the_network]
            group.create_task(_one_after_the_other(scene, network))
            await loading
            measuring.cancel()


async def _fill_table(addresses: list[str]) -> None:
    async with GlobalTable.connect(addresses, table=TABLE, timeout=20.0, discover=False) as client:
        keys = [f"before:{number}" for number in range(_ROWS_BEFORE)]
        await asyncio.gather(*(client.bind(key, "before") for key in keys))


async def _until_all_ask(recorder: Recorder, regions: tuple[str, ...]) -> None:
    """Clients connect before anything fails: that they could not is no op to be judged."""
    async with asyncio.timeout(_CONNECT_TIMEOUT_S):
        while True:
            asking = {event.client for event in recorder.history()}
            if all(any(client.startswith(region) for client in asking) for region in regions):
                return
            await asyncio.sleep(0.05)


async def _measure(scene: Scene) -> None:
    while True:
        scene.measure()
        await asyncio.sleep(_MEASURE_PERIOD_S)


async def _one_after_the_other(scene: Scene, faults: list[Fault]) -> None:
    await scene.wait(0.3, 1.0)
    while faults and scene.left_s > _LEAST_LEFT_S:
        await scene.rng.choice(faults)(scene)
        await scene.wait(0.1, 1.0)


def _told(error: BaseException) -> list[str]:
    if isinstance(error, BaseExceptionGroup):
        return [line for one in error.exceptions for line in _told(one)]
    return [f"{type(error).__name__}: {error}"]


def line_of(number: int, result: Result) -> str:
    """One round in one line."""
    endings = ", ".join(f"{count} {end.value}" for end, count in result.judgement.endings.items())
    done = ", ".join(f"{count} {what}" for what, count in sorted(result.done.items()) if count)
    verdict = "kept" if result.judgement.kept else "undecided"
    if result.judgement.violations:
        verdict = f"{len(result.judgement.violations)} VIOLATIONS"
    if result.problems:
        verdict += f", FAILED: {'; '.join(result.problems)}"
    return (
        f"{time.strftime('%H:%M:%S')} round {number} seed {result.mix.seed} "
        f"({'packets' if result.mix.packets else 'relay'}): {done or 'no fault'} | {endings} | "
        f"{result.judgement.contended} contended keys | recovered in {result.recovered_s:.1f} s, "
        f"{result.rss_bytes_max >> 20} MiB at most | {verdict}"
    )

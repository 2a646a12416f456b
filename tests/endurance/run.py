"""The order of a long run: a cluster, a standing load, windows of judged clients under faults.

Responsible for what comes after what: fill; then, a minute at a time, recorded clients and faults,
their end, their judgement, and a sample. Every tenth minute the standing load rests until all
replicas have been found the same.

Which node is killed: the last one of the regions, every tenth minute. The others live through the
whole run, so that what they hold may be followed over it; they are paused and cut off instead.

Invariant: a window's clients have keys of their own, so that it is judged by itself.
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from globaltable.testing import LocalCluster
from tests.endurance.samples import Sample, append, held_by
from tests.endurance.standing_load import StandingLoad
from tests.faults import links, pauses
from tests.faults.history import write_history
from tests.faults.judge import Judgement, judge
from tests.faults.recorder import Recorder
from tests.faults.recovery import wait_recovered
from tests.faults.scene import Fault, Scene
from tests.faults.workload import TABLE, Plan, run

REGIONS: Final = ("a", "b", "c")
_KILL_PERIOD: Final = 10
"""Windows."""
_LEAST_LEFT_S: Final = 4.0
_FAULTS: Final[tuple[Fault, ...]] = (
    links.cut,
    links.delay,
    links.slow,
    links.reset,
    pauses.pause_some,
)


@dataclass(frozen=True, slots=True)
class Course:
    """How long, and how much."""

    minutes: float
    seed: int
    sessions: int
    ops_per_s: float
    window_s: float
    directory: Path
    """Where the nodes' data and what is found are kept."""

    @property
    def samples_path(self) -> Path:
        return self.directory / "samples.jsonl"


@dataclass(slots=True)
class Endurance:
    """What is known so far."""

    course: Course
    say: Callable[[str], None]
    samples: list[Sample] = field(default_factory=list)
    violations: int = 0
    undecided: int = 0
    endings: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    lives: Counter[str] = field(default_factory=Counter)
    comparisons: int = 0

    async def play(self) -> None:
        """Raises what makes going on senseless: a node that does not recover, or has ended."""
        course = self.course
        with LocalCluster(
            REGIONS,
            tables=[TABLE],
            groups=3,
            link_faults=True,
            directory=course.directory / "nodes",
        ) as cluster:
            standing = StandingLoad(cluster.addresses, course.sessions, course.ops_per_s)
            await standing.fill()
            load = asyncio.create_task(standing.run())
            began = time.monotonic()
            window = 0
            while time.monotonic() - began < course.minutes * 60 and not load.done():
                scene = Scene(cluster, cluster.links, self._rng(window), 0.0)
                await self._window(window, scene, standing)
                self._sample(scene, standing, began)
                window += 1
            if load.done():
                load.result()
            load.cancel()
            await asyncio.wait([load])

    def _rng(self, window: int) -> random.Random:
        return random.Random(f"endurance {self.course.seed} {window}")

    async def _window(self, window: int, scene: Scene, standing: StandingLoad) -> None:
        recorder = Recorder()
        seed = self.course.seed + window
        plan = Plan(
            seed=seed, seconds=self.course.window_s, fresh_uses=200, pause_s=0.15, timeout_s=2.0
        )
        scene.until = asyncio.get_running_loop().time() + self.course.window_s
        async with asyncio.TaskGroup() as group:
            group.create_task(run(plan, scene.cluster.addresses, recorder, scene.lives))
            group.create_task(self._faults(window, scene))
        if window % _KILL_PERIOD == _KILL_PERIOD - 1:
            await standing.quiet()
            await asyncio.to_thread(wait_recovered, scene.cluster)
            standing.asking.set()
            self.comparisons += 1
        events = recorder.history()
        judgement = await asyncio.to_thread(judge, events)
        self._count(judgement)
        if not judgement.kept:
            kept_at = self.course.directory / f"history-{seed}.jsonl"
            write_history(kept_at, events)
            self.say(f"{judgement}\nkept: {kept_at}")

    async def _faults(self, window: int, scene: Scene) -> None:
        await scene.wait(2.0, 5.0)
        if window % _KILL_PERIOD == _KILL_PERIOD // 2:
            victim = scene.regions[-1]
            scene.kill(victim)
            await scene.wait(0.0, 15.0)
            scene.start(victim)
            self.lives[victim] += 1
        while scene.left_s > _LEAST_LEFT_S:
            await scene.rng.choice(_FAULTS)(scene)
            await scene.wait(1.0, 8.0)

    def _count(self, judgement: Judgement) -> None:
        self.violations += len(judgement.violations)
        self.undecided += len(judgement.undecided)
        self.endings.update({ending.value: n for ending, n in judgement.endings.items()})

    def _sample(self, scene: Scene, standing: StandingLoad, began: float) -> None:
        at_s = time.monotonic() - began
        since_s = at_s - (self.samples[-1].at_s if self.samples else 0.0)
        done = standing.done
        changes, ok = done.pop("changes", 0), done.pop("ok", 0)
        sample = Sample(
            at_s,
            {node: held_by(scene.cluster, node) for node in scene.cluster.nodes},
            {node: self.lives[node] for node in scene.cluster.nodes},
            ok / since_s,
            done.total() / since_s,
            changes / since_s,
            dict(scene.done),
        )
        done.clear()
        self.faults += scene.done
        self.samples.append(sample)
        append(self.course.samples_path, sample)
        self.say(in_words(sample))


def in_words(sample: Sample) -> str:
    """A sample in one line."""
    held = "; ".join(
        f"{node} {held.rss_bytes >> 20} MiB, {held.descriptors} fds, "
        f"{held.disk_bytes >> 20} MiB disk"
        for node, held in sample.held.items()
    )
    faults = ", ".join(f"{count} {what}" for what, count in sorted(sample.faults.items()) if count)
    return (
        f"{sample.at_s / 60:6.1f} min: {held} | {sample.ops_per_s:.0f} ops/s, "
        f"{sample.failed_per_s:.1f} failed/s, {sample.changes_per_s:.0f} changes/s | {faults}"
    )

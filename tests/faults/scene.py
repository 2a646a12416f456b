"""What a fault acts upon: the nodes of a round, their network, and the count of what was done.

Responsible for telling the workload of lives that end and begin, in the right order. A fault is a
coroutine function of a `Scene` that does one thing, undoes it, and returns; it leaves every node
running. Faults of nodes come one after the other, and those of the network beside them.
"""

import asyncio
import enum
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from globaltable.testing import LocalCluster
from globaltable.testing.relay import PeerRelay
from tests.faults.emulator import Emulator
from tests.faults.workload import Lives


class FaultKind(enum.StrEnum):
    """What can be asked for with `--kinds`."""

    KILL = "kill"
    SNAPSHOT = "snapshot"
    PAUSE = "pause"
    DISK = "disk"
    CLOCK = "clock"
    CUT = "cut"
    DELAY = "delay"
    SLOW = "slow"
    RESET = "reset"
    LOSS = "loss"
    CROWD = "crowd"


@dataclass(slots=True)
class Scene:
    cluster: LocalCluster
    network: PeerRelay | Emulator
    rng: random.Random
    until: float
    """By the loop's clock: when faults are to be over."""
    small_disk: str = ""
    """The region whose data directory is a file system of its own, if one is."""
    clock_file: Path | None = None
    """What the nodes' wall clock is read from, if it can be set."""
    lives: Lives = field(default_factory=Lives)
    done: Counter[str] = field(default_factory=Counter)
    rss_bytes_max: int = 0

    @property
    def regions(self) -> tuple[str, ...]:
        return self.cluster.regions

    @property
    def left_s(self) -> float:
        return self.until - asyncio.get_running_loop().time()

    def draw(self) -> str:
        return self.rng.choice(self.regions)

    def several(self) -> list[str]:
        """One region more often than two, and two more often than all."""
        (count,) = self.rng.choices(range(1, len(self.regions) + 1), (6, 3, 2)[: len(self.regions)])
        return self.rng.sample(self.regions, count)

    async def wait(self, least_s: float, most_s: float) -> None:
        """As long as is drawn, but not past the end of the round."""
        drawn_s = self.rng.uniform(least_s, most_s)
        await asyncio.sleep(max(0.0, min(drawn_s, self.left_s)))

    def kill(self, *regions: str) -> None:
        for region in regions:
            self.lives.end(region)
        for region in regions:
            self.cluster.kill(region)
            self.lives.begin(region)
        self.done["kills"] += len(regions)

    def start(self, *regions: str) -> None:
        for region in regions:
            self.cluster.start(region)

    def measure(self) -> None:
        """Look how much memory the nodes take."""
        for region in self.regions:
            if self.cluster.is_running(region):
                self.rss_bytes_max = max(self.rss_bytes_max, rss_bytes(self.cluster.pid(region)))


Fault = Callable[[Scene], Awaitable[None]]


def rss_bytes(pid: int) -> int:
    """The memory of a process that is in RAM; 0 if there is no such process."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS")), 0)

"""Units, clients with cached headers, and movers, on simulated time: production's own `Unit`,
`JobRunner` and `Mover`, under crashes, cuts, replays and clocks that drift.

Clients keep every header that they were ever given, and send messages with any of them to any unit.
Checked at each message that a unit acknowledges:

* its version is the unit's own by GlobalTable, and no other unit served a higher one before;
* the unit holds every message of that key that was acknowledged before, by whichever unit.

When all faults are over, every message gets acknowledged, and every job ends.
"""

import asyncio
import contextlib
import json
import random
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any

from globaltable.errors import (
    DeadlineExceeded,
    GlobalTableError,
    Rejected,
    Unavailable,
)
from globaltable.routing.client.meta import write_drained
from globaltable.routing.client.unit import Unit, UnitSettings
from globaltable.routing.fence import Moving, NotConfirmed, Verdict
from globaltable.routing.handover import Handover, Place, Reply, UnitLost
from globaltable.routing.lease import DRIFT_MAX
from globaltable.routing.moves import SPREAD, Job, JobState, SelectionKind
from globaltable.routing.service import jobs
from globaltable.routing.service.jobs import JobRunner
from globaltable.routing.service.mover import MoverSettings
from tests.routing.simulated_disk import Disk, Headers, Store
from tests.routing.simulated_table import SimulatedClient, SimulatedTable
from tests.routing.simulated_time import run_simulated

UNITS = ("A", "B", "C")
KEYS = tuple(f"t{number % 2}:{number}" for number in range(6))
CLIENTS = 4
FAULTS_S = 14.0
SETTLE_S = 60.0
LEASE_S = 2.0
DIMENSION = "chat"


class Violation(AssertionError):
    """A promise was broken."""


class Process:
    """A unit that runs, on its disk. Its clock is its own."""

    def __init__(self, world: "World", disk: Disk) -> None:
        self._world = world
        self.disk = disk
        dice = world.dice
        rate = dice.uniform(1 - DRIFT_MAX, 1 + DRIFT_MAX)
        offset_s = dice.uniform(0.0, 1_000.0)
        loop = asyncio.get_running_loop()
        self.store = Store(disk, dice)
        self.table = SimulatedClient(world.table, dice)
        self.meta = SimulatedClient(world.meta, dice)
        self.unit = Unit(
            disk.unit,
            meta=self.meta,
            tables={DIMENSION: self.table},
            store=self.store,
            verifier=Headers(),
            signer=Headers(),
            receive=self._receive,
            control_address=f"{disk.unit}:1",
            settings=UnitSettings(lease_s=LEASE_S, reclaim_after_s=3.0),
            clock=lambda: offset_s + rate * loop.time(),
            wall_clock=lambda: 1_000_000.0 + loop.time(),
        )
        self.handlers: dict[asyncio.Future[object], None] = {}
        self.dead = False

    async def _receive(self, dimension: str, handover: Handover) -> None:
        """Copy the session's messages, as they are when the copy begins."""
        copy = list(self._world.disks[handover.source].messages.get(handover.key, []))
        await asyncio.sleep(self._world.dice.choice((0.0, 0.01, 0.05, 0.6)))
        if self._world.dice.random() < 0.05:
            raise OSError("the copy broke off")
        if not self.dead:
            self.disk.messages[handover.key] = copy

    def handle(self, work: "asyncio.Future[Any]") -> None:
        """It ends with the process. (In order: a set's would be another in each run.)"""
        self.handlers[work] = None
        work.add_done_callback(lambda work: self.handlers.pop(work))

    def cut(self, off: bool) -> None:
        self.table.cut = self.meta.cut = off

    async def crash(self) -> None:
        self.dead = True
        self.store.crash()
        for task in list(self.handlers):
            task.cancel()
        await asyncio.gather(*self.handlers, return_exceptions=True)
        await self.unit.__aexit__(None, None, None)


class Control:
    """A unit behind a network that loses, and delivers some requests twice, one of them late."""

    def __init__(self, world: "World", unit: str) -> None:
        self._world = world
        self._unit = unit

    async def _carry(self, method: str, *arguments: object) -> list[Reply]:
        world = self._world
        dice = world.dice
        await asyncio.sleep(dice.uniform(0.001, 0.02))
        if self._unit in world.unreachable or dice.random() < world.loss:
            await asyncio.sleep(0.3)
            raise UnitLost(f"{self._unit} does not answer")
        if dice.random() < world.duplicates:
            world.later(dice.uniform(0.0, 5.0), lambda: self._deliver(method, arguments))
        replies = await self._deliver(method, arguments)
        if dice.random() < world.loss:
            raise UnitLost(f"the answer of {self._unit} was lost")
        return replies

    async def _deliver(self, method: str, arguments: Sequence[object]) -> list[Reply]:
        process = self._world.processes.get(self._unit)
        if process is None:
            raise UnitLost(f"{self._unit} is down")
        work = asyncio.ensure_future(getattr(process.unit, method)(*arguments))
        process.handle(work)
        try:
            replies: list[Reply] = await work
        except asyncio.CancelledError:
            if process.dead and not _is_cancelled():
                raise UnitLost(f"{self._unit} went down") from None
            raise
        return replies

    async def drain(
        self, dimension: str, handovers: Sequence[Handover], timeout_s: float
    ) -> list[Reply]:
        return await self._carry("drain", dimension, handovers, timeout_s)

    async def receive(self, dimension: str, handovers: Sequence[Handover]) -> list[Reply]:
        return await self._carry("receive", dimension, handovers)

    async def settle(self, dimension: str, places: Sequence[Place]) -> list[Reply]:
        return await self._carry("settle", dimension, places)


@dataclass
class World:
    """One run. `dice` decides everything."""

    seed: int
    dice: random.Random = field(init=False)
    table: SimulatedTable = field(default_factory=SimulatedTable)
    meta: SimulatedTable = field(default_factory=SimulatedTable)
    disks: dict[str, Disk] = field(default_factory=dict)
    processes: dict[str, Process] = field(default_factory=dict)
    unreachable: set[str] = field(default_factory=set)
    """Units that movers cannot reach."""
    loss: float = 0.03
    duplicates: float = 0.05
    accepted: dict[str, list[int]] = field(default_factory=dict)
    served: dict[str, dict[str, int]] = field(default_factory=dict)
    """The highest version at which each unit acknowledged a message of a key."""
    counts: dict[str, int] = field(default_factory=dict)
    ending: bool = False
    _later: set[asyncio.Task[None]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.dice = random.Random(self.seed)
        self.disks = {unit: Disk(unit) for unit in UNITS}

    def count(self, what: str) -> None:
        self.counts[what] = self.counts.get(what, 0) + 1

    def later(self, delay_s: float, do: Callable[[], Awaitable[object]]) -> None:
        async def run() -> None:
            await asyncio.sleep(delay_s)
            with contextlib.suppress(GlobalTableError):
                await do()

        task = asyncio.create_task(run())
        self._later.add(task)
        task.add_done_callback(self._later.discard)

    # --- what is promised ------------------------------------------------------------------------

    def acknowledged(self, unit: str, key: str, version: int, message: int) -> None:
        where = f"message {message} of {key} in {unit} at version {version}"
        if self.table.units.get((key, version)) != unit:
            raise Violation(f"{where}: that version is {self.table.units.get((key, version))}'s")
        served = self.served.setdefault(key, {})
        later = {other: at for other, at in served.items() if other != unit and at > version}
        if later:
            raise Violation(f"{where}: a higher version was served already, {later}")
        accepted = self.accepted.setdefault(key, [])
        held = set(self.disks[unit].messages.get(key, []))
        missing = [one for one in (*accepted, message) if one not in held]
        if missing:
            raise Violation(f"{where}: it does not hold {missing}, which were acknowledged")
        served[unit] = max(version, served.get(unit, 0))
        accepted.append(message)
        self.count("acknowledged")

    # --- units -----------------------------------------------------------------------------------

    async def start(self, unit: str) -> None:
        process = self.processes[unit] = Process(self, self.disks[unit])
        await process.unit.__aenter__()

    async def stop(self, unit: str) -> None:
        process = self.processes.pop(unit, None)
        if process is not None:
            await process.crash()

    async def handle(self, unit: str, key: str, message: int, header: bytes) -> "Told":
        """A message arrives at a unit: what its sender is told."""
        process = self.processes.get(unit)
        if process is None:
            return Told(False)
        task = asyncio.ensure_future(self._serve(process, key, message, header))
        process.handle(task)
        try:
            return await task
        except asyncio.CancelledError:
            if process.dead and not _is_cancelled():
                return Told(False)
            raise

    async def _serve(self, process: Process, key: str, message: int, header: bytes) -> "Told":
        unit = process.unit
        decision = await unit.decide(DIMENSION, key, header)
        self.count(decision.verdict.name)
        if decision.verdict is not Verdict.SERVE:
            return Told(False, decision.header)
        try:
            with unit.enter(decision) as permit:
                await asyncio.sleep(self.dice.uniform(0.0, 0.02))
                messages = process.disk.messages.setdefault(key, [])
                if message not in messages:
                    messages.append(message)
                # A process may be paused at the worst moment, and that is when it is cut off.
                paused = self.dice.random() < (0.3 if process.table.cut else 0.01)
                await asyncio.sleep(2.5 * LEASE_S if paused else self.dice.uniform(0.0, 0.02))
                unit.confirm(permit)
                self.acknowledged(unit.name, key, permit.version, message)
        except (Moving, NotConfirmed) as error:
            self.count(type(error).__name__)
            return Told(False)
        return Told(True, decision.header)


def _is_cancelled() -> bool:
    """Whether it is the caller that is to end, and not what it waits for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


class Told:
    """What the sender of a message is told."""

    def __init__(self, done: bool, header: bytes = b"") -> None:
        self.done = done
        self.header = header


async def client(world: World, number: int) -> None:
    """Sends messages, each until it is acknowledged, by old headers and new."""
    dice = world.dice
    headers: dict[str, list[bytes]] = {key: [] for key in KEYS}
    message = number
    while not world.ending:
        message += CLIENTS
        key = dice.choice(KEYS)
        done = False
        while not done:
            if dice.random() < 0.6 and headers[key]:
                header = headers[key][-1]
            else:
                header = dice.choice(headers[key]) if headers[key] and dice.random() < 0.7 else b""
            unit = json.loads(header)[2] if header and dice.random() < 0.8 else dice.choice(UNITS)
            told = await world.handle(unit, key, message, header)
            done = told.done
            if told.header:
                headers[key].append(told.header)
            await asyncio.sleep(dice.uniform(0.01, 0.15))


# --- what is done to them ---------------------------------------------------------------------


class Movers:
    """Jobs, and those who run them: they crash, and others go on, sometimes two at a time."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.tasks: dict[asyncio.Task[None], None] = {}
        self.ids: list[str] = []

    def client(self, table: SimulatedTable) -> SimulatedClient:
        made = SimulatedClient(table, self._world.dice)
        made.lossy = 0.0 if self._world.ending else 0.05
        return made

    def runner(self) -> JobRunner:
        world = self._world
        loop = asyncio.get_running_loop()
        rate = world.dice.uniform(1 - DRIFT_MAX, 1 + DRIFT_MAX)

        async def reach(unit: str) -> Control:
            return Control(world, unit)

        return JobRunner(
            self.client(world.meta),
            lambda _: self.client(world.table),
            reach,
            MoverSettings(batch=3, concurrency=2, drain_s=0.05, drain_long_s=0.5),
            clock=lambda: rate * loop.time(),
        )

    def begin(self, job: Job) -> None:
        self._spawn(self._begin(job))

    def _spawn(self, what: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(what)
        self.tasks[task] = None
        task.add_done_callback(lambda task: self.tasks.pop(task))

    async def _begin(self, job: Job) -> None:
        while True:
            try:
                job_id = await jobs.create(self.client(self._world.meta), job)
                break
            except (Unavailable, DeadlineExceeded):
                await asyncio.sleep(0.2)
        self.ids.append(job_id)
        await self.go_on(job_id)

    async def go_on(self, job_id: str) -> None:
        try:
            summary = await self.runner().run(job_id)
            self._world.count(f"job {summary.state.value}")
        except (Unavailable, DeadlineExceeded, Rejected):
            self._world.count("job interrupted")

    async def undo(self, job_id: str) -> None:
        try:
            await jobs.undo(self.client(self._world.meta), job_id)
        except (Unavailable, DeadlineExceeded, Rejected):
            return
        self._world.count("undone")
        await self.go_on(job_id)

    def crash_one(self) -> None:
        if self.tasks:
            self._world.dice.choice(list(self.tasks)).cancel()
            self._world.count("mover crashed")

    def again(self) -> None:
        """Go on with some job, whether or not somebody else does."""
        if self.ids:
            self._spawn(self.go_on(self._world.dice.choice(self.ids)))

    def undo_one(self) -> None:
        if self.ids:
            self._spawn(self.undo(self._world.dice.choice(self.ids)))


def a_job(dice: random.Random, forced_unit: str | None = None) -> Job:
    if forced_unit is not None:
        to = dice.choice([SPREAD, *(unit for unit in UNITS if unit != forced_unit)])
        return Job(DIMENSION, "routing.chat", SelectionKind.UNIT, forced_unit, to, True)
    kind = dice.choice(list(SelectionKind))
    value = {
        SelectionKind.SESSION: dice.choice(KEYS),
        SelectionKind.PREFIX: dice.choice(("t0:", "t1:")),
        SelectionKind.UNIT: dice.choice(UNITS),
    }[kind]
    to = dice.choice([unit for unit in UNITS if unit != value])
    return Job(DIMENSION, "routing.chat", kind, value, to)


async def lose(world: World, movers: Movers, unit: str) -> None:
    """A unit is cut off from GlobalTable and movers, not from clients; it is moved by force, and
    comes back, whether or not that is over."""
    dice = world.dice
    process = world.processes.get(unit)
    if process is None:
        return
    world.unreachable.add(unit)
    process.cut(True)
    await asyncio.sleep(dice.uniform(0.0, 1.0))
    movers.begin(a_job(dice, unit))
    world.count("moved by force")
    await asyncio.sleep(dice.uniform(0.5, 3.5 * LEASE_S))
    process.cut(False)
    if dice.random() < 0.3:
        await world.stop(unit)
        await world.start(unit)
    await asyncio.sleep(dice.uniform(0.0, 1.0))
    world.unreachable.discard(unit)


async def faults(world: World, movers: Movers) -> None:
    dice = world.dice
    loop = asyncio.get_running_loop()
    under_way: set[asyncio.Task[None]] = set()
    while loop.time() < FAULTS_S:
        await asyncio.sleep(dice.uniform(0.05, 0.6))
        match dice.randrange(10):
            case 0 | 1 | 2:
                movers.begin(a_job(dice))
            case 3:
                movers.crash_one()
            case 4:
                movers.again()
            case 5:
                movers.undo_one()
            case 6 | 7 if len(under_way) < 2:
                task = asyncio.create_task(lose(world, movers, dice.choice(UNITS)))
                under_way.add(task)
                task.add_done_callback(under_way.discard)
            case _:
                unit = dice.choice(UNITS)
                await world.stop(unit)
                await asyncio.sleep(dice.uniform(0.0, 0.5))
                await world.start(unit)
                world.count("restarted")
    await asyncio.gather(*under_way)


async def _main(world: World) -> None:
    loop = asyncio.get_running_loop()
    for key in KEYS:
        world.table.write(key, world.dice.choice(UNITS), 0.0)
    for unit in UNITS:
        await world.start(unit)
    clients = [asyncio.create_task(client(world, number)) for number in range(CLIENTS)]
    movers = Movers(world)
    disturbing = asyncio.create_task(faults(world, movers))
    try:
        done, _ = await asyncio.wait([disturbing, *clients], return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
        world.ending, world.loss, world.duplicates = True, 0.0, 0.0
        for unit in UNITS:
            if unit not in world.processes:
                await world.start(unit)
        until_s = loop.time() + SETTLE_S
        while movers.tasks or any(not task.done() for task in clients):
            if loop.time() > until_s:
                raise Violation(f"messages or jobs have not ended after {SETTLE_S} s")
            await asyncio.sleep(0.2)
            for task in [task for task in clients if task.done()]:
                task.result()
        await _every_job_ends(movers, world)
    finally:
        for task in (disturbing, *clients, *movers.tasks):
            task.cancel()
        await asyncio.gather(disturbing, *clients, *movers.tasks, return_exceptions=True)
        for unit in list(world.processes):
            await world.stop(unit)


async def _every_job_ends(movers: Movers, world: World) -> None:
    """One after the other, for two may want the same key in different units."""
    meta = movers.client(world.meta)
    for job_id in movers.ids:
        for unit in UNITS:
            await write_drained(meta, unit, False)
        for _ in range(5):
            summary = await movers.runner().run(job_id)
            if summary.state in (JobState.DONE, JobState.UNDONE):
                break
        else:
            raise Violation(f"job {job_id} does not end: {summary}")


def run(seed: int) -> World:
    """One run. Raises Violation."""
    world = World(seed)
    run_simulated(_main(world))
    return world

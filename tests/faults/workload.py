"""Clients that bind, move, unbind and read a few hot keys and many fresh ones, and are recorded.

Responsible for the demand: who asks for what. It injects no fault and judges nothing, so that any
fault can be put beside it::

    recorder, lives = Recorder(), Lives()
    async with asyncio.TaskGroup() as group:
        group.create_task(run(Plan(seed=7, seconds=4), cluster.addresses, recorder, lives))
        ...  # lives.end("a"); cluster.kill("a"); lives.begin("a"); cluster.start("a")
    judgement = judge(recorder.history())

A seed fixes the luck of each client, not how clients interleave: for that the history is kept.

Invariants: a client asks for one thing at a time, and for the next when that has ended. Every unit
is named once in a run, so that a unit tells which op put it there.
"""

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from typing import Final

from globaltable.client import GlobalTable
from globaltable.model import Binding
from tests.faults.history import Ending, Event, Kind
from tests.faults.recorder import Recorder

TABLE: Final = "im.session"

_WHERE_BOUND: Final = {
    Kind.BIND: 15,
    Kind.MOVE: 30,
    Kind.UNBIND: 20,
    Kind.GET: 15,
    Kind.LOCAL_GET: 20,
}
_WHERE_NOT: Final = {Kind.BIND: 70, Kind.GET: 15, Kind.LOCAL_GET: 15}


@dataclass(frozen=True, slots=True)
class Plan:
    """What is asked, for how long."""

    seed: int
    seconds: float
    clients_per_region: int = 4
    hot_keys: int = 3
    hot_share: float = 0.4
    """Of all ops, those that go to hot keys."""
    fresh_uses: int = 12
    """How often a fresh key is drawn, by any client, before the next one is."""
    pause_s: float = 0.01
    """What a client waits between two ops, on average."""
    timeout_s: float = 2.0


class Lives:
    """Which life each region's node is in, as far as whoever kills and starts it tells.

    What is read after `end` and before `begin` is of the old life too, but counts as one between:
    so an op that lies in one of the three was answered by one node in one life.
    """

    def __init__(self) -> None:
        self._changes: Counter[str] = Counter()

    def end(self, region: str) -> None:
        """To be called before the node is killed."""
        self._changes[region] += 1

    def begin(self, region: str) -> None:
        """To be called once it is dead, before it is started again."""
        self._changes[region] += 1

    def of(self, region: str) -> str:
        return f"{region}.{self._changes[region]}"


class _Keys:
    """Hot keys for good, and a fresh one whenever the last has been drawn often enough."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._drawn = itertools.count()

    def draw(self, rng: random.Random) -> str:
        if rng.random() < self._plan.hot_share:
            return f"hot:{self._plan.seed}:{rng.randrange(self._plan.hot_keys)}"
        # The one before is drawn too now and then, so that fresh keys are moved and unbound.
        number = next(self._drawn) // self._plan.fresh_uses - rng.choice((0, 0, 1, 2))
        return f"fresh:{self._plan.seed}:{max(0, number)}"


class _Client:
    """One who asks for one thing after the other."""

    def __init__(
        self, name: str, plan: Plan, keys: _Keys, table: GlobalTable, recorder: Recorder
    ) -> None:
        self.name = name
        self._plan = plan
        self._keys = keys
        self._table = table
        self._recorder = recorder
        self._rng = random.Random(f"{plan.seed} {name}")
        self._units = itertools.count(1)
        self._known: dict[str, Binding | None] = {}

    async def run(self, until: float, replica: Callable[[], str]) -> None:
        loop = asyncio.get_running_loop()
        while loop.time() < until:
            key = self._keys.draw(self._rng)
            known = self._known.get(key)
            weights = _WHERE_BOUND if known is not None else _WHERE_NOT
            (kind,) = self._rng.choices(list(weights), list(weights.values()))
            event = await self._ask(kind, key, known.version if known is not None else 0, replica)
            if event.ending in (Ending.OK, Ending.CONFLICT):
                self._known[key] = event.told
            elif event.ending is Ending.NOT_BOUND:
                self._known[key] = None
            await asyncio.sleep(self._rng.random() * 2 * self._plan.pause_s)

    async def _ask(self, kind: Kind, key: str, version: int, replica: Callable[[], str]) -> Event:
        table, timeout = self._table, self._plan.timeout_s
        names_unit = kind in (Kind.BIND, Kind.MOVE)
        unit = f"{self.name}-{next(self._units)}" if names_unit else ""
        if kind not in (Kind.MOVE, Kind.UNBIND):
            version = 0
        with self._recorder.call(
            self.name, kind, key, unit=unit, version=version, replica=replica
        ) as call:
            match kind:
                case Kind.BIND:
                    call.answered(await table.bind(key, unit, timeout=timeout))
                case Kind.MOVE:
                    call.answered(await table.move(key, to=unit, version=version, timeout=timeout))
                case Kind.UNBIND:
                    await table.unbind(key, version=version, timeout=timeout)
                    call.answered(None)
                case Kind.GET | Kind.LOCAL_GET:
                    linearizable = kind is Kind.GET
                    call.answered(await table.get(key, linearizable=linearizable, timeout=timeout))
        return call.event


async def run(plan: Plan, addresses: Mapping[str, str], recorder: Recorder, lives: Lives) -> None:
    """Ask for `plan.seconds`, and until what was begun by then has ended.

    Every other client of a region is given its own node alone, so that it is known who answers;
    the others go elsewhere when their own node is down, and retry there.
    """
    keys = _Keys(plan)
    until = asyncio.get_running_loop().time() + plan.seconds
    async with AsyncExitStack() as stack, asyncio.TaskGroup() as running:
        for region, own in addresses.items():
            others = [address for address in addresses.values() if address != own]
            near, roaming = [
                await stack.enter_async_context(
                    GlobalTable.connect(nodes, table=TABLE, discover=False)
                )
                for nodes in ([own], [own, *others])
            ]
            for number in range(plan.clients_per_region):
                stays = number % 2 == 0
                client = _Client(
                    f"{region}{number}", plan, keys, near if stays else roaming, recorder
                )
                replica = partial(lives.of, region) if stays else _anywhere
                running.create_task(client.run(until, replica))


def _anywhere() -> str:
    """The replica that answers one who roams."""
    return ""

"""How many lookups route headers spare: a million messages, few sessions written to often, moves.

What runs, in one process: units with their fences (SQLite, synced), lease and header checks
(`Unit`, `VerifiedHeaders`), the mover's steps (`Mover`), a router's decisions with its signer
(`Resolver`), and what gateways keep (`RouteCache`, of its default size): the code of production.
What does not: gRPC, and GlobalTable, which is a dictionary with versions. The clock is the run's
own and passes with the messages, so headers expire as they would at that rate.

Each message comes to one of the gateways, which that session's users are connected to. It is sent
to the unit of the route that the gateway keeps; a session that it knows nothing of is looked up at
the router. Without headers every message is. Nothing is pushed to gateways: they learn of moves
from units only, so what is counted is an upper bound. Sessions exist before, and gateways begin
with nothing: at first contact somebody must be asked, with headers or without. So two figures are
given: of all messages, and of those whose session the gateway knew before, which is what it tends
to as it goes on. With `--first nearby` what is unknown goes to any unit instead, which asks
GlobalTable's nearest replica if it has to, as the integrations' clients do: those reads count as
lookups, or to spare routers all of them would be no merit.
"""

import asyncio
import itertools
import json
import random
import tempfile
import zlib
from argparse import ArgumentParser, Namespace
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

from globaltable.bench import machine
from globaltable.bench.routing.three_units import THREE_UNITS
from globaltable.errors import NotBound, VersionConflict
from globaltable.model import Binding
from globaltable.routing.client.fence_store import FenceStore
from globaltable.routing.client.unit import Unit, UnitSettings
from globaltable.routing.config import parse
from globaltable.routing.context import NO_CONTEXT
from globaltable.routing.fence import Verdict
from globaltable.routing.handover import UnitControl
from globaltable.routing.header import HeaderSigner, HeaderVerifier
from globaltable.routing.key_rotation import new_record
from globaltable.routing.keyring import Keyring
from globaltable.routing.moves import Step
from globaltable.routing.resolution import Answer, Resolution
from globaltable.routing.resolving import Resolver
from globaltable.routing.route_cache import RouteCache
from globaltable.routing.service.mover import Mover, MoverSettings
from globaltable.routing.service.revocation import Revocations
from globaltable.routing.signatures import Algorithm, KeyTerms, RootSecret
from globaltable.routing.verified import VerifiedHeaders

SUMMARY: Final = "lookups that route headers spare, under Zipf's law, with moves going on"
GOAL_PERCENT: Final = 95.0
_DIMENSION: Final = "chat"
_TABLE: Final = "routing.chat"
_UNITS: Final = "ABC"
_BEGAN_S: Final = 1_900_000_000
_MOVED_AT_A_TIME: Final = 100
_ATTEMPTS_MAX: Final = 10
_CONFIG: Final = (
    THREE_UNITS
    + """[dimensions.chat]
layer = "L2"
table = "routing.chat"
policy = "new"
[policies]
new = { unit = "A" }
"""
)


def add_options(parser: ArgumentParser) -> None:
    parser.add_argument("--messages", type=int, default=1_000_000, help="(%(default)s)")
    parser.add_argument("--sessions", type=int, default=100_000, help="(%(default)s)")
    parser.add_argument("--moves", type=int, default=10_000, help="meanwhile (%(default)s)")
    parser.add_argument("--gateways", type=int, default=16, help="(%(default)s)")
    parser.add_argument("--exponent", type=float, default=1.0, help="of Zipf's law (%(default)s)")
    parser.add_argument(
        "--per-second", type=float, default=10_000.0, help="messages, by the clock (%(default)s)"
    )
    parser.add_argument(
        "--first",
        choices=("router", "nearby"),
        default="router",
        help="who is asked of a session that a gateway does not know (%(default)s)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")


class MemoryTable:
    """GlobalTable in this process: one table (`Bindings`), each op at once. It counts reads."""

    def __init__(self) -> None:
        self.bindings: dict[str, Binding] = {}
        self.reads = 0

    async def get(self, key: str, *, linearizable: bool = False) -> Binding | None:
        self.reads += 1
        return self.bindings.get(key)

    async def get_many(
        self, keys: Iterable[str], *, linearizable: bool = False
    ) -> dict[str, Binding]:
        return {key: self.bindings[key] for key in keys if key in self.bindings}

    async def bind(self, key: str, unit: str) -> Binding:
        return self.bindings.setdefault(key, Binding(unit, 1, 1))

    async def move(self, key: str, *, to: str, version: int) -> Binding:
        current = self.bindings.get(key)
        if current is None:
            raise NotBound(key)
        if current.version != version:
            raise VersionConflict(key, version, current)
        moved = self.bindings[key] = Binding(to, version + 1, version + 1)
        return moved

    async def unbind(self, key: str, *, version: int) -> None:
        raise AssertionError("nothing is unbound here")

    async def scan(self, *, prefix: str = "") -> AsyncIterator[tuple[str, Binding]]:
        for key, binding in list(self.bindings.items()):
            if key.startswith(prefix):
                yield key, binding


class _Run:
    """One run of the workload, and what it counts."""

    def __init__(self, options: Namespace, directory: Path) -> None:
        self._options = options
        self._directory = directory
        self._dice = random.Random(1)
        self._chats, self._meta = MemoryTable(), MemoryTable()
        self._now_s = float(_BEGAN_S)
        terms = KeyTerms(1, _BEGAN_S - 60, _BEGAN_S + 86_400, _BEGAN_S + 180_000)
        root = RootSecret(bytes(range(32)))
        record = new_record(terms, root, Algorithm.HMAC_SHA256_128, "bench")
        self._ring = Keyring("bench", [record], [root])
        self._router = Resolver(parse(_CONFIG), signer=HeaderSigner(self._ring))
        self._gateways = [RouteCache() for _ in range(options.gateways)]
        self._known: set[str] = set()
        self._units: dict[str, Unit] = {}
        self._verifiers: list[HeaderVerifier] = []
        self.count: Counter[str] = Counter()

    async def run(self) -> dict[str, float]:
        options = self._options
        keys = [f"cid:{number}" for number in range(options.sessions)]
        self._dice.shuffle(keys)
        for number, key in enumerate(keys):
            self._chats.bindings[key] = Binding(_UNITS[number % len(_UNITS)], 1, 1)
        sums = list(
            itertools.accumulate((n + 1) ** -options.exponent for n in range(options.sessions))
        )
        batches = -(-options.moves // (_MOVED_AT_A_TIME * 4 // 5))  # some are drawn twice
        every = max(1, options.messages // max(1, batches + 1))
        async with AsyncExitStack() as stack:
            for name in _UNITS:
                await self._open(name, stack)
            sent = 0
            while sent < options.messages:
                some = min(every, options.messages - sent)
                for key in self._dice.choices(keys, cum_weights=sums, k=some):
                    await self._message(key)
                    self._now_s += 1.0 / options.per_second
                sent += some
                left = options.moves - self.count["moved"]
                if left > 0 and sent < options.messages:
                    # Half are drawn as messages are, so that what is written to most moves too.
                    half = _MOVED_AT_A_TIME // 2
                    moving = set(self._dice.choices(keys, cum_weights=sums, k=half))
                    moving |= set(self._dice.sample(keys, k=min(len(keys), half)))
                    await self._move(sorted(moving)[:left])
        return self._found()

    async def _open(self, name: str, stack: AsyncExitStack) -> None:
        verifier = HeaderVerifier(self._ring)
        store = FenceStore(self._directory / f"{name}.db", name)
        stack.callback(store.close)
        unit = Unit(
            name,
            meta=self._meta,
            tables={_DIMENSION: self._chats},
            store=store,
            verifier=VerifiedHeaders(verifier),
            signer=HeaderSigner(self._ring),
            settings=UnitSettings(lease_s=3_600.0),
            wall_clock=lambda: self._now_s,
        )
        await stack.enter_async_context(unit)
        await unit.ready()
        self._units[name] = unit
        self._verifiers.append(verifier)

    async def _message(self, key: str) -> None:
        """One message, from its gateway to the unit that accepts it."""
        gateway = self._gateways[zlib.crc32(key.encode()) % len(self._gateways)]
        cached = gateway.find(_DIMENSION, key, self._now_s)
        if cached is None and self._options.first == "router":
            told = self._looked_up(key)
            gateway.put(told.route, told.header)
            cached = gateway.find(_DIMENSION, key, self._now_s)
            assert cached is not None
        self._known.add(key)
        name = cached.route.unit if cached is not None else self._dice.choice(_UNITS)
        header = (cached.header or b"") if cached is not None else b""
        for _ in range(_ATTEMPTS_MAX):
            unit = self._units[name]
            decision = await unit.decide(_DIMENSION, key, header)
            if decision.route is not None and decision.header:
                header = decision.header
                gateway.put(decision.route, header)
            if decision.verdict is Verdict.SERVE:
                with unit.enter(decision) as permit:
                    unit.confirm(permit)
                binding = self._chats.bindings[key]
                assert (binding.unit, binding.version) == (name, permit.version), (key, binding)
                self.count["served"] += 1
                return
            if decision.route is None:
                await asyncio.sleep(decision.retry_after_s)
                continue
            self.count["told to go elsewhere"] += 1
            name = decision.route.unit
        raise AssertionError(f"{key} has not found its unit in {_ATTEMPTS_MAX} attempts")

    def _looked_up(self, key: str) -> Resolution:
        """Ask the router, which reads GlobalTable unless it knows."""
        self.count["first" if key not in self._known else "again"] += 1
        known = self._router.at_once(_DIMENSION, key, NO_CONTEXT, self._now_s)
        if known is not None:
            return known
        resolving = self._router.resolving(_DIMENSION, key, NO_CONTEXT, self._now_s)
        try:
            next(resolving)
            while True:
                resolving.send(Answer(self._chats.bindings.get(key)))
        except StopIteration as end:
            resolution: Resolution = end.value
            return resolution

    async def _move(self, keys: list[str]) -> None:
        """To another unit each, by a mover; then nobody is told but the units."""

        async def reach(name: str) -> UnitControl:
            return self._units[name]

        targets = []
        for key in keys:
            others = [name for name in _UNITS if name != self._chats.bindings[key].unit]
            targets.append((key, self._dice.choice(others)))
        mover = Mover(
            "bench",
            _DIMENSION,
            table=self._chats,
            meta=self._meta,
            controls=reach,
            revocations=Revocations(self._meta, lambda: self._now_s),
            settings=MoverSettings(),
        )
        ends = await mover.move(targets, None, noted=False)
        self.count["moved"] += ends[Step.DONE]

    def _found(self) -> dict[str, float]:
        messages, count = self._options.messages, self.count
        assert count["served"] == messages
        lookups = count["first"] + count["again"]
        known_before = messages - len(self._known)
        return {
            "messages": messages,
            "sessions_written_to": len(self._known),
            "moved": count["moved"],
            "lookups_without_headers": messages,
            "lookups": lookups,
            "lookups_first": count["first"],
            "lookups_again": count["again"],
            "fewer_percent": 100 * (1 - (lookups + self._chats.reads) / messages),
            "fewer_of_known_percent": 100 * (1 - count["again"] / max(1, known_before)),
            "told_elsewhere": count["told to go elsewhere"],
            "reads_by_units": self._chats.reads,
            "headers_refused": sum(sum(one.refused.values()) for one in self._verifiers),
        }


def measure(options: Namespace) -> dict[str, float]:
    """Run it, and count."""
    with tempfile.TemporaryDirectory(prefix="globaltable-zipf-") as directory:
        return asyncio.run(_Run(options, Path(directory)).run())


def run(options: Namespace) -> int:
    before = machine.describe()
    print("  ".join(f"{name}: {value}" for name, value in before.items()))
    found = measure(options)
    for name, value in _rows(found, options):
        print(f"{name:56}{value}")
    if options.json:
        text = json.dumps({"machine": before, "zipf": found}, indent=1)
        options.json.write_text(text + "\n", encoding="utf-8")
    return 0


def _rows(found: dict[str, float], options: Namespace) -> list[tuple[str, Any]]:
    rows = [
        (
            f"messages, Zipf {options.exponent:g} over {options.sessions:,} sessions",
            f"{found['messages']:,}",
        ),
        ("sessions written to", f"{found['sessions_written_to']:,}"),
        ("sessions moved meanwhile", f"{found['moved']:,}"),
        ("lookups at the router without headers", f"{found['lookups_without_headers']:,}"),
        ("with them, first of a session at its gateway", f"{found['lookups_first']:,}"),
        ("with them, again: expired, evicted", f"{found['lookups_again']:,}"),
        ("fewer lookups, of all messages", _beside_goal(found["fewer_percent"])),
        ("messages that were told to go elsewhere", f"{found['told_elsewhere']:,}"),
        ("reads of GlobalTable by units", f"{found['reads_by_units']:,}"),
    ]
    if options.first == "router":  # units' reads are not told apart by who knew what
        percent = _beside_goal(found["fewer_of_known_percent"])
        rows.append(("fewer lookups, of messages of sessions known before", percent))
    return rows


def _beside_goal(percent: float) -> str:
    verdict = "met" if percent >= GOAL_PERCENT else "missed"
    return f"{percent:.2f} % (goal {GOAL_PERCENT:g} %: {verdict})"

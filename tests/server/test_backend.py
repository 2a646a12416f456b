"""What the service asks of a node ends within the node's own bounds."""

import asyncio
from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import pytest

from globaltable.errors import NoQuorum, SlotElsewhere
from globaltable.model import Op, OpKind, OutcomeStatus, qualified_name
from globaltable.server import backend as node_backend
from globaltable.server.backend import NodeBackend
from globaltable.server.config import Config, Timeouts
from globaltable.server.core import NodeCore
from globaltable.server.driver import Driver, Told
from globaltable.server.peers import PeerLinks
from globaltable.server.slot_claims import SlotClaims
from globaltable.server.slot_routes import SlotRoutes
from globaltable.server.watches import Watches
from globaltable.slot_rows import contents_of
from globaltable.slot_steps import Adopt, CopiedRow, Copy, Release, Step
from globaltable.table import Table
from globaltable.topology import SLOTS_DEFAULT, Topology, one_node_each, slot_of, spread
from tests.server.tables import TABLE, Tables

NAME = qualified_name("t", "k")


class _Held(NamedTuple):
    table: Table


class _Core:
    topology: Topology = spread("im", one_node_each("abc"), 1, 3, SLOTS_DEFAULT)
    routes = SlotRoutes(topology)

    def __init__(self) -> None:
        self.tables = Tables()

    def refusal(self, group: int) -> str:
        return ""

    def serving(self, group: int) -> _Held:
        return _Held(self.tables.by_group[group])


class _Driver:
    """Notes when what is submitted must have ended, and ends nothing itself."""

    def __init__(self) -> None:
        self.deadlines: list[float] = []

    def submit(self, ops: Sequence[Op], deadline: float, told: Told) -> None:
        self.deadlines.append(deadline)

    def submit_read(self, group: int, deadline: float, told: Told) -> None:
        self.deadlines.append(deadline)


def _backend(driver: _Driver, request_s: float = 5.0, core: _Core | None = None) -> NodeBackend:
    stand_in: Any = object()
    return NodeBackend(
        Config("im", ("t",), (), groups=1, timeouts=Timeouts(request_s=request_s)),
        "a",
        cast(NodeCore, core or _Core()),
        cast(Driver, driver),
        cast(Watches, stand_in),
        cast(PeerLinks, stand_in),
        SlotClaims(),
    )


@pytest.mark.parametrize(
    ("asked_s", "given_s"), [(None, 5.0), (1.0, 1.0), (-1.0, 0.0), (5.1, 5.0), (4e6, 5.0)]
)
async def test_a_caller_may_ask_for_less_time_than_the_bound_but_not_for_more(
    asked_s: float | None, given_s: float
) -> None:
    driver = _Driver()
    backend = _backend(driver, request_s=5.0)
    before = asyncio.get_running_loop().time()
    backend.submit([Op(OpKind.BIND, NAME, "A", 0, 7, 1)], asked_s, lambda *_: None)
    after = asyncio.get_running_loop().time()
    (deadline,) = driver.deadlines
    assert before + given_s <= deadline <= after + given_s


async def test_a_read_that_no_majority_confirms_ends_at_the_bound() -> None:
    driver = _Driver()
    with pytest.raises(NoQuorum):
        await _backend(driver, request_s=0.01).barrier([NAME], 4e6)
    assert len(driver.deadlines) == 1


async def test_a_look_of_a_scan_is_bounded_by_rows_and_not_only_by_what_it_finds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Rows of keys that were unbound stay: to pass over a million of them takes seconds, in which
    the node would lose whatever it leads."""
    monkeypatch.setattr(node_backend, "SCAN_ROWS_AT_ONCE", 100)
    core = _Core()
    keys = [f"k{number}" for number in range(1_000)]
    core.tables.bind(*keys)
    unbinds = [
        Op(OpKind.UNBIND, qualified_name(TABLE, key), "", 1, 2, number)
        for number, key in enumerate(keys[:-5])
    ]
    core.tables.apply(unbinds)
    backend = _backend(_Driver(), core=core)
    found: list[str] = []
    token = b""
    looks = 0
    while looks == 0 or token:
        entries, token = backend.scan(TABLE, "", token, 500)
        found += [key for key, _ in entries]
        looks += 1
        assert looks < 50, "no end"
    assert sorted(found) == sorted(keys[-5:])
    assert looks in (10, 11)


class _Moving(_Driver):
    """Readers pass at once; while they wait the key's slot goes on to another group."""

    def __init__(self, tables: Tables, then: Sequence[tuple[int, Step]]) -> None:
        super().__init__()
        self.barriers: list[int] = []
        self._tables = tables
        self._then = list(then)
        self.routes: SlotRoutes

    def submit_read(self, group: int, deadline: float, told: Told) -> None:
        self.barriers.append(group)
        for to, step in self._then:
            (outcome,) = self._tables.apply_batch(self._tables.batch([], to, step), to)
            assert outcome.status is OutcomeStatus.APPLIED, outcome
            self.routes.moved(to, self._tables.by_group[to].holdings, [step.slot])
        self._then.clear()
        told((), ())


_SLOT = slot_of(NAME, SLOTS_DEFAULT)
_MOVE: Sequence[tuple[int, Step]] = (
    (0, Release(_SLOT, 1, 1)),
    (1, Copy(_SLOT, 1, 0, 0, 2, (CopiedRow(NAME, "A", 1, 9, 1),), ())),
    (1, Adopt(_SLOT, 1, 0, 2, *contents_of([CopiedRow(NAME, "A", 1, 9, 1)]))),
)


def _moving(then: Sequence[tuple[int, Step]]) -> tuple[_Moving, NodeBackend]:
    core = _Core()
    core.tables = Tables(2, dealt=False)
    driver = _Moving(core.tables, then)
    core.routes = driver.routes = SlotRoutes(_Core.topology)
    for group, table in core.tables.by_group.items():
        core.routes.learn(group, table.holdings)
    return driver, _backend(driver, core=core)


async def test_a_read_at_the_barrier_of_a_group_that_its_key_left_takes_that_of_the_other() -> None:
    """What the other has acknowledged by the time of the call the first barrier knows nothing
    of."""
    driver, backend = _moving(_MOVE)
    await backend.barrier([NAME], None)
    assert driver.barriers == [0, 1]
    ((binding, _),) = backend.read([NAME])
    assert binding is not None and (binding.unit, binding.version) == ("A", 1)


async def test_a_read_between_release_and_adoption_is_told_that_the_key_is_elsewhere() -> None:
    """And is never answered with what the group held that has released it."""
    driver, backend = _moving(_MOVE[:1])
    with pytest.raises(SlotElsewhere):
        await backend.barrier([NAME], None)
    assert driver.barriers[0] == 0 and set(driver.barriers[1:]) == {1}
    with pytest.raises(SlotElsewhere):
        backend.read([NAME])

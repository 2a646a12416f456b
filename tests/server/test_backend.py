"""What the service asks of a node ends within the node's own bounds."""

import asyncio
from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import pytest

from globaltable.errors import NoQuorum
from globaltable.model import Op, OpKind, qualified_name
from globaltable.server import backend as node_backend
from globaltable.server.backend import NodeBackend
from globaltable.server.config import Config, Timeouts
from globaltable.server.core import NodeCore
from globaltable.server.driver import Driver, Told
from globaltable.server.peers import PeerLinks
from globaltable.server.slot_claims import SlotClaims
from globaltable.server.slot_routes import SlotRoutes
from globaltable.server.watches import Watches
from globaltable.table import Table
from globaltable.topology import SLOTS_DEFAULT, Topology, one_node_each, spread
from tests.server.tables import TABLE, Tables

NAME = qualified_name("t", "k")


class _Held(NamedTuple):
    table: Table


class _Core:
    topology: Topology = spread("im", one_node_each("abc"), 1, 3, SLOTS_DEFAULT)
    routes = SlotRoutes(topology)

    def __init__(self) -> None:
        self.tables = Tables()

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

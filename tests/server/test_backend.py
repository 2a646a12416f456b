"""What the service asks of a node ends within the node's own bound."""

import asyncio
from collections.abc import Sequence
from typing import Any, cast

import pytest

from globaltable.errors import NoQuorum
from globaltable.model import Op, OpKind, qualified_name
from globaltable.server.backend import NodeBackend
from globaltable.server.config import Config, Timeouts
from globaltable.server.core import NodeCore
from globaltable.server.driver import Driver, Told
from globaltable.server.peers import PeerLinks
from globaltable.server.watches import Watches
from globaltable.topology import Topology, spread

NAME = qualified_name("t", "k")


class _Core:
    topology: Topology = spread("im", ["a", "b", "c"], 1, 3, slots=16)


class _Driver:
    """Notes when what is submitted must have ended, and ends nothing itself."""

    def __init__(self) -> None:
        self.deadlines: list[float] = []

    def submit(self, ops: Sequence[Op], deadline: float, told: Told) -> None:
        self.deadlines.append(deadline)

    def submit_read(self, group: int, deadline: float, told: Told) -> None:
        self.deadlines.append(deadline)


def _backend(driver: _Driver, request_s: float) -> NodeBackend:
    stand_in: Any = object()
    return NodeBackend(
        Config("im", ("t",), (), groups=1, timeouts=Timeouts(request_s=request_s)),
        "a",
        cast(NodeCore, _Core()),
        cast(Driver, driver),
        cast(Watches, stand_in),
        cast(PeerLinks, stand_in),
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

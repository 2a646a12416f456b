"""Nodes for the clients' tests: one that is asked first, one that is next, and a dead address."""

from collections.abc import AsyncIterator, Iterator

import pytest

from globaltable.client._lanes import WriteLane
from tests.client.node_thread import NodeThread
from tests.client.scripted_node import ScriptedNode, dead_address


@pytest.fixture
async def near() -> AsyncIterator[ScriptedNode]:
    """A node that is asked first, on the test's own loop."""
    node = ScriptedNode()
    await node.start()
    yield node
    await node.stop()


@pytest.fixture
async def far() -> AsyncIterator[ScriptedNode]:
    """A node that is asked if the near one fails, on the test's own loop."""
    node = ScriptedNode(distance_s=0.05)
    await node.start()
    yield node
    await node.stop()


@pytest.fixture
def nodes() -> Iterator[NodeThread]:
    """Both of these on a loop in a thread of its own, for tests that block."""
    with NodeThread() as nodes:
        yield nodes


@pytest.fixture
def few_calls(monkeypatch: pytest.MonkeyPatch) -> int:
    """So many write requests are under way to a node at a time; what comes next must wait."""
    monkeypatch.setattr(WriteLane, "calls_max", 4)
    return 4


@pytest.fixture
def short_grace(monkeypatch: pytest.MonkeyPatch) -> float:
    """Nobody waits long for a last word of a node from which none will come."""
    monkeypatch.setattr("globaltable.client._exchange.GRACE_S", 0.05)
    return 0.05


@pytest.fixture
def dead() -> Iterator[str]:
    """An address at which nobody listens, nor will."""
    with dead_address() as address:
        yield address

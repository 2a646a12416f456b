"""Clients of scripted nodes, and each of their calls with arguments that will do."""

from collections.abc import Awaitable, Callable
from typing import Any, Final

from globaltable.client import GlobalTable, SyncGlobalTable
from tests.client.desk import TABLE
from tests.client.scripted_node import PATIENCE_S, ScriptedNode

SLACK_S: Final = 2.0
"""What a busy machine may add to a deadline."""


def _settings(nodes: tuple[ScriptedNode | str, ...], settings: dict[str, Any]) -> dict[str, Any]:
    addresses = [node if isinstance(node, str) else node.address for node in nodes]
    return {"addresses": addresses, "table": TABLE, "timeout": PATIENCE_S, **settings}


def connect(*nodes: ScriptedNode | str, **settings: Any) -> GlobalTable:
    """A client, not open yet, with more patience than any test needs."""
    return GlobalTable.connect(**_settings(nodes, settings))


def connect_sync(*nodes: ScriptedNode | str, **settings: Any) -> SyncGlobalTable:
    """An open client, with more patience than any test needs."""
    return SyncGlobalTable.connect(**_settings(nodes, settings))


ASKING: Final[dict[str, Callable[..., Awaitable[object]]]] = {
    "bind": lambda client, **how: client.bind("k", "A", **how),
    "create": lambda client, **how: client.create("A", **how),
    "move": lambda client, **how: client.move("k", to="B", version=1, **how),
    "unbind": lambda client, **how: client.unbind("k", version=1, **how),
    "get": lambda client, **how: client.get("k", **how),
    "get_many": lambda client, **how: client.get_many(["k", "l"], **how),
    "get_many of none": lambda client, **how: client.get_many([], **how),
    "scan": lambda client, **how: anext(client.scan(**how)),
    "watch": lambda client, **how: anext(client.watch(prefix="", **how)),
    "status": lambda client, **how: client.status(**how),
}
"""Of the asyncio client, by name; all take `timeout`."""

ASKING_SYNC: Final[dict[str, Callable[..., object]]] = {
    **ASKING,
    "scan": lambda client, **how: next(client.scan(**how)),
    "watch": lambda client, **how: next(client.watch(prefix="", **how)),
}
"""Of the client for threads."""

"""A change of the topology from the shell: decided, and looked at until it is done."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import typer

from globaltable.cli.options import addresses_of
from globaltable.cli.tls import tls

if TYPE_CHECKING:
    from globaltable.admin.topology import ClusterProgress
    from globaltable.topology import Topology
    from globaltable.v1 import admin_pb2 as pb

_LOOK_PERIOD_S: Final = 0.3
_DECIDE_S: Final = 30.0
"""A change is decided by then, or is not; how long it takes to come about is another matter."""


def decide(
    request: "pb.ChangeTopologyRequest", endpoints: str, timeout_s: float
) -> tuple["Topology", list[str]]:
    """Ask for a change. The topology it makes, and the nodes that can say how far it is."""
    from globaltable.admin.topology import change

    if not 0 < timeout_s < 1e9:
        raise typer.BadParameter(f"{timeout_s} is not a number of seconds above 0")
    addresses = addresses_of(endpoints)
    topology = change(addresses, request, min(timeout_s, _DECIDE_S), tls())
    addresses += [node.client for node in topology.nodes if node.client not in addresses]
    return topology, addresses


def wait_until(
    is_done: Callable[["ClusterProgress"], bool],
    addresses: list[str],
    version: int,
    *,
    began: float,
    timeout_s: float,
    shown_by: str,
) -> "ClusterProgress":
    """Look at the cluster until it is done, as `is_done` finds, which is shown each look at this
    version of the topology or one that has come after it.

    Raises `Unavailable` if that takes too long since `began`, by the clock of `time.monotonic`;
    `shown_by` says what shows how far it is then."""
    from globaltable.admin.topology import look
    from globaltable.errors import ConnectFailed, Unavailable

    while True:
        try:
            now: ClusterProgress | None = look(addresses, tls())
        except ConnectFailed:
            now = None
        if now is not None and now.topology.version >= version and is_done(now):
            return now
        if time.monotonic() - began > timeout_s:
            raise Unavailable(f"not done after {timeout_s:.0f} s; it goes on by itself: {shown_by}")
        time.sleep(_LOOK_PERIOD_S)

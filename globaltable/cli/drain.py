"""`globaltable drain`: a region, or a node, leads nothing until it is undone: for maintenance."""

from typing import Annotated

import typer

from globaltable.cli.member import AsJson, NoWait, Timeout, carry_out
from globaltable.cli.options import ENDPOINTS_DEFAULT, Endpoints


def drain(
    where: Annotated[str, typer.Argument(metavar="REGION|NODE", show_default=False)],
    undo: Annotated[
        bool, typer.Option("--undo", help="It leads again what it did before.")
    ] = False,
    endpoints: Endpoints = ENDPOINTS_DEFAULT,
    timeout_s: Timeout = 60.0,
    no_wait: NoWait = False,
    as_json: AsJson = False,
) -> None:
    """Move leadership away from a region or a node, and keep it away; nothing else changes.

    No write fails by it. Once it is done, nodes there may be stopped one after the other: what they
    held a vote in has a majority elsewhere.
    """
    from globaltable.v1 import admin_pb2 as pb

    request = pb.ChangeTopologyRequest(drain=pb.Drain(where=where, undo=undo))
    carry_out(request, endpoints, timeout_s, no_wait, as_json)

"""Promise: nodes of neighbouring releases work side by side, and others refuse each other.

There is one format of frames so far: the versions here differ in their number alone.
"""

import asyncio
from contextlib import AsyncExitStack

import pytest
from structlog.testing import capture_logs

from globaltable.server.versions import Versions
from tests.server.test_peers import TIMEOUT_S, Wire, ports_of, running, start

__all__ = ["running"]

OLD, NEXT, AFTER = Versions(4, 4), Versions(4, 5), Versions(5, 6)


@pytest.mark.parametrize(
    ("dials", "accepts", "spoken"),
    [
        (OLD, OLD, 4),
        (OLD, NEXT, 4),
        (NEXT, OLD, 4),  # refused at first, and offers the older one
        (NEXT, NEXT, 5),
        (AFTER, NEXT, 5),
        (NEXT, AFTER, 5),
    ],
)
async def test_two_nodes_speak_the_newest_that_both_know(
    running: AsyncExitStack, dials: Versions, accepts: Versions, spoken: int
) -> None:
    ports = ports_of("ab")
    a, b = Wire("a", ports, versions=dials), Wire("b", ports, versions=accepts)
    await start(running, a, b)
    await a.connected("b")
    await b.connected("a")
    assert (a.links.version("b"), b.links.version("a")) == (spoken, spoken)
    a.links.send("b", b"across versions")
    await b.until(lambda: b.received == [("a", b"across versions")])


@pytest.mark.parametrize(("dials", "accepts"), [(OLD, AFTER), (AFTER, OLD)])
async def test_two_that_have_no_version_in_common_say_so(
    running: AsyncExitStack, dials: Versions, accepts: Versions
) -> None:
    ports = ports_of("ab")
    a, b = Wire("a", ports, versions=dials), Wire("b", ports, versions=accepts)
    with capture_logs() as logs:
        await start(running, a, b)
        async with asyncio.timeout(TIMEOUT_S):
            while not any("protocol version" in str(line.get("reason")) for line in logs):
                await asyncio.sleep(0.01)
    assert not a.links.connected("b") and not b.links.connected("a")


async def test_who_was_replaced_by_a_newer_one_is_offered_the_newest_again(
    running: AsyncExitStack,
) -> None:
    ports = ports_of("ab")
    a, b = Wire("a", ports, versions=NEXT), Wire("b", ports, versions=OLD)
    await start(running, a, b)
    await a.connected("b")
    await b.links.close()
    newer = Wire("b", ports, versions=NEXT)
    await start(running, newer)
    await newer.connected("a")
    await a.until(lambda: a.links.version("b") == 5)

"""Promise: a router does for its callers what its own certificate may, dimension by dimension, for
each dimension of layer L2 is a table."""

from collections.abc import Iterator

import pytest

from globaltable.client import SyncGlobalTable
from globaltable.errors import PermissionDenied
from globaltable.routing.client.router import Router
from globaltable.routing.config import RoutingConfig, parse
from globaltable.routing.resolution import Source
from globaltable.server.security import Permission, Right, Security
from globaltable.testing import LocalCluster

pytestmark = [pytest.mark.cluster, pytest.mark.long]

CHAT, ROOM, META = TABLES = ("routing.chat", "routing.room", "routing.meta")
_ON_DIMENSIONS = frozenset((Right.READ, Right.BIND))
SECURITY = Security(
    permissions=(
        Permission(("chats", "reader"), frozenset((Right.READ,)), (META, CHAT, ROOM)),
        Permission(("chats",), frozenset((Right.BIND, Right.MOVE)), (META,)),
        Permission(("chats",), frozenset((Right.BIND,)), (CHAT,)),
        Permission(("all",), _ON_DIMENSIONS, (CHAT, ROOM)),
    )
)
CONFIG = """
namespace = "test"
endpoints = ENDPOINTS
timeout_s = 5.0
[units.A]
region = "a"
[dimensions.chat]
layer = "L2"
table = "routing.chat"
policy = "new"
[dimensions.room]
layer = "L2"
table = "routing.room"
policy = "new"
unreachable = "provisional"
[policies]
new = { unit = "A" }
[tls]
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    with LocalCluster(groups=1, tables=TABLES, secure=SECURITY) as running:
        yield running


def _config(cluster: LocalCluster, router: str) -> RoutingConfig:
    addresses = ", ".join(f'"{address}"' for address in cluster.addresses.values())
    tls = cluster.tls(router)
    assert tls is not None
    shown = f'ca = "{tls.ca}"\ncert = "{tls.cert}"\nkey = "{tls.key}"\n'
    return parse(CONFIG.replace("ENDPOINTS", f"[{addresses}]") + shown)


async def test_a_router_binds_in_the_dimensions_whose_tables_it_may(cluster: LocalCluster) -> None:
    async with Router(_config(cluster, "chats")) as router:
        assert (await router.resolve("chat", "c:1")).source is Source.CREATED
        # Nor is it told a provisional route, as where GlobalTable cannot be asked.
        with pytest.raises(PermissionDenied, match=r"no right to bind in table 'routing\.room'"):
            await router.resolve("room", "r:1")
    with _reader(cluster) as rooms:
        assert rooms.get("r:1", linearizable=True) is None
    async with Router(_config(cluster, "all")) as router:
        assert (await router.resolve("room", "r:1")).source is Source.CREATED


async def test_it_tells_what_it_may_read_though_it_may_not_bind_it(cluster: LocalCluster) -> None:
    async with Router(_config(cluster, "all")) as router:
        await router.resolve("room", "r:2")
    async with Router(_config(cluster, "chats")) as router:
        found = await router.resolve("room", "r:2")
        assert (found.source, found.route.unit) == (Source.READ, "A")


def _reader(cluster: LocalCluster) -> SyncGlobalTable:
    return SyncGlobalTable.connect(
        cluster.addresses.values(), table=ROOM, tls=cluster.tls("reader"), timeout=10.0
    )

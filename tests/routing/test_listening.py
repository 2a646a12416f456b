"""A router over TLS: who shows no certificate is not served, who is no administrator changes
nothing, and nobody listens to all by mistake."""

import asyncio
from pathlib import Path

import pytest

from globaltable.errors import ConfigError, ConnectFailed, PermissionDenied, Unavailable
from globaltable.routing.client.asking import Asking
from globaltable.routing.client.route_client import RouteClient
from globaltable.routing.config import RoutingConfig, parse
from globaltable.routing.resolution import Source
from globaltable.routing.service.listening import is_local
from globaltable.routing.service.serving import Serving
from tests.certificates import Pki

CONFIG = """
namespace = "test"
endpoints = ["127.0.0.1:1"]
timeout_s = 0.2
[units.A]
region = "a"
[dimensions.edge]
layer = "L0"
[dimensions.chat]
layer = "L2"
table = "routing.chat"
policy = "new"
[policies]
new = { unit = "A" }
"""


def _config(pki: Pki) -> RoutingConfig:
    files = pki.node("router")
    return parse(
        f'{CONFIG}[listening]\nca = "{files.ca}"\ncert = "{files.cert}"\nkey = "{files.key}"\n'
        'admins = ["globaltable://im/client/ops"]\n'
    )


async def test_callers_show_who_they_are_and_only_administrators_change_what_is_shared(
    tmp_path: Path,
) -> None:
    pki = Pki(tmp_path)
    serving = Serving(_config(pki), "127.0.0.1:0")
    await serving.start()
    address = f"127.0.0.1:{serving.port}"
    try:
        async with RouteClient([address], tls=pki.client("app")) as routes:
            assert (await routes.resolve("edge", "me")).source is Source.RULE
        with pytest.raises(ConnectFailed):
            async with RouteClient([address], timeout_s=2.0) as bare:
                await bare.resolve("edge", "me")

        def drained_by(name: str) -> None:
            with Asking(address, 5.0, pki.client(name)) as asking:
                assert [one.state for one in asking.units()] == ["serving"]
                asking.drain("A", serve=False)

        with pytest.raises(PermissionDenied, match="only who is named in"):
            await asyncio.to_thread(drained_by, "app")
        with pytest.raises(Unavailable, match="no node"):
            await asyncio.to_thread(drained_by, "ops")  # it may; there is no GlobalTable to tell
    finally:
        await serving.stop()


@pytest.mark.parametrize("address", ["0.0.0.0:0", "router.example:7301", "[::]:7301"])
async def test_nobody_listens_to_everybody_in_the_clear_unless_told_to(address: str) -> None:
    with pytest.raises(ConfigError, match="is not on this machine alone"):
        Serving(parse(CONFIG), address)
    Serving(parse(CONFIG + "[listening]\nplaintext_beyond_loopback = true\n"), address)


@pytest.mark.parametrize(
    "address", ["127.0.0.1:1", "127.9.9.9:1", "localhost:1", "[::1]:1", "unix:/x"]
)
def test_what_is_local(address: str) -> None:
    assert is_local(address)

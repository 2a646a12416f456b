"""Promise: what a node asks another goes by its own certificate, and by the newest of it."""

from pathlib import Path

from globaltable.server.node_channels import NodeChannels
from tests.server.test_gate import HOLDING, running


async def test_a_nodes_certificate_is_shown_and_a_new_one_after_it(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        certificates = node.pki.certificates("b")
        channels = NodeChannels(certificates)
        try:
            first = await channels.to(node.address)
            assert await channels.to(node.address) is first
            node.pki.node("b")
            renewed = await channels.to(node.address)
            assert renewed is not first
            method, request = HOLDING
            call = renewed.unary_unary(method, type(request).SerializeToString, None)
            assert await call(request, timeout=5.0) == b""
            assert node.reached == [method]
        finally:
            await channels.close()

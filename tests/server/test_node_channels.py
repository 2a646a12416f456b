"""Promise: what a node asks another goes by its own certificate, and by the newest of it."""

import asyncio
from pathlib import Path

import pytest

from globaltable.server import node_channels
from globaltable.server.identities import Identity, Kind
from globaltable.server.node_channels import NodeChannels
from globaltable.server.tls import Certificates
from tests.certificates import Pki
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


async def test_a_channel_is_no_older_than_it_may_be_nor_than_its_certificate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pki = Pki(tmp_path)
    channels = NodeChannels(pki.certificates("b"))
    brief = Certificates(pki.node("c", days=2 / 86_400), Identity("im", Kind.NODE, "c"))
    of_brief = NodeChannels(brief)
    try:
        monkeypatch.setattr(node_channels, "AGE_S_MAX", 0.3)
        first = await channels.to("127.0.0.1:1")
        assert await channels.to("127.0.0.1:1") is first
        await asyncio.sleep(0.4)
        assert await channels.to("127.0.0.1:1") is not first
        monkeypatch.setattr(node_channels, "AGE_S_MAX", 60.0)
        until_its_end = await of_brief.to("127.0.0.1:1")
        assert await of_brief.to("127.0.0.1:1") is until_its_end
        await asyncio.sleep(2.1)
        assert await of_brief.to("127.0.0.1:1") is not until_its_end
    finally:
        await channels.close()
        await of_brief.close()


async def test_in_the_clear_one_is_kept() -> None:
    channels = NodeChannels(None)
    try:
        assert await channels.to("127.0.0.1:1") is await channels.to("127.0.0.1:1")
    finally:
        await channels.close()

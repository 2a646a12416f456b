"""Header keys in a real cluster: one for all who rotate, known to all who watch, kept when it is
gone."""

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

import pytest

from globaltable.cli.main import run
from globaltable.client import GlobalTable, SyncGlobalTable
from globaltable.routing.client.keys import META_TABLE, HeaderKeys, Rotation
from globaltable.routing.header import HeaderRefused, HeaderSigner, HeaderVerifier, Refusal
from globaltable.routing.key_rotation import Schedule, new_record
from globaltable.routing.keyring import encode_record, record_name
from globaltable.routing.route import Route
from globaltable.routing.signatures import Algorithm, KeyTerms, RootSecret
from globaltable.routing.verified import VerifiedHeaders
from globaltable.testing import LocalCluster

pytestmark = pytest.mark.cluster

ROOT: Final = RootSecret(b"r" * 32)
QUICK: Final = Rotation(Algorithm.ED25519, Schedule(sign_s=40_000, publish_ahead_s=2))


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    with LocalCluster(tables=(META_TABLE,)) as running:
        yield running


class Desk:
    """Clients of the nodes, each with the keys it watches."""

    def __init__(self, cluster: LocalCluster, stack: AsyncExitStack) -> None:
        self._cluster = cluster
        self._stack = stack

    async def table(self, node: str) -> GlobalTable:
        addresses = dict(self._cluster.addresses)
        ordered = [addresses.pop(node), *addresses.values()]
        client = GlobalTable.connect(ordered, table=META_TABLE)
        return await self._stack.enter_async_context(client)

    async def keys(
        self,
        node: str,
        audience: str,
        *,
        roots: tuple[RootSecret, ...] = (),
        rotation: Rotation | None = None,
        kept_in: Path | None = None,
    ) -> HeaderKeys:
        keys = HeaderKeys(
            await self.table(node), audience, roots=roots, rotation=rotation, kept_in=kept_in
        )
        return await self._stack.enter_async_context(keys)


@pytest.fixture
async def desk(cluster: LocalCluster) -> AsyncIterator[Desk]:
    async with AsyncExitStack() as stack:
        yield Desk(cluster, stack)


async def until(true: Callable[[], bool], within_s: float = 10.0) -> None:
    async with asyncio.timeout(within_s):
        while not true():
            await asyncio.sleep(0.01)


def route() -> Route:
    return Route("chat", "cid:1", "unit-a", 1, int(time.time()) + 600)


async def test_all_who_rotate_at_once_make_one_key_that_all_who_watch_check_with(
    desk: Desk,
) -> None:
    signing = [
        await desk.keys(node, "one/key", roots=(ROOT,), rotation=QUICK) for node in ("a", "b", "c")
    ]
    gateway = await desk.keys("b", "one/key")
    everybody = [*signing, gateway]
    await until(lambda: all(keys.ring.records for keys in everybody))
    assert {tuple(keys.ring.records.items()) for keys in everybody} == {
        tuple(gateway.ring.records.items())
    }
    assert list(gateway.ring.records) == [1]
    verifier = HeaderVerifier(gateway.ring)
    for keys in signing:
        header = HeaderSigner(keys.ring).sign(route(), time.time())
        assert verifier.verify(header, time.time()).unit == "unit-a"


async def test_a_revoked_key_counts_nowhere_and_the_next_one_signs(desk: Desk) -> None:
    signing = await desk.keys("a", "revoked/key", roots=(ROOT,), rotation=QUICK)
    gateway = await desk.keys("c", "revoked/key")
    await until(lambda: 1 in gateway.ring.records and 1 in signing.ring.records)
    signer, headers = HeaderSigner(signing.ring), VerifiedHeaders(HeaderVerifier(gateway.ring))
    signing.follow(signer.adopt)
    gateway.follow(headers.adopt)
    header = signer.sign(route(), time.time())
    headers.verify(header, time.time())
    await signing.revoke(1)
    rings = (signing, gateway)
    await until(lambda: all(list(keys.ring.records) == [2] for keys in rings))
    with pytest.raises(HeaderRefused) as refused:
        headers.verify(header, time.time())
    assert refused.value.reason is Refusal.UNKNOWN_KEY
    headers.verify(signer.sign(route(), time.time()), time.time())


async def test_a_record_that_nobody_can_read_is_left_out_and_not_written_over(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    table = await desk.table("a")
    await table.bind(record_name("odd/key", 1), "2 of a later version")
    with caplog.at_level(logging.ERROR):
        signing = await desk.keys("a", "odd/key", roots=(ROOT,), rotation=QUICK)
        await until(lambda: bool(signing.ring.records))
    assert list(signing.ring.records) == [2]
    assert "unknown format" in caplog.text
    kept = await table.get(record_name("odd/key", 1))
    assert kept is not None and kept.unit == "2 of a later version"


def test_the_shell_lists_and_revokes_keys(
    cluster: LocalCluster, capsys: pytest.CaptureFixture[str]
) -> None:
    now_s = int(time.time())
    endpoints = ",".join(cluster.addresses.values())
    here = ["--audience", "shell/key", "--endpoints", endpoints]
    with SyncGlobalTable.connect(cluster.addresses.values(), table=META_TABLE) as table:
        for key_id, begins_s in enumerate((now_s - 5_000, now_s - 1_000, now_s + 500), 1):
            terms = KeyTerms(key_id, begins_s, begins_s + 1_500, begins_s + 90_000)
            made = new_record(terms, ROOT, Algorithm.ED25519, "shell/key")
            table.bind(record_name("shell/key", key_id), encode_record(made))
        table.bind(record_name("shell/key", 4), "2x")
    assert run(["keys", "list", *here, "--json"]) == 0
    told = capsys.readouterr()
    listed = [json.loads(line) for line in told.out.splitlines()]
    assert [(one["key"], one["now"]) for one in listed] == [
        (1, "counts"),
        (2, "signs"),
        (3, "waits"),
    ]
    assert "unknown format" in told.err
    assert run(["keys", "revoke", "2", *here]) == 0
    assert run(["keys", "revoke", "2", *here]) == 1
    capsys.readouterr()
    assert run(["keys", "list", *here]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["KEY", "1", "3"]


async def test_with_every_node_gone_the_last_ring_counts_also_after_a_restart(
    desk: Desk, cluster: LocalCluster, tmp_path: Path
) -> None:
    """The last test of this file: it kills what the others need."""
    path = tmp_path / "ring"
    signing = await desk.keys("a", "kept/key", roots=(ROOT,), rotation=QUICK, kept_in=path)
    await until(lambda: bool(signing.ring.records) and path.exists())
    table = await desk.table("b")
    for node in cluster.nodes:
        cluster.kill(node)
    header = HeaderSigner(signing.ring).sign(route(), time.time())
    async with HeaderKeys(table, "kept/key", kept_in=path) as again:
        assert again.ring.records == signing.ring.records
        HeaderVerifier(again.ring).verify(header, time.time())
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await again.wait_read()
        HeaderVerifier(again.ring).verify(header, time.time())

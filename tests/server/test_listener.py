"""What is told over HTTP: of a loop that turns, and of one that does not; never to too many."""

import asyncio
import json
import random
import socket
import ssl
import time
import urllib.error
import urllib.request
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from globaltable.errors import StorageError
from globaltable.raft.adaptor import Timing
from globaltable.replica_limits import ReplicaLimits
from globaltable.server import listener
from globaltable.server.config import Address
from globaltable.server.core import NodeCore
from globaltable.server.health import Health
from globaltable.server.identities import Identity, Kind
from globaltable.server.listener import REQUESTS_MAX, Listener
from globaltable.server.measures import Measures
from globaltable.server.security import TlsFiles
from globaltable.server.tls import Certificates
from globaltable.testing.cluster import free_ports
from globaltable.topology import one_node_each, spread
from tests.certificates import Pki
from tests.simulation.disk import Platter, SimLog, SimTable


@pytest.fixture
def address() -> Address:
    return Address("127.0.0.1", free_ports(1)[0])


def _health() -> Health:
    core = NodeCore(
        topology=spread("im", one_node_each("abc"), 2, 3, slots=16),
        node="a",
        log=SimLog(Platter()),
        table=SimTable(Platter()),
        timing=Timing(),
        limits=ReplicaLimits(),
        flush_rows=10,
        flush_interval_s=1.0,
        rng=random.Random(1),
        now=0.0,
    )
    return Health(core, Measures(time.perf_counter), ())


class _NothingCollected:
    """Metrics of a real node are looked at in tests/cluster/test_sight.py."""

    def of_the_loop(self) -> list[Any]:
        return []

    def of_the_disk(self) -> list[Any]:
        return []


def _listener(address: Address, certificates: Certificates | None = None) -> Listener:
    collector: Any = _NothingCollected()
    return Listener(address, asyncio.get_running_loop(), _health(), collector, certificates)


def _get(address: Address, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://{address}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


async def test_a_node_without_a_leader_lives_and_is_not_ready(address: Address) -> None:
    one = _listener(address)
    one.start()
    try:
        assert await asyncio.to_thread(_get, address, "/healthz") == (
            200,
            '{\n  "ok": true,\n  "ills": {}\n}\n',
        )
        status, body = await asyncio.to_thread(_get, address, "/readyz")
        assert status == 503
        assert json.loads(body)["ills"] == {
            "group/0": "no leader is heard from",
            "group/1": "no leader is heard from",
        }
        assert (await asyncio.to_thread(_get, address, "/metrics"))[0] == 200
        assert (await asyncio.to_thread(_get, address, "/"))[0] == 404
    finally:
        await one.close()


async def test_a_loop_that_does_not_turn_is_told_of(
    address: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "LOOP_TURNS_S", 0.05)
    one = _listener(address)
    one.start()
    try:
        asked = asyncio.get_running_loop().run_in_executor(None, _get, address, "/healthz")
        metrics = asyncio.get_running_loop().run_in_executor(None, _get, address, "/metrics")
        time.sleep(0.5)  # noqa: ASYNC251  # the loop hangs
        status, body = await asked
        assert status == 503
        assert json.loads(body)["ills"] == {"loop": "the event loop does not turn"}
        assert (await metrics)[0] == 503
    finally:
        await one.close()


async def test_connections_that_say_nothing_are_bounded(address: Address) -> None:
    one = _listener(address)
    one.start()
    idle = [socket.create_connection((address.host, address.port)) for _ in range(REQUESTS_MAX)]
    try:
        with closing(socket.create_connection((address.host, address.port))) as one_more:
            one_more.settimeout(3)
            assert await asyncio.to_thread(one_more.recv, 1) == b"", "closed unanswered"
        idle.pop().close()
        async with asyncio.timeout(5):
            while True:
                try:
                    assert (await asyncio.to_thread(_get, address, "/healthz"))[0] == 200
                    break
                except OSError:
                    await asyncio.sleep(0.02)
    finally:
        for connection in idle:
            connection.close()
        await one.close()


async def test_an_address_in_use_is_refused_by_name(address: Address) -> None:
    with (
        socket.create_server((address.host, address.port)),
        pytest.raises(StorageError, match=str(address.port)),
    ):
        _listener(address).start()


def _get_over_tls(port: int, ca: Path, chain: tuple[Path, Path] | None) -> int:
    context = ssl.create_default_context(cafile=str(ca))
    context.check_hostname = False
    if chain is not None:
        context.load_cert_chain(*chain)
    url = f"https://127.0.0.1:{port}/healthz"
    with urllib.request.urlopen(url, timeout=5, context=context) as answer:
        return int(answer.status)


async def test_beyond_loopback_only_who_shows_a_certificate_is_answered(
    address: Address, tmp_path: Path
) -> None:
    pki = Pki(tmp_path)
    certificates = Certificates(pki.node("a"), Identity("im", Kind.NODE, "a"))
    one = _listener(Address("0.0.0.0", address.port), certificates)
    client = TlsFiles(*pki.client("scrape").paths)
    one.start()
    try:
        shown = (client.cert, client.key)
        assert await asyncio.to_thread(_get_over_tls, address.port, client.ca, shown) == 200
        with pytest.raises(OSError):
            await asyncio.to_thread(_get_over_tls, address.port, client.ca, None)
        with pytest.raises(OSError):
            await asyncio.to_thread(_get, address, "/healthz")
    finally:
        await one.close()

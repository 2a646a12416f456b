"""Replicas are compared while they serve: one wrong row is named, and nothing that is only late."""

import itertools
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import lmdb
import pytest

from globaltable.admin.check import Comparison, check
from globaltable.admin.nodes import Nodes
from globaltable.model import qualified_name
from globaltable.row_keys import SLOT_BYTES
from globaltable.server.config import Limits, Timeouts
from globaltable.testing import LocalCluster
from globaltable.topology import slot_of
from globaltable.wire.rows import Row, decode_row, encode_row
from tests.cluster.sessions import TABLE, Writer, race, wait_equal
from tests.cluster.test_backup import command

pytestmark = [pytest.mark.cluster, pytest.mark.long]

SESSIONS = 300
_GENERATION_BYTES: Final = 4
_CRC_BYTES: Final = 4


@pytest.fixture
def cluster() -> Iterator[LocalCluster]:
    # Flushes are many and small, so that some are under way when a table is frozen.
    limits, timeouts = Limits(flush_ops=20), Timeouts(flush_interval_s=0.05)
    with LocalCluster(limits=limits, timeouts=timeouts) as running:
        yield running


def _checked(cluster: LocalCluster) -> list[Comparison]:
    with Nodes.connect(cluster.addresses.values()) as nodes:
        return list(check(nodes))


def _falsify(directory: Path) -> tuple[bytes, Row]:
    """Give a row another unit, with a checksum that holds; its name, and what it was."""
    env = lmdb.open(str(directory / "table"), max_dbs=4, map_size=1 << 32)
    rows = env.open_db(b"rows")
    with env.begin(write=True) as transaction:
        with transaction.cursor(rows) as cursor:
            assert cursor.first()
            key, value = bytes(cursor.key()), bytes(cursor.value())
        row = decode_row(value[_CRC_BYTES:])
        body = encode_row(row._replace(unit="WRONG"))
        crc = zlib.crc32(body, zlib.crc32(key)).to_bytes(_CRC_BYTES, "big")
        transaction.put(key, crc + body, db=rows)
    env.close()
    return key[_GENERATION_BYTES + SLOT_BYTES :], row


def test_replicas_are_the_same_under_load(cluster: LocalCluster) -> None:
    """A check that compared two moments would find differences in what was just written."""
    race(cluster, [f"cid:{number}" for number in range(SESSIONS)])
    writers = [Writer(cluster, f"w{number}") for number in range(8)]
    threads = [threading.Thread(target=writer.run) for writer in writers]
    for thread in threads:
        thread.start()
    try:
        seen: list[list[Comparison]] = []
        for _ in range(6):
            seen.append(_checked(cluster))
            assert all(one.same and not one.not_compared for one in seen[-1]), seen[-1]
    finally:
        for writer in writers:
            writer.stopping = True
        for thread in threads:
            thread.join()
    for before, after in itertools.pairwise(seen):
        assert any(a.revision < b.revision for a, b in zip(before, after, strict=True))
    assert sum(one.rows for one in seen[-1]) > SESSIONS
    for one in seen[-1]:
        assert one.nodes == ("a", "b", "c")


def test_a_wrong_row_is_named_and_who_holds_it(cluster: LocalCluster) -> None:
    race(cluster, [f"cid:{number}" for number in range(SESSIONS)])
    wait_equal(cluster)
    assert cluster.terminate("b") == 0
    name, row = _falsify(cluster.data_dir("b"))
    group = cluster.config.topology().group_of(name)

    alone = command("check", "--config", cluster.config_path)
    assert alone.returncode == 3 and "was not compared" in alone.stdout
    cluster.start("b")
    cluster.wait_ready()
    found = _checked(cluster)
    differing = [one for one in found if not one.same]
    assert [one.group for one in differing] == [group]
    (one,) = differing
    ((slot, camps),) = one.slots
    assert slot == slot_of(name, cluster.config.slots)
    assert camps == (("a", "c"), ("b",))
    (key,) = one.keys
    assert key.name == name
    assert key.rows == {"a": row, "b": row._replace(unit="WRONG"), "c": row}
    assert not one.history, "what is remembered of ops is the same"

    told = command("check", "--config", cluster.config_path)
    assert told.returncode == 1
    session = name.partition(b"\0")[2].decode()
    assert f"slot {slot}: b differs from a = c" in told.stdout
    assert f"{TABLE} {session!r}" in told.stdout and "b: unit 'WRONG'" in told.stdout
    assert qualified_name(TABLE, session) == name

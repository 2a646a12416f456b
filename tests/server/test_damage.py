"""A damaged record met while serving stops the replica it belongs to, by name, and no other."""

import asyncio
import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import lmdb
import pytest

from globaltable.errors import Corrupt, NoQuorum, StorageError
from globaltable.model import qualified_name
from globaltable.raft.adaptor import Timing
from globaltable.raft.journal import NO_OP
from globaltable.raft.transfer import EndRead, ReadChunk
from globaltable.replica_limits import ReplicaLimits
from globaltable.row_keys import row_key
from globaltable.server.backend import NodeBackend
from globaltable.server.config import Address, Config, NodeConfig
from globaltable.server.core import NodeCore
from globaltable.server.driver import Driver
from globaltable.server.effects import FlushJob, GroupJob
from globaltable.server.peers import PeerLinks
from globaltable.server.slot_claims import SlotClaims
from globaltable.server.watches import Watches
from globaltable.server.worker import TableWorker
from globaltable.store.lmdb_table import LmdbTableStore
from globaltable.store.log import Entry, HardState
from globaltable.table_state import Flush, TableState
from globaltable.wire.rows import Row, encode_row
from tests.simulation.disk import Platter, SimLog

TABLE = "im.session"
STATE = TableState(5, 1, 1)
LATER = TableState(6, 1, 1)
REMEDY = "globaltable rebuild --node a --group"

CONFIG = Config(
    cluster="im",
    tables=(TABLE,),
    nodes=tuple(
        NodeConfig(name, name, Address("127.0.0.1", 1), Address("127.0.0.1", 2), Path(name))
        for name in "abc"
    ),
    groups=2,
    slots=16,
)


def _rows(group: int) -> dict[bytes, bytes]:
    """One row of the group."""
    topology = CONFIG.topology()
    for number in range(1_000):
        name = qualified_name(TABLE, f"s{number}")
        if topology.group_of(name) == group:
            return {row_key(name, CONFIG.slots): encode_row(Row("A", 1, 5, 7, number))}
    raise AssertionError("no key of the group")


def _name(group: int) -> bytes:
    (key,) = _rows(group)
    return key[2:]


def _damage(directory: Path, database: bytes, group: int) -> None:
    env = lmdb.open(str(directory), max_dbs=4, map_size=1 << 30)
    _damage_in(env, database, group)
    env.close()


def _damage_in(env: lmdb.Environment, database: bytes, group: int) -> None:
    records = env.open_db(database)
    with env.begin(write=True) as transaction, transaction.cursor(records) as cursor:
        assert cursor.set_range(group.to_bytes(2 if database == b"groups" else 4, "big"))
        value = bytes(cursor.value())
        transaction.put(bytes(cursor.key()), value[:-1] + bytes([value[-1] ^ 1]), db=records)


def _logs() -> Platter:
    """Of two groups, each of which ends where the table does."""
    platter = Platter()
    for group in (0, 1):
        base = Entry(NO_OP, STATE.applied, STATE.applied_term)
        platter.entries[group] = {STATE.applied: base}
        platter.states[group] = HardState(STATE.applied_term, None)
    return platter


class _Desk:
    """A core over a real table of two groups, one row each."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        store = LmdbTableStore(directory)
        store.flush([(group, Flush(_rows(group), [], STATE)) for group in (0, 1)])
        store.close()
        self.failed: list[BaseException] = []
        self._calls: list[Callable[[], None]] = []

    def open(self) -> None:
        self.store = LmdbTableStore(self.directory)
        self.core = NodeCore(
            topology=CONFIG.topology(),
            node="a",
            log=SimLog(_logs()),
            table=self.store,
            timing=Timing(),
            limits=ReplicaLimits(),
            flush_rows=10,
            flush_interval_s=1.0,
            rng=random.Random(1),
            now=0.0,
        )
        self.worker = TableWorker(
            core=self.core,
            store=self.store,
            executor=ThreadPoolExecutor(1),
            call_soon=lambda call, *args: self._calls.append(lambda: call(*args)),
            on_failure=self.failed.append,
            wake=lambda: None,
        )

    def reading(self) -> tuple[int, str, int] | None:
        """The transfer whose turn it is."""
        return self.worker._reading

    def work(self) -> None:
        """Wait for the worker, and take its results."""
        self.worker.close()
        for call in self._calls:
            call()


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[_Desk]:
    desk = _Desk(tmp_path)
    yield desk
    desk.store.close()


def _assert_stopped(desk: _Desk, record: str) -> None:
    """Group 1, because of this record, and nothing else."""
    assert list(desk.core.replicas) == [0]
    assert record in desk.core.failures[1]
    assert f"{REMEDY} 1" in desk.core.failures[1]
    assert desk.failed == []


class TestTheTablesWorker:
    def test_a_row_of_a_snapshot(self, desk: _Desk) -> None:
        _damage(desk.directory, b"rows", 1)
        desk.open()
        for group in (0, 1):
            desk.worker.submit(GroupJob(group, ReadChunk("b", 1)))
            desk.worker.submit(GroupJob(group, EndRead("b", 1)))
        desk.work()
        _assert_stopped(desk, f"row '{TABLE} s")

    def test_snapshots_are_read_for_one_transfer_at_a_time(self, desk: _Desk) -> None:
        """Also after the first was ended, or its replica is out of service."""
        desk.open()
        for group, peer in ((0, "b"), (1, "b"), (0, "c")):
            desk.worker.submit(GroupJob(group, ReadChunk(peer, 1)))
        assert desk.reading() == (0, "b", 1)
        desk.worker.submit(GroupJob(0, EndRead("b", 1)))
        assert desk.reading() == (1, "b", 1)
        desk.worker.submit(GroupJob(1, ReadChunk("c", 1)))
        desk.worker.submit(GroupJob(1, EndRead("c", 1)))  # before its turn has come
        desk.worker.forget(1)
        assert desk.reading() == (0, "c", 1)
        desk.worker.submit(GroupJob(0, EndRead("c", 1)))
        assert desk.reading() is None
        desk.work()
        assert not desk.worker._sources
        assert desk.failed == []

    def test_a_snapshot_that_ends_at_a_damaged_row_is_read_no_further(self, desk: _Desk) -> None:
        """What is read of one keeps its pages from being used again."""
        _damage(desk.directory, b"rows", 1)
        desk.open()
        with pytest.raises(Corrupt):
            desk.worker._read(1, ReadChunk("b", 1))
        assert not desk.worker._sources

    def test_the_state_of_a_group_that_is_flushed(self, desk: _Desk) -> None:
        """The other group's flush, which shared a transaction with it, is not lost."""
        desk.open()
        _damage_in(desk.store._env, b"groups", 1)
        desk.worker.submit(FlushJob([(group, Flush({}, [], LATER)) for group in (0, 1)]))
        desk.work()
        _assert_stopped(desk, "state of group 0001 of table/")
        assert desk.store.image(0).state == LATER

    def test_a_sweep_over_it_ends_nothing(self, desk: _Desk) -> None:
        _damage(desk.directory, b"groups", 1)
        desk.open()
        desk.worker.sweep()
        desk.work()
        _assert_stopped(desk, "state of group 0001 of table/")

    def test_a_disk_that_cannot_be_written_still_ends_the_node(
        self, desk: _Desk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        desk.open()

        def full(_: Any) -> None:
            raise StorageError("the disk is full")

        monkeypatch.setattr(desk.store, "flush", full)
        desk.worker.submit(FlushJob([(0, Flush({}, [], LATER))]))
        desk.work()
        assert [str(error) for error in desk.failed] == ["the disk is full"]


def _backend(desk: _Desk, links: PeerLinks) -> NodeBackend:
    """Over a core that nobody turns."""
    watches = Watches(desk.core.serving, lambda group, error: driver.met_damage(group, error))
    driver = Driver(
        core=desk.core,
        clock=asyncio.get_running_loop(),
        send=lambda peer, frame: None,
        watches=watches,
        on_out_of_service=lambda failure: None,
        on_failure=lambda error: None,
    )
    driver.stop()
    return NodeBackend(CONFIG, "a", desk.core, driver, watches, links, SlotClaims())


class TestTheBackend:
    @pytest.fixture
    async def backend(self, desk: _Desk) -> NodeBackend:
        _damage(desk.directory, b"rows", 1)
        desk.open()
        desk.worker.close()
        return _backend(desk, cast(PeerLinks, None))

    @pytest.mark.parametrize(
        "read",
        [
            lambda backend: backend.read([_name(1)]),
            lambda backend: backend.scan(TABLE, "", b"", 100),
            lambda backend: backend.watches.take(backend.open_watch(_name(1), True, {})),
            lambda backend: backend.watches.take(backend.open_watch(_name(1), True, {1: 0})),
        ],
        ids=["get", "scan", "watch", "watch that resumes"],
    )
    async def test_a_row_that_is_read(
        self, desk: _Desk, backend: NodeBackend, read: Callable[[NodeBackend], Any]
    ) -> None:
        watcher = backend.open_watch(_name(1), True, {})
        with pytest.raises(NoQuorum, match=f"out of service on a: Corrupt: row '{TABLE} s"):
            read(backend)
        _assert_stopped(desk, f"row '{TABLE} s")
        with pytest.raises(NoQuorum, match="fails its checksum"):
            backend.read([_name(1)])
        with pytest.raises(NoQuorum, match="fails its checksum"):
            backend.watches.take(watcher)
        ((binding, _),) = backend.read([_name(0)])
        assert binding is not None and binding.unit == "A"

    async def test_is_seen_in_the_status(self, backend: NodeBackend, desk: _Desk) -> None:
        with pytest.raises(NoQuorum):
            backend.read([_name(1)])
        links = cast(PeerLinks, _NoLinks())
        groups = _backend(desk, links).status().groups
        assert [group.failed for group in groups] == [False, True]
        assert "fails its checksum" in groups[1].failure


class _NoLinks:
    def connected(self, _: str) -> bool:
        return False

    def round_trip_s(self, _: str) -> float:
        return 0.0

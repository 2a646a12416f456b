"""One region node: what the driver of the core is wired to, and its life.

Turns begin and complete on the event loop's thread (`driver`); they are persisted on a thread of
their own (`persister`), and while they are, replicas that do not wait for it go on.

Invariants: no frame is sent and no future resolved before its turn is durable; a disk error stops
the process, for a node that cannot persist must not go on as if it could.
"""

import asyncio
import os
import random
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

import grpc
import structlog

from globaltable.errors import ConfigError, ProtocolError, StorageError
from globaltable.model import TOPOLOGY_NAME
from globaltable.raft.adaptor import Timing
from globaltable.replica_limits import ReplicaLimits
from globaltable.server.admin import AdminService
from globaltable.server.backend import NodeBackend
from globaltable.server.call_room import CallRoom
from globaltable.server.client_port import SERVICE_NAME, ClientServices, client_port
from globaltable.server.config import Config
from globaltable.server.core import NodeCore
from globaltable.server.directories import Directories, Shown
from globaltable.server.driver import Driver, tell
from globaltable.server.effects import ReplicaFailure, Turn
from globaltable.server.gate import Gate
from globaltable.server.health import Health
from globaltable.server.listener import Listener
from globaltable.server.live_topology import LiveTopology
from globaltable.server.measures import Measures
from globaltable.server.membership import Membership
from globaltable.server.metrics.collector import NodeCollector
from globaltable.server.pacing import Pace
from globaltable.server.peers import PeerLinks
from globaltable.server.persister import Persister
from globaltable.server.requests import Requests
from globaltable.server.service import GlobalTableService
from globaltable.server.slot_claims import SlotClaims
from globaltable.server.slot_groups import SlotGroups
from globaltable.server.slot_mover import SlotMover
from globaltable.server.slow_ops import SlowOps
from globaltable.server.starting import Start
from globaltable.server.tls import Certificates
from globaltable.server.topology_changes import TOPOLOGY_GROUP
from globaltable.server.topology_word import decode_word
from globaltable.server.tracing import Tracing, provider_of
from globaltable.server.watch_progress import WatchProgress
from globaltable.server.watches import Watches
from globaltable.server.worker import TableWorker
from globaltable.store import known_topology
from globaltable.store.lmdb_log import LmdbLogStore
from globaltable.store.lmdb_table import LmdbTableStore
from globaltable.topology import Topology

if TYPE_CHECKING:
    from globaltable.server.console.console import Console

TRANSFER_SHARE: Final = 0.25
"""Of the time of the table's thread, what goes into snapshots for and of others."""
ASIDE_SHARE: Final = 0.125
"""What goes into backups and checks, for which nobody but an operator waits."""

_TOPOLOGY_PERIOD_S: Final = 0.1

log = structlog.get_logger(__name__)


class Node:
    """A running node. `start`, then `wait_failed` or `stop`."""

    def __init__(
        self, config: Config, name: str, start: Start, certificates: Certificates | None = None
    ) -> None:
        self._config = config
        self._certificates = certificates
        self._own = config.node(name)
        self._name = name
        self._may_be_needless = start.is_fresh
        topology = start.known.newest
        self._topology = topology
        self._removed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._loop = asyncio.get_running_loop()
        self._failed: asyncio.Future[None] = self._loop.create_future()
        directory = self._own.data_dir
        self._lock = start.lock
        self._log_store = LmdbLogStore(directory / "log")
        self._table_store = LmdbTableStore(
            directory / "table", chunk_bytes=config.limits.snapshot_chunk_bytes
        )
        timeouts = config.timeouts
        rng = random.SystemRandom()
        self._core = NodeCore(
            topology=topology,
            node=self._name,
            log=self._log_store,
            table=self._table_store,
            timing=Timing(timeouts.heartbeat_s, timeouts.election_min_s, timeouts.election_max_s),
            limits=ReplicaLimits(
                pending_ops=config.limits.pending_ops_per_group,
                log_entries=config.limits.log_entries_per_group,
                log_bytes=config.limits.log_bytes_per_group,
                # However large a flush is, the next one may gather while it is written.
                unflushed_rows=max(ReplicaLimits().unflushed_rows, 4 * config.limits.flush_ops),
            ),
            flush_rows=config.limits.flush_ops,
            flush_interval_s=timeouts.flush_interval_s,
            rng=random.Random(rng.getrandbits(256)),
            now=self._loop.time(),
            founding=start.known.founded,
        )
        since = next(n.since for n in (*topology.nodes, *topology.removed) if n.name == name)
        self._directories = Directories(directory, name, since, start.directory)
        self._links = PeerLinks(
            cluster=config.fence,
            node=self._name,
            incarnation=rng.getrandbits(62),
            plan=topology.plan_digest,
            listen=(self._own.listens_for_peers_on.host, self._own.listens_for_peers_on.port),
            peers={},
            on_payload=self._on_payload,
            on_up=lambda peer: self._on_link(peer, True),
            on_down=lambda peer: self._on_link(peer, False),
            since=since,
            directory=start.directory,
            why_lost=self._meet,
            on_lost=self._on_lost,
            level=lambda: self._live.noted_level,
            on_level=self._on_level,
            on_topology=self._on_topology,
            on_removed=lambda peer, reason: self._membership.refused(peer, reason),
            why_removed=lambda name, since: self._membership.why_removed(name, since),
            buffer_bytes_max=config.limits.peer_buffer_bytes,
            reconnect_min_s=timeouts.reconnect_min_s,
            reconnect_max_s=timeouts.reconnect_max_s,
            random=random.Random(rng.getrandbits(64)),
            certificates=certificates,
        )
        self._claims = SlotClaims()
        self._live = LiveTopology(
            node=name,
            directory=directory,
            known=start.known,
            claims=self._claims,
            directories=self._directories,
            tell=self._links.tell_topology,
            peers=lambda: self._links.connections,
            on_change=self._on_new_topology,
            on_plan=self._on_plan,
            on_lost=self._on_lost,
            protocol_of=self._links.version,
            noted_level=start.noted_level,
        )
        self._membership = Membership(
            config,
            name,
            self._core,
            self._live,
            set_peers=self._links.set_peers,
            wake=lambda: self._driver.wake(),
            on_removed=lambda: self._removed.set_result(None),
        )
        watches = Watches(
            self._core.serving, lambda group, error: self._driver.met_damage(group, error)
        )
        self._measures = Measures(time.perf_counter)
        if config.log_slow_op_ms:
            self._measures.listen(SlowOps(self._core, config.log_slow_op_ms / 1000).ended)
        self._driver = Driver(
            core=self._core,
            clock=self._loop,
            send=self._links.send,
            watches=watches,
            on_out_of_service=self._out_of_service,
            on_failure=self._fail,
            on_removed=lambda group: self._membership.reconcile(),
            measures=self._measures,
        )
        self._backend = NodeBackend(
            config, self._name, self._core, self._driver, watches, self._links, self._claims
        )
        self._persister = Persister(
            store=self._log_store,
            call_soon=self._loop.call_soon_threadsafe,
            on_durable=self._persisted,
            on_failure=self._fail,
        )
        self._worker = TableWorker(
            core=self._core,
            store=self._table_store,
            executor=ThreadPoolExecutor(1, thread_name_prefix="table"),
            call_soon=self._loop.call_soon_threadsafe,
            on_failure=self._fail,
            wake=self._driver.wake,
            pace=Pace(TRANSFER_SHARE, time.monotonic),
            call_later=self._loop.call_later,
            aside_pace=Pace(ASIDE_SHARE, time.monotonic),
        )
        self._driver.attach(self._persister, self._worker)
        self._groups = SlotGroups(self._core, self._driver, self._loop.time, certificates)
        self._mover = SlotMover(self._core, self._groups, self._loop.time, self._driver.met_damage)
        self._server: grpc.aio.Server | None = None
        self._room = CallRoom(config.limits.calls)
        self._gate = (
            Gate(config, name, certificates, self._membership.why_no_member)
            if certificates is not None or config.security.audits_in_the_clear
            else None
        )
        self._tracing = self._begin_tracing()
        self.requests = Requests(self._measures, lines=config.log_requests, tracing=self._tracing)
        self._service = GlobalTableService(self._backend, self.requests)
        self._admin = AdminService(
            cluster_id=config.cluster_id,
            core=self._core,
            backend=self._backend,
            worker=self._worker,
            store=self._table_store,
            live=self._live,
            steps=self._groups,
            certificates=certificates,
        )
        self._health = Health(self._core, self._measures, (SERVICE_NAME,))
        collector = NodeCollector(
            config=config,
            core=self._core,
            measures=self._measures,
            links=self._links,
            watches=watches,
            live=self._live,
            store=self._table_store,
            health=self._health,
            room=self._room,
        )
        self._listener = Listener(
            self._own.metrics,
            self._loop,
            self._health,
            collector,
            certificates,
            self._gate.why_not if self._gate is not None else lambda shown: "",
        )
        self._console = self._begin_console()
        self._health_task: asyncio.Task[None] | None = None
        self._topology_task: asyncio.Task[None] | None = None
        self._moving_task: asyncio.Task[None] | None = None
        self._progress = WatchProgress(watches)
        self._progress_task: asyncio.Task[None] | None = None

    def _begin_tracing(self) -> Tracing | None:
        if not self._config.tracing_exporter:
            return None

        def leader_of(group: int) -> str | None:
            replica = self._core.replicas.get(group)
            return replica.guard.leader if replica is not None else None

        provider = provider_of(self._config.tracing_exporter, self._name, self._own.region)
        tracing = Tracing(provider, self._name, leader_of)
        self._measures.listen(tracing.ended)
        return tracing

    def _begin_console(self) -> "Console | None":
        if self._own.console is None:
            return None
        # What it is made of takes a tenth of a second to load.
        from globaltable.server.console.console import Console

        return Console(
            self._own.console,
            config=self._config,
            core=self._core,
            backend=self._backend,
            live=self._live,
            measures=self._measures,
            service=self._service,
            admin=self._admin,
            gate=self._gate,
            certificates=self._certificates,
        )

    # --- life ------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Listen for peers and clients. Raises `StorageError` or `OSError` if it cannot."""
        for failure in self._core.failures.items():
            log.error("replica out of service", group=failure[0], reason=failure[1])
        self._core.new_failures.clear()
        await self._links.start()
        self._server = client_port(
            self._own,
            self._config.limits.calls,
            ClientServices(self._service, self._admin, self._health),
            room=self._room,
            gate=self._gate,
            certificates=self._certificates,
        )
        self._listener.start()
        if self._console is not None:
            await self._console.start()
        await self._server.start()
        if self._gate is not None:
            self._gate.start()
        self._worker.sweep()
        self._health_task = asyncio.create_task(self._health.run())
        self._topology_task = asyncio.create_task(self._watch_topology())
        self._moving_task = asyncio.create_task(self._move_slots())
        self._progress_task = asyncio.create_task(self._progress.run())
        self._driver.wake()
        log.info(
            "node started",
            cluster=self._config.cluster,
            node=self._name,
            client=str(self._own.listens_for_clients_on),
            peer=str(self._own.listens_for_peers_on),
            groups=len(self._core.replicas),
            data=str(self._own.data_dir),
            feature_level=self._topology.level,
            pid=os.getpid(),
        )

    def reread(self, load: Callable[[], Config]) -> None:
        """Go by what the file says by now of permissions and allowances; the rest of it is for the
        next start."""
        if self._gate is None or self._certificates is None:
            log.warning("nothing to read again: without TLS there are no permissions")
            return
        try:
            self._gate.permit(load().security)
        except ConfigError as error:
            log.error("the file is not taken up, the earlier permissions stay", reason=str(error))
        else:
            log.info("permissions read again")

    async def wait_failed(self) -> None:
        """Return never; raise what made it impossible to go on."""
        await asyncio.shield(self._failed)

    async def wait_removed(self) -> None:
        """Return once this node has been removed, and nobody counts on it any more."""
        await asyncio.shield(self._removed)

    async def stop(self) -> None:
        """Hand leadership over, finish what is under way, flush, and close."""
        drain_s = self._config.timeouts.drain_s
        log.info("node stopping", node=self._name, drain_s=drain_s)
        for task in (
            self._health_task,
            self._topology_task,
            self._moving_task,
            self._progress_task,
        ):
            if task is not None:
                task.cancel()
        await self._groups.close()
        await self._admin.close()
        if self._console is not None:
            await self._console.close()
        await self._health.stop()
        deadline = self._loop.time() + drain_s
        if not self._failed.done():
            self._core.drain()
            self._driver.wake()
            # No longer than an election takes: if all nodes stop at once there is no successor.
            handed_over = min(deadline, self._loop.time() + self._config.timeouts.election_max_s)
            while self._leads and self._has_peers and self._loop.time() < handed_over:
                await asyncio.sleep(0.01)
        if self._failed.done():
            # What is under way will not end; nobody need wait for it.
            tell(self._core.stop())
        self._service.drain()
        self._admin.drain()
        if self._server is not None:
            await self._server.stop(grace=max(0.1, deadline - self._loop.time()))
        while self._core.is_discarding and not self._failed.done() and self._loop.time() < deadline:
            await asyncio.sleep(0.005)
        self._driver.stop()
        while self._persister.turns and not self._failed.done():
            await asyncio.sleep(0.005)
        await self._links.close()
        if not self._failed.done():
            await self._flush()
        tell(self._core.stop())
        if self._gate is not None:
            self._gate.close()
        await self._listener.close()
        if self._tracing is not None:
            await self._loop.run_in_executor(None, self._tracing.close)
        self._worker.close()
        self._persister.close()
        self._table_store.close()
        self._log_store.close()
        os.close(self._lock)
        log.info("node stopped", node=self._name)

    @property
    def _leads(self) -> bool:
        return any(replica.is_leader for replica in self._core.replicas.values())

    @property
    def _has_peers(self) -> bool:
        return bool(self._links.connections)

    async def _flush(self) -> None:
        """So that the next start has little to replay."""
        await self._flush_done()
        flush = self._core.begin_flush(self._loop.time())
        if flush is not None:
            self._worker.submit(flush)
            await self._flush_done()

    async def _flush_done(self) -> None:
        while self._core.is_flushing and not self._failed.done():
            await asyncio.sleep(0.005)

    def _fail(self, error: BaseException) -> None:
        if not self._failed.done():
            log.critical("node cannot go on", reason=f"{type(error).__name__}: {error}")
            self._driver.stop()
            self._failed.set_exception(error)

    # --- inputs ----------------------------------------------------------------------------------

    def _persisted(self, turns: Sequence[Turn]) -> None:
        if not self._failed.done():
            self._driver.persisted(turns)

    def _on_payload(self, peer: str, payload: bytes) -> None:
        try:
            self._core.receive(peer, payload)
        finally:
            # What came before a message that no peer may send has been taken all the same.
            self._driver.wake()

    def _on_link(self, peer: str, up: bool) -> None:
        log.info("peer connected" if up else "peer disconnected", peer=peer)
        same_plan = not up or self._links.has_same_plan(peer)
        if not same_plan:
            log.warning(
                "peer has another plan of who leads which group: no leadership is handed to it by "
                "preference until both nodes read the same configuration",
                peer=peer,
            )
        self._core.set_connected(peer, up, same_plan=same_plan)
        self._driver.wake()
        if up:
            self._membership.connected(peer)
            self._live.introduce(peer)

    # --- the topology ----------------------------------------------------------------------------

    def _on_topology(self, peer: str, body: bytes) -> None:
        try:
            version = decode_word(body).version
            if self._may_be_needless and version > 0:
                # Who founds a cluster that exists would vote against the word of who was here.
                raise ConfigError(
                    f"the cluster is at version {version} of its topology, and the data directory "
                    f"{self._own.data_dir} was empty at start: if {self._name} was added, delete "
                    "the directory and start it with --join; if it has lost its disk, run "
                    "`globaltable rebuild --all` first"
                )
            self._may_be_needless = False
            self._live.hear(peer, body)
        except ConfigError as error:
            known_topology.forget(self._own.data_dir)
            self._fail(error)
        except StorageError as error:
            self._fail(error)

    def _meet(self, shown: Shown) -> str:
        """Asked in the handshake: why a peer is refused that shows this of itself."""
        known = self._directories.met
        try:
            reason = self._directories.meet(shown)
        except StorageError as error:
            self._fail(error)
            raise ProtocolError("this node fails") from error
        if self._directories.met is not known:
            # Who has never met it knows of it by this.
            self._loop.call_soon(self._live.tell_all)
        return reason

    def _on_lost(self, reason: str) -> None:
        """This node's disk was lost, it is told: it must not go on as if it never had served."""
        self._fail(ConfigError(reason))

    def _on_level(self, reason: str) -> None:
        """The cluster goes by a level that this release does not understand."""
        self._fail(ConfigError(reason))

    def _on_plan(self, peer: str, plan: int) -> None:
        before = self._links.has_same_plan(peer)
        self._links.peer_plans(peer, plan)
        if self._links.connected(peer) and self._links.has_same_plan(peer) != before:
            self._core.set_connected(peer, True, same_plan=self._links.has_same_plan(peer))
            self._driver.wake()

    def _on_new_topology(self, before: Topology, topology: Topology) -> None:
        log.info("topology", version=topology.version, before=before.version)
        self._topology = self._core.topology = topology
        self._links.set_plan(topology.plan_digest)
        for peer in self._links.connections:
            # Until it says that it has the same.
            self._core.set_connected(peer, True, same_plan=self._links.has_same_plan(peer))
        self._membership.reconcile()
        self._membership.want_members()
        self._driver.wake()

    async def _watch_topology(self) -> None:
        """What stands in the binding, and which groups have got there, looked at now and then."""
        try:
            while True:
                self._read_topology()
                core = self._core
                done = [n for n, r in core.replicas.items() if r.is_leader and r.is_as_wanted]
                if self._live.newest.version:
                    self._live.settle(done)
                self._membership.reconcile()
                self._claims.look(core.routes)
                self._live.tell_claims()
                await asyncio.sleep(_TOPOLOGY_PERIOD_S)
        except (ProtocolError, StorageError) as error:
            self._fail(error)

    async def _move_slots(self) -> None:
        try:
            await self._mover.run()
        except Exception as error:
            self._fail(error)

    def _read_topology(self) -> None:
        if self._core.refusal(TOPOLOGY_GROUP):
            return
        binding = self._core.replicas[TOPOLOGY_GROUP].table.get(TOPOLOGY_NAME)
        if binding is not None and binding.version > self._live.newest.version:
            self._live.read(binding.unit)
        # A replica that serves has applied what was decided before it began (`raft.recovery`).
        self._live.is_current()

    def _out_of_service(self, failure: ReplicaFailure) -> None:
        log.error("replica out of service", group=failure.group, reason=failure.reason)

"""`LocalCluster`: region nodes as child processes on 127.0.0.1, in a temporary directory.

A node is named by its name, which with one node in each region is the region's.

Invariant: whatever happens, every process that was started here is stopped and reaped here, by its
process id; and if this process is killed, they are killed too (`tether`).
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import grpc

from globaltable.admin.certificates import make_set, pair_of
from globaltable.client.tls import Credentials, TlsConfig, open_channel
from globaltable.errors import GlobalTableError
from globaltable.server.config import Address, Config, InjectedLatency, NodeConfig
from globaltable.server.config_file import render
from globaltable.server.security import (
    ALL_TABLES,
    EVERYBODY,
    NODE_PLACEHOLDER,
    Permission,
    Right,
    Security,
    TlsFiles,
)
from globaltable.testing.relay import Detour, PeerRelay
from globaltable.testing.socket_owner import owner_of
from globaltable.testing.tether import pass_fds, tied
from globaltable.testing.ways import Pair, both
from globaltable.v1 import globaltable_pb2 as pb
from globaltable.v1 import globaltable_pb2_grpc as pb_grpc

READY_TIMEOUT_S: Final = 20.0
STOP_TIMEOUT_S: Final = 10.0
_POLL_S: Final = 0.02
_OBSERVER: Final = "observer"
"""The client that a secured cluster itself is."""


class ClusterError(GlobalTableError):
    """A node did not start, or did not become ready; the message ends with what it logged."""


def free_ports(count: int) -> list[int]:
    """Ports that nothing listens on at this moment."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def _names(region: str, nodes: int) -> list[str]:
    return [region] if nodes == 1 else [f"{region}-{number}" for number in range(1, nodes + 1)]


class LocalCluster:
    """Region nodes on this machine. A context manager: started on entry, stopped on exit."""

    def __init__(
        self,
        regions: Sequence[str] = ("a", "b", "c"),
        *,
        nodes_per_region: int = 1,
        tables: Sequence[str] = ("im.session",),
        round_trip_ms: float = 0.0,
        link_faults: bool = False,
        directory: Path | None = None,
        hosts: Mapping[str, str] | None = None,
        wrappers: Mapping[str, Sequence[str]] | None = None,
        seen_by: Callable[[str, Config], Config] | None = None,
        secure: Security | None = None,
        console: bool = False,
        **overrides: Any,
    ) -> None:
        """`overrides` replace fields of `Config` (`groups=2`, `limits=Limits(...)`). Data goes to
        `directory`, or to a temporary one that is removed at the end. With several
        `nodes_per_region`, those of region a are named a-1, a-2 and so on. `round_trip_ms` between
        regions is added by the nodes. With `link_faults` what they send each other passes through
        this process, so that it can be cut and delayed.

        For faults that are put around a node: `hosts` are addresses other than 127.0.0.1 to listen
        on, by region; `wrappers` are words before the command of a region's nodes, of a program
        that executes the rest in its own place (`ip netns exec`, `env`); `seen_by` makes of the
        configuration what a node reads, so that it reaches the others by a detour.

        `secure` has all links go over TLS, with certificates made in the directory: of the nodes,
        and of the clients that it names (`tls`). With `console` each node serves one (`consoles`).
        """
        self._own_directory = directory is None
        self.directory = directory or Path(tempfile.mkdtemp(prefix="globaltable-"))
        self._wrappers = dict(wrappers or {})
        self._seen_by = seen_by
        hosts = hosts or {}
        names = [(name, region) for region in regions for name in _names(region, nodes_per_region)]
        ports = iter(free_ports(5 * len(names)))
        takes_tokens = secure is not None and bool(secure.token_keys)
        self.config = replace(
            Config(
                cluster="local",
                tables=tuple(tables),
                nodes=tuple(
                    NodeConfig(
                        name=name,
                        region=region,
                        peer=Address(hosts.get(region, "127.0.0.1"), next(ports)),
                        client=Address(hosts.get(region, "127.0.0.1"), next(ports)),
                        data_dir=self.directory / name,
                        peer_listen=Address("127.0.0.1", next(ports)) if link_faults else None,
                        console=Address("127.0.0.1", next(ports)) if console else None,
                        tokens=Address("127.0.0.1", next(ports)) if takes_tokens else None,
                    )
                    for name, region in names
                ),
                groups=len(names),
                replicas=len(regions),
                injected_latency=InjectedLatency(round_trip_ms) if round_trip_ms else None,
            ),
            **overrides,
        )
        if secure is not None:
            self.config = self._secured(secure)
        elif hosts:
            plaintext = replace(self.config.security, plaintext_beyond_loopback=True)
            self.config = replace(self.config, security=plaintext)
        self._config_path = self.directory / "cluster.toml"
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._is_written = False
        self._link_faults = link_faults
        self._links: PeerRelay | None = None

    def __enter__(self) -> Self:
        try:
            self.start()
            self.wait_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    # --- who may -------------------------------------------------------------------------------

    def _secured(self, secure: Security) -> Config:
        """Certificates are made, and one client more may look at the nodes: this cluster itself."""
        own = Permission((_OBSERVER,), frozenset((Right.READ,)), (ALL_TABLES,))
        permissions = (*secure.permissions, own)
        clients = {name for one in permissions for name in one.clients} | {*secure.allowances}
        directory = self.directory / "tls"
        make_set(directory, self.config, sorted(clients - {EVERYBODY}))
        own_pair = pair_of(directory, f"node-{NODE_PLACEHOLDER}")
        files = TlsFiles(directory / "ca.pem", *own_pair, directory / "revoked.txt")
        self.revoke()
        return replace(self.config, security=replace(secure, tls=files, permissions=permissions))

    def tls(self, client: str) -> TlsConfig | None:
        """What a client shows; None if this cluster is not secured."""
        files = self.config.security.tls
        if files is None:
            return None
        return TlsConfig(files.ca, *pair_of(files.ca.parent, f"client-{client}"))

    def revoke(self, *lines: str) -> None:
        """Whom the nodes believe no more from now on, and nobody else: as `server.revocation` has
        it."""
        path = self.directory / "tls" / "revoked.txt"
        beside = path.with_suffix(".new")
        beside.write_text("".join(f"{line}\n" for line in lines))
        beside.replace(path)

    # --- what there is ---------------------------------------------------------------------------

    @property
    def regions(self) -> tuple[str, ...]:
        return self.config.regions

    @property
    def addresses(self) -> dict[str, str]:
        """The client address of each node."""
        return {node.name: str(node.client) for node in self.config.nodes}

    @property
    def consoles(self) -> dict[str, str]:
        """Where each node serves its console, if they do."""
        scheme = "http" if self.config.security.tls is None else "https"
        return {
            node.name: f"{scheme}://{node.console}/"
            for node in self.config.nodes
            if node.console is not None
        }

    @property
    def token_addresses(self) -> dict[str, str]:
        """The address of each node that is for those who show tokens, if it has keys for any."""
        return {n.name: str(n.tokens) for n in self.config.nodes if n.tokens is not None}

    def nodes_of(self, region: str) -> tuple[str, ...]:
        """The names of a region's nodes."""
        return tuple(node.name for node in self.config.nodes if node.region == region)

    @property
    def nodes(self) -> tuple[str, ...]:
        """The names of all nodes, region by region."""
        return tuple(node.name for node in self.config.nodes)

    @property
    def config_path(self) -> Path:
        return self._config_path

    def _read_by(self, node: str) -> Path:
        """The configuration that a node reads: all the same, unless they see it apart."""
        return self._config_path if self._seen_by is None else self.directory / f"{node}.toml"

    def data_dir(self, node: str) -> Path:
        return self.config.node(node).data_dir

    def log_path(self, node: str) -> Path:
        """What the node writes to stderr."""
        return self.directory / f"{node}.log"

    def pid(self, node: str) -> int:
        return self._processes[node].pid

    def is_running(self, node: str) -> bool:
        process = self._processes.get(node)
        return process is not None and process.poll() is None

    def status(self, node: str, timeout_s: float = 2.0) -> pb.StatusResponse:
        """What the node says of itself. Raises `grpc.RpcError` if it does not answer."""
        credentials = Credentials(self.tls(_OBSERVER)).newest()
        with open_channel(self.addresses[node], credentials) as channel:
            stub = pb_grpc.GlobalTableServiceStub(channel)
            return stub.Status(pb.StatusRequest(), timeout=timeout_s)

    # --- life ------------------------------------------------------------------------------------

    def start(self, *nodes: str, options: Sequence[str] = ()) -> None:
        """Start these nodes, or all that do not run; it returns before they serve. `options` are of
        the command that starts them."""
        if not self._is_written:
            self._write_configuration()
        if self._link_faults and self._links is None:
            detours = {
                node.name: Detour(node.peer, node.listens_for_peers_on)
                for node in self.config.nodes
            }
            self._links = PeerRelay(detours, self._node_at)
        for node in nodes or [node for node in self.nodes if not self.is_running(node)]:
            self._start(node, options)

    def _write_configuration(self) -> None:
        self._is_written = True
        self.directory.mkdir(parents=True, exist_ok=True)
        self._config_path.write_text(render(self.config), encoding="utf-8")
        if self._seen_by is not None:
            for node in self.nodes:
                own = render(self._seen_by(node, self.config))
                self._read_by(node).write_text(own, encoding="utf-8")

    def _start(self, node: str, options: Sequence[str]) -> None:
        assert not self.is_running(node), f"{node} is running"
        wrapper = self._wrappers.get(self.config.node(node).region, ())
        command = [*wrapper, sys.executable, "-m", "globaltable", "node"]
        command += ["--config", str(self._read_by(node)), "--node", node, *options]
        with self.log_path(node).open("ab") as log:
            self._processes[node] = subprocess.Popen(
                tied(command),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                pass_fds=pass_fds(),
            )

    def stop(self) -> None:
        """Stop every node, by force if need be, and remove the temporary directory."""
        running = [node for node in self._processes if self.is_running(node)]
        for node in running:
            self._signal(node, signal.SIGCONT)
            self._signal(node, signal.SIGTERM)
        deadline = time.monotonic() + STOP_TIMEOUT_S
        for node in running:
            try:
                self._processes[node].wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                self.kill(node)
        self._processes.clear()
        if self._links is not None:
            self._links.close()
            self._links = None
        if self._own_directory:
            shutil.rmtree(self.directory, ignore_errors=True)

    def wait_serving(self, node: str, timeout_s: float = READY_TIMEOUT_S) -> None:
        """Wait until a node answers, whatever it says."""
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                self.status(node)
            except grpc.RpcError:
                if time.monotonic() > deadline or not self.is_running(node):
                    raise ClusterError(f"node {node} does not answer: {self._tail(node)}") from None
                time.sleep(_POLL_S)
            else:
                return

    def wait_ready(self, timeout_s: float = READY_TIMEOUT_S) -> None:
        """Wait until every running node knows the leader of each of its groups, and is whole."""
        deadline = time.monotonic() + timeout_s
        for node in self.nodes:
            if node in self._processes:
                self._wait_ready(node, deadline)

    def _wait_ready(self, node: str, deadline: float) -> None:
        reason = "it has not answered yet"
        while time.monotonic() < deadline:
            if not self.is_running(node):
                code = self._processes[node].returncode
                raise ClusterError(f"node {node} ended with status {code}: {self._tail(node)}")
            try:
                groups = self.status(node).groups
                if all(g.leader_region and not g.failed and not g.rebuilding for g in groups):
                    return
                reason = "a group has no leader, or its replica is not whole"
            except grpc.RpcError as error:
                reason = str(error.code())
            time.sleep(_POLL_S)
        raise ClusterError(f"node {node} is not ready: {reason}; {self._tail(node)}")

    def _tail(self, node: str) -> str:
        lines = self.log_path(node).read_text(errors="replace").splitlines()
        return "it logged: " + " | ".join(lines[-5:])

    # --- faults ----------------------------------------------------------------------------------

    def kill(self, node: str) -> None:
        """SIGKILL: what was not synced is for the disk to keep or lose."""
        self._signal(node, signal.SIGKILL)
        self._processes.pop(node).wait()

    def terminate(self, node: str, timeout_s: float = STOP_TIMEOUT_S) -> int:
        """SIGTERM, and wait; the exit status."""
        self._signal(node, signal.SIGTERM)
        status = self._processes[node].wait(timeout_s)
        del self._processes[node]
        return status

    def pause(self, node: str) -> None:
        """SIGSTOP: alive to the kernel, silent to everybody else."""
        self._signal(node, signal.SIGSTOP)

    def resume(self, node: str) -> None:
        self._signal(node, signal.SIGCONT)

    def cut(self, a: str, b: str | None = None, *, one_way: bool = False) -> None:
        """Let nothing pass between two nodes, or between the nodes of two regions; without `b`
        between `a` and all others. `one_way`: from `a` to `b` alone. Clients reach every node."""
        self.links.ways.change(self._between(a, b, one_way), lambda way: replace(way, cut=True))

    def delay(self, a: str, b: str | None = None, *, round_trip_ms: float) -> None:
        """Have the links between them take so long, to there and back, beside what they take."""
        delay_s = round_trip_ms / 2_000
        self.links.ways.change(self._between(a, b), lambda way: replace(way, delay_s=delay_s))

    def heal(self) -> None:
        """Undo all that `cut` and `delay` have done."""
        self.links.ways.open_all()

    def mend(self, timeout_s: float = READY_TIMEOUT_S) -> None:
        """Heal, resume and start whatever needs it, and wait until the cluster is ready."""
        if self._link_faults:
            self.heal()
        for node in self.nodes:
            self.resume(node)
        self.start()
        self.wait_ready(timeout_s)

    @property
    def links(self) -> PeerRelay:
        """What carries the links. Raises `ClusterError` without `link_faults`, or before start."""
        if self._links is None:
            raise ClusterError(
                "the nodes are connected directly: give LocalCluster link_faults=True, and start it"
            )
        return self._links

    def _between(self, a: str, b: str | None, one_way: bool = False) -> list[Pair]:
        near = self._named(a)
        far = self._named(b) if b is not None else [n for n in self.nodes if n not in near]
        pairs = [(one, other) for one in near for other in far if one != other]
        return pairs if one_way else both(pairs)

    def _named(self, name: str) -> Sequence[str]:
        """The nodes of a region, or the node of that name."""
        return self.nodes_of(name) or (self.config.node(name).name,)

    def _node_at(self, near_port: int, far_port: int) -> str | None:
        """The node whose socket is connected so."""
        nodes = {process.pid: node for node, process in list(self._processes.items())}
        pid = owner_of(near_port, far_port, nodes)
        return nodes[pid] if pid is not None else None

    def _signal(self, node: str, number: int) -> None:
        if self.is_running(node):
            os.kill(self._processes[node].pid, number)

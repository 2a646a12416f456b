"""`LocalCluster`: region nodes as child processes on 127.0.0.1, in a temporary directory.

Invariant: whatever happens, every process that was started here is stopped and reaped here, by its
process id.
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

from globaltable.errors import GlobalTableError
from globaltable.server.config import Address, Config, InjectedLatency, NodeConfig
from globaltable.server.config_file import render
from globaltable.v1 import globaltable_pb2 as pb
from globaltable.v1 import globaltable_pb2_grpc as pb_grpc

READY_TIMEOUT_S: Final = 20.0
STOP_TIMEOUT_S: Final = 10.0
_POLL_S: Final = 0.02


class ClusterError(GlobalTableError):
    """A node did not start, or did not become ready; the message ends with what it logged."""


def free_ports(count: int) -> list[int]:
    """Ports that nothing listens on at this moment."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


class LocalCluster:
    """Region nodes on this machine. A context manager: started on entry, stopped on exit."""

    def __init__(
        self,
        regions: Sequence[str] = ("a", "b", "c"),
        *,
        tables: Sequence[str] = ("im.session",),
        round_trip_ms: float = 0.0,
        directory: Path | None = None,
        hosts: Mapping[str, str] | None = None,
        wrappers: Mapping[str, Sequence[str]] | None = None,
        seen_by: Callable[[str, Config], Config] | None = None,
        **overrides: Any,
    ) -> None:
        """`overrides` replace fields of `Config` (`groups=2`, `limits=Limits(...)`). Data goes to
        `directory`, or to a temporary one that is removed at the end.

        For faults that are put around a node: `hosts` are addresses other than 127.0.0.1 to listen
        on; `wrappers` are words before a region's command, of a program that executes the rest in
        its own place (`ip netns exec`, `env`); `seen_by` makes of the configuration what a region's
        node reads, so that it reaches the others by a detour.
        """
        self._own_directory = directory is None
        self.directory = directory or Path(tempfile.mkdtemp(prefix="globaltable-"))
        self._wrappers = dict(wrappers or {})
        self._seen_by = seen_by
        hosts = hosts or {}
        ports = iter(free_ports(2 * len(regions)))
        self.config = replace(
            Config(
                cluster="local",
                tables=tuple(tables),
                nodes=tuple(
                    NodeConfig(
                        name=name,
                        region=name,
                        peer=Address(hosts.get(name, "127.0.0.1"), next(ports)),
                        client=Address(hosts.get(name, "127.0.0.1"), next(ports)),
                        data_dir=self.directory / name,
                    )
                    for name in regions
                ),
                groups=len(regions),
                replicas=len(regions),
                injected_latency=InjectedLatency(round_trip_ms) if round_trip_ms else None,
            ),
            **overrides,
        )
        self._config_path = self.directory / "cluster.toml"
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

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

    # --- what there is ---------------------------------------------------------------------------

    @property
    def regions(self) -> tuple[str, ...]:
        return self.config.regions

    @property
    def addresses(self) -> dict[str, str]:
        """The client address of each region's node."""
        return {node.region: str(node.client) for node in self.config.nodes}

    @property
    def config_path(self) -> Path:
        return self._config_path

    def _read_by(self, region: str) -> Path:
        """The configuration that a region's node reads: all the same, unless they see it apart."""
        return self._config_path if self._seen_by is None else self.directory / f"{region}.toml"

    def data_dir(self, region: str) -> Path:
        return self.config.node(region).data_dir

    def log_path(self, region: str) -> Path:
        """What the node writes to stderr."""
        return self.directory / f"{region}.log"

    def pid(self, region: str) -> int:
        return self._processes[region].pid

    def is_running(self, region: str) -> bool:
        process = self._processes.get(region)
        return process is not None and process.poll() is None

    def status(self, region: str, timeout_s: float = 2.0) -> pb.StatusResponse:
        """What the node says of itself. Raises `grpc.RpcError` if it does not answer."""
        with grpc.insecure_channel(self.addresses[region]) as channel:
            stub = pb_grpc.GlobalTableServiceStub(channel)
            return stub.Status(pb.StatusRequest(), timeout=timeout_s)

    # --- life ------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start every node."""
        self.directory.mkdir(parents=True, exist_ok=True)
        self._config_path.write_text(render(self.config), encoding="utf-8")
        for region in self.regions:
            if self._seen_by is not None:
                own = render(self._seen_by(region, self.config))
                self._read_by(region).write_text(own, encoding="utf-8")
            self.start_node(region)

    def start_node(self, region: str) -> None:
        """Start one node; it returns before the node serves."""
        assert not self.is_running(region), f"{region} is running"
        command = [*self._wrappers.get(region, ()), sys.executable, "-m", "globaltable", "node"]
        command += ["--config", str(self._read_by(region)), "--node", region]
        with self.log_path(region).open("ab") as log:
            self._processes[region] = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def stop(self) -> None:
        """Stop every node, by force if need be, and remove the temporary directory."""
        running = [region for region in self._processes if self.is_running(region)]
        for region in running:
            self._signal(region, signal.SIGCONT)
            self._signal(region, signal.SIGTERM)
        deadline = time.monotonic() + STOP_TIMEOUT_S
        for region in running:
            try:
                self._processes[region].wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                self.kill(region)
        self._processes.clear()
        if self._own_directory:
            shutil.rmtree(self.directory, ignore_errors=True)

    def wait_ready(self, timeout_s: float = READY_TIMEOUT_S) -> None:
        """Wait until every running node knows the leader of each of its groups, and is whole."""
        deadline = time.monotonic() + timeout_s
        for region in self.regions:
            if region in self._processes:
                self._wait_ready(region, deadline)

    def _wait_ready(self, region: str, deadline: float) -> None:
        reason = "it has not answered yet"
        while time.monotonic() < deadline:
            if not self.is_running(region):
                code = self._processes[region].returncode
                raise ClusterError(f"node {region} ended with status {code}: {self._tail(region)}")
            try:
                groups = self.status(region).groups
                if all(g.leader_region and not g.failed and not g.rebuilding for g in groups):
                    return
                reason = "a group has no leader, or its replica is not whole"
            except grpc.RpcError as error:
                reason = str(error.code())
            time.sleep(_POLL_S)
        raise ClusterError(f"node {region} is not ready: {reason}; {self._tail(region)}")

    def _tail(self, region: str) -> str:
        lines = self.log_path(region).read_text(errors="replace").splitlines()
        return "it logged: " + " | ".join(lines[-5:])

    # --- faults ----------------------------------------------------------------------------------

    def kill(self, region: str) -> None:
        """SIGKILL: what was not synced is for the disk to keep or lose."""
        self._signal(region, signal.SIGKILL)
        self._processes.pop(region).wait()

    def terminate(self, region: str, timeout_s: float = STOP_TIMEOUT_S) -> int:
        """SIGTERM, and wait; the exit status."""
        self._signal(region, signal.SIGTERM)
        status = self._processes[region].wait(timeout_s)
        del self._processes[region]
        return status

    def pause(self, region: str) -> None:
        """SIGSTOP: alive to the kernel, silent to everybody else."""
        self._signal(region, signal.SIGSTOP)

    def resume(self, region: str) -> None:
        self._signal(region, signal.SIGCONT)

    def _signal(self, region: str, number: int) -> None:
        if self.is_running(region):
            os.kill(self._processes[region].pid, number)

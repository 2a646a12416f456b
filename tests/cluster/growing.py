"""A local cluster to which nodes are added, each a process that reads a file of its own."""

import contextlib
import io
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, NamedTuple

from globaltable.cli.main import run as command
from globaltable.server.config import Address, NodeConfig
from globaltable.server.config_file import render
from globaltable.testing import LocalCluster
from globaltable.testing.cluster import free_ports
from globaltable.testing.tether import pass_fds, tied


class Joiner:
    """A node in a region of its own, beside those of `cluster`, whose file names them and it."""

    def __init__(self, cluster: LocalCluster, name: str) -> None:
        peer, client = free_ports(2)
        self.name = name
        self.node = NodeConfig(
            name,
            name,
            Address("127.0.0.1", peer),
            Address("127.0.0.1", client),
            cluster.directory / name,
        )
        self.config_path = cluster.directory / f"{name}.toml"
        nodes = (*cluster.config.nodes, self.node)
        self.config_path.write_text(render(replace(cluster.config, nodes=nodes)))
        self.log = cluster.directory / f"{name}.log"
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def options(self) -> list[str]:
        """Of `globaltable member add`."""
        return [
            *("--name", self.name, "--region", self.name),
            *("--peer", str(self.node.peer), "--client", str(self.node.client)),
        ]

    def start(self, *, join: bool = True) -> None:
        words = [sys.executable, "-m", "globaltable", "node", "--config", str(self.config_path)]
        words += ["--node", self.name, *(["--join"] if join else [])]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                tied(words),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                pass_fds=pass_fds(),
            )

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()


@contextmanager
def joiner(cluster: LocalCluster, name: str) -> Iterator[Joiner]:
    one = Joiner(cluster, name)
    try:
        yield one
    finally:
        one.kill()


class Ended(NamedTuple):
    status: int
    stdout: str
    stderr: str


def ask(cluster: LocalCluster, *words: str, regions: Sequence[str] = "abc") -> list[dict[str, Any]]:
    """A command of the shell that prints JSON lines; it must succeed."""
    ended = run(cluster, *words, "--json", regions=regions)
    assert ended.status == 0, ended
    return [json.loads(line) for line in ended.stdout.splitlines()]


def run(cluster: LocalCluster, *words: str, regions: Sequence[str] = "abc") -> Ended:
    """A command of the shell, in this process: its imports would take longer than what it does."""
    endpoints = ",".join(cluster.addresses[region] for region in regions)
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = command([*words, "--endpoints", endpoints])
    return Ended(status, out.getvalue(), err.getvalue())


def until(reached: Callable[[], object], timeout_s: float = 20.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not reached():
        assert time.monotonic() < deadline, "it was never reached"
        time.sleep(0.05)

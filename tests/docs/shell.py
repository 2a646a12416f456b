"""A shell that runs the commands of a document against a `LocalCluster`.

Responsible for what a machine of the reader's would be: its files (a directory, with
`cluster.toml`), names (the document's addresses stand for those here), services (`systemctl` starts
and stops nodes of the cluster), and programs in the background. It knows the few commands that
documents use, and refuses others.

Invariant: every process that it started is gone when it is closed.
"""

import contextlib
import io
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, Self

import pytest

from globaltable.cli.main import run
from globaltable.testing import LocalCluster
from globaltable.testing.cluster import free_ports
from globaltable.testing.tether import pass_fds, tied

SERVICE: Final = "globaltable@"
_PATIENCE_S: Final = 30.0
_POLL_S: Final = 0.2
_TROUBLES: Final = ("globaltable: ", "failed: ", "rebuilding: ")
"""What `globaltable status` says of nodes that do not answer, and replicas that are not whole."""


class DocumentShell:
    """A context manager. Changes the working directory and environment by `patch`."""

    def __init__(
        self, cluster: LocalCluster, patch: pytest.MonkeyPatch, newcomers: list[str]
    ) -> None:
        """`newcomers` are nodes that the document adds; it calls all by NAME.example.net."""
        self.cluster = cluster
        self._patch = patch
        self._names: dict[str, str] = {}
        for node in cluster.config.nodes:
            self._stands_for(node.name, str(node.peer), str(node.client))
        ports = iter(free_ports(2 * len(newcomers)))
        for name in newcomers:
            self._stands_for(name, f"127.0.0.1:{next(ports)}", f"127.0.0.1:{next(ports)}")
        self._background: list[subprocess.Popen[bytes]] = []
        patch.chdir(cluster.directory)

    def _stands_for(self, name: str, peer: str, client: str) -> None:
        self._names[f"{name}.example.net:7201"] = peer
        self._names[f"{name}.example.net:7101"] = client

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._background:
            process.kill()
            process.wait()

    def append(self, file: str, text: str) -> None:
        """What a document says is to be written into a file."""
        with Path(file).open("a", encoding="utf-8") as open_file:
            open_file.write(f"\n{self._here(text)}\n")

    def run(self, text: str) -> str:
        """Every line of a block; what was printed."""
        return "".join(self._line(self._here(line)) for line in text.splitlines() if line.strip())

    def _here(self, text: str) -> str:
        for name, address in self._names.items():
            text = text.replace(name, address)
        return text

    def _line(self, line: str) -> str:
        match shlex.split(line, comments=True):
            case ["export", setting]:
                name, _, value = setting.partition("=")
                self._patch.setenv(name, value)
            case ["systemctl", "start", service] if service.startswith(SERVICE):
                self.cluster.start(service.removeprefix(SERVICE))
            case ["systemctl", "stop", service] if service.startswith(SERVICE):
                node = service.removeprefix(SERVICE)
                if self.cluster.is_running(node):
                    assert self.cluster.terminate(node) == 0
            case ["globaltable", "node", *words]:
                command = [sys.executable, "-m", "globaltable", "node", *words]
                with Path("background.log").open("ab") as log:
                    self._background.append(
                        subprocess.Popen(
                            tied(command),
                            stdin=subprocess.DEVNULL,
                            stdout=log,
                            stderr=log,
                            pass_fds=pass_fds(),
                        )
                    )
            case ["globaltable", "status"]:
                # Whoever reads it looks again until all is well, or calls for help.
                return self._until_well(lambda: _command("status"))
            case ["globaltable", *words]:
                status, told = _command(*words)
                assert status == 0, f"{line}: exit status {status}: {told}"
                return told
            case []:
                pass
            case _:
                raise AssertionError(f"the shell of the documents does not know: {line}")
        return ""

    def _until_well(self, look: Callable[[], tuple[int, str]]) -> str:
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            status, told = look()
            if status == 0 and not any(trouble in told for trouble in _TROUBLES):
                return told
            assert time.monotonic() < deadline, f"status {status}: {told}"
            time.sleep(_POLL_S)


def _command(*words: str) -> tuple[int, str]:
    """A command of the product, in this process: its imports take longer than what it does."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        status = run(list(words))
    return status, out.getvalue()

"""The member processes of a peer system: one in each region, with a directory of its own.

Invariant: whatever happens, every process started here is stopped and reaped here, by its process
id, and its directory is removed.
"""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from globaltable.bench.network import Network, NetworkError
from globaltable.errors import GlobalTableError
from globaltable.testing.tether import pass_fds, tied

READY_TIMEOUT_S: Final = 60.0
_STOP_TIMEOUT_S: Final = 5.0
_POLL_S: Final = 0.05


class PeerFailed(GlobalTableError):
    """A member ended, or did not serve in time; the message ends with what it logged."""


class Members:
    """Processes of one system, by region."""

    def __init__(self, name: str, network: Network) -> None:
        if network.kind != "namespaces":
            raise NetworkError(
                f"{name} does not inject latency itself: it needs a network of the kind"
                f" 'namespaces', not {network.kind!r}"
            )
        self.name = name
        self._network = network
        self._directory = Path(tempfile.mkdtemp(prefix=f"{name}-"))
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def directory(self, region: str) -> Path:
        """Where that member keeps its data."""
        path = self._directory / region
        path.mkdir(exist_ok=True)
        return path

    def start(
        self, region: str, command: Sequence[str], environment: Mapping[str, str] | None = None
    ) -> None:
        with self._log(region).open("ab") as log:
            self._processes[region] = subprocess.Popen(
                tied([*self._network.wrappers[region], *command]),
                cwd=self.directory(region),
                env={**os.environ, **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                pass_fds=pass_fds(),
            )

    def pid(self, region: str) -> int:
        return self._processes[region].pid

    def kill(self, region: str) -> None:
        """SIGKILL, and wait."""
        process = self._processes.pop(region)
        process.kill()
        process.wait()

    def wait(
        self, what: str, holds: Callable[[], bool], timeout_s: float = READY_TIMEOUT_S
    ) -> None:
        """Poll until it holds. Raises PeerFailed if a member ends first, or time is up."""
        deadline = time.monotonic() + timeout_s
        while not holds():
            for region, process in self._processes.items():
                if process.poll() is not None:
                    raise PeerFailed(
                        f"{self.name} in {region} ended with status {process.returncode};"
                        f" {self._tail(region)}"
                    )
            if time.monotonic() > deadline:
                tails = "; ".join(f"{region}: {self._tail(region)}" for region in self._processes)
                raise PeerFailed(f"{self.name}: not {what} within {timeout_s:.0f} s; {tails}")
            time.sleep(_POLL_S)

    def stop(self) -> None:
        for process in self._processes.values():
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + _STOP_TIMEOUT_S
        for process in self._processes.values():
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._processes.clear()
        shutil.rmtree(self._directory, ignore_errors=True)

    def _log(self, region: str) -> Path:
        return self._directory / f"{region}.log"

    def _tail(self, region: str) -> str:
        lines = self._log(region).read_text(errors="replace").splitlines()
        return "it logged: " + (" | ".join(lines[-3:]) or "nothing")


@contextmanager
def members(name: str, network: Network) -> Iterator[Members]:
    """Stopped at the end."""
    all_of_them = Members(name, network)
    try:
        yield all_of_them
    finally:
        all_of_them.stop()

"""The units' processes on this machine: started, killed and started again."""

import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import grpc

from examples.im import settings
from globaltable.routing.client import roots
from globaltable.testing.cluster import free_ports
from globaltable.testing.tether import pass_fds, tied

READY_S = 30.0
STOP_S = 10.0


class Fleet:
    """A context manager: all units serve on entry, and have ended on exit."""

    def __init__(self, directory: Path, endpoints: list[str], units: str) -> None:
        ports = free_ports(len(units))
        self._path = directory / "im.toml"
        addresses = {unit: f"127.0.0.1:{port}" for unit, port in zip(units, ports, strict=True)}
        settings.save(self._path, endpoints, addresses)
        self.settings = settings.load(self._path)
        roots.add(self.settings.roots)
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        try:
            for unit in self.settings.units:
                self.start(unit)
            for unit in self.settings.units:
                self.wait_ready(unit)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def log(self, unit: str) -> Path:
        return self.settings.directory / f"{unit}.log"

    def start(self, unit: str) -> None:
        with self.log(unit).open("ab") as log:
            self._processes[unit] = subprocess.Popen(
                tied([sys.executable, "-m", "examples.im.unit", unit, str(self._path)]),
                stdout=log,
                stderr=log,
                pass_fds=pass_fds(),
            )

    def wait_ready(self, unit: str) -> None:
        """Return once it serves."""
        until = time.monotonic() + READY_S
        while True:
            assert self._processes[unit].poll() is None, self.log(unit).read_text()
            with grpc.insecure_channel(self.settings.units[unit]) as channel:
                try:
                    grpc.channel_ready_future(channel).result(timeout=1.0)
                    return
                except grpc.FutureTimeoutError:
                    assert time.monotonic() < until, self.log(unit).read_text()

    def kill(self, unit: str) -> None:
        """As a power cut would."""
        self._processes[unit].kill()
        self._processes[unit].wait()

    def stop(self) -> None:
        for process in self._processes.values():
            process.terminate()
        for process in self._processes.values():
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

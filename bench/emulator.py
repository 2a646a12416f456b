"""The process that carries packets between regions: `emulator.c`, compiled here when first needed.

Responsible for having the program, and for the conversation with it. The program is kept in the
user's cache directory under a digest of its source, so a changed source is a new program.

Invariant: the process ends with `close`, or with this process, however that ends: its stdin closes.
"""

import contextlib
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Final, NamedTuple

from globaltable.errors import GlobalTableError
from globaltable.testing.ways import Way

_SOURCE: Final = Path(__file__).with_name("emulator.c")
_FLAGS: Final = ("-std=gnu11", "-O2", "-Wall")
_COMPILE_TIMEOUT_S: Final = 60.0
_STOP_TIMEOUT_S: Final = 5.0
_COUNTS_PER_WAY: Final = 6


class EmulatorError(GlobalTableError):
    """The emulator cannot be compiled or started, or has ended early."""


class Place(NamedTuple):
    """One end: an open TUN device, and the address behind it."""

    descriptor: int
    address: str
    namespace_file: str = ""
    """Removed by the emulator when it ends."""


class Carried(NamedTuple):
    """What became of the packets of one direction."""

    packets: int
    bytes: int
    lost: int
    duplicated: int
    late_mean_s: float
    """By how much packets that were held back left after they were due."""
    late_max_s: float


class Counts(NamedTuple):
    """Since the start."""

    cpu_s: float
    wakeups: int
    by_way: dict[tuple[int, int], Carried]
    """By the numbers of two places."""


def compiler() -> str:
    """The path of a C compiler; empty if there is none."""
    return shutil.which("cc") or shutil.which("gcc") or ""


def program(cache: Path | None = None) -> Path:
    """The emulator's executable, compiled now unless it has been. Raises EmulatorError."""
    source = _SOURCE.read_bytes()
    digest = hashlib.sha256(
        b"\0".join((source, repr(_FLAGS).encode(), platform.machine().encode()))
    )
    path = (cache or _cache()) / f"emulator-{digest.hexdigest()[:16]}"
    if path.exists():
        return path
    cc = compiler()
    if not cc:
        raise EmulatorError(
            "the emulator is a C program and there is no C compiler (cc): apt-get install gcc "
            "libc6-dev, or ask for the network kind 'injected'"
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Compiled aside and renamed: another process may be looking for it at this moment.
        with tempfile.TemporaryDirectory(dir=path.parent) as directory:
            fresh = Path(directory) / path.name
            _compile(cc, fresh)
            fresh.replace(path)
    except OSError as error:
        raise EmulatorError(
            f"the emulator's program cannot be kept in {path.parent}: {error}; set XDG_CACHE_HOME"
            " to a directory that can be written to"
        ) from None
    return path


def _compile(cc: str, target: Path) -> None:
    command = [cc, *_FLAGS, "-o", str(target), str(_SOURCE)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=_COMPILE_TIMEOUT_S)
    if run.returncode:
        said = " | ".join(run.stderr.strip().splitlines()[:5])
        hint = "; apt-get install libc6-dev" if "No such file" in said else ""
        raise EmulatorError(f"{cc} cannot compile {_SOURCE.name}: {said}{hint}")


def _cache() -> Path:
    named = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(named) if named else Path.home() / ".cache") / "globaltable"


class Emulator:
    """The running process. Places are numbered from 0; any thread may call."""

    def __init__(self, places: Sequence[Place], seed: int = 0) -> None:
        self._count = len(places)
        self._lock = threading.Lock()
        words = [
            ":".join((str(one.descriptor), one.address, *filter(None, [one.namespace_file])))
            for one in places
        ]
        binary = program()
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed with it
        self._process = subprocess.Popen(
            [str(binary), str(seed), *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            bufsize=1,
            pass_fds=[one.descriptor for one in places],
            # What a terminal sends to its foreground is not for the network: others still use it.
            start_new_session=True,
        )
        try:
            self.priority = self._hear().removeprefix("ready: ")
        except BaseException:
            self.close()
            raise

    @property
    def pid(self) -> int:
        return self._process.pid

    def set(self, source: int, target: int, way: Way) -> None:
        """In force for every packet that is sent after this returns."""
        self._ask(
            f"way {source} {target} {int(way.cut)} {round(way.delay_s * 1e9)}"
            f" {round(way.jitter_s * 1e9)} {way.loss!r} {way.duplicates!r}"
            f" {way.bytes_per_s or 0.0!r}"
        )

    def counts(self) -> Counts:
        numbers = [int(word) for word in self._ask("counts").split()]
        by_way = {}
        for place in range(self._count**2):
            at = 2 + place * _COUNTS_PER_WAY
            packets, size, lost, duplicated, late_ns, late_ns_max = numbers[
                at : at + _COUNTS_PER_WAY
            ]
            by_way[divmod(place, self._count)] = Carried(
                packets, size, lost, duplicated, late_ns / max(1, packets) / 1e9, late_ns_max / 1e9
            )
        return Counts(numbers[0] / 1e9, numbers[1], by_way)

    def close(self) -> None:
        """Packets stop, the devices close, and the namespaces are removed."""
        assert self._process.stdin is not None and self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._errors.close()

    def _ask(self, line: str) -> str:
        assert self._process.stdin is not None
        with self._lock:
            try:
                self._process.stdin.write(line + "\n")
            except OSError:
                raise self._ended() from None
            answer = self._hear()
        if answer.startswith("error"):
            raise EmulatorError(f"the emulator refused {line!r}: {answer}")
        return answer

    def _hear(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise self._ended()
        return line.strip()

    def _ended(self) -> EmulatorError:
        status = self._process.wait()
        self._errors.seek(0)
        said = self._errors.read().decode(errors="replace").strip()
        return EmulatorError(
            f"the emulator ended with status {status}: {said or 'it said nothing'}"
        )

"""Regions as network namespaces of this machine, joined by the emulator.

Responsible for namespaces, devices and addresses: each region has a namespace with one TUN device,
whose other end the emulator holds. This process has such a device in its own namespace, as the
region `HERE`, from which every other is reached without delay.

Invariants: names carry this process's id, and all that is named is gone after `close`. If this
process is killed, the emulator notices and removes devices and namespaces; if both are, whoever
comes next removes them, with the processes left inside (`remove_stale`).
"""

import contextlib
import fcntl
import itertools
import os
import re
import signal
import struct
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Final, Literal

from globaltable.bench.emulator import Carried, Counts, Emulator, EmulatorError, Place, program
from globaltable.bench.round_trips import RoundTrips
from globaltable.testing.ways import OPEN, Way

HERE: Final = "here"
REGIONS_MAX: Final = 15
_NAMESPACES: Final = Path("/run/netns")
_NAME: Final = re.compile(r"gt(\d+)-\d+-\w+")
_TUNSETIFF: Final = 0x400454CA
_IFF_TUN: Final = 0x0001
_IFF_NO_PI: Final = 0x1000
_MTU: Final = 1_500
"""A larger one would save packets that a wide-area network does not save."""
_QUEUE_PACKETS: Final = 5_000
"""Of a device, until the emulator reads them: a region's own packets are not lost on their way."""
_SUBNETS: Final = [f"10.{second}.{third}" for second in range(200, 250) for third in range(256)]
_serial = itertools.count()


def why_not() -> str:
    """Why namespaces cannot be had here; empty if they can."""
    name = f"gt{os.getpid()}-{next(_serial)}-try"
    try:
        program()
    except EmulatorError as error:
        return str(error)
    try:
        device = _Device()
    except OSError as error:
        return f"no TUN device: {error}"
    device.close()
    try:
        _ip("netns", "add", name)
        try:
            _ip("netns", "exec", name, "true")
        finally:
            _ip("netns", "del", name)
    except FileNotFoundError:
        return "no command `ip`: apt-get install iproute2"
    except subprocess.CalledProcessError as error:
        return f"no network namespaces: {error.stderr.decode(errors='replace').strip()}"
    return ""


def remove_stale() -> list[str]:
    """Remove the namespaces of benches whose process is no more; their names."""
    removed: list[str] = []
    if not _NAMESPACES.is_dir():
        return removed
    for path in _NAMESPACES.iterdir():
        match = _NAME.fullmatch(path.name)
        if match is None or Path(f"/proc/{match[1]}").exists():
            continue
        with contextlib.suppress(subprocess.CalledProcessError):
            for pid in _ip("netns", "pids", path.name).split():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
            _ip("netns", "del", path.name)
            removed.append(path.name)
    return removed


def _ip(*words: str) -> str:
    run = subprocess.run(["ip", *words], check=True, capture_output=True, timeout=20)
    return run.stdout.decode(errors="replace")


class _Device:
    """A TUN device, which lives as long as a process has its descriptor open."""

    def __init__(self) -> None:
        self.name = f"gt{os.getpid()}n{next(_serial)}"
        self.descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        request = struct.pack("16sH22x", self.name.encode(), _IFF_TUN | _IFF_NO_PI)
        try:
            fcntl.ioctl(self.descriptor, _TUNSETIFF, request)
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        os.close(self.descriptor)


def _unused_subnet() -> str:
    """The first three numbers of a /24 that this machine does not use."""
    used = _ip("-o", "-4", "address", "show") + _ip("-4", "route", "show")
    begin = (os.getpid() * 8 + next(_serial)) % len(_SUBNETS)
    for subnet in _SUBNETS[begin:] + _SUBNETS[:begin]:
        if f" {subnet}." not in used and not used.startswith(f"{subnet}."):
            return subnet
    raise OSError("all networks from 10.200.0.0/24 to 10.249.255.0/24 are in use")


class Namespaces:
    """A `Network` of real TCP/IP stacks, and a context manager. Its ways can change at any time."""

    kind: ClassVar[Literal["namespaces"]] = "namespaces"

    def __init__(self, regions: Sequence[str], round_trips: RoundTrips, seed: int = 0) -> None:
        if HERE in regions or not 0 < len(set(regions)) == len(regions) <= REGIONS_MAX:
            raise ValueError(
                f"regions {list(regions)}: from 1 to {REGIONS_MAX} different names, none {HERE!r}"
            )
        for region in regions:
            if not re.fullmatch(r"\w+", region):
                raise ValueError(f"region {region!r}: letters, digits and underscores only")
        round_trips.check(regions)
        remove_stale()
        self.regions = tuple(regions)
        self._round_trips = round_trips
        self._numbers = {name: number for number, name in enumerate((*regions, HERE))}
        self._ways: dict[tuple[str, str], Way] = {}
        subnet, run = _unused_subnet(), next(_serial)
        addresses = {name: f"{subnet}.{number + 1}" for name, number in self._numbers.items()}
        self._namespaces = {region: f"gt{os.getpid()}-{run}-{region}" for region in regions}
        self.hosts: Mapping[str, str] = {region: addresses[region] for region in regions}
        self.wrappers: Mapping[str, tuple[str, ...]] = {
            region: ("ip", "netns", "exec", namespace)
            for region, namespace in self._namespaces.items()
        }
        self._emulator: Emulator | None = None
        try:
            self._emulator = self._join(addresses, seed)
            for a, b in itertools.permutations(regions, 2):
                if self.round_trip_ms(a, b):
                    self.set_way(a, b, Way(delay_s=self.round_trip_ms(a, b) / 2_000))
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "Namespaces":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self._emulator is not None:
            self._emulator.close()
            self._emulator = None
        for namespace in self._namespaces.values():
            # It is still there if the emulator never ran or was killed.
            if (_NAMESPACES / namespace).exists():
                with contextlib.suppress(subprocess.CalledProcessError):
                    _ip("netns", "del", namespace)

    # --- ways ------------------------------------------------------------------------------------

    def round_trip_ms(self, a: str, b: str) -> float:
        return self._round_trips.between(a, b)

    def way(self, source: str, target: str) -> Way:
        return self._ways.get((source, target), OPEN)

    def set_way(self, source: str, target: str, way: Way) -> None:
        """One direction, for every packet that is sent after this returns."""
        self._running().set(self._numbers[source], self._numbers[target], way)
        self._ways[source, target] = way

    def cut(self, a: str, b: str) -> None:
        self._set_cut(a, b, cut=True)

    def heal(self, a: str, b: str) -> None:
        self._set_cut(a, b, cut=False)

    def _set_cut(self, a: str, b: str, *, cut: bool) -> None:
        for source, target in ((a, b), (b, a)):
            old = self.way(source, target)
            new = Way(cut, old.delay_s, old.jitter_s, old.bytes_per_s, old.loss, old.duplicates)
            self.set_way(source, target, new)

    # --- what it did -----------------------------------------------------------------------------

    @property
    def emulator_pid(self) -> int:
        return self._running().pid

    def counts(self) -> Counts:
        """By the numbers of regions, `HERE` the last; `carried` has them by name."""
        return self._running().counts()

    def carried(self) -> dict[tuple[str, str], Carried]:
        names = (*self.regions, HERE)
        return {(names[a], names[b]): one for (a, b), one in self.counts().by_way.items() if a != b}

    # --- construction ----------------------------------------------------------------------------

    def _running(self) -> Emulator:
        assert self._emulator is not None, "the network is closed"
        return self._emulator

    def _join(self, addresses: Mapping[str, str], seed: int) -> Emulator:
        devices: list[_Device] = []
        try:
            places = []
            for name, address in addresses.items():
                device = _Device()
                devices.append(device)
                self._put(device, name, address)
                namespace = self._namespaces.get(name)
                file = str(_NAMESPACES / namespace) if namespace else ""
                places.append(Place(device.descriptor, address, file))
            return Emulator(places, seed)
        finally:
            # The emulator has them now, and with it they end.
            for device in devices:
                device.close()

    def _put(self, device: _Device, name: str, address: str) -> None:
        within: tuple[str, ...] = ()
        if name != HERE:
            namespace = self._namespaces[name]
            _ip("netns", "add", namespace)
            # The device goes there; its descriptor stays here.
            _ip("link", "set", device.name, "netns", namespace)
            within = ("-n", namespace)
            _ip(*within, "link", "set", "lo", "up")
        _ip(*within, "address", "add", f"{address}/24", "dev", device.name)
        sizes = ("mtu", str(_MTU), "txqueuelen", str(_QUEUE_PACKETS))
        _ip(*within, "link", "set", device.name, *sizes, "up")

"""Each node in a network namespace of its own, joined by an emulator of IP in user space.

Responsible for packets: it reads them from the TUN device of one namespace and writes them to that
of another, as `ways` say: late, out of order, twice, or not at all. So TCP itself is real, with its
retransmissions and its patience. This process reaches the nodes through a TUN device in its own
namespace, whose packets are treated like the others' (its region is `HERE`).

Invariants: what is under way is bounded (`_PACKETS_MAX`; more is lost, as on a full link); devices
and namespaces are gone after `__exit__`, and their names carry this process's id.
"""

import contextlib
import fcntl
import os
import random
import struct
import subprocess
from collections import Counter
from collections.abc import Sequence
from typing import Final

from tests.faults.loop_thread import LoopThread
from tests.faults.ways import Ways

HERE: Final = "here"
_TUNSETIFF: Final = 0x400454CA
_IFF_TUN: Final = 0x0001
_IFF_NO_PI: Final = 0x1000
_MTU: Final = 1_500
_PACKETS_MAX: Final = 20_000
_BURST: Final = 64
_TARGET: Final = slice(16, 20)
"""Where an IPv4 packet says whom it is for."""


def why_not() -> str:
    """Why namespaces cannot be had here; empty if they can."""
    name = f"gt{os.getpid()}try"
    try:
        device = _Device(name)
    except OSError as error:
        return f"no TUN device: {error}"
    try:
        _ip("netns", "add", name)
        _ip("netns", "del", name)
    except (OSError, subprocess.CalledProcessError) as error:
        return f"no network namespaces: {error}"
    finally:
        device.close()
    return ""


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, timeout=20)


class _Device:
    """A TUN device, which lives as long as its descriptor is open."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        request = struct.pack("16sH22x", name.encode(), _IFF_TUN | _IFF_NO_PI)
        try:
            fcntl.ioctl(self.descriptor, _TUNSETIFF, request)
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        os.close(self.descriptor)


class Emulator:
    """A context manager; `hosts` and `wrappers` are what `LocalCluster` asks for."""

    def __init__(self, regions: Sequence[str], seed: int = 0) -> None:
        self.ways = Ways()
        self.carried_bytes: Counter[tuple[str, str]] = Counter()
        self.lost = 0
        self.duplicated = 0
        self._rng = random.Random(seed)
        self._under_way = 0
        self._free_at: dict[tuple[str, str], float] = {}
        # A network of its own for each process, so that runs beside each other do not meet.
        network = f"10.{200 + os.getpid() // 256 % 50}.{os.getpid() % 256}"
        names = [*regions, HERE]
        addresses = {name: f"{network}.{place}" for place, name in enumerate(names, start=1)}
        self._namespaces = {region: f"gt{os.getpid()}{region}" for region in regions}
        self.hosts = {region: addresses[region] for region in regions}
        self.wrappers = {
            region: ("ip", "netns", "exec", namespace)
            for region, namespace in self._namespaces.items()
        }
        self._by_address = {bytes(map(int, a.split("."))): n for n, a in addresses.items()}
        self._devices: dict[str, _Device] = {}
        self._thread = LoopThread("emulator")
        try:
            for name in names:
                self._join(name, addresses[name])
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "Emulator":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        for device in self._devices.values():
            self._thread.loop.call_soon_threadsafe(
                self._thread.loop.remove_reader, device.descriptor
            )
        self._thread.close()
        for device in self._devices.values():
            device.close()
        self._devices.clear()
        for namespace in self._namespaces.values():
            with contextlib.suppress(subprocess.CalledProcessError):
                _ip("netns", "del", namespace)

    def _join(self, name: str, address: str) -> None:
        device = self._devices[name] = _Device(f"gt{os.getpid()}n{len(self._devices)}")
        within: tuple[str, ...] = ()
        if name != HERE:
            namespace = self._namespaces[name]
            _ip("netns", "add", namespace)
            # The device goes there; its descriptor stays here.
            _ip("link", "set", device.name, "netns", namespace)
            within = ("-n", namespace)
            _ip(*within, "link", "set", "lo", "up")
        _ip(*within, "address", "add", f"{address}/24", "dev", device.name)
        _ip(*within, "link", "set", device.name, "mtu", str(_MTU), "up")
        reading = self._thread.loop
        reading.call_soon_threadsafe(
            reading.add_reader, device.descriptor, self._readable, name, device.descriptor
        )

    # --- on the loop's thread --------------------------------------------------------------------

    def _readable(self, source: str, descriptor: int) -> None:
        # Not until it is empty: other devices wait too.
        for _ in range(_BURST):
            try:
                packet = os.read(descriptor, _MTU + 64)
            except BlockingIOError:
                return
            target = self._by_address.get(packet[_TARGET]) if packet[0] >> 4 == 4 else None
            if target is not None and target != source:
                self._send(source, target, packet)

    def _send(self, source: str, target: str, packet: bytes) -> None:
        way, rng = self.ways.of(source, target), self._rng
        if way.cut or self._under_way >= _PACKETS_MAX or rng.random() < way.loss:
            self.lost += 1
            return
        copies = 2 if rng.random() < way.duplicates else 1
        self.duplicated += copies - 1
        loop = self._thread.loop
        for _ in range(copies):
            delay_s = way.delay_s + rng.random() * way.jitter_s
            if way.bytes_per_s is not None:
                now = loop.time()
                free_at = max(now, self._free_at.get((source, target), 0.0))
                self._free_at[source, target] = free_at + len(packet) / way.bytes_per_s
                delay_s += self._free_at[source, target] - now
            if delay_s > 0:
                self._under_way += 1
                loop.call_later(delay_s, self._late, source, target, packet)
            else:
                self._deliver(source, target, packet)

    def _late(self, source: str, target: str, packet: bytes) -> None:
        self._under_way -= 1
        self._deliver(source, target, packet)

    def _deliver(self, source: str, target: str, packet: bytes) -> None:
        self.carried_bytes[source, target] += len(packet)
        # A full device or one that goes away loses packets, as devices do.
        with contextlib.suppress(OSError):
            os.write(self._devices[target].descriptor, packet)

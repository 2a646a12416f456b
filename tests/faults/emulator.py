"""Each node in a network namespace of its own, joined by the bench's emulator of IP.

Responsible for faults of packets: what `ways` say is told to the emulator, which carries them late,
out of order, twice, or not at all. So TCP itself is real, with its retransmissions and its
patience. This process reaches the nodes as the region `HERE`.
"""

from collections import Counter
from collections.abc import Iterable, Sequence

from globaltable.bench.namespaces import HERE as HERE
from globaltable.bench.namespaces import Namespaces
from globaltable.bench.namespaces import why_not as why_not
from globaltable.bench.round_trips import RoundTrips
from globaltable.testing.ways import OPEN, Way, Ways


class _Told(Ways):
    """Ways that the emulator is told of as they are set."""

    def __init__(self, network: Namespaces) -> None:
        super().__init__()
        self._network = network

    def set(self, pairs: Iterable[tuple[str, str]], way: Way) -> None:
        pairs = list(pairs)
        for source, target in pairs:
            self._network.set_way(source, target, way)
        super().set(pairs, way)

    def open_all(self) -> None:
        for source, target in self.changed():
            self._network.set_way(source, target, OPEN)
        super().open_all()


class Emulator:
    """A context manager; `hosts` and `wrappers` are what `LocalCluster` asks for."""

    def __init__(self, regions: Sequence[str], seed: int = 0) -> None:
        self._network = Namespaces(regions, RoundTrips(0.0), seed)
        self.ways: Ways = _Told(self._network)
        self.hosts = self._network.hosts
        self.wrappers = self._network.wrappers

    def __enter__(self) -> "Emulator":
        return self

    def __exit__(self, *_: object) -> None:
        self._network.close()

    @property
    def carried_bytes(self) -> Counter[tuple[str, str]]:
        """As of now."""
        return Counter({way: carried.bytes for way, carried in self._network.carried().items()})

    @property
    def lost(self) -> int:
        return sum(carried.lost for carried in self._network.carried().values())

    @property
    def duplicated(self) -> int:
        return sum(carried.duplicated for carried in self._network.carried().values())

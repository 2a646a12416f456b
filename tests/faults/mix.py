"""Which faults a round is given: drawn from its seed, of those that are possible here.

Responsible for the choice, as a value, and for saying what is left out and why.
"""

import random
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

from tests.faults import clocks, emulator, full_disk, kills, links, pauses
from tests.faults.scene import Fault, FaultKind

OF_NODES: Final[Mapping[FaultKind, Fault]] = {
    FaultKind.KILL: kills.kill_some,
    FaultKind.SNAPSHOT: kills.kill_during_snapshot,
    FaultKind.PAUSE: pauses.pause_some,
    FaultKind.DISK: full_disk.fill_disk,
    FaultKind.CLOCK: clocks.jump,
}
OF_THE_NETWORK: Final[Mapping[FaultKind, Fault]] = {
    FaultKind.CUT: links.cut,
    FaultKind.DELAY: links.delay,
    FaultKind.SLOW: links.slow,
    FaultKind.RESET: links.reset,
    FaultKind.LOSS: links.lose,
}
_OF_PACKETS_ALONE: Final = {FaultKind.LOSS}
_OF_CONNECTIONS_ALONE: Final = {FaultKind.RESET}
_CROWD_SHARE: Final = 0.25
_CROWD: Final = 2_000


@dataclass(frozen=True, slots=True)
class Mix:
    """What a round does."""

    seed: int
    packets: bool
    """Whether its network is the emulator of IP; else it is the relay of TCP."""
    of_nodes: tuple[FaultKind, ...]
    of_the_network: tuple[FaultKind, ...]
    idle_watchers: int

    def has(self, kind: FaultKind) -> bool:
        return kind in self.of_nodes


def impossible() -> dict[FaultKind, str]:
    """The kinds that this machine does not allow, and why."""
    found = {}
    if why := emulator.why_not():
        found[FaultKind.LOSS] = why
    if clocks.library() is None:
        found[FaultKind.CLOCK] = "libfaketime is not installed (apt-get install libfaketime)"
    return found


def draw(seed: int, kinds: Collection[FaultKind], packets_possible: bool) -> Mix:
    """About two kinds of each sort. The same seed and kinds give the same mix."""
    rng = random.Random(f"mix {seed}")
    ordered = [kind for kind in FaultKind if kind in kinds]
    packets = packets_possible and rng.random() < 0.5
    if not set(ordered) & (OF_THE_NETWORK.keys() - _OF_CONNECTIONS_ALONE):
        packets = packets and FaultKind.RESET not in ordered
    elif packets_possible and set(ordered) & OF_THE_NETWORK.keys() == _OF_PACKETS_ALONE:
        packets = True
    not_here = _OF_CONNECTIONS_ALONE if packets else _OF_PACKETS_ALONE
    of_nodes = [kind for kind in ordered if kind in OF_NODES]
    of_network = [k for k in ordered if k in OF_THE_NETWORK and k not in not_here]
    crowded = FaultKind.CROWD in ordered and (len(ordered) == 1 or rng.random() < _CROWD_SHARE)
    return Mix(
        seed,
        packets,
        tuple(rng.sample(of_nodes, min(2, len(of_nodes)))),
        tuple(rng.sample(of_network, min(2, len(of_network)))),
        _CROWD if crowded else 0,
    )

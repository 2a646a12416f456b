"""What happens to a cluster in one run, as data: drawn from a seed, or by hypothesis."""

import random
from typing import Final, NamedTuple

NODES: Final = ("a", "b", "c", "d", "e")
FAULT_SECONDS: Final = 4.0
"""Faults begin within this time; then all is healed, and the cluster must recover."""

LEADER: Final = -1

KINDS: Final = (
    "reset",
    "cut",
    "isolate",
    "pause",
    "crash before the write",
    "crash after the write",
    "crash after an install",
    "crash after a vote",
    "crash",
    "crash all",
    "hand over",
    "slow disk",
    "drain",
)


class Fault(NamedTuple):
    """`node` and `other` count into the schedule's nodes; not every kind has a use for both.

    `LEADER` as `node` is whoever leads the first group when the fault begins.
    """

    at: float
    kind: str
    node: int
    other: int
    seconds: float


class Schedule(NamedTuple):
    seed: int
    nodes: int
    groups: int
    unruly: bool
    delay_s: float
    sync_s: float
    clients: int
    faults: tuple[Fault, ...]


def draw(seed: int) -> Schedule:
    """The schedule of a seed. `Random` of a string does not depend on the process's hash seed."""
    rng = random.Random(f"schedule {seed}")
    nodes = 5 if rng.random() < 0.2 else 3
    faults = [draw_fault(rng, nodes) for _ in range(rng.randint(3, 14))]
    return Schedule(
        seed=seed,
        nodes=nodes,
        groups=rng.choice((1, 2, 2)),
        unruly=rng.random() < 0.4,
        delay_s=rng.choice((0.001, 0.005, 0.02)),
        sync_s=rng.choice((0.0005, 0.002, 0.01)),
        clients=rng.randint(2, 4),
        faults=tuple(sorted(faults)),
    )


def draw_fault(rng: random.Random, nodes: int) -> Fault:
    node = LEADER if rng.random() < 0.3 else rng.randrange(nodes)
    at = round(rng.random() * FAULT_SECONDS, 3)
    seconds = round(0.05 + rng.random() * 2, 3)
    return Fault(at, rng.choice(KINDS), node, rng.randrange(nodes), seconds)

"""What happens to a cluster in one run, as data: drawn from a seed, or by hypothesis."""

import json
import random
from typing import Final, NamedTuple

from globaltable.topology import slot_of
from tests.simulation.clients import KEYS
from tests.simulation.model import SLOTS

NODES: Final = ("a", "b", "c", "d", "e", "f", "g")
FAULT_SECONDS: Final = 1.6
"""Faults begin within this time; then all is healed, and the cluster must recover."""

LEADER: Final = -1
CHANGING: Final = 4
"""In one of so many seeds the members change, and in another slots move."""

_SLOTS_USED: Final = sorted({slot_of(name, SLOTS) for name in KEYS})

WEIGHTS: Final = {
    "reset": 3,
    "cut": 4,
    "cut both ways": 2,
    "isolate": 4,
    "split": 3,
    "slow link": 2,
    "pause": 4,
    "clock jump": 2,
    "crash": 4,
    "crash all": 3,
    "crash before the write": 3,
    "crash after the write": 4,
    "crash after a vote": 4,
    "crash after a flush": 1,
    "crash amid a snapshot": 2,
    "crash after an install": 3,
    "hand over": 3,
    "drain": 2,
    "slow disk": 4,
    "disk full": 1,
    "disk error": 2,
    "damaged log": 3,
    "damaged row": 2,
    "lost log": 1,
}
"""How often each kind of fault is drawn; `faults` says what it does."""


class Fault(NamedTuple):
    """`node` and `other` count into the schedule's nodes; not every kind has a use for both.

    `LEADER` as `node` is whoever leads the first group when the fault begins.
    """

    at: float
    kind: str
    node: int
    other: int
    seconds: float


class Change(NamedTuple):
    """From `at` on, these are to be the members of every group."""

    at: float
    voters: tuple[str, ...]
    learners: tuple[str, ...]


class SlotMove(NamedTuple):
    """From `at` on, a slot is to be in the group, wherever it is."""

    at: float
    slot: int
    group: int


class Schedule(NamedTuple):
    seed: int
    nodes: int
    groups: int
    unruly: bool
    delay_s: float
    sync_s: float
    clients: int
    faults: tuple[Fault, ...]
    drift: float = 0.0
    """How much faster or slower than true the clocks of nodes may run."""
    spares: int = 0
    """Nodes that found nothing, but may become members."""
    changes: tuple[Change, ...] = ()
    wipes: bool = False
    """Who is to rebuild deletes all there is, and has the node join as if it had never been."""
    rivals: bool = False
    """None gives way to another who would campaign: more elections are split than in production."""
    added: int = 0
    """Groups that were dealt no slots, behind those that were."""
    moves: tuple[SlotMove, ...] = ()


def draw(seed: int) -> Schedule:
    """The schedule of a seed. `Random` of a string does not depend on the process's hash seed."""
    rng = random.Random(f"schedule {seed}")
    nodes = 5 if rng.random() < 0.3 else 3
    faults = [draw_fault(rng, nodes) for _ in range(rng.randint(2, 8))]
    schedule = Schedule(
        seed=seed,
        nodes=nodes,
        groups=rng.choice((1, 1, 2)),
        unruly=rng.random() < 0.4,
        delay_s=rng.choice((0.001, 0.005, 0.02)),
        sync_s=rng.choice((0.0005, 0.002, 0.01)),
        clients=rng.randint(2, 4),
        faults=tuple(sorted(faults)),
        drift=rng.choice((0.0, 0.0, 0.1)),
        rivals=rng.random() < 0.5,
    )
    if seed % CHANGING == CHANGING - 1:
        return with_changes(schedule)
    return with_moves(schedule) if seed % CHANGING == 1 else schedule


def with_moves(schedule: Schedule) -> Schedule:
    """The same, while slots move between the groups, and to groups that were dealt none."""
    rng = random.Random(f"moves {schedule.seed}")
    added = rng.randint(0 if schedule.groups > 1 else 1, 1)
    # Of those that callers use, and few, so that moves meet with writes and with each other.
    slots = rng.sample(_SLOTS_USED, rng.randint(1, 3))
    moves = [
        SlotMove(
            round(0.1 + rng.random() * (FAULT_SECONDS - 0.2), 3),
            rng.choice(slots),
            rng.randrange(schedule.groups + added),
        )
        for _ in range(rng.randint(2, 8))
    ]
    return schedule._replace(added=added, moves=tuple(sorted(moves)))


def with_changes(schedule: Schedule) -> Schedule:
    """The same, while members come and go."""
    rng = random.Random(f"members {schedule.seed}")
    spares = rng.randint(0 if schedule.nodes == 5 else 1, 2)
    names = NODES[: schedule.nodes + spares]
    changes = []
    for _ in range(rng.choice((1, 1, 2, 3))):
        voters = rng.sample(names, 5 if len(names) >= 5 and rng.random() < 0.5 else 3)
        others = [name for name in names if name not in voters]
        learners = rng.sample(others, rng.randint(0, min(1, len(others))))
        at = round(0.1 + rng.random() * (FAULT_SECONDS - 0.2), 3)
        changes.append(Change(at, tuple(voters), tuple(learners)))
    # Of its own, so that nothing else of the schedule depends on it.
    wipes = random.Random(f"wipes {schedule.seed}").random() < 0.5
    return schedule._replace(spares=spares, changes=tuple(sorted(changes)), wipes=wipes)


def draw_fault(rng: random.Random, nodes: int) -> Fault:
    node = LEADER if rng.random() < 0.3 else rng.randrange(nodes)
    at = round(rng.random() * FAULT_SECONDS, 3)
    seconds = round(0.05 + rng.random() * 1.3, 3)
    (kind,) = rng.choices(list(WEIGHTS), list(WEIGHTS.values()))
    return Fault(at, kind, node, rng.randrange(nodes), seconds)


def encode(schedule: Schedule) -> str:
    """On one line, to be run again from a shell."""
    return json.dumps(schedule._asdict(), separators=(",", ":"))


def decode(text: str) -> Schedule:
    fields = json.loads(text)
    faults = tuple(Fault(*fault) for fault in fields.pop("faults"))
    changes = tuple(
        Change(at, tuple(voters), tuple(learners))
        for at, voters, learners in fields.pop("changes", ())
    )
    moves = tuple(SlotMove(*move) for move in fields.pop("moves", ()))
    return Schedule(**fields, faults=faults, changes=changes, moves=moves)

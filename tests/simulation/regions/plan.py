"""How large a cluster is, and how it loses a region or two: drawn from a seed."""

import enum
import random
from typing import Any, Final, NamedTuple

from globaltable.server.config import Timeouts

REGIONS: Final = ("a", "b", "c", "d", "e")


class Loss(enum.Enum):
    POWER = "power"
    """All nodes there end at once, and what they had not synced is gone."""
    LINKS = "links"
    """A region's nodes and callers reach each other, and nobody else."""


class Plan(NamedTuple):
    seed: int
    nodes_per_region: int
    groups: int
    replicas: int
    """Of each group, each in a region of its own."""
    callers_per_region: int
    loss: Loss
    lost: tuple[str, ...]
    """The regions: as many as are a minority of a group's, and all at once."""
    delay_s: float
    """One way, between regions; each pair has its own, around this."""
    sync_s: float
    heartbeat_s: float
    settle_s: float
    """From the first leaders to the loss."""
    away_s: float
    load_on_s: float
    """From the return to the end of the load."""
    changes: tuple[Any, ...] = ()
    """Of members: none."""
    wipes: bool = False


WHOLE: Final = Plan(
    seed=0,
    nodes_per_region=4,
    groups=256,
    replicas=5,
    callers_per_region=4,
    loss=Loss.POWER,
    lost=("a",),
    delay_s=0.01,
    sync_s=0.002,
    heartbeat_s=Timeouts().heartbeat_s,
    settle_s=2.0,
    away_s=5.0,
    load_on_s=3.0,
)
SMALL: Final = WHOLE._replace(
    nodes_per_region=2,
    groups=32,
    callers_per_region=2,
    heartbeat_s=0.1,
    settle_s=0.7,
    away_s=2.0,
    load_on_s=1.0,
)
"""Its heartbeats are rarer than production's, for they are most of what a run costs."""


_RARE_HEARTBEAT_S: Final = 0.15


def draw(seed: int, size: Plan = WHOLE) -> Plan:
    """The plan of a seed. Every second loses power, every third has three replicas a group, some
    with five lose two regions, and of four two have the rarest heartbeats that elections allow."""
    rng = random.Random(f"regions {seed}")
    replicas = 3 if seed % 3 == 2 else 5
    return size._replace(
        seed=seed,
        replicas=replicas,
        loss=Loss.LINKS if seed % 2 else Loss.POWER,
        lost=tuple(sorted(rng.sample(REGIONS, 2 if replicas == 5 and seed % 5 in (1, 4) else 1))),
        delay_s=rng.choice((0.005, 0.01, 0.02)),
        sync_s=rng.choice((0.0005, 0.002, 0.005)),
        heartbeat_s=_RARE_HEARTBEAT_S if seed % 4 >= 2 else size.heartbeat_s,
    )

"""What the network between the nodes does to them: cuts, delays, slow links, resets, loss.

Each fault sets ways, waits, and opens them all again; so there is one at a time.
"""

from globaltable.testing.relay import PeerRelay
from globaltable.testing.ways import Way, around, both
from tests.faults.scene import Scene

Pairs = list[tuple[str, str]]


async def cut(scene: Scene) -> None:
    """A region from the others, or a pair; both ways, or one."""
    region, rng = scene.draw(), scene.rng
    pairs = around(region, scene.regions)
    if rng.random() < 0.4:
        pairs = [rng.choice(pairs)]
    match rng.choice(("both", "both", "out", "in")):
        case "both":
            pairs = both(pairs)
            scene.done["cuts"] += 1
        case "out":
            scene.done["one-way cuts"] += 1
        case _:
            pairs = [(b, a) for a, b in pairs]
            scene.done["one-way cuts"] += 1
    await _for_a_while(scene, pairs, Way(cut=True), 0.3, 7.0)


async def delay(scene: Scene) -> None:
    """Up to 150 ms each way, which an election still outlasts, on some links or on all."""
    way = Way(delay_s=scene.rng.uniform(0.005, 0.15))
    scene.done["delays"] += 1
    await _for_a_while(scene, _some(scene), way, 1.0, 5.0)


async def slow(scene: Scene) -> None:
    """Down to 20 kB/s, on which messages queue up."""
    way = Way(bytes_per_s=scene.rng.choice((20_000, 100_000, 500_000)))
    scene.done["slow links"] += 1
    await _for_a_while(scene, _some(scene), way, 1.0, 5.0)


async def reset(scene: Scene) -> None:
    """Connections break, several times in a row."""
    relay = scene.network
    assert isinstance(relay, PeerRelay), "packets have no connections"
    for _ in range(scene.rng.randint(1, 6)):
        pairs = [] if scene.rng.random() < 0.5 else [tuple(scene.rng.sample(scene.regions, 2))]
        scene.done["resets"] += relay.reset(*[(a, b) for a, b in pairs])
        await scene.wait(0.02, 0.5)


async def lose(scene: Scene) -> None:
    """Packets are lost, doubled and overtake each other."""
    rng = scene.rng
    way = Way(
        loss=rng.choice((0.01, 0.05, 0.2)),
        duplicates=rng.choice((0.0, 0.1)),
        jitter_s=rng.choice((0.0, 0.005, 0.05)),
    )
    scene.done["lossy spells"] += 1
    await _for_a_while(scene, _some(scene), way, 1.0, 5.0)


def _some(scene: Scene) -> Pairs:
    pairs = around(scene.draw(), scene.regions)
    if scene.rng.random() < 0.4:
        pairs = [pair for region in scene.regions for pair in around(region, scene.regions)]
    return both(pairs)


async def _for_a_while(scene: Scene, pairs: Pairs, way: Way, least_s: float, most_s: float) -> None:
    try:
        scene.network.ways.set(pairs, way)
        await scene.wait(least_s, most_s)
    finally:
        scene.network.ways.open_all()
    await scene.wait(0.1, 1.5)

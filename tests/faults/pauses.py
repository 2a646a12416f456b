"""SIGSTOP: a node is alive to the kernel and silent to everybody else, and then goes on."""

from tests.faults.scene import Scene


async def pause_some(scene: Scene) -> None:
    victims = scene.several()[:2]
    try:
        for region in victims:
            scene.cluster.pause(region)
        scene.done["pauses"] += len(victims)
        # Shorter than an election, longer, and longer than the links' patience.
        await scene.wait(*scene.rng.choice(((0.05, 0.4), (0.5, 2.5), (5.0, 7.0))))
    finally:
        for region in victims:
            scene.cluster.resume(region)
    await scene.wait(0.2, 1.0)

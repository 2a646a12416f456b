"""SIGKILL, of one node or more, and again before it has found its feet."""

import asyncio
from typing import Final

import grpc

from globaltable.testing import LocalCluster
from tests.faults.scene import Scene

_COMPACTED_TIMEOUT_S: Final = 8.0
_POLL_S: Final = 0.1
_SENT_TIMEOUT_S: Final = 4.0
_SENT_POLL_S: Final = 0.01
_WELL_UNDER_WAY_BYTES: Final = 40_000
"""Sent to a returning node: more than greetings and heartbeats, less than its tables."""


async def kill_some(scene: Scene) -> None:
    """One, several or all; now and then some more times, each shortly after the start."""
    victims = scene.several()
    times = scene.rng.choice((1, 1, 1, 2, 3))
    for _ in range(times):
        scene.kill(*victims)
        await scene.wait(0.0, 2.0)
        scene.start(*victims)
        await scene.wait(0.1, 1.5)


async def kill_during_snapshot(scene: Scene) -> None:
    """A node is away until the logs are cut behind it; on its return it, or a sender, is killed."""
    away = scene.draw()
    others = [region for region in scene.regions if region != away]
    stood_at = await asyncio.to_thread(applied, scene.cluster, away)
    scene.kill(away)
    is_due = False
    deadline = asyncio.get_running_loop().time() + min(_COMPACTED_TIMEOUT_S, max(0, scene.left_s))
    while asyncio.get_running_loop().time() < deadline:
        is_due = await asyncio.to_thread(is_needed, scene.cluster, others, stood_at)
        if is_due:
            break
        await asyncio.sleep(_POLL_S)
    scene.start(away)
    is_sent = await _is_sent(scene, away, others)
    await asyncio.sleep(scene.rng.uniform(0.0, 0.3))
    victims = scene.rng.choice(([away], [scene.rng.choice(others)], others))
    scene.kill(*victims)
    scene.done["kills during a snapshot" if is_due and is_sent else "kills without a snapshot"] += 1
    await scene.wait(0.0, 0.5)
    scene.start(*victims)
    await scene.wait(0.5, 1.5)


async def _is_sent(scene: Scene, away: str, others: list[str]) -> bool:
    """Wait until much has been sent to a node that returned: a snapshot, if one is due."""
    loop = asyncio.get_running_loop()

    def sent() -> int:
        carried = scene.network.carried_bytes
        return sum(carried[other, away] for other in others)

    before = sent()
    deadline = loop.time() + _SENT_TIMEOUT_S
    while loop.time() < deadline:
        if sent() - before > _WELL_UNDER_WAY_BYTES:
            return True
        await asyncio.sleep(_SENT_POLL_S)
    return False


def applied(cluster: LocalCluster, region: str) -> dict[int, int]:
    """How far a region's replicas are; nothing if its node does not say."""
    try:
        return {g.group: g.applied_revision for g in cluster.status(region).groups}
    except grpc.RpcError:
        return {}


def is_needed(cluster: LocalCluster, regions: list[str], stood_at: dict[int, int]) -> bool:
    """Whether, in all these regions, the log of a group no longer reaches back to there."""
    try:
        return all(
            any(g.first_log_index > stood_at.get(g.group, 0) + 1 for g in status.groups)
            for status in map(cluster.status, regions)
        )
    except grpc.RpcError:
        return False

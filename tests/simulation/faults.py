"""What each kind of fault does to a world. A schedule names them; nothing else is drawn here."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from tests.simulation.schedule import Fault

if TYPE_CHECKING:
    from tests.simulation.node import SimNode
    from tests.simulation.world import World

SLOW_DISK_S: Final = 0.1

Inflict = Callable[["World", "SimNode", "SimNode", Fault], None]


def _reset(world: "World", node: "SimNode", other: "SimNode", fault: Fault) -> None:
    world.network.reset(node.name, other.name)


def _cut(world: "World", node: "SimNode", other: "SimNode", fault: Fault) -> None:
    """One way."""
    world.cut(node.name, other.name, fault.seconds)


def _cut_both_ways(world: "World", node: "SimNode", other: "SimNode", fault: Fault) -> None:
    world.cut(node.name, other.name, fault.seconds)
    world.cut(other.name, node.name, fault.seconds)


def _isolate(world: "World", node: "SimNode", other: "SimNode", fault: Fault) -> None:
    for peer in world.nodes.values():
        if peer is not node:
            _cut_both_ways(world, node, peer, fault)


def _split(world: "World", node: "SimNode", other: "SimNode", fault: Fault) -> None:
    """These two on one side, all others on the other."""
    for peer in world.nodes.values():
        if peer not in (node, other):
            _cut_both_ways(world, node, peer, fault)
            _cut_both_ways(world, other, peer, fault)


def _slow_link(world: "World", node: "SimNode", other: "SimNode", fault: Fault) -> None:
    world.network.slow(node.name, other.name, fault.seconds)


def _pause(world: "World", node: "SimNode", other: "SimNode", fault: Fault) -> None:
    node.pause()
    world.timeline.after(fault.seconds, node.resume)


def _clock_jump(world: "World", node: "SimNode", other: "SimNode", fault: Fault) -> None:
    node.jump(fault.seconds)


def _crash(world: "World", node: "SimNode", other: "SimNode", fault: Fault) -> None:
    node.down_s = fault.seconds
    node.crash()


def _crash_all(world: "World", node: "SimNode", other: "SimNode", fault: Fault) -> None:
    for each in world.nodes.values():
        each.down_s = fault.seconds * (0.5 + world.rng.random())
        each.crash()


def _crash_at(world: "World", node: "SimNode", other: "SimNode", fault: Fault) -> None:
    node.down_s = fault.seconds
    node.crash_at = fault.kind


def _crash_after_vote(world: "World", node: "SimNode", other: "SimNode", fault: Fault) -> None:
    # Back so soon that the election it voted in is still under way.
    node.down_s = 0.01
    node.crash_at = fault.kind


def _hand_over(world: "World", node: "SimNode", other: "SimNode", fault: Fault) -> None:
    if node.life is not None:
        for replica in node.life.core.replicas.values():
            replica.hand_over()
        node.life.driver.wake()


def _drain(world: "World", node: "SimNode", other: "SimNode", fault: Fault) -> None:
    """As a stop in good order does; then the process ends."""
    if node.life is not None:
        node.life.core.drain()
        node.life.driver.wake()
        node.down_s = 0.3
        world.timeline.after(fault.seconds, node.crash)


def _slow_disk(world: "World", node: "SimNode", other: "SimNode", fault: Fault) -> None:
    node.sync_s = SLOW_DISK_S
    world.timeline.after(fault.seconds, _quicken, world, node)


def _quicken(world: "World", node: "SimNode") -> None:
    node.sync_s = world.schedule.sync_s


def _disk_full(world: "World", node: "SimNode", other: "SimNode", fault: Fault) -> None:
    node.platter.full = True
    world.timeline.after(fault.seconds, _empty, node)


def _empty(node: "SimNode") -> None:
    node.platter.full = False


def _disk_error(world: "World", node: "SimNode", other: "SimNode", fault: Fault) -> None:
    node.platter.fails_next = True


def _damaged_log(world: "World", node: "SimNode", other: "SimNode", fault: Fault) -> None:
    """A record rots, and is met when the process starts again."""
    group = _group_to_damage(world, node)
    if group is not None and (indexes := sorted(node.platter.entries.get(group, {}))):
        index = world.rng.choice(indexes)
        world.note("fault", "damaged", f"log entry {index} of group {group}")
        world.checks.damaged.add((node.name, group))
        node.platter.damaged_entries.add((group, index))
        _crash(world, node, other, fault)


def _lost_log(world: "World", node: "SimNode", other: "SimNode", fault: Fault) -> None:
    """The log is gone when the process starts again, and the table is still there."""
    group = _group_to_damage(world, node)
    if group is not None and node.life is not None and node.platter.lose_log(group):
        world.note("fault", "lost", f"log of group {group}")
        world.checks.damaged.add((node.name, group))
        _crash(world, node, other, fault)


def _damaged_row(world: "World", node: "SimNode", other: "SimNode", fault: Fault) -> None:
    """A row rots, and is met by whoever reads it."""
    group = _group_to_damage(world, node)
    if group is not None and (rows := node.platter.rows(group)):
        key = world.rng.choice(rows)
        world.note("fault", "damaged", f"row {key.hex()} of group {group}")
        world.checks.damaged.add((node.name, group))
        node.platter.damaged_rows.add((group, key))


def _group_to_damage(world: "World", node: "SimNode") -> int | None:
    """One that no other replica is without: what the last but one has lost nobody can rebuild."""
    whole = [
        group.number
        for group in world.topology.groups
        if not any(each.lacks(group.number) for each in world.nodes.values())
    ]
    return world.rng.choice(whole) if whole else None


KINDS: Final[Mapping[str, Inflict]] = MappingProxyType(
    {
        "reset": _reset,
        "cut": _cut,
        "cut both ways": _cut_both_ways,
        "isolate": _isolate,
        "split": _split,
        "slow link": _slow_link,
        "pause": _pause,
        "clock jump": _clock_jump,
        "crash": _crash,
        "crash all": _crash_all,
        "crash before the write": _crash_at,
        "crash after the write": _crash_at,
        "crash after a vote": _crash_after_vote,
        "crash after a flush": _crash_at,
        "crash amid a snapshot": _crash_at,
        "crash after an install": _crash_at,
        "hand over": _hand_over,
        "drain": _drain,
        "slow disk": _slow_disk,
        "disk full": _disk_full,
        "disk error": _disk_error,
        "damaged log": _damaged_log,
        "damaged row": _damaged_row,
        "lost log": _lost_log,
    }
)


def heal(world: "World") -> None:
    """Nothing is broken any more; nodes that are down come back."""
    world.note("fault", "all is healed")
    world.network.unruly = False
    names = list(world.nodes)
    for a in names:
        for b in names:
            if a != b:
                world.network.heal(a, b)
            if a < b:
                world.network.reset(a, b)
    for node in world.nodes.values():
        node.crash_at = None
        node.sync_s = world.schedule.sync_s
        node.platter.full = node.platter.fails_next = False
        node.resume()
        node.start()

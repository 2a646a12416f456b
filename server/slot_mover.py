"""Brings slots to the groups that are to hold them: the part of a node that leads their sources.

Which slots are to move is in the topology, and how far each move has come is in the holdings of its
two groups: so nothing is remembered here, and whoever leads a source next goes on with its moves,
after any crash (`slot_moves`). Two who are at the same move do no harm, for logs refuse what is out
of order. The node that leads a group moves

* what the group holds and another is to hold;
* what the group has released: on, or back if another is to hold it by now;
* what has been copied into the group and is not to be held by it after all: it is deleted.

Paced, so that ops go on as before: so many slots at a time, and a step of each at a time. A move
that cannot go on (a group without a leader, a node that is down) is tried again later.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from typing import Final, Protocol

import structlog

from globaltable.errors import GlobalTableError, NoQuorum, StorageError
from globaltable.group import Replica
from globaltable.holdings import Holding, HoldingState
from globaltable.model import Outcome, OutcomeStatus
from globaltable.slot_moves import Ask, CopyOn, Move, Rest, copies, duty, next_action
from globaltable.slot_steps import Step
from globaltable.topology import Topology

MOVES_AT_ONCE: Final = 16
"""Slots that one node moves at a time. Each has one step under way, in one log or the other."""
LOOK_PERIOD_S: Final = 0.1
PAUSE_S: Final = 0.5
"""Before a move that could not go on is tried again."""
PAUSE_RELEASED_S: Final = 0.02
"""While the slot is served by nobody."""
STEPS_MAX: Final = 10_000
"""Of one move at a stretch: above what the largest slot takes; a move that goes in circles ends."""

log = structlog.get_logger(__name__)


class Groups(Protocol):
    """The groups of the cluster, wherever their replicas are (`slot_steps_asked`)."""

    async def holding(self, group: int, slot: int) -> Holding:
        """Of some replica, however late. Raises `Unavailable`."""
        ...

    async def take(self, group: int, step: Step) -> Outcome: ...


class Replicas(Protocol):
    """`NodeCore`."""

    @property
    def replicas(self) -> Mapping[int, Replica]: ...

    @property
    def topology(self) -> Topology: ...

    def refusal(self, group: int) -> str: ...


class SlotMover:
    """`run` until it is cancelled."""

    def __init__(
        self,
        core: Replicas,
        groups: Groups,
        now: Callable[[], float],
        met_damage: Callable[[int, StorageError], object],
    ) -> None:
        """`met_damage` hears of a record of a group that cannot be read."""
        self._core = core
        self._met_damage = met_damage
        self._groups = groups
        self._now = now
        self._moving: dict[int, asyncio.Task[None]] = {}
        """By slot."""
        self._paused: dict[int, float] = {}
        """Slots whose move could not go on, and until when they wait."""
        self._awake = asyncio.Event()

    async def run(self) -> None:
        try:
            while True:
                self._begin_moves()
                self._awake.clear()
                try:
                    async with asyncio.timeout(LOOK_PERIOD_S):
                        await self._awake.wait()
                except TimeoutError:
                    pass
        finally:
            for task in self._moving.values():
                task.cancel()
            await asyncio.gather(*self._moving.values(), return_exceptions=True)

    def _begin_moves(self) -> None:
        if len(self._moving) >= MOVES_AT_ONCE:
            return
        now = self._now()
        self._paused = {slot: until for slot, until in self._paused.items() if until > now}
        for slot, group in self._wanted():
            if slot in self._moving or slot in self._paused:
                continue
            self._moving[slot] = task = asyncio.create_task(self._move(slot, group))
            task.add_done_callback(lambda _, slot=slot: self._ended(slot))  # type: ignore[misc]
            if len(self._moving) >= MOVES_AT_ONCE:
                return

    def _ended(self, slot: int) -> None:
        self._moving.pop(slot, None)
        self._awake.set()

    def _wanted(self) -> Iterator[tuple[int, int]]:
        """The slots that this node has a duty to, each with the group that it leads: first what was
        begun, then the lowest, so that groups are written to in turn."""
        assignment = self._core.topology.assignment
        fresh: list[tuple[int, int]] = []
        for number, replica in self._core.replicas.items():
            if not replica.is_leader or self._core.refusal(number):
                continue
            holdings = replica.table.holdings
            for slot, holding in holdings.moved.items():
                if duty(slot, number, holding, assignment[slot]) is None:
                    continue
                if holding.state is HoldingState.HELD:
                    fresh.append((slot, number))
                else:
                    yield slot, number
            fresh += [
                (slot, number)
                for slot in self._core.topology.slots_of_group(number)
                if assignment[slot] != number and slot not in holdings.moved
            ]
        yield from sorted(fresh, key=lambda one: (one[1], assignment[one[0]], one[0]))

    async def _move(self, slot: int, group: int) -> None:
        try:
            for _ in range(STEPS_MAX):
                if not await self._proceed(slot, group):
                    return
            raise NoQuorum(f"it was not done after {STEPS_MAX} steps")
        except StorageError as error:
            self._met_damage(group, error)
        except GlobalTableError as error:
            log.info("slot waits", slot=slot, group=group, reason=str(error))
            self._paused[slot] = self._now() + self._pause_s(slot, group)

    def _pause_s(self, slot: int, group: int) -> float:
        replica = self._core.replicas.get(group)
        state = replica.table.holdings.of(slot).state if replica is not None else None
        return PAUSE_RELEASED_S if state is HoldingState.RELEASED else PAUSE_S

    async def _proceed(self, slot: int, group: int) -> bool:
        """One action; whether there may be another."""
        replica = self._core.replicas.get(group)
        if replica is None or not replica.is_leader or self._core.refusal(group):
            # Whoever leads it by now goes on.
            return False
        table = replica.table
        wanted = self._core.topology.assignment[slot]
        due = duty(slot, group, table.holdings.of(slot), wanted)
        match due:
            case Move(ends, undo):
                there = await self._groups.holding(ends.target, slot)
                action = next_action(ends, table, there, undo=undo)
            case Ask():
                action = due
            case None:
                return False
        match action:
            case Ask(asked, step):
                await self._take(asked, step)
            case CopyOn(hop, after):
                for copy in copies(ends, table, hop, after):
                    if copy is None:
                        await asyncio.sleep(0)
                    else:
                        await self._take(ends.target, copy)
                    if replica.table is not table or not replica.is_leader:
                        return False
            case Rest.NOT_HERE:
                raise NoQuorum("what is known of the two groups is not of one time")
            case Rest.DONE:
                return False
        return True

    async def _take(self, group: int, step: Step) -> None:
        outcome = await self._groups.take(group, step)
        if outcome.status is not OutcomeStatus.APPLIED:
            what = type(step).__name__.lower()
            raise NoQuorum(f"group {group}, {what}: {outcome.status.name}: {outcome.detail}")

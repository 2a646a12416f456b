"""Brings slots to the groups that are to hold them: the part of a node that leads their sources.

Which slots are to move is in the topology, and how far each move has come is in the holdings of its
two groups: so nothing is remembered here, and whoever leads a source next goes on with its moves,
after any crash (`slot_moves`). Two who are at the same move do no harm, for logs refuse what is out
of order. The node that leads a group moves

* what the group holds and another is to hold;
* what the group has released: on, or back if another is to hold it by now;
* what has been copied into the group and is not to be held by it after all: it is deleted.

Slots are moved some at a time, between the same two groups, step by step together: so their
entries share turns, and cost hardly more than one. After each such batch comes a rest in
proportion to it (`pacing`), in which ops go on as before. A move that cannot go on (a group without
a leader, a node that is down) is tried again later.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

import structlog

from globaltable.errors import GlobalTableError, NoQuorum, StorageError
from globaltable.group import Replica
from globaltable.holdings import Holding, HoldingState
from globaltable.model import Outcome, OutcomeStatus
from globaltable.server.pacing import Pace
from globaltable.slot_history import SlotHistory
from globaltable.slot_moves import Ask, CopyOn, Move, Rest, copies, duty, next_action
from globaltable.slot_steps import Step
from globaltable.table import Table
from globaltable.topology import Topology

BATCH_SLOTS: Final = 8
"""Moved together: half as many steps as a replica lets wait (`proposals`)."""
SHARE: Final = 0.25
"""Of a node's time, in which it moves slots; in the rest of it ops have the logs to themselves."""
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
        self._pace = Pace(SHARE, now)
        self._past: SlotHistory | None = None
        self._paused: dict[tuple[int, int], float] = {}
        """Slots of groups led here whose move could not go on, and until when they wait."""

    async def run(self) -> None:
        while True:
            batch = self._batch()
            if not batch:
                self._past = None
                await asyncio.sleep(LOOK_PERIOD_S)
                continue
            began = self._now()
            async with asyncio.TaskGroup() as moves:
                for slot, group in batch:
                    moves.create_task(self._move(slot, group))
            await asyncio.sleep(self._pace.rest_s(self._now() - began))

    def _batch(self) -> list[tuple[int, int]]:
        """Slots to be moved together, each with the group that is led here."""
        now = self._now()
        self._paused = {one: until for one, until in self._paused.items() if until > now}
        begun, fresh = self._wanted()
        if begun:
            return sorted(begun)[:BATCH_SLOTS]
        # The lowest two groups between which any is to move.
        fresh.sort(key=lambda one: (one[1], self._wanted_in(*one), one[0]))
        ends = [(one[1], self._wanted_in(*one)) for one in fresh[:BATCH_SLOTS]]
        return fresh[: ends.count(ends[0])] if ends else []

    def _wanted(self) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
        """The slots that this node has a duty to, each with the group that is led here: those whose
        move was begun, and the others."""
        begun: list[tuple[int, int]] = []
        fresh: list[tuple[int, int]] = []
        for number, replica in self._core.replicas.items():
            if not replica.is_leader or self._core.refusal(number):
                continue
            holdings = replica.table.holdings
            assignment = self._assignment(number)
            fresh += [(slot, number) for slot in holdings.held if assignment[slot] != number]
            begun += [
                (slot, number)
                for slot, holding in holdings.moved.items()
                if holding.state is not HoldingState.HELD
                and duty(slot, number, holding, assignment[slot]) is not None
            ]
        paused = self._paused
        return (
            [one for one in begun if one not in paused],
            [one for one in fresh if one not in paused],
        )

    def _assignment(self, group: int) -> Sequence[int]:
        """Of the slots of a group's geo; those of a group that the topology does not know stay."""
        topology = self._core.topology
        if not group < len(topology.groups):
            return [group] * topology.slots
        return topology.assignment(topology.groups[group].geo)

    def _wanted_in(self, slot: int, group: int) -> int:
        """The group that is to hold a slot, of which another group of its geo has something."""
        return self._assignment(group)[slot]

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
            self._paused[slot, group] = self._now() + self._pause_s(slot, group)

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
        due = duty(slot, group, table.holdings.of(slot), self._wanted_in(slot, group))
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
                for copy in copies(ends, self._past_of(table), hop, after):
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

    def _past_of(self, table: Table) -> SlotHistory:
        """Kept while it is of use: slots of one group are moved together, and one after another."""
        if self._past is None or self._past.table is not table:
            self._past = SlotHistory(table)
        return self._past

    async def _take(self, group: int, step: Step) -> None:
        outcome = await self._groups.take(group, step)
        if outcome.status is not OutcomeStatus.APPLIED:
            what = type(step).__name__.lower()
            raise NoQuorum(f"group {group}, {what}: {outcome.status.name}: {outcome.detail}")

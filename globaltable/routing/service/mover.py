"""Carries moves out: reads, asks units, commits; at a bounded rate, so many keys at a time.

Responsible for the I/O of `routing.moves`, which says what comes next. A mover may crash, be
started anew, or run twice: what it does to a key is decided by the key's binding, in one
compare-and-set. Its job is kept in `routing.meta` (`jobs.py`), and goes on from there.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from globaltable.errors import (
    DeadlineExceeded,
    InvalidArgument,
    NotBound,
    StorageError,
    Unavailable,
    VersionConflict,
)
from globaltable.routing.client.bindings import Bindings
from globaltable.routing.handover import Answer, Handover, Place, Reply, UnitControl
from globaltable.routing.moves import (
    ENDS,
    KeyMove,
    Step,
    answered,
    note_key,
    read,
    source_is_lost,
)
from globaltable.routing.service.revocation import Revocations

Controls = Callable[[str], Awaitable[UnitControl]]
"""How a unit is reached, by name. Raises UnitLost, and what asking GlobalTable raises."""

BATCH_MAX: Final = 1_000


@dataclass(frozen=True, slots=True)
class MoverSettings:
    """Bounds of a mover."""

    batch: int = 100
    """Keys that are drained and moved together."""
    concurrency: int = 2
    """Batches at a time."""
    rate_per_s: float = 0.0
    """Keys that are begun in a second; 0 for as many as it goes."""
    drain_s: float = 0.25
    """How long a batch waits for messages under way; those that take longer are asked again for, by
    themselves."""
    drain_long_s: float = 5.0
    retry_s: float = 0.1


MOVER_SETTINGS_DEFAULT: Final = MoverSettings()


class Mover:
    """Moves keys of one dimension, whose bindings are in `table`, for the job `job_id`."""

    def __init__(
        self,
        job_id: str,
        dimension: str,
        *,
        table: Bindings,
        meta: Bindings,
        controls: Controls,
        revocations: Revocations,
        settings: MoverSettings,
        progress: Callable[[Step], None] = lambda _end: None,
    ) -> None:
        self._job_id = job_id
        self._dimension = dimension
        self._table = table
        self._meta = meta
        self._controls = controls
        self._revocations = revocations
        self._settings = settings
        self._progress = progress
        self.given_up: dict[str, str] = {}
        """Keys that were left, and why."""

    async def move(
        self, keys: Iterable[tuple[str, str]], from_units: frozenset[str] | None, *, noted: bool
    ) -> Counter[Step]:
        """Move each key to its target; how many ended how. What is left is told by `given_up`.

        `from_units` are those that keys may be taken away from; None for any. `noted` is whether it
        is noted where they came from. Raises what makes it useless to go on with the others.
        """
        ends: Counter[Step] = Counter()
        moves = {key: KeyMove(key, target) for key, target in keys}
        while moves:
            for step in Step:
                due = [move for move in moves.values() if move.step is step]
                if not due or step in ENDS:
                    continue
                for move in await self._made(step, due, from_units, noted):
                    moves[move.key] = move
            for move in [move for move in moves.values() if move.step in ENDS]:
                del moves[move.key]
                ends[move.step] += 1
                self._progress(move.step)
                if move.step is Step.GIVEN_UP:
                    self.given_up[move.key] = move.detail
            if moves:
                await asyncio.sleep(self._settings.retry_s)
        return ends

    async def _made(
        self,
        step: Step,
        due: Sequence[KeyMove],
        from_units: frozenset[str] | None,
        noted: bool,
    ) -> list[KeyMove]:
        """The moves after this step. What a retry may mend leaves them where they are."""
        try:
            match step:
                case Step.READ:
                    return await self._read(due, from_units)
                case Step.NOTE if not noted:
                    return [answered(move, Answer.DONE) for move in due]
                case Step.NOTE:
                    return list(await asyncio.gather(*map(self._note, due)))
                case Step.COMMIT:
                    return list(await asyncio.gather(*map(self._commit, due)))
                case Step.DRAIN:
                    return await self._asked(due, lambda move: move.source, self._drain)
                case Step.RECEIVE:
                    return await self._asked(due, lambda move: move.target, self._receive)
                case _:
                    return await self._settle(due)
        except (Unavailable, DeadlineExceeded) as error:
            return [answered(move, Answer.BUSY, str(error)) for move in due]

    # --- GlobalTable -----------------------------------------------------------------------------

    async def _read(
        self, due: Sequence[KeyMove], from_units: frozenset[str] | None
    ) -> list[KeyMove]:
        bindings = await self._table.get_many([move.key for move in due], linearizable=True)
        moves = [read(move, bindings.get(move.key), from_units) for move in due]
        sources = {move.source for move in moves if move.step is Step.NOTE}
        # After the bindings: what a unit that has come back claims meanwhile has a higher version.
        lost = {unit for unit in sorted(sources) if await self._revocations.in_force(unit)}
        return [
            source_is_lost(move) if move.step is Step.NOTE and move.source in lost else move
            for move in moves
        ]

    async def _note(self, move: KeyMove) -> KeyMove:
        try:
            note = note_key(self._job_id, move.key)
        except InvalidArgument as error:
            return move._replace(step=Step.GIVEN_UP, detail=str(error))
        await self._meta.bind(note, move.source)
        return answered(move, Answer.DONE)

    async def _commit(self, move: KeyMove) -> KeyMove:
        try:
            binding = await self._table.move(move.key, to=move.target, version=move.version)
        except (VersionConflict, NotBound) as error:
            return answered(move, Answer.SUPERSEDED, str(error))
        except (Unavailable, DeadlineExceeded) as error:
            # If it has happened, the next attempt is told so.
            return answered(move, Answer.BUSY, str(error))
        return answered(move, Answer.DONE)._replace(version=binding.version)

    # --- units -----------------------------------------------------------------------------------

    async def _asked(
        self,
        due: Sequence[KeyMove],
        whom: Callable[[KeyMove], str],
        ask: Callable[[UnitControl, Sequence[KeyMove]], Awaitable[list[Reply]]],
    ) -> list[KeyMove]:
        """Ask each unit for its keys, all at once."""
        by_unit: dict[str, list[KeyMove]] = {}
        for move in due:
            by_unit.setdefault(whom(move), []).append(move)

        async def asked(unit: str, moves: list[KeyMove]) -> list[KeyMove]:
            try:
                replies = await ask(await self._controls(unit), moves)
            except (Unavailable, DeadlineExceeded, StorageError) as error:
                return [answered(move, Answer.BUSY, f"unit {unit}: {error}") for move in moves]
            return [answered(move, *reply) for move, reply in zip(moves, replies, strict=True)]

        made = await asyncio.gather(*(asked(*group) for group in by_unit.items()))
        return [move for moves in made for move in moves]

    async def _drain(self, unit: UnitControl, moves: Sequence[KeyMove]) -> list[Reply]:
        """Those that waited before wait longer now, and not together with the others."""
        settings = self._settings
        fresh = [move for move in moves if not move.attempts]
        slow = [move for move in moves if move.attempts]
        groups = [(fresh, settings.drain_s), *(([move], settings.drain_long_s) for move in slow)]
        replies = await asyncio.gather(
            *(
                unit.drain(self._dimension, [_handover(move) for move in group], limit_s)
                for group, limit_s in groups
                if group
            )
        )
        by_key = dict(
            zip(
                (move.key for group, _ in groups for move in group),
                (reply for group in replies for reply in group),
                strict=True,
            )
        )
        return [by_key[move.key] for move in moves]

    async def _receive(self, unit: UnitControl, moves: Sequence[KeyMove]) -> list[Reply]:
        return await unit.receive(self._dimension, [_handover(move) for move in moves])

    async def _settle(self, due: Sequence[KeyMove]) -> list[KeyMove]:
        """Tell both units. A source learns of it at the next message for the key at the latest; a
        target must hear it, if its own drain is off."""

        async def tell(unit: UnitControl, moves: Sequence[KeyMove]) -> list[Reply]:
            places = [Place(move.key, move.target, move.version) for move in moves]
            return await unit.settle(self._dimension, places)

        moved = [move for move in due if move.source != move.target and not move.lost]
        settled, _ = await asyncio.gather(
            self._asked(due, lambda move: move.target, tell),
            self._asked(moved, lambda move: move.source, tell),
        )
        return settled


def _handover(move: KeyMove) -> Handover:
    return Handover(move.key, move.version, move.source, move.target, move.lost)

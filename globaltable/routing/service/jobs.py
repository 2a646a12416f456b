"""Jobs of moves: kept in `routing.meta`, gone on with by whoever runs them, undone.

Responsible for which keys a job is about, in which order and how many at a time; how one key is
moved is `mover.py`'s. What a job has done is told by bindings alone, so running it again is going
on with it, and two who run it do no harm.

::

    move/JOB           the job's text (`stored_text`), never changed
    move-state/JOB     open, done, undoing, undone
    moved/JOB/KEY      the unit from which KEY was, or was about to be, moved
"""

import asyncio
import secrets
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from globaltable.errors import Corrupt, InvalidArgument, Rejected, VersionConflict
from globaltable.routing.client.bindings import Bindings
from globaltable.routing.client.meta import read_drained, read_text, write_drained, write_text
from globaltable.routing.moves import (
    JOB_PREFIX,
    NOTE_PREFIX,
    SPREAD,
    STATE_PREFIX,
    Job,
    JobState,
    SelectionKind,
    Step,
    noted_key,
)
from globaltable.routing.service.mover import MOVER_SETTINGS_DEFAULT, Controls, Mover, MoverSettings
from globaltable.routing.service.revocation import Revocations

GIVEN_UP_TOLD_MAX: Final = 1_000
"""Of the keys that are left, those whose reasons are kept."""

PASSES_MAX: Final = 8
"""Over what is selected: what was bound or changed during one is found by the next."""
_CONTROL_PREFIX: Final = "control/"
_STATE_AFTER: Final = {JobState.OPEN: JobState.DONE, JobState.UNDOING: JobState.UNDONE}


class JobChanged(Rejected):
    """Somebody has undone the job, or ended it: whoever runs it is to stop."""

    def __init__(self, job_id: str, state: str) -> None:
        super().__init__(f"job {job_id} is {state} by now")
        self.state = state


class KeptJob(NamedTuple):
    """A job, and how it stands."""

    job_id: str
    job: Job
    state: JobState
    version: int
    """Of the state."""


class Progress(NamedTuple):
    """How far a run is, in keys."""

    done: int
    total: int
    """As far as is known."""


@dataclass
class Summary:
    """How a run ended."""

    state: JobState
    moved: int = 0
    elsewhere: int = 0
    """Keys that somebody else moved or unbound meanwhile."""
    left: int = 0
    """Keys that were given up; running the job again goes on with them."""
    given_up: Mapping[str, str] = field(default_factory=dict)
    """Some of them, and why."""
    waited_s: float = 0.0
    """For the lease of a lost unit."""


async def create(meta: Bindings, job: Job) -> str:
    """Keep a new job, to be run; its id."""
    job.checked()
    job_id = secrets.token_hex(4)
    await write_text(meta, JOB_PREFIX + job_id, job.text(), 0)
    await meta.bind(STATE_PREFIX + job_id, JobState.OPEN.value)
    return job_id


async def find(meta: Bindings, job_id: str) -> KeptJob:
    """Raises InvalidArgument if there is no such job."""
    binding = await meta.get(STATE_PREFIX + job_id, linearizable=True)
    stored = await read_text(meta, JOB_PREFIX + job_id) if binding is not None else None
    if binding is None or stored is None:
        raise InvalidArgument(f"there is no job {job_id!r}; `--status` lists those there are")
    try:
        state = JobState(binding.unit)
    except ValueError:
        raise Corrupt(f"job {job_id!r} is in state {binding.unit!r}, which there is not") from None
    return KeptJob(job_id, Job.parse(stored.text), state, binding.version)


async def every(meta: Bindings) -> list[KeptJob]:
    """All jobs there have been."""
    ids = [key.removeprefix(STATE_PREFIX) async for key, _ in meta.scan(prefix=STATE_PREFIX)]
    return [await find(meta, job_id) for job_id in sorted(ids)]


async def notes(meta: Bindings, job_id: str) -> int:
    """How many keys a job has moved, or begun to."""
    count = 0
    async for _ in meta.scan(prefix=f"{NOTE_PREFIX}{job_id}/"):
        count += 1
    return count


async def undo(meta: Bindings, job_id: str) -> None:
    """Have a job's keys moved back to where they were; whoever runs it stops."""
    kept = await find(meta, job_id)
    if kept.state is JobState.UNDONE or kept.state is JobState.UNDOING:
        return
    key = STATE_PREFIX + job_id
    await meta.move(key, to=JobState.UNDOING.value, version=kept.version)


class JobRunner:
    """Runs jobs, one after the other. `clock` counts seconds."""

    def __init__(
        self,
        meta: Bindings,
        tables: Callable[[str], Bindings],
        controls: Controls,
        settings: MoverSettings = MOVER_SETTINGS_DEFAULT,
        *,
        clock: Callable[[], float] = time.monotonic,
        progress: Callable[[Progress], None] = lambda _: None,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        """`tables` gives the client of a table by name."""
        self._meta = meta
        self._tables = tables
        self._controls = controls
        self._settings = settings
        self._clock = clock
        self._progress = progress
        self._say = say
        self._revocations = Revocations(meta, clock)

    async def run(self, job_id: str) -> Summary:
        """Go on with a job until all is done that can be.

        Raises JobChanged if it is undone meanwhile, and what the client does if GlobalTable cannot
        be reached for long.
        """
        kept = await find(self._meta, job_id)
        if kept.state not in _STATE_AFTER:
            return Summary(kept.state)
        after = _STATE_AFTER[kept.state]
        summary = Summary(kept.state)
        try:
            await self._carry_out(kept, summary)
            if not summary.left:
                await self._end(kept, after)
        except JobChanged as changed:
            if changed.state != after.value:
                raise
            summary.left, summary.given_up = 0, {}  # somebody else has been through with it
        if not summary.left:
            summary.state = after
        return summary

    async def _carry_out(self, kept: KeptJob, summary: Summary) -> None:
        run = _Run(self, kept, self._tables(kept.job.table))
        for _ in range(PASSES_MAX):
            summary.waited_s += await self._prepare(kept)
            ends = await run.once()
            summary.moved += ends[Step.DONE]
            summary.elsewhere += ends[Step.ELSEWHERE]
            summary.left, summary.given_up = ends[Step.GIVEN_UP], run.given_up
            if not ends[Step.DONE]:
                break

    async def _end(self, kept: KeptJob, after: JobState) -> None:
        try:
            await self._meta.move(STATE_PREFIX + kept.job_id, to=after.value, version=kept.version)
        except VersionConflict as conflict:
            raise JobChanged(kept.job_id, conflict.current.unit) from None

    async def _prepare(self, kept: KeptJob) -> float:
        """Before a pass; how long a lost unit's lease was waited for."""
        job = kept.job
        if job.kind is not SelectionKind.UNIT or kept.state is not JobState.OPEN:
            return 0.0
        await write_drained(self._meta, job.value, True)
        if not job.forced or await self._revocations.in_force(job.value):
            return 0.0
        self._say(f"unit {job.value}: its lease is revoked, and waited for")
        return await self._revocations.revoke(job.value)


class _Run:
    """One run of a job, over several passes."""

    def __init__(self, runner: JobRunner, kept: KeptJob, table: Bindings) -> None:
        self._runner = runner
        self._kept = kept
        self._table = table
        self.given_up: dict[str, str] = {}
        self._done = self._total = 0

    async def once(self) -> Counter[Step]:
        """One pass over what is selected; how many keys ended how."""
        try:
            return await self._pass()
        except ExceptionGroup as group:
            # Of batches that failed together, one tells why; the others are gone on with as it is.
            raise group.exceptions[0] from None

    async def _pass(self) -> Counter[Step]:
        settings = self._runner._settings
        self.given_up.clear()
        room = asyncio.Semaphore(settings.concurrency)
        ends: Counter[Step] = Counter()
        ready_at_s = self._runner._clock()
        async with asyncio.TaskGroup() as group:
            async for batch in self._batches():
                self._total += len(batch)
                await room.acquire()
                await asyncio.sleep(max(0.0, ready_at_s - self._runner._clock()))
                await self._require_state()
                if settings.rate_per_s:
                    began_s = max(ready_at_s, self._runner._clock())
                    ready_at_s = began_s + len(batch) / settings.rate_per_s
                task = group.create_task(self._move(batch, ends))
                task.add_done_callback(lambda _: room.release())
        return ends

    async def _move(self, batch: list[tuple[str, str]], ends: Counter[Step]) -> None:
        runner, kept = self._runner, self._kept
        mover = Mover(
            kept.job_id,
            kept.job.dimension,
            table=self._table,
            meta=runner._meta,
            controls=runner._controls,
            revocations=runner._revocations,
            settings=runner._settings,
            progress=self._ended,
        )
        undoing = kept.state is JobState.UNDOING
        ends.update(await mover.move(batch, self._from_units(), noted=not undoing))
        room = GIVEN_UP_TOLD_MAX - len(self.given_up)
        self.given_up.update(list(mover.given_up.items())[: max(0, room)])

    def _ended(self, _end: Step) -> None:
        self._done += 1
        self._runner._progress(Progress(self._done, self._total))

    def _from_units(self) -> frozenset[str] | None:
        job = self._kept.job
        if self._kept.state is JobState.UNDOING:
            return None if job.to == SPREAD else frozenset([job.to])
        return frozenset([job.value]) if job.kind is SelectionKind.UNIT else None

    async def _require_state(self) -> None:
        now = await find(self._runner._meta, self._kept.job_id)
        if now.state is not self._kept.state:
            raise JobChanged(now.job_id, now.state.value)

    async def _batches(self) -> AsyncIterator[list[tuple[str, str]]]:
        """Keys with their targets, some at a time."""
        batch: list[tuple[str, str]] = []
        async for pair in self._selected():
            batch.append(pair)
            if len(batch) == self._runner._settings.batch:
                yield batch
                batch = []
        if batch:
            yield batch

    async def _selected(self) -> AsyncIterator[tuple[str, str]]:
        if self._kept.state is JobState.UNDOING:
            prefix = f"{NOTE_PREFIX}{self._kept.job_id}/"
            async for note, binding in self._runner._meta.scan(prefix=prefix):
                yield noted_key(self._kept.job_id, note), binding.unit
            return
        job = self._kept.job
        units = await self._reachable() if job.to == SPREAD else frozenset[str]()
        if job.kind is SelectionKind.SESSION:
            yield job.value, job.target(job.value, units)
            return
        async for key, binding in self._table.scan(prefix=job.scanned_prefix):
            if job.selects(key, binding):
                target = job.target(key, units)
                if binding.unit != target:
                    yield key, target

    async def _reachable(self) -> frozenset[str]:
        """Units that have told where movers reach them, and are not drained."""
        meta = self._runner._meta
        told = {
            key.removeprefix(_CONTROL_PREFIX) async for key, _ in meta.scan(prefix=_CONTROL_PREFIX)
        }
        return frozenset(told) - await read_drained(meta)

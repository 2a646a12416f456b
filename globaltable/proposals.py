"""What waits for an outcome at one replica: ops in the order they came, sealed into batches.

Responsible for the bookkeeping between a caller's ops and the log: which ops travel in which
batch, which callers a batch belongs to, and that each of them is told once. It knows nothing of
leaders, terms and log positions: an outcome belongs to the *batch id* found in the applied entry.

Invariants: ops waiting and under way are bounded, in number and in time, for a queue that is
longer than its callers' patience only makes them ask twice. While outcomes come, but come late for
long, no more may wait than can be done in time (`lateness`). While none come, as when a leader is
elected, `UNTIMED_OPS_MAX` may wait however long it takes, and beyond that none behind a late batch.
Each op submitted is settled exactly once; a batch that is proposed again carries the same id and
the same ops.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final, NamedTuple

from globaltable import limits
from globaltable.history import History, answer_to, identity_of
from globaltable.lateness import LATE_S, Lateness
from globaltable.model import Batch, Op, Outcome, OutcomeStatus
from globaltable.slot_steps import Step
from globaltable.wire.batches import BATCH_ID_BYTES, encode_batch

_NOT_PROPOSED: Final = Outcome(
    OutcomeStatus.UNAVAILABLE, None, "no leader with a majority was found in time"
)
_UNKNOWN: Final = Outcome(
    OutcomeStatus.UNKNOWN, None, "proposed, but its outcome was not learnt in time"
)
_STOPPED: Final = Outcome(OutcomeStatus.UNKNOWN, None, "the replica stopped before the outcome")
_EXPIRE_PERIOD_S: Final = 0.02
UNDER_WAY_MAX: Final = 4
SPACING_S: Final = 0.05
"""While so many batches are under way, the next one waits for an outcome, and fills meanwhile; but
for no batch longer than this. So batches are as large as the round trip and the load make them, and
one that is held up holds up nobody."""
UNTIMED_OPS_MAX: Final = limits.WRITE_OPS_MAX
"""So many may wait however long it takes, as while a leader is elected."""
STEPS_MAX: Final = 16
"""Steps of slots' moves that wait, or are under way."""


class Settled(NamedTuple):
    """Ops submitted together have ended: `outcomes` are in their order.

    A reader that may pass has none; one that may not has one, that says why.
    """

    ticket: Any
    outcomes: Sequence[Outcome]


@dataclass(slots=True)
class Segment:
    """Ops submitted together, as part of a batch; no ops: a reader at its barrier. A step of a
    slot's move counts as one, and is a batch of its own."""

    ticket: Any
    count: int
    deadline: float
    expired: bool = False


@dataclass(slots=True)
class Proposal:
    """A sealed batch whose outcome has not been seen."""

    payload: bytes
    batch: Batch
    segments: list[Segment]
    sealed_at: float
    proposed_at: float = float("-inf")
    proposed_to: tuple[str | None, int] = (None, 0)
    """Leader and term it was last handed to."""

    @property
    def weight(self) -> int:
        return sum(max(1, segment.count) for segment in self.segments)


@dataclass(slots=True)
class _Open:
    """What waits to be sealed into the next batch."""

    ops: list[Op] = field(default_factory=list)
    segments: list[Segment] = field(default_factory=list)
    step: Step | None = None


class Proposals:
    """All that waits at one replica."""

    def __init__(self, ops_max: int, rng: random.Random, now: float) -> None:
        self._ops_max = ops_max
        self._batch_ids = random.Random(rng.getrandbits(128))
        self._open: list[_Open] = []
        self._open_ops = 0
        self._sealed: dict[bytes, Proposal] = {}
        self._sealed_ops = 0
        self._expire_at = now
        self._now = now
        self._lateness = Lateness(now)

    @property
    def ops(self) -> int:
        """Ops that have been submitted and not been settled; a reader counts as one."""
        return self._open_ops + self._sealed_ops

    @property
    def may_seal(self) -> bool:
        """There is something to seal, and few enough batches are under way."""
        return bool(self._open) and not self._is_spaced

    def submit(self, ops: Sequence[Op], ticket: Any, deadline: float) -> bool:
        """Queue ops to be settled together under `ticket`; False, and nothing queued, if there is
        no room, or if there are many already and outcomes are late."""
        assert len(ops) <= limits.BATCH_OPS_MAX, len(ops)
        weight = max(1, len(ops))
        total = self.ops + weight
        if total > min(self._ops_max, self._lateness.ops_max(self._now)):
            return False
        if total > UNTIMED_OPS_MAX and self._is_late:
            return False
        newest = self._open[-1] if self._open else None
        if (
            newest is None
            or newest.step is not None
            or len(newest.ops) + len(ops) > limits.BATCH_OPS_MAX
        ):
            self._open.append(_Open())
        self._open[-1].ops.extend(ops)
        self._open[-1].segments.append(Segment(ticket, len(ops), deadline))
        self._open_ops += weight
        return True

    def submit_step(self, step: Step, ticket: Any, deadline: float) -> bool:
        """Queue a step of a slot's move; False, and nothing queued, if there is no room, or if so
        many wait already: they may be large."""
        if self.ops + 1 > self._ops_max or self._steps >= STEPS_MAX:
            return False
        self._open.append(_Open([], [Segment(ticket, 1, deadline)], step))
        self._open_ops += 1
        return True

    @property
    def _steps(self) -> int:
        waiting = sum(opened.step is not None for opened in self._open)
        return waiting + sum(one.batch.step is not None for one in self._sealed.values())

    @property
    def _is_spaced(self) -> bool:
        newest = islice(reversed(self._sealed.values()), UNDER_WAY_MAX - 1, None)
        limiting = next(newest, None)
        return limiting is not None and self._now - limiting.sealed_at < SPACING_S

    @property
    def _is_late(self) -> bool:
        """Whether the oldest batch should have had its outcome by now."""
        oldest = next(iter(self._sealed.values()), None)
        return oldest is not None and self._now - oldest.sealed_at > LATE_S

    def seal(self, as_of: int) -> Proposal:
        """Close the oldest that is open into a batch, made at revision `as_of`."""
        opened = self._open.pop(0)
        batch_id = self._batch_ids.randbytes(BATCH_ID_BYTES)
        batch = Batch(batch_id, as_of, tuple(opened.ops), opened.step)
        proposal = Proposal(encode_batch(batch), batch, opened.segments, self._now)
        self._sealed[batch.batch_id] = proposal
        self._open_ops -= proposal.weight
        self._sealed_ops += proposal.weight
        return proposal

    def sealed(self) -> Iterator[Proposal]:
        """The batches whose outcome has not been seen, oldest first."""
        return iter(self._sealed.values())

    def awaits(self, batch_id: bytes) -> bool:
        """Whether `settle` has anybody to tell of this batch."""
        return batch_id in self._sealed

    # --- ends ------------------------------------------------------------------------------------

    def settle(
        self, batch_id: bytes, outcomes: Sequence[Outcome], *, applied: bool = True
    ) -> list[Settled]:
        """A batch was applied, or has ended without; readers in it pass only if it was.

        Another replica's batch is nobody's here.
        """
        proposal = self._sealed.pop(batch_id, None)
        if proposal is None:
            return []
        self._sealed_ops -= proposal.weight
        if applied:
            self._lateness.applied(proposal.weight, proposal.sealed_at, self._now)
        settled, start = [], 0
        for segment in proposal.segments:
            if not segment.expired:
                own = outcomes[start : start + segment.count]
                passed = applied or segment.count > 0
                settled.append(Settled(segment.ticket, own if passed else [_UNKNOWN]))
            start += segment.count
        return settled

    def settle_by_history(self, history: History) -> list[Settled]:
        """Batches may have been applied unseen, within a snapshot that was installed.

        Those that the history knows are settled; those it can no longer know are unknown. Readers
        do not pass: an op may be known of an earlier attempt, and the batch still be on its way.
        """
        settled: list[Settled] = []
        for batch_id, proposal in list(self._sealed.items()):
            ops = proposal.batch.ops
            identities = [identity_of(op.client_id, op.sequence) for op in ops]
            known = history.find_all(identities)
            found = [
                answer_to(op, known[identity]) if identity in known else None
                for op, identity in zip(ops, identities, strict=True)
            ]
            outcomes = [outcome for outcome in found if outcome is not None]
            if found and len(outcomes) == len(found):
                settled += self.settle(batch_id, outcomes, applied=False)
            elif found and proposal.batch.as_of < history.floor:
                told = [outcome or _UNKNOWN for outcome in found]
                settled += self.settle(batch_id, told, applied=False)
        return settled

    def expire(self, now: float) -> list[Settled]:
        """Let time pass: what is past its deadline ends, as not happened if never proposed."""
        self._now = now
        if now < self._expire_at:
            return []
        self._expire_at = now + _EXPIRE_PERIOD_S
        settled: list[Settled] = []
        for opened in self._open:
            if any(segment.deadline <= now for segment in opened.segments):
                settled += self._expire_open(opened, now)
        self._open = [opened for opened in self._open if opened.segments]
        for batch_id, proposal in list(self._sealed.items()):
            for segment in proposal.segments:
                if segment.deadline <= now and not segment.expired:
                    segment.expired = True
                    settled.append(Settled(segment.ticket, [_UNKNOWN] * max(1, segment.count)))
            if all(segment.expired for segment in proposal.segments):
                self.settle(batch_id, ())
        return settled

    def _expire_open(self, opened: _Open, now: float) -> list[Settled]:
        settled: list[Settled] = []
        kept, ops, start = [], [], 0
        for segment in opened.segments:
            own = opened.ops[start : start + segment.count]
            start += segment.count
            if segment.deadline <= now:
                self._open_ops -= max(1, segment.count)
                settled.append(Settled(segment.ticket, [_NOT_PROPOSED] * max(1, segment.count)))
            else:
                kept.append(segment)
                ops += own
        opened.segments, opened.ops = kept, ops
        return settled

    def stop(self) -> list[Settled]:
        """Nothing more will be proposed or applied: end everything that waits."""
        settled = [
            Settled(segment.ticket, [_NOT_PROPOSED] * max(1, segment.count))
            for opened in self._open
            for segment in opened.segments
        ]
        self._open.clear()
        self._open_ops = 0
        for batch_id, proposal in list(self._sealed.items()):
            stopped = [_STOPPED] * proposal.batch.outcomes
            settled += self.settle(batch_id, stopped, applied=False)
        return settled

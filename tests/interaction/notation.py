"""How transcripts write messages, entries, writes and outcomes: one readable line each.

An entry is `index/term` and what it holds. Ids that are drawn at random are shown by the order in
which a transcript first met them: batch `#1`, transfer `1`.
"""

from collections.abc import Sequence

from globaltable.holdings import NO_GROUP, Holding, HoldingState
from globaltable.model import Op, OpKind, Outcome, OutcomeStatus, split_name
from globaltable.raft.adaptor import Role
from globaltable.raft.journal import is_members, is_no_op, members_in
from globaltable.raft.messages import (
    Ack,
    Append,
    Ask,
    Examine,
    Heartbeat,
    Held,
    JoinerAck,
    Matched,
    Message,
    PreVote,
    PreVoteReply,
    Propose,
    Recover,
    RecoverReply,
    Removed,
    RequestVote,
    SnapshotAck,
    SnapshotPart,
    TimeoutNow,
    Vote,
    Whole,
)
from globaltable.raft.transfer import GIVE_UP
from globaltable.slot_steps import Adopt, Copy, Drop, Reclaim, Refuse, Release, Step
from globaltable.store.log import Entry, LogWrite
from globaltable.wire.batches import decode_batch
from globaltable.wire.packing import unpack


def role(node: str, role: Role, leader: str | None, term: int) -> str:
    match role:
        case Role.LEADER:
            return f"{node} becomes leader in term {term}"
        case Role.CANDIDATE:
            return f"{node} becomes candidate in term {term}"
        case Role.FOLLOWER:
            return f"{node} follows {leader or 'nobody'} in term {term}"


def op(op: Op) -> str:
    key = split_name(op.name)[1]
    match op.kind:
        case OpKind.BIND:
            wanted = f"{key}={op.unit}"
        case OpKind.MOVE:
            wanted = f"{key}={op.unit} at version {op.version}"
        case OpKind.UNBIND:
            wanted = f"{key} at version {op.version}"
    return f"op{op.sequence} {op.kind.name.lower()} {wanted}"


def outcome(op: Op, outcome: Outcome) -> str:
    binding, key = outcome.binding, split_name(op.name)[1]
    at = f" {key}={binding.unit} version:{binding.version}" if binding is not None else ""
    if outcome.status is OutcomeStatus.ELSEWHERE:
        at = f", in group {outcome.group}"
    return f"op{op.sequence} {outcome.status.name.lower()}{at}"


def step(step: Step) -> str:
    match step:
        case Release(slot, hop, to):
            return f"release slot {slot} at hop {hop} to group {to}"
        case Copy(slot, hop, source, after, through, rows, ops):
            copied = [f"{split_name(row.name)[1]}={row.unit} version:{row.version}" for row in rows]
            remembered = [f"op{op.sequence} {op.status.name.lower()}" for op in ops]
            carried = ", ".join([*copied, *remembered]) or "nothing new"
            span = f"{after}..{through}"
            return f"copy slot {slot} at hop {hop} from group {source} {span}: {carried}"
        case Adopt(slot, hop, source, released_at, rows, _):
            origin = f"from group {source}, released at {released_at}"
            return f"adopt slot {slot} at hop {hop} {origin}, rows:{rows}"
        case Drop(slot, hop):
            return f"drop slot {slot} at hop {hop}"
        case Refuse(slot, hop, source):
            return f"refuse slot {slot} at hop {hop} from group {source}"
        case Reclaim(slot, hop):
            return f"reclaim slot {slot} at hop {hop}"


def step_outcome(asked: Step, outcome: Outcome) -> str:
    taken = outcome.status is OutcomeStatus.APPLIED
    name = f"{type(asked).__name__.lower()} slot {asked.slot} at hop {asked.hop}"
    return f"{name}: {'taken' if taken else f'refused, {outcome.detail}'}"


def holding(slot: int, holding: Holding) -> str:
    group = f" group:{holding.group}" if holding.group != NO_GROUP else ""
    copying = holding.state is HoldingState.COPYING
    staged = f" through:{holding.through} rows:{holding.rows}" if copying else ""
    emptied = " emptied" if holding.emptied else ""
    since = f" since:{holding.revision}"
    return f"slot {slot} {holding.state.name} hop:{holding.hop}{group}{since}{staged}{emptied}"


class Notation:
    """Remembers what it has named."""

    def __init__(self) -> None:
        self._batches: dict[bytes, int] = {}
        self._transfers: dict[int, int] = {}
        self._questions: dict[int, int] = {}

    def batch(self, payload: bytes) -> str:
        batch = decode_batch(payload)
        number = self._batches.setdefault(batch.batch_id, len(self._batches) + 1)
        if batch.step is not None:
            return f"#{number}({step(batch.step)})"
        return f"#{number}({', '.join(map(op, batch.ops)) or 'read barrier'})"

    def entry(self, entry: Entry) -> str:
        if is_no_op(entry.command):
            holds = "no-op"
        elif is_members(entry.command):
            holds = f"members({members_in(entry.command)})"
        else:
            holds = self.batch(entry.command[1:])
        return f"{entry.index}/{entry.term} {holds}"

    def entries(self, entries: Sequence[Entry]) -> str:
        return f"[{', '.join(map(self.entry, entries))}]"

    def write(self, write: LogWrite, before: Sequence[Entry]) -> str:
        """What a write changes in a log that held `before`."""
        parts = []
        if write.hard_state is not None:
            state = write.hard_state
            parts.append(f"term:{state.term} vote:{state.voted_for}")
            parts += ["rebuilding"] * state.rebuilding + ["joining"] * state.joining
        first = before[0].index if before else 0
        begins = first if write.first is None else write.first
        if before and begins > first:
            parts.append(f"log from:{begins}")
        ends = write.truncate_from
        dropped = [e for e in before if ends is not None and e.index >= max(ends, begins)]
        if dropped:
            parts.append(f"drops:{self.entries(dropped)}")
        if write.entries:
            parts.append(f"entries:{self.entries(write.entries)}")
        return " ".join(parts)

    def message(self, message: Message) -> str:
        match message:
            case PreVote(term, last_index, last_term):
                return f"PreVote term:{term} last:{last_index}/{last_term}"
            case PreVoteReply(term, granted) | Vote(term, granted):
                kind = type(message).__name__
                return f"{kind} term:{term} {'granted' if granted else 'refused'}"
            case RequestVote(term, last_index, last_term, transfer):
                asked = " at the leader's wish" if transfer else ""
                return f"RequestVote term:{term} last:{last_index}/{last_term}{asked}"
            case Append(term, _, prev_index, prev_term, commit_index, held, entries):
                carries = f" entries:{self.entries(entries)}" if entries else ""
                return (
                    f"Append term:{term} prev:{prev_index}/{prev_term} commit:{commit_index}"
                    f" held:{held}{carries}"
                )
            case Held(term, through):
                return f"Held term:{term} through:{through}"
            case Matched(term, through):
                return f"Matched term:{term} through:{through}"
            case Heartbeat(term):
                return f"Heartbeat term:{term}"
            case Ack(term, _, next_index, success, reset):
                if success:
                    return f"Ack term:{term} holds:{next_index - 1}"
                return f"Ack term:{term} " + (f"send from:{next_index}" if reset else "alive")
            case TimeoutNow(term):
                return f"TimeoutNow term:{term}"
            case SnapshotPart(term, transfer, number, state, payload, last):
                rows, _ = unpack(payload)
                return (
                    f"SnapshotPart term:{term} transfer:{self._transfer(transfer)} chunk:{number} "
                    f"rows:{len(rows)} up to:{state.applied}/{state.applied_term}"
                    + (" last" if last else "")
                )
            case SnapshotAck(term, transfer, wanted):
                answer = "give up" if wanted == GIVE_UP else f"wants chunk:{wanted}"
                return f"SnapshotAck term:{term} transfer:{self._transfer(transfer)} {answer}"
            case Propose(payload):
                return f"Propose {self.batch(payload)}"
            case Recover(nonce):
                return f"Recover question:{self._question(nonce)}"
            case RecoverReply(nonce, term, members):
                question = self._question(nonce)
                return f"RecoverReply question:{question} term:{term} members:{' '.join(members)}"
            case Examine(term, nonce):
                return f"Examine term:{term} question:{self._question(nonce)}"
            case Whole(term, nonce):
                return f"Whole term:{term} question:{self._question(nonce)}"
            case JoinerAck(term, _, next_index):
                return f"JoinerAck term:{term} holds:{next_index - 1}"
            case Ask(term):
                return f"Ask term:{term}"
            case Removed(term, index):
                return f"Removed term:{term} as of:{index}"

    def _question(self, nonce: int) -> int:
        return self._questions.setdefault(nonce, len(self._questions) + 1)

    def _transfer(self, transfer: int) -> int:
        return self._transfers.setdefault(transfer, len(self._transfers) + 1)

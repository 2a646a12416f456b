"""Valid values, of which the real encoders make the seeds."""

from typing import Final

from globaltable.holdings import Adoption, Holding, HoldingState, Moves
from globaltable.model import Batch, Op, OpKind, OutcomeStatus, qualified_name
from globaltable.raft.messages import (
    Ack,
    Append,
    Ask,
    Heartbeat,
    Held,
    JoinerAck,
    Matched,
    Message,
    PreVote,
    PreVoteReply,
    Propose,
    RequestVote,
    SnapshotAck,
    SnapshotPart,
    TimeoutNow,
    Vote,
)
from globaltable.row_keys import row_key
from globaltable.slot_rows import contents_of
from globaltable.slot_steps import Adopt, CopiedRow, Copy, Drop, Reclaim, Refuse, Release, Step
from globaltable.store.log import Entry
from globaltable.table_state import TableState
from globaltable.topology import slot_of
from globaltable.wire.batches import encode_batch
from globaltable.wire.packing import pack
from globaltable.wire.rows import HistoryRow, Row, encode_history, encode_row

TABLE: Final = "im.session"
SLOTS: Final = 16
PEERS: Final = ("a", "b", "c")

_APPLIED: Final = OutcomeStatus.APPLIED


def name(number: int) -> bytes:
    return qualified_name(TABLE, f"cid:{number}")


def batch(number: int, ops: int = 3) -> Batch:
    kinds = (OpKind.BIND, OpKind.MOVE, OpKind.UNBIND)
    return Batch(
        number.to_bytes(16, "big"),
        1,
        tuple(
            Op(
                kind := kinds[n % 3],
                name(n // 3),
                "" if kind is OpKind.UNBIND else f"unit-{n}",
                0 if kind is OpKind.BIND else n,
                2**60 + number,
                n,
            )
            for n in range(ops)
        ),
    )


def steps() -> list[Step]:
    """Of a move of one slot."""
    slot = slot_of(name(0), SLOTS)
    rows = (CopiedRow(name(0), "unit-0", 1, 7, 3), CopiedRow(name(0), None, 2, 7, 4))
    return [
        Release(slot, 1, 1),
        Copy(slot, 2, 1, 0, 9, rows, tuple(history_rows(3, 1))),
        Adopt(slot, 2, 1, 9, *contents_of(rows[1:])),
        Drop(slot, 1),
        Refuse(slot, 2, 1),
        Reclaim(slot, 1),
    ]


def entry(index: int, term: int = 1) -> Entry:
    return Entry(b"\x00" + encode_batch(batch(index)), index, term)


def history_rows(revision: int, rows: int = 2) -> list[HistoryRow]:
    return [
        HistoryRow(OpKind.BIND, name(n), 7, revision * 10 + n, _APPLIED, f"unit-{n}", 1, revision)
        for n in range(rows)
    ]


ROWS: Final = [Row("unit-1", 1, 5, 2**60, 3), Row(None, 2**63 - 1, 9, 1, 2**64 - 1)]
APPLIED_AT: Final = 9
STATE: Final = TableState(applied=APPLIED_AT, applied_term=1, floor=1)
MOVED_STATE: Final = STATE._replace(
    moves=Moves({3: Holding(HoldingState.HELD, 2, 1, 7, 9, 2)}, (Adoption(7, 3, 1, 9),))
)


def chunk(rows: int = 3, revisions: range = range(2, 6)) -> bytes:
    """A piece of a snapshot, as a store reads it."""
    keyed = sorted(
        (row_key(name(n), SLOTS), encode_row(Row(f"unit-{n}", 1, 5, 7, n))) for n in range(rows)
    )
    history = [
        (
            revision.to_bytes(8, "big"),
            (2).to_bytes(4, "big") + encode_history(history_rows(revision)),
        )
        for revision in revisions
    ]
    return pack([keyed, history])


def messages() -> list[Message]:
    """One of each kind, and the most telling variants."""
    return [
        PreVote(2, 3, 1),
        PreVoteReply(2, True),
        PreVoteReply(3, False),
        RequestVote(2, 3, 1, False),
        RequestVote(2, 3, 1, True),
        Vote(2, True),
        Vote(1, False),
        Append(1, 0, 1, 0, 1, 0, ()),
        Append(1, 0, 1, 0, 3, 3, (entry(2), entry(3))),
        Append(1, 0, 1, 0, 2, 3, (Entry(b"\x01", 2, 1), entry(3), entry(4))),
        Heartbeat(1),
        Ack(1, 0, 2, True, False),
        Ack(1, 0, 2, False, True),
        TimeoutNow(1),
        SnapshotPart(1, 77, 0, STATE, chunk(), True),
        SnapshotPart(1, 77, 0, STATE, chunk(), False),
        SnapshotPart(1, 77, 0, MOVED_STATE, chunk(), False),
        SnapshotPart(1, 77, 1, STATE, chunk(2, range(6, 9)), True),
        JoinerAck(1, 0, 2),
        Ask(1),
        SnapshotAck(1, 77, 1),
        SnapshotAck(1, 77, -1),
        Propose(encode_batch(batch(9))),
        *(Propose(encode_batch(Batch(bytes(16), 9, (), step))) for step in steps()),
        Held(1, 3),
        Matched(1, 3),
    ]

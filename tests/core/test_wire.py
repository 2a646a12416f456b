"""The encodings: what is encoded comes back; what is not is refused, as what it was, and never run.

Bytes of a peer raise `ProtocolError`, bytes of a disk `Corrupt`: nothing else, whatever they are.
"""

import pickle
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, get_args

import hypothesis.strategies as st
import msgpack
import pytest
from hypothesis import given

from globaltable import limits
from globaltable.errors import Corrupt, ProtocolError
from globaltable.holdings import NO_MOVES, Adoption, Holding, HoldingState, Moves
from globaltable.members import Members
from globaltable.model import Batch, Op, OpKind, OutcomeStatus, qualified_name
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
from globaltable.slot_steps import (
    COPY_OPS_MAX,
    COPY_ROWS_MAX,
    Adopt,
    CopiedRow,
    Copy,
    Drop,
    Reclaim,
    Refuse,
    Release,
    Step,
)
from globaltable.store.log import Entry
from globaltable.table_state import TableState
from globaltable.wire.batches import BATCH_ID_BYTES, decode_batch, encode_batch
from globaltable.wire.frames import Envelope, decode_frame, encode_frame
from globaltable.wire.packing import pack, unpack
from globaltable.wire.rows import (
    HistoryRow,
    Row,
    decode_history,
    decode_row,
    encode_history,
    encode_row,
)
from globaltable.wire.slot_steps import decode_step, encode_step

DECODERS: dict[str, tuple[Callable[[bytes], Any], type[Exception]]] = {
    "packing": (unpack, ProtocolError),
    "batch": (decode_batch, ProtocolError),
    "frame": (decode_frame, ProtocolError),
    "step": (decode_step, ProtocolError),
    "row": (decode_row, Corrupt),
    "history": (decode_history, Corrupt),
}

u63 = st.integers(0, 2**63 - 1)
u64 = st.integers(0, 2**64 - 1)
units = st.text(max_size=16)
names = st.builds(qualified_name, st.just("im.session"), st.text(min_size=1, max_size=24))
versions = st.integers(0, limits.VERSION_MAX)
callers_kinds = st.sampled_from([OpKind.BIND, OpKind.MOVE, OpKind.UNBIND])
callers_ops = st.builds(Op, callers_kinds, names, units.filter(bool), versions, u64, u64)
imports = st.builds(Op, st.just(OpKind.IMPORT), names, units, versions.filter(bool), u64, u64)
ops = callers_ops | imports
rows = st.builds(Row, st.none() | units, versions, u64, u64, u64)
history_rows = st.builds(
    HistoryRow,
    st.sampled_from(OpKind),
    names,
    u64,
    u64,
    st.sampled_from(OutcomeStatus),
    units,
    versions,
    u64,
)
copied_rows = st.builds(
    CopiedRow, names, st.none() | units.filter(bool), versions.filter(bool), u64, u64
)
places = st.integers(0, 2**16 - 1)
steps = st.one_of(
    st.builds(Release, places, u63, places),
    st.builds(
        lambda slot, hop, source, place, rows, ops: Copy(
            slot, hop, source, place[0], place[1], rows, ops
        ),
        places,
        u63,
        places,
        st.tuples(u63, u63).map(sorted),
        st.lists(copied_rows, max_size=3).map(tuple),
        st.lists(history_rows, max_size=3).map(tuple),
    ),
    st.builds(Adopt, places, u63, places, u63, u63, st.binary(min_size=16, max_size=16)),
    st.builds(Drop, places, u63),
    st.builds(Refuse, places, u63, places),
    st.builds(Reclaim, places, u63),
)
batch_ids = st.binary(min_size=BATCH_ID_BYTES, max_size=BATCH_ID_BYTES)
batches = st.one_of(
    st.builds(Batch, batch_ids, u64, st.lists(ops, max_size=5).map(tuple), st.none()),
    st.builds(Batch, batch_ids, u64, st.just(()), steps),
)
holdings = st.builds(
    Holding,
    st.sampled_from(HoldingState),
    u63,
    st.integers(-1, 2**16 - 1),
    u63,
    u63,
    u63,
    u63,
    u63,
    st.just(b"") | st.binary(min_size=16, max_size=16),
    st.booleans(),
)
node_names = st.lists(st.text(min_size=1, max_size=9), min_size=1, max_size=9, unique=True)
members = st.builds(
    lambda names, voters: Members(tuple(names[:voters]), tuple(names[voters:])),
    node_names,
    st.integers(1, 9),
)
adoptions = st.lists(st.builds(Adoption, u63, u63, u63, u63), max_size=3).map(tuple)
moved = st.dictionaries(places, holdings, min_size=1, max_size=3)
moves = st.just(NO_MOVES) | st.builds(Moves, moved, adoptions)
states = st.builds(TableState, u63, u63, u63, st.none() | members, moves).filter(
    lambda state: state.floor <= state.applied
)


@st.composite
def appends(draw: st.DrawFn) -> Append:
    """As a leader makes them: entries follow each other, and their terms never fall."""
    prev_index = draw(st.integers(0, 2**40))
    terms = sorted(draw(st.lists(st.integers(0, 99), max_size=5)))
    commands = st.just(b"\x01") | batches.map(lambda batch: b"\x00" + encode_batch(batch))
    entries = tuple(
        Entry(draw(commands), index, term) for index, term in enumerate(terms, prev_index + 1)
    )
    term = draw(st.integers(terms[-1] if terms else 0, 2**40))
    return Append(term, draw(u63), prev_index, draw(u63), draw(u63), draw(u63), entries)


messages: st.SearchStrategy[Message] = st.one_of(
    st.builds(PreVote, u63, u63, u63),
    st.builds(PreVoteReply, u63, st.booleans()),
    st.builds(RequestVote, u63, u63, u63, st.booleans()),
    st.builds(Vote, u63, st.booleans()),
    appends(),
    st.builds(Heartbeat, u63),
    st.builds(Held, u63, u63),
    st.builds(Matched, u63, u63),
    st.builds(Ack, u63, u63, u63, st.booleans(), st.booleans()),
    st.builds(TimeoutNow, u63),
    st.builds(SnapshotPart, u63, u63, u63, states, st.binary(max_size=99), st.booleans()),
    st.builds(SnapshotAck, u63, u63, st.integers(-1, 2**63 - 1)),
    st.builds(Propose, batches.map(encode_batch)),
    st.builds(Recover, u63),
    st.builds(RecoverReply, u63, u63, node_names.map(tuple)),
    st.builds(Examine, u63, u63),
    st.builds(Whole, u63, u63),
    st.builds(Removed, u63, u63),
    st.builds(JoinerAck, u63, u63, u63),
    st.builds(Ask, u63),
)
frames = st.lists(st.tuples(st.integers(0, 9), messages), max_size=5)
encodings: dict[str, st.SearchStrategy[bytes]] = {
    "batch": batches.map(encode_batch),
    "frame": frames.map(encode_frame),
    "row": rows.map(encode_row),
    "history": st.lists(history_rows, max_size=4).map(encode_history),
}
plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=4)
    | st.binary(max_size=4),
    lambda inner: st.lists(inner, max_size=8),
    max_leaves=12,
)


def _refused_or_decoded(what: str, data: bytes) -> Any:
    """Any other error than the decoder's own fails the test."""
    decode, error = DECODERS[what]
    try:
        return decode(data)
    except error:
        return None


class TestWhatIsEncodedComesBack:
    @given(batches)
    def test_a_batch(self, batch: Batch) -> None:
        assert decode_batch(encode_batch(batch)) == batch

    @given(steps)
    def test_a_step(self, step: Step) -> None:
        assert decode_step(encode_step(step)) == step

    @given(rows)
    def test_a_row(self, row: Row) -> None:
        assert decode_row(encode_row(row)) == row

    @given(st.lists(history_rows, max_size=4))
    def test_a_history_record(self, past: list[HistoryRow]) -> None:
        decoded = decode_history(encode_history(past))
        assert decoded == past
        assert [row.outcome for row in decoded] == [row.outcome for row in past]

    @given(frames)
    def test_a_frame(self, frame: list[Envelope]) -> None:
        decoded = decode_frame(memoryview(encode_frame(frame)))
        assert decoded == frame
        assert [type(message) for _, message in decoded] == [type(m) for _, m in frame]

    def test_every_kind_of_message_is_among_them(self) -> None:
        kinds = {Vote, PreVote, PreVoteReply, RequestVote, Append, Heartbeat, Ack, TimeoutNow}
        kinds |= {Held, Matched, SnapshotPart, SnapshotAck, Propose, Recover, RecoverReply}
        kinds |= {Examine, Whole, Removed, JoinerAck, Ask}
        assert kinds == set(get_args(Message))

    def test_the_largest_batch_is_within_the_bound_of_an_entry(self) -> None:
        """So that whatever ops a node packs, no entry is too large to be sent."""
        name = qualified_name("t" * limits.TABLE_BYTES_MAX, "k" * limits.KEY_BYTES_MAX)
        op = Op(OpKind.MOVE, name, "u" * limits.UNIT_BYTES_MAX, 2**63 - 1, 2**64 - 1, 2**64 - 1)
        batch = Batch(bytes(16), 2**64 - 1, (op,) * limits.BATCH_OPS_MAX)
        assert len(encode_batch(batch)) <= limits.BATCH_BYTES_MAX < limits.APPEND_BYTES_MAX

    def test_the_largest_copy_is_within_the_bound_of_an_entry(self) -> None:
        name = qualified_name("t" * limits.TABLE_BYTES_MAX, "k" * limits.KEY_BYTES_MAX)
        unit, most = "u" * limits.UNIT_BYTES_MAX, 2**64 - 1
        row = CopiedRow(name, unit, limits.VERSION_MAX, most, most)
        op = HistoryRow(
            OpKind.MOVE, name, most, most, OutcomeStatus.APPLIED, unit, limits.VERSION_MAX, most
        )
        copy = Copy(1, 2, 3, 4, 5, (row,) * COPY_ROWS_MAX, (op,) * COPY_OPS_MAX)
        batch = Batch(bytes(16), 2**64 - 1, (), copy)
        assert len(encode_batch(batch)) <= limits.BATCH_BYTES_MAX
        assert decode_batch(encode_batch(batch)) == batch


@pytest.mark.parametrize("what", DECODERS)
class TestGarbage:
    @given(data=st.binary(max_size=200))
    def test_of_any_bytes(self, what: str, data: bytes) -> None:
        _refused_or_decoded(what, data)

    @given(value=plain)
    def test_of_any_shape(self, what: str, value: Any) -> None:
        _refused_or_decoded(what, pack(value))

    def test_of_deep_nesting(self, what: str) -> None:
        with pytest.raises(DECODERS[what][1]):
            DECODERS[what][0](b"\x91" * 100_000 + b"\xc0")

    @pytest.mark.parametrize("data", [b"\xdd\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff"])
    def test_of_a_declared_length_beyond_the_input(self, what: str, data: bytes) -> None:
        with pytest.raises(DECODERS[what][1]):
            DECODERS[what][0](data)


@pytest.mark.parametrize("what", encodings)
class TestDamage:
    @given(draw=st.data())
    def test_a_truncated_encoding_is_refused(self, what: str, draw: st.DataObject) -> None:
        data = draw.draw(encodings[what])
        decode, error = DECODERS[what]
        with pytest.raises(error):
            decode(data[: draw.draw(st.integers(0, len(data) - 1))])

    @given(draw=st.data())
    def test_bytes_behind_an_encoding_are_refused(self, what: str, draw: st.DataObject) -> None:
        decode, error = DECODERS[what]
        with pytest.raises(error):
            decode(draw.draw(encodings[what]) + draw.draw(st.binary(min_size=1, max_size=4)))

    @given(draw=st.data())
    def test_a_flipped_bit_raises_nothing_else(self, what: str, draw: st.DataObject) -> None:
        data = bytearray(draw.draw(encodings[what]))
        bit = draw.draw(st.integers(0, 8 * len(data) - 1))
        data[bit // 8] ^= 1 << bit % 8
        _refused_or_decoded(what, bytes(data))

    @given(draw=st.data())
    def test_nor_does_a_value_in_the_place_of_another(self, what: str, draw: st.DataObject) -> None:
        value = node = unpack(draw.draw(encodings[what]))
        while node:
            at = draw.draw(st.integers(0, len(node) - 1))
            if not isinstance(node[at], list) or draw.draw(st.booleans()):
                node[at] = draw.draw(plain)
                break
            node = node[at]
        decoded = _refused_or_decoded(what, pack(value))
        if what == "frame" and decoded is not None:
            assert decode_frame(encode_frame(decoded)) == decoded


def _op(**change: object) -> list[object]:
    fields = {
        "kind": 1,
        "name": b"t\0k",
        "unit": "A",
        "version": 1,
        "client_id": 7,
        "sequence": 1,
    }
    assert change.keys() <= fields.keys()
    return list((fields | change).values())


@pytest.mark.parametrize(
    "op",
    [
        _op(kind=0),
        _op(kind=5),
        _op(kind=4, version=0),
        _op(kind=[1]),
        _op(kind=True),
        _op(kind=1.0),
        _op(name="t\0k"),
        _op(name=b"tk"),
        _op(name=b"t\0" + b"k" * 400),
        _op(unit=b"A"),
        _op(unit="A" * (limits.UNIT_BYTES_MAX + 1)),
        _op(unit="Ä" * (limits.UNIT_BYTES_MAX // 2 + 1)),
        _op(version=-1),
        _op(version=2**63),
        _op(version=True),
        _op(client_id=-1),
        _op(sequence=1.0),
        _op()[:-1],
        [*_op(), 0],
        "op",
    ],
)
def test_a_batch_with_an_op_that_is_none_is_refused(op: object) -> None:
    """It would be applied by every replica, so it never enters a log."""
    with pytest.raises(ProtocolError):
        decode_batch(pack([bytes(16), 1, [_op(), op]]))


@pytest.mark.parametrize(
    ("entries", "why"),
    [
        ([[b"\x00", 3]], "of a later term than the leader's"),
        ([[b"\x00", 2], [b"\x00", 1]], "of falling terms"),
        ([[b"\x02" + pickle.dumps(1), 2]], "a change of membership, which the library unpickles"),
        ([[b"\x03" + pickle.dumps(1), 2]], "a change of code version, likewise"),
        ([[b"", 2]], "without a command"),
        ([["\x00", 2]], "of text"),
        ([[b"\x00"]], "without a term"),
    ],
)
def test_an_append_with_an_entry_that_no_leader_sends_is_refused(
    entries: list[object], why: str
) -> None:
    frame = pack([[0, 4, 2, 0, 1, 0, 1, entries]])
    with pytest.raises(ProtocolError):
        decode_frame(frame)


@pytest.mark.parametrize(
    "row",
    [
        [0],
        [0, 99, 1],
        [0, -1, 1],
        [0, True, 1],
        [0, 3, 1, 1],
        [0, 3, 2**63, True],
        [0, 3, 1, True, 2],
    ],
)
def test_a_message_of_another_shape_is_refused(row: list[object]) -> None:
    with pytest.raises(ProtocolError):
        decode_frame(pack([row]))


class Trap:
    """Notes when it is unpickled."""

    sprung: ClassVar[list[str]] = []

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return Trap.sprung.append, ("ran",)


@pytest.mark.parametrize("what", DECODERS)
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_nothing_is_unpickled(what: str, protocol: int) -> None:
    trap = pickle.dumps(Trap(), protocol)
    for data in (trap, pack(trap), pack([trap]), msgpack.packb(msgpack.ExtType(1, trap))):
        _refused_or_decoded(what, data)
    assert Trap.sprung == []


@pytest.mark.parametrize("data", [b"\x81\x01\x02", b"\xd4\x01\x00", b"\xd6\xff\x00\x00\x00\x00"])
def test_maps_and_extension_types_are_refused(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        unpack(data)


def _spoiled(**wrong: Any) -> bytes:
    op = Op(OpKind.BIND, b"im.session\0k", "A", 0, 7, 1)._replace(**wrong)
    return encode_batch(Batch(bytes(BATCH_ID_BYTES), 1, (op,)))


class TestWhatWouldStopWhoUsesIt:
    """Found by fuzzing, and by reading for it: accepted once, and fatal later."""

    @pytest.mark.parametrize("name", [b"no separator", b"\0no table", b"t\0", b"t\0\xff"])
    def test_a_name_that_cannot_be_taken_apart(self, name: bytes) -> None:
        with pytest.raises(ProtocolError):
            decode_batch(_spoiled(name=name))
        row = HistoryRow(OpKind.BIND, name, 7, 1, OutcomeStatus.APPLIED, "A", 1, 2)
        with pytest.raises(Corrupt):
            decode_history(encode_history([row]))

    def test_a_bind_to_no_unit(self) -> None:
        decode_batch(_spoiled())
        with pytest.raises(ProtocolError):
            decode_batch(_spoiled(unit=""))

    @pytest.mark.parametrize("field", ["client_id", "sequence", "version", "revision", "unit"])
    @pytest.mark.parametrize("value", [-1, "7", 1.0, None, True, [7]])
    def test_a_history_row_of_wrong_types(self, field: str, value: Any) -> None:
        if field == "unit" and value == "7":
            return
        row = HistoryRow(OpKind.BIND, b"t\0k", 7, 1, OutcomeStatus.APPLIED, "A", 1, 2)
        with pytest.raises(Corrupt):
            decode_history(encode_history([row._replace(**{field: value})]))

    @pytest.mark.parametrize("field", ["version", "revision", "client_id", "sequence"])
    def test_a_row_with_a_number_below_zero(self, field: str) -> None:
        with pytest.raises(Corrupt):
            decode_row(
                encode_row(
                    Row("A", 1, 2, 7, 1)._replace(
                        **{field: -1}  # type: ignore[arg-type]
                    )
                )
            )

    def test_a_history_that_begins_behind_its_end(self) -> None:
        part = SnapshotPart(1, 1, 0, TableState(applied=5, applied_term=1, floor=6), b"", True)
        with pytest.raises(ProtocolError):
            decode_frame(encode_frame([(0, part)]))

    @pytest.mark.parametrize("depth", [500, 1_000])
    def test_what_is_nested_too_deeply_to_be_shown(self, depth: int) -> None:
        deep = b"\x91" * depth + b"\xc0"
        for data in (b"\x91\x92" + deep + b"\x00", b"\x91\x93\x00\x05" + deep):
            with pytest.raises(ProtocolError):
                decode_frame(data)
        with pytest.raises(ProtocolError):
            decode_batch(b"\x93\xc4\x10" + bytes(16) + deep + b"\x90")

    @pytest.mark.parametrize("size", [1_024, 5_000, 60_000])
    def test_lengths_that_are_declared_for_what_is_not_there(self, size: int) -> None:
        heads = b"\xdd" + size.to_bytes(4, "big")
        data = (heads * 1_000)[: size // 2].ljust(size, b"\x00")
        tracemalloc.start()
        try:
            with pytest.raises(ProtocolError):
                unpack(data)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < 2_500_000


@pytest.mark.parametrize("on_another_thread", [False, True])
def test_what_is_packed_amid_a_call_that_packs_is_no_part_of_it(on_another_thread: bool) -> None:
    """A tuple of a class of its own is walked by an iterator; making one may run finalizers, which
    may pack or let another thread do so. Here it does so whenever it is walked."""
    amid: list[bytes] = []

    def pack_another() -> None:
        amid.append(pack(["another"]))

    class Walked(tuple[int, ...]):
        def __iter__(self) -> Iterator[int]:
            if on_another_thread:
                thread = threading.Thread(target=pack_another)
                thread.start()
                thread.join()
            else:
                pack_another()
            return super().__iter__()

    assert pack(["before", Walked((1, 2)), "after"]) == pack(["before", [1, 2], "after"])
    assert amid == [pack(["another"])]


def test_a_value_that_cannot_be_packed_leaves_nothing_behind() -> None:
    for _ in range(3):
        with pytest.raises(TypeError):
            pack(["before", object()])
        assert unpack(pack([1])) == [1]

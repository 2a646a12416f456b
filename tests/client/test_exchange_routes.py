"""An exchange of a cluster in which each node holds some groups: who is sent what, and what follows
when that changes."""

import zlib
from collections.abc import Sequence

from globaltable.client._attempts import Failure, FailureKind
from globaltable.client._calls import Call
from globaltable.client._scanning import ScanProgress
from globaltable.errors import ConnectFailed, ProtocolError
from globaltable.v1 import globaltable_pb2 as pb
from tests.client.desk import TABLE, Desk, applied, keys, ops, require_nothing_held
from tests.client.topologies import told

NODES = {"a-1": "a:1", "a-2": "b:1", "b-1": "c:1"}
SLOTS = 64
ELSEWHERE = pb.Outcome(status=pb.OUTCOME_STATUS_ELSEWHERE, detail="not here")
HALVES = [["a-1", "b-1"], ["a-2", "b-1"]]


def _said(holders: Sequence[Sequence[str]], version: int) -> bytes:
    return told(NODES, holders, version=version, slots=SLOTS).SerializeToString()


def _desk(holders: Sequence[Sequence[str]] = HALVES) -> Desk:
    """a-1 and a-2 are near, b-1 is far."""
    desk = Desk()
    desk.topology = _said(holders, 1)
    desk._bring_up((0.001, 0.001, 0.03))
    return desk


def _keys(group: int, count: int, groups: int = 2) -> list[str]:
    names = (f"k{number}" for number in range(10_000))
    own = [k for k in names if zlib.crc32(f"{TABLE}\0{k}".encode()) % SLOTS % groups == group]
    return own[:count]


def _sent(calls: Sequence[Call]) -> dict[int, set[str]]:
    return {call.node: {op.key for op in ops(call)} for call in calls}


def _learn(desk: Desk, holders: Sequence[Sequence[str]], version: int) -> None:
    """Nodes are asked what they know, and say this."""
    for call in desk.poll():
        if call.method == "Topology":
            desk.answer_bytes(call, _said(holders, version))


class TestWrites:
    def test_each_goes_to_the_nearest_that_holds_its_group_and_few_calls_do(self) -> None:
        desk = _desk()
        first, second = _keys(0, 20), _keys(1, 20)
        for pair in zip(first, second, strict=True):
            for key in pair:
                desk.bind(key)
        calls = desk.calls()
        assert _sent(calls) == {0: {*first}, 1: {*second}} and len(calls) == 2
        for call in calls:
            desk.answer(call, *[applied()] * 20)
        require_nothing_held(desk.exchange)

    def test_what_goes_to_one_node_shares_a_call_whatever_else_holds_it(self) -> None:
        desk = _desk([["a-1", "b-1"], ["a-1", "a-2"]])
        for key in (*_keys(0, 5), *_keys(1, 5)):
            desk.bind(key)
        call = desk.call()
        assert call.node == 0 and len(ops(call)) == 10

    def test_when_the_near_holder_is_down_another_one_is_asked_and_none_that_is_not(self) -> None:
        desk = _desk()
        desk.exchange.nodes.failed(0, desk.now)
        (key,) = _keys(0, 1)
        desk.bind(key)
        assert desk.call().node == 2

    def test_elsewhere_is_followed_at_once_and_the_topology_asked_for(self) -> None:
        desk = _desk()
        (key,) = _keys(0, 1)
        caller = desk.bind(key)
        desk.answer(desk.call(), ELSEWHERE)
        calls = {call.method: call for call in desk.poll()}
        assert calls["WriteStream"].node == 2, "another that should hold it"
        assert calls["Topology"].node == 0, "who knows better"
        (op,) = ops(calls["WriteStream"])
        desk.answer(calls["WriteStream"], ELSEWHERE)
        desk.answer_bytes(calls["Topology"], _said([["a-2"], ["a-2", "b-1"]], 2))
        retries: list[Call] = []
        desk.until(lambda: retries, lambda c: retries.append(c) if c.tickets else None)
        (retry,) = retries
        assert retry.node == 1 and ops(retry)[0] == op, "the same op"
        desk.answer(retry, applied())
        assert desk.told[caller].created
        require_nothing_held(desk.exchange)

    def test_what_waits_is_sent_where_it_is_held_by_then(self) -> None:
        desk = _desk()
        (key,) = _keys(0, 1)
        desk.bind(key)
        topology = _said([["a-2"], ["a-2", "b-1"]], 2)
        desk.exchange.nodes.look(desk.now)
        probe = Call("Topology", 0, b"", 1.0, desk.now, None)
        desk.exchange.answered(probe, topology, desk.now)
        assert desk.call().node == 1

    def test_who_is_told_elsewhere_by_all_did_not_write(self) -> None:
        desk = _desk()
        (key,) = _keys(0, 1)
        caller = desk.bind(key, timeout=0.5)

        def serve(call: Call) -> None:
            if call.method == "Topology":
                desk.answer_bytes(call, desk.topology)
            else:
                desk.answer(call, ELSEWHERE)

        desk.until(lambda: caller in desk.told, serve)
        assert isinstance(desk.told[caller], ConnectFailed)
        require_nothing_held(desk.exchange)


class TestReads:
    def test_one_over_several_nodes_is_put_together_in_order(self) -> None:
        desk = _desk()
        first, second = _keys(0, 3), _keys(1, 3)
        asked = [key for pair in zip(first, second, strict=True) for key in pair]
        caller = desk.get(*asked)
        calls = desk.calls()
        assert {call.node: keys(call) for call in calls} == {0: first, 1: second}
        for call in calls:
            assert caller not in desk.told
            results = [pb.ReadResult(binding=pb.Binding(unit=key, version=1)) for key in keys(call)]
            desk.answer_bytes(call, pb.ReadResponse(results=results).SerializeToString())
        assert [binding.unit for binding in desk.told[caller]] == asked
        require_nothing_held(desk.exchange)

    def test_one_part_that_fails_ends_it_and_the_others_with_it(self) -> None:
        desk = _desk()
        caller = desk.get(*_keys(0, 2), *_keys(1, 2))
        one, other = desk.calls()
        desk.answer_bytes(one, b"\xff")
        assert isinstance(desk.told[caller], ProtocolError)
        desk.poll()
        desk.answer_bytes(other, pb.ReadResponse(results=[pb.ReadResult()] * 2).SerializeToString())
        require_nothing_held(desk.exchange)

    def test_it_ends_once_at_its_deadline_when_closed_and_when_abandoned(self) -> None:
        for end in ("deadline", "close", "abandon"):
            desk = _desk()
            caller = desk.get(*_keys(0, 2), *_keys(1, 2), timeout=0.4)
            assert len(desk.calls()) == 2
            if end == "deadline":
                desk.until(lambda: caller in desk.told, lambda call: None)  # noqa: B023
            elif end == "close":
                desk.close()
            else:
                desk.abandon(caller)
            desk.poll()
            assert (caller in desk.told) == (end != "abandon") and desk.exchange.pending == 0

    def test_a_part_comes_apart_in_turn(self) -> None:
        desk = _desk([["a-1"], ["a-2"], ["a-1"], ["a-2"]])
        asked = [key for group in range(4) for key in _keys(group, 1, groups=4)]
        caller = desk.get(*asked)
        one, other = desk.calls()
        results = pb.ReadResponse(
            results=[pb.ReadResult(binding=pb.Binding(unit=key, version=1)) for key in keys(other)]
        )
        moved = _said([["a-1"], ["a-2"], ["b-1"], ["a-2"]], 2)
        desk.exchange.answered(Call("Topology", 0, b"", 1.0, desk.now, None), moved, desk.now)
        desk.answer_bytes(other, results.SerializeToString())
        desk.fail(one, Failure(FailureKind.ELSEWHERE, "not here"))
        calls = desk.calls()
        assert {call.node: keys(call) for call in calls} == {0: [asked[0]], 2: [asked[2]]}
        for call in calls:
            binding = pb.Binding(unit=keys(call)[0], version=1)
            answer = pb.ReadResponse(results=[pb.ReadResult(binding=binding)])
            desk.answer_bytes(call, answer.SerializeToString())
        assert [binding.unit for binding in desk.told[caller]] == asked
        require_nothing_held(desk.exchange)


class TestScans:
    def _page(self, desk: Desk, scan: ScanProgress) -> tuple[int, set[int], bytes]:
        """The next page: who is asked, for which slots, from which token on."""
        desk.ask(desk._base._page_ticket(scan, 5.0))
        (call,) = [call for call in desk.calls() if call.method == "Scan"]
        request = pb.ScanRequest.FromString(call.request)
        bits = int.from_bytes(request.slots, "little")
        self._call = call
        return call.node, {s for s in range(SLOTS) if bits >> s & 1}, request.page_token

    def _answer(self, desk: Desk, token: bytes) -> None:
        desk.answer_bytes(self._call, pb.ScanResponse(next_page_token=token).SerializeToString())

    def test_every_slot_is_asked_for_once(self) -> None:
        desk = _desk()
        scan = ScanProgress(TABLE, "", 0)
        even, odd = {*range(0, SLOTS, 2)}, {*range(1, SLOTS, 2)}
        assert self._page(desk, scan) == (0, even, b"")
        self._answer(desk, b"\0\x0akey")
        assert self._page(desk, scan) == (0, {s for s in even if s >= 10}, b"\0\x0akey")
        self._answer(desk, b"")
        assert not scan.over
        assert self._page(desk, scan) == (1, odd, b"")
        self._answer(desk, b"")
        assert scan.over

    def test_slots_that_change_hands_are_neither_passed_over_nor_seen_twice(self) -> None:
        desk = _desk()
        scan = ScanProgress(TABLE, "", 0)
        self._page(desk, scan)
        self._answer(desk, b"\0\x20key")
        moved = told(NODES, [["a-1"], ["a-2"], ["b-1"], ["a-2"]], version=2, slots=SLOTS)
        desk.exchange.answered(
            Call("Topology", 0, b"", 1.0, desk.now, None), moved.SerializeToString(), desk.now
        )
        rest = [{s for s in range(SLOTS) if s % 4 == owner and s >= 32} for owner in (0, 2)]
        odd = {*range(1, SLOTS, 2)}
        assert self._page(desk, scan) == (0, rest[0], b"\0\x20key"), "where the token's slot is"
        self._answer(desk, b"")
        pages = [self._page(desk, scan)]
        self._answer(desk, b"")
        pages.append(self._page(desk, scan))
        self._answer(desk, b"")
        assert scan.over
        assert {node: slots for node, slots, _ in pages} == {1: odd, 2: rest[1]}

    def test_a_token_of_a_slot_that_was_not_asked_for_is_refused(self) -> None:
        desk = _desk()
        scan = ScanProgress(TABLE, "", 0)
        self._page(desk, scan)
        self._answer(desk, b"\0\x0bkey")
        assert isinstance(desk.told[0], ProtocolError)


def test_a_client_in_use_looks_for_a_newer_topology_and_an_idle_one_sleeps() -> None:
    desk = _desk()
    assert desk.exchange.next_due() is None
    desk.now += 10.0
    (key,) = _keys(0, 1)
    desk.bind(key)
    calls = desk.poll()
    assert {call.method for call in calls} == {"Topology", "WriteStream"}
    (look,) = [call for call in calls if call.method == "Topology"]
    assert pb.TopologyRequest.FromString(look.request).known_version == 2

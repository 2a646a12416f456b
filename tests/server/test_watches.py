"""A watcher is given every matching change after its position once, or told what is gone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from globaltable import history
from globaltable.errors import Compacted, Lagged, NoQuorum
from globaltable.model import Op, OpKind, qualified_name
from globaltable.server import watches
from globaltable.server.watches import QUEUE_CHANGES_MAX, Change, Watcher
from globaltable.wire.rows import HistoryRow, decode_history
from tests.server.tables import TABLE, Tables


def _watch(
    tables: Tables, prefix: str = "", key: str | None = None, after: dict[int, int] | None = None
) -> Watcher:
    start = qualified_name(TABLE, prefix if key is None else key)
    return tables.watches.add(start, key is not None, tables.by_group, after or {})


def _keys(changes: list[Change]) -> list[str]:
    return [change.name.partition(b"\0")[2].decode() for change in changes]


def _take_all(tables: Tables, watcher: Watcher) -> list[Change]:
    """As the service does: take while the watcher is awake."""
    changes = tables.watches.take(watcher)
    for _ in range(1_000):
        if not watcher.awake.is_set():
            return changes
        changes += tables.watches.take(watcher)
    raise AssertionError("a watcher that is never done")


class TestWhatIsWanted:
    def test_a_key_is_itself_and_not_its_extensions(self) -> None:
        tables = Tables()
        watcher = _watch(tables, key="cid:1")
        tables.bind("cid:1", "cid:10", "cid:", "other")
        assert _keys(_take_all(tables, watcher)) == ["cid:1"]

    def test_a_prefix_is_all_that_begins_with_it_in_order(self) -> None:
        tables = Tables()
        watcher = _watch(tables, prefix="cid:")
        tables.bind("cid:2", "doc:1", "cid:1")
        assert _keys(_take_all(tables, watcher)) == ["cid:2", "cid:1"]

    def test_prefixes_of_many_lengths_each_get_what_begins_with_them_once(self) -> None:
        tables = Tables()
        prefixes = ["", "c", "ci", "cid:", "cid:1", "cid:12", "doc:"]
        watchers = {prefix: _watch(tables, prefix=prefix) for prefix in prefixes}
        again = _watch(tables, prefix="cid:")
        for watcher in (*watchers.values(), again):
            _take_all(tables, watcher)
        tables.watches.remove(watchers.pop("ci"))
        tables.watches.remove(watchers["cid:"])
        keys = ["cid:1", "c", "doc:cid:1", "cid:2"]
        tables.bind(*keys)
        watchers["cid:"] = again
        for prefix, watcher in watchers.items():
            wanted = [key for key in keys if key.startswith(prefix)]
            assert _keys(_take_all(tables, watcher)) == wanted, prefix

    @pytest.mark.parametrize("live", [False, True])
    def test_a_retry_of_an_op_that_the_history_has_forgotten_is_no_change(
        self, monkeypatch: pytest.MonkeyPatch, live: bool
    ) -> None:
        monkeypatch.setattr(history, "HISTORY_OPS_MAX", 4)
        tables = Tables()
        op = Op(OpKind.BIND, qualified_name(TABLE, "1"), "A", 0, 7, 1)
        first = tables.apply([op])
        for _ in range(8):
            tables.apply([])
        watcher = _watch(tables)
        if live:
            assert _take_all(tables, watcher) == []
        assert tables.apply([op]) == first
        tables.bind("2")
        assert _keys(_take_all(tables, watcher)) == ["2"]

    def test_the_empty_prefix_is_the_table_and_no_other(self) -> None:
        tables = Tables()
        watcher = _watch(tables)
        tables.bind("1", table=TABLE + "s")
        tables.bind("2")
        assert _keys(_take_all(tables, watcher)) == ["2"]

    def test_groups_that_a_watch_does_not_name_are_not_its_concern(self) -> None:
        """Where groups are on several sets of nodes, a node has more than a watch asks it for."""
        tables = Tables(groups=2)
        watcher = tables.watches.add(qualified_name(TABLE, ""), False, [1], {})
        assert _take_all(tables, watcher) == []
        tables.bind("not", group=0)
        tables.bind("so", group=1)
        assert _keys(_take_all(tables, watcher)) == ["so"]

    def test_a_change_tells_what_happened(self) -> None:
        tables = Tables()
        watcher = _watch(tables)
        name = qualified_name(TABLE, "k")
        tables.apply([Op(OpKind.BIND, name, "A", 0, 1, 1), Op(OpKind.MOVE, name, "B", 1, 1, 2)])
        tables.apply([Op(OpKind.UNBIND, name, "", 2, 1, 3)])
        assert _take_all(tables, watcher) == [
            Change(OpKind.BIND, name, "A", 1, 2, 0),
            Change(OpKind.MOVE, name, "B", 2, 2, 0),
            Change(OpKind.UNBIND, name, "B", 3, 3, 0),
        ]

    def test_an_op_that_changes_nothing_is_no_change(self) -> None:
        tables = Tables()
        watcher = _watch(tables)
        tables.bind("k")
        tables.bind("k")
        tables.apply([Op(OpKind.MOVE, qualified_name(TABLE, "k"), "B", 9, 1, 1)])
        assert _keys(_take_all(tables, watcher)) == ["k"]


class TestPosition:
    def test_without_one_a_watch_begins_at_the_present(self) -> None:
        tables = Tables(groups=2)
        tables.bind("before", group=1)
        watcher = _watch(tables)
        assert watcher.position == {0: 1, 1: 2}
        assert _take_all(tables, watcher) == []

    def test_it_resumes_after_the_one_given(self) -> None:
        tables = Tables()
        seen = tables.bind("seen")
        tables.bind("missed")
        watcher = _watch(tables, after={0: seen})
        assert _keys(_take_all(tables, watcher)) == ["missed"]

    def test_it_moves_past_what_does_not_match(self) -> None:
        tables = Tables()
        watcher = _watch(tables, key="k")
        revision = tables.bind("other")
        assert _take_all(tables, watcher) == []
        assert watcher.position == {0: revision}

    def test_one_ahead_of_this_node_is_waited_for(self) -> None:
        tables = Tables()
        watcher = _watch(tables, after={0: 3})
        assert _take_all(tables, watcher) == []
        tables.bind("delivered elsewhere")
        tables.bind("delivered elsewhere too")
        tables.bind("new")
        assert _keys(_take_all(tables, watcher)) == ["new"]


class TestCompacted:
    def test_a_position_that_is_no_longer_kept_is_refused_with_the_oldest_that_is(self) -> None:
        tables = Tables(groups=2)
        tables.install_snapshot(40, group=1)
        with pytest.raises(Compacted, match="group 1 after revision 39 are gone") as refused:
            _watch(tables, after={0: 1, 1: 39})
        assert refused.value.oldest == {0: 1, 1: 40}
        assert len(tables.watches) == 0

    def test_the_oldest_that_is_kept_will_do(self) -> None:
        tables = Tables()
        tables.install_snapshot(40)
        watcher = _watch(tables, after={0: 40})
        tables.bind("k")
        assert _keys(_take_all(tables, watcher)) == ["k"]

    def test_of_a_key_that_has_not_changed_since_nothing_is_gone(self) -> None:
        tables = Tables()
        seen = tables.bind("k")
        tables.apply([Op(OpKind.UNBIND, qualified_name(TABLE, "k"), "", 1, 1, 1)])
        for number in range(history.HISTORY_OPS_MAX // 1_000 + 2):
            tables.bind(*(f"{number}:{other}" for other in range(1_000)))
        floor = tables.by_group[0].history.floor
        assert seen + 1 < floor, "both changes have left the history"
        watcher = _watch(tables, key="k", after={0: seen + 1})
        assert _take_all(tables, watcher) == []
        tables.bind("k")
        assert _keys(_take_all(tables, watcher)) == ["k"]
        with pytest.raises(Compacted):
            _watch(tables, key="k", after={0: seen + 1})  # it has now
        with pytest.raises(Compacted):
            _watch(tables, prefix="k", after={0: seen + 1})
        unseen = _watch(tables, key="never bound", after={0: seen})
        assert _take_all(tables, unseen) == []


class TestLagged:
    def test_one_that_reads_too_slowly_is_told(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(history, "HISTORY_OPS_MAX", 10)
        tables = Tables()
        watcher = _watch(tables)
        _take_all(tables, watcher)
        for number in range(QUEUE_CHANGES_MAX + 1):
            tables.bind(str(number))
        assert len(watcher.queue) == 0
        with pytest.raises(Lagged, match="after revision 1 are gone") as told:
            tables.watches.take(watcher)
        assert told.value.oldest == {0: tables.by_group[0].history.floor}

    def test_one_installed_while_the_replica_does_not_serve_skips_as_much(self) -> None:
        """A node that was removed and joins anew, between two looks of who watches there."""
        tables = Tables()
        watcher = _watch(tables)
        assert _take_all(tables, watcher) == []
        tables.out_of_service.add(0)
        tables.install_snapshot(9)
        with pytest.raises(NoQuorum):
            tables.watches.take(watcher)
        tables.out_of_service.clear()
        with pytest.raises(Lagged):
            tables.watches.take(watcher)

    def test_a_snapshot_that_skips_what_it_has_not_seen_is_told(self) -> None:
        tables = Tables()
        watcher = _watch(tables)
        _take_all(tables, watcher)
        tables.install_snapshot(9)
        assert watcher.awake.is_set()
        with pytest.raises(Lagged):
            tables.watches.take(watcher)

    def test_a_queue_that_is_full_falls_back_to_the_history_and_loses_nothing(self) -> None:
        tables = Tables()
        watcher = _watch(tables)
        _take_all(tables, watcher)
        keys = [f"k{number}" for number in range(QUEUE_CHANGES_MAX + 500)]
        for start in range(0, len(keys), 100):
            tables.bind(*keys[start : start + 100])
        assert len(watcher.queue) <= QUEUE_CHANGES_MAX
        assert _keys(_take_all(tables, watcher)) == keys


def test_a_long_history_is_read_in_portions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of ops, however many a record holds, and whether or not they match."""
    monkeypatch.setattr(watches, "CATCH_UP_OPS", 20)
    tables = Tables()
    for batch in range(10):
        tables.bind(*(f"{batch}:{number}" for number in range(9)), f"k{batch}")
    watcher = _watch(tables, prefix="k", after={0: 1})
    portions = []
    while not watcher.live:
        portions.append(_keys(tables.watches.take(watcher)))
        assert watcher.live or watcher.awake.is_set(), "there is more"
    assert len(portions) == 5
    assert [key for portion in portions for key in portion] == [f"k{n}" for n in range(10)]


def test_for_a_key_that_has_not_changed_the_history_is_not_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Thousands of watchers may come at once, of which next to none has missed anything."""
    tables = Tables()
    seen = tables.bind("k", "other")
    tables.bind(*map(str, range(1_000)))
    decoded: list[bytes] = []

    def counted(data: bytes) -> list[HistoryRow]:
        decoded.append(data)
        return decode_history(data)

    monkeypatch.setattr(watches, "decode_history", counted)
    watcher = _watch(tables, key="k", after={0: seen})
    assert tables.watches.take(watcher) == []
    assert watcher.position == {0: seen + 1}
    assert decoded == []
    tables.apply([Op(OpKind.MOVE, qualified_name(TABLE, "k"), "B", 1, 1, 1)])
    again = _watch(tables, key="k", after={0: seen})
    assert _keys(_take_all(tables, watcher)) == _keys(_take_all(tables, again)) == ["k"]
    assert len(decoded) == 2, "the second has missed what is now in the history"


def test_one_that_was_removed_is_offered_nothing() -> None:
    tables = Tables()
    watchers = [_watch(tables, key="k"), _watch(tables), _watch(tables)]
    for watcher in watchers:
        tables.watches.take(watcher)
    assert len(tables.watches) == 3
    for watcher in watchers[:2] * 2:
        tables.watches.remove(watcher)
    assert len(tables.watches) == 1
    tables.bind("k")
    assert [len(watcher.queue) for watcher in watchers] == [0, 0, 1]


_STEPS = st.lists(st.tuples(st.sampled_from(["bind", "take", "anew"]), st.integers(0, 1)))


@given(_STEPS)
def test_every_change_once_in_the_order_of_its_group(steps: list[tuple[str, int]]) -> None:
    """However binds, reads and reconnections at the kept position interleave."""
    tables = Tables(groups=2)
    watcher = _watch(tables)
    bound: dict[int, list[str]] = {0: [], 1: []}
    seen: list[Change] = []
    for step, group in [*steps, ("take", 0)]:
        if step == "bind":
            keys = [f"{group}-{len(bound[group])}", f"{group}-{len(bound[group]) + 1}"]
            tables.bind(*keys, group=group)
            bound[group] += keys
        elif step == "take":
            seen += _take_all(tables, watcher)
        else:
            tables.watches.remove(watcher)
            watcher = _watch(tables, after=watcher.position)
    for group, keys in bound.items():
        assert _keys([change for change in seen if change.group == group]) == keys

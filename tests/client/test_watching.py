"""A watch misses nothing and repeats nothing, over any number of streams cut at any place."""

import random
from collections import deque
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from globaltable.client._attempts import Failure, FailureKind
from globaltable.client._watching import WatchProgress
from globaltable.client.values import Change, ChangeKind
from globaltable.errors import (
    Compacted,
    ConnectFailed,
    DeadlineExceeded,
    InvalidArgument,
    Lagged,
    NoQuorum,
    Overloaded,
    ProtocolError,
)
from globaltable.v1 import globaltable_pb2 as pb
from tests.client.desk import TABLE, failure

LOST = failure(FailureKind.UNKNOWN)
UNREACHED = failure(FailureKind.UNREACHED)
BUSY = failure(FailureKind.OVERLOADED)


def _watch(after: Mapping[int, int] | None = None, key: str | None = None) -> WatchProgress:
    return WatchProgress(TABLE, key, "", after or {}, random.Random(1))


def _change(key: str, revision: int, group: int = 0, version: int = 1) -> Change:
    return Change(ChangeKind.BOUND, key, "A", version, revision, group)


def _places(position: Mapping[int, int]) -> list[pb.GroupRevision]:
    return [pb.GroupRevision(group=group, revision=r) for group, r in position.items()]


def _message(position: Mapping[int, int], *changes: Change) -> bytes:
    return pb.WatchResponse(
        position=_places(position),
        changes=[
            pb.Change(
                kind=pb.CHANGE_KIND_BOUND,
                key=change.key,
                unit=change.unit,
                version=change.version,
                revision=change.revision,
                group=change.group,
            )
            for change in changes
        ],
    ).SerializeToString()


def _asked_after(watch: WatchProgress) -> dict[int, int]:
    request = pb.WatchRequest.FromString(watch.request())
    return {place.group: place.revision for place in request.after}


def _keys(watch: WatchProgress) -> str:
    """The keys of all that is handed out now."""
    keys = ""
    while (change := watch.next_change()) is not None:
        keys += change.key
    return keys


class TestRequest:
    def test_a_key_and_where_to_resume(self) -> None:
        request = pb.WatchRequest.FromString(_watch({7: 3, 0: 40}, key="k").request())
        assert request == pb.WatchRequest(table=TABLE, key="k", after=_places({0: 40, 7: 3}))

    def test_a_key_that_came_to_another_group_is_watched_after_what_was_told_of_both(self) -> None:
        """Should it come back, a replica that is behind must not tell again what was told."""
        watch = _watch({}, key="k")
        watch.received(_message({1: 9}, _change("k", 9, group=1)))
        watch.received(_message({4: 3}, _change("k", 3, group=4, version=2)))
        assert _asked_after(watch) == {1: 9, 4: 3}
        assert _keys(watch) == "kk"
        assert watch.position == {1: 9, 4: 3}

    def test_the_empty_prefix_is_asked_for_as_such(self) -> None:
        """Not to select at all would be refused."""
        request = pb.WatchRequest.FromString(_watch().request())
        assert request.WhichOneof("selector") == "prefix" and request.prefix == ""
        assert not request.after

    def test_another_stream_begins_after_all_that_arrived_handed_out_or_not(self) -> None:
        watch = _watch()
        watch.received(_message({0: 4}))
        watch.received(_message({0: 6}, _change("a", 5), _change("b", 6)))
        assert _asked_after(watch) == {0: 6}
        assert _keys(watch) == "ab"


class TestPosition:
    def test_the_first_message_says_where_it_starts(self) -> None:
        watch = _watch()
        before = watch.started
        watch.received(_message({0: 4, 1: 0}))
        assert (before, watch.started) == (False, True)
        assert watch.position == {0: 4, 1: 0}
        assert watch.next_change() is None

    def test_a_change_is_covered_when_it_is_handed_out_not_when_it_arrives(self) -> None:
        watch = _watch({0: 4, 1: 2})
        watch.received(_message({0: 6, 1: 3}, _change("a", 5), _change("b", 3, 1), _change("c", 6)))
        seen = [watch.position]
        while watch.next_change() is not None:
            seen.append(watch.position)
        assert seen == [{0: 4, 1: 2}, {0: 5, 1: 2}, {0: 5, 1: 3}, {0: 6, 1: 3}]

    def test_changes_of_one_revision_are_covered_by_the_last_of_them(self) -> None:
        watch = _watch({0: 4})
        watch.received(_message({0: 5}, *(_change(key, 5) for key in "abc")))
        seen = []
        while watch.next_change() is not None:
            seen.append(watch.position[0])
        assert seen == [4, 4, 5]

    def test_a_message_without_changes_moves_it_at_once(self) -> None:
        watch = _watch({0: 4, 1: 2})
        watch.received(_message({0: 90, 1: 2}))
        assert watch.position == {0: 90, 1: 2}

    def test_but_not_past_a_change_that_waits(self) -> None:
        watch = _watch({0: 4})
        watch.received(_message({0: 5}, _change("a", 5)))
        watch.received(_message({0: 90}))
        assert watch.position == {0: 4}
        assert _keys(watch) == "a"
        assert watch.position == {0: 90}

    def test_it_never_goes_back(self) -> None:
        """A node that is behind says so by its own revision."""
        watch = _watch({0: 4})
        watch.received(_message({0: 2}))
        assert watch.position == {0: 4} and _asked_after(watch) == {0: 4}

    def test_it_is_a_copy(self) -> None:
        watch = _watch({0: 4})
        watch.position[0] = 99
        assert watch.position == {0: 4}

    def test_the_position_given_is_not_written_to(self) -> None:
        given_position = {0: 4}
        watch = _watch(given_position)
        watch.received(_message({0: 9}))
        assert given_position == {0: 4}


class TestSentAgain:
    def test_what_was_handed_out_is_not_handed_out_again(self) -> None:
        watch = _watch({0: 4})
        watch.received(_message({0: 6}, _change("a", 5), _change("b", 6)))
        assert _keys(watch) == "ab"
        watch.received(
            _message({0: 7}, *(_change(k, r) for k, r in (("a", 5), ("b", 6), ("c", 7))))
        )
        assert _keys(watch) == "c"

    def test_nor_what_arrived_and_still_waits(self) -> None:
        watch = _watch({0: 4})
        watch.received(_message({0: 5}, _change("a", 5)))
        watch.received(_message({0: 5}, _change("a", 5)))
        assert _keys(watch) == "a"

    def test_the_same_revision_of_another_group_is_another(self) -> None:
        watch = _watch({0: 4, 1: 4})
        watch.received(_message({0: 5, 1: 4}, _change("a", 5, group=0)))
        watch.received(_message({0: 5, 1: 5}, _change("a", 5, group=1)))
        assert _keys(watch) == "aa"


class TestSplitRevision:
    """The node says that it is amid a revision by a position before it."""

    def test_both_halves_are_handed_out_and_covered_with_the_second(self) -> None:
        watch = _watch({0: 4})
        watch.received(_message({0: 4}, _change("a", 5)))
        assert _keys(watch) == "a" and watch.position == {0: 4}
        watch.received(_message({0: 5}, _change("b", 5)))
        assert _keys(watch) == "b" and watch.position == {0: 5}

    def test_cut_between_them_it_asks_for_the_whole_and_hands_out_the_rest(self) -> None:
        watch = _watch({0: 4})
        watch.received(_message({0: 4}, _change("a", 5)))
        assert _keys(watch) == "a"
        watch.failed(LOST, 0, nodes_left=True)
        assert _asked_after(watch) == {0: 4}
        watch.received(_message({0: 4}))
        watch.received(_message({0: 5}, _change("a", 5), _change("b", 5)))
        assert _keys(watch) == "b" and watch.position == {0: 5}

    def test_two_changes_of_one_key_in_one_revision_are_two(self) -> None:
        watch = _watch({0: 4})
        watch.received(_message({0: 4}, _change("a", 5, version=1)))
        watch.received(_message({0: 5}, _change("a", 5, version=1), _change("a", 5, version=2)))
        assert _keys(watch) == "aa" and watch.position == {0: 5}

    def test_what_is_remembered_of_a_split_is_let_go_when_it_is_covered(self) -> None:
        watch = _watch({0: 0})
        for revision in range(1, 100):
            watch.received(_message({0: revision - 1}, _change("a", revision)))
            watch.received(_message({0: revision}, _change("b", revision)))
        assert not watch._beyond
        assert _keys(watch) == "ab" * 99


class _Life(NamedTuple):
    """One stream: how many changes go into each message, after how many of them it is cut, how
    many changes are handed out after each, and how far the positions told lag behind."""

    sizes: list[int]
    cut: int
    handed_out: int
    lag: int


_LIVES = st.lists(
    st.builds(
        _Life,
        sizes=st.lists(st.integers(0, 4), max_size=8),
        cut=st.integers(0, 8),
        handed_out=st.integers(0, 5),
        lag=st.integers(0, 2),
    ),
    max_size=6,
)
# For each group: of each revision after the start, how many changes it holds for this watch.
_LOGS = st.lists(st.lists(st.integers(0, 3), max_size=6), min_size=1, max_size=3)


def _log_of(group: int, start: int, counts: list[int]) -> dict[int, list[Change]]:
    """Changes by revision. A key may change twice in one, as it may in one batch."""
    versions = {"a": 0, "b": 0}
    log: dict[int, list[Change]] = {}
    for revision, count in enumerate(counts, start + 1):
        log[revision] = []
        for number in range(count):
            key = "aab"[number]
            versions[key] += 1
            log[revision].append(_change(key, revision, group, versions[key]))
    return log


def _stream(
    logs: list[dict[int, list[Change]]], after: Mapping[int, int], life: _Life, luck: random.Random
) -> Iterator[bytes]:
    """What a correct node sends: groups in any mixture, messages that end anywhere, and in each
    a position that covers nothing which has not been sent."""
    complete = dict(after)
    left = {
        group: deque(
            (revision, deque(changes))
            for revision, changes in log.items()
            if revision > after[group]
        )
        for group, log in enumerate(logs)
    }
    yield _message(complete)
    for size in [*life.sizes, None]:
        changes: list[Change] = []
        while any(left.values()) and (size is None or len(changes) < size):
            group = luck.choice([group for group in left if left[group]])
            revision, rest = left[group][0]
            if rest:
                changes.append(rest.popleft())
            if not rest:
                left[group].popleft()
                complete[group] = revision
        lag = life.lag if size is not None else 0
        yield _message({g: max(after[g], r - lag) for g, r in complete.items()}, *changes)


@given(_LOGS, _LIVES, st.integers(0, 3), st.randoms(use_true_random=False))
def test_however_streams_are_cut_each_change_is_handed_out_once_and_any_position_resumes(
    counts: list[list[int]], lives: list[_Life], start: int, luck: random.Random
) -> None:
    logs = [_log_of(group, start, of_group) for group, of_group in enumerate(counts)]
    watch = _watch()
    handed_out: list[list[Change]] = [[] for _ in logs]

    def hand_out(count: int) -> None:
        for _ in range(count):
            change = watch.next_change()
            if change is None:
                return
            handed_out[change.group].append(change)
            check_position()

    def check_position() -> None:
        """Whoever resumes from it misses nothing: it covers only what was handed out."""
        for group, revision in watch.position.items():
            covered = [
                change for r, changes in logs[group].items() if r <= revision for change in changes
            ]
            assert covered == handed_out[group][: len(covered)]

    for life in [*lives, _Life([], 99, 99, 0)]:
        after = dict.fromkeys(range(len(logs)), start) | _asked_after(watch)
        for data in list(_stream(logs, after, life, luck))[: life.cut]:
            watch.received(data)
            check_position()
            hand_out(life.handed_out)
        if life.cut < 99:
            watch.failed(LOST, 0, nodes_left=True)
    hand_out(99)
    assert handed_out == [[c for changes in log.values() for c in changes] for log in logs]
    assert watch.position == {group: max(log, default=start) for group, log in enumerate(logs)}


class TestNonsense:
    UNKNOWN_KIND = pb.WatchResponse(
        position=_places({0: 9}), changes=[pb.Change(key="k", revision=9)]
    ).SerializeToString()

    @pytest.mark.parametrize("data", [b"\xff\xff", UNKNOWN_KIND], ids=["garbage", "unknown kind"])
    def test_a_message_that_makes_no_sense_moves_nothing(self, data: bytes) -> None:
        watch = _watch({0: 4})
        with pytest.raises(ProtocolError):
            watch.received(data)
        assert not watch.started
        assert watch.position == {0: 4} and _asked_after(watch) == {0: 4}
        assert watch.next_change() is None


class TestFailures:
    def test_another_node_is_asked_at_once_and_those_that_failed_are_avoided(self) -> None:
        watch = _watch()
        assert watch.failed(LOST, 0, nodes_left=True) == 0.0
        assert watch.avoided == 0b001
        assert watch.failed(UNREACHED, 2, nodes_left=True) == 0.0
        assert watch.avoided == 0b101

    def test_when_all_have_failed_there_is_a_pause_that_grows_and_then_all_are_asked(self) -> None:
        watch = _watch()
        pauses_s = []
        for _ in range(8):
            watch.failed(LOST, 0, nodes_left=True)
            pauses_s.append(watch.failed(LOST, 1, nodes_left=False))
            assert watch.avoided == 0
        assert 0.01 <= pauses_s[0] <= 0.02
        assert 0.5 <= pauses_s[-1] <= 1.0

    def test_one_that_is_overloaded_is_given_its_time_though_others_are_left(self) -> None:
        pause_s = _watch().failed(BUSY, 0, nodes_left=True)
        assert BUSY.retry_delay_s < pause_s <= BUSY.retry_delay_s + 0.02

    def test_and_then_one_of_the_others_is_asked(self) -> None:
        watch = _watch()
        watch.failed(BUSY, 0, nodes_left=True)
        assert watch.avoided == 0b001
        watch.failed(BUSY, 1, nodes_left=False)
        assert watch.avoided == 0

    def test_a_stream_that_holds_makes_a_fresh_start(self) -> None:
        watch = _watch()
        for _ in range(8):
            watch.failed(LOST, 1, nodes_left=False)
        watch.failed(LOST, 1, nodes_left=True)
        for revision in (4, 5):
            watch.received(_message({0: revision}))
        assert watch.avoided == 0
        assert watch.failed(LOST, 1, nodes_left=False) <= 0.02

    def test_streams_that_begin_well_and_break_at_once_are_not_asked_for_ever_faster(self) -> None:
        """Each node says where the watch starts, and fails over what comes next."""
        watch = _watch()
        pauses_s = []
        for _ in range(8):
            for node in (0, 1):
                watch.received(_message({0: 4}))
                left = watch.avoided | 1 << node != 0b11
                pauses_s.append(watch.failed(LOST, node, nodes_left=left))
        assert pauses_s[0::2] == [0.0] * 8
        assert 0.01 <= pauses_s[1] <= 0.02 and pauses_s[-1] >= 0.5

    @pytest.mark.parametrize("error", [Compacted("gone", {0: 40}), Lagged("slow", {0: 40})])
    def test_what_is_no_longer_kept_ends_it_with_the_oldest_that_is(
        self, error: Compacted | Lagged
    ) -> None:
        with pytest.raises(type(error), match=str(error)) as told:
            _watch().failed(Failure(FailureKind.FINAL, "", error=error), 0, nodes_left=True)
        assert told.value.oldest == {0: 40} and told.value is not error

    def test_so_does_a_refusal_whatever_came_before(self) -> None:
        watch = _watch()
        watch.failed(LOST, 0, nodes_left=True)
        refusal = failure(FailureKind.FINAL, InvalidArgument("unknown table"))
        with pytest.raises(InvalidArgument, match="unknown table"):
            watch.failed(refusal, 1, nodes_left=False)

    @pytest.mark.parametrize(
        ("failures", "told"),
        [
            ([], DeadlineExceeded),
            ([UNREACHED, UNREACHED], ConnectFailed),
            ([UNREACHED, LOST], DeadlineExceeded),
            ([failure(FailureKind.NO_QUORUM), LOST], NoQuorum),
            ([BUSY], Overloaded),
        ],
    )
    def test_one_that_could_not_be_started_in_time_says_why(
        self, failures: list[Failure], told: type
    ) -> None:
        watch = _watch(key="k")
        for failed in failures:
            watch.failed(failed, 0, nodes_left=True)
        error = watch.deadline_error()
        assert type(error) is told
        assert str(error).startswith("watch of key 'k' in 'im.session': ")

    def test_a_watch_of_a_prefix_is_named_so(self) -> None:
        assert WatchProgress(TABLE, None, "cid:", {}).subject == (
            "watch of prefix 'cid:' in 'im.session'"
        )

"""Changes that wait for one reader: as many as can be read, and the others counted."""

from globaltable.server.console.changes import CHANGES_MAX, Waiting
from globaltable.v1 import globaltable_pb2 as pb


def _change(number: int) -> pb.Change:
    return pb.Change(
        kind=pb.CHANGE_KIND_BOUND, key=f"k{number}", unit="A", version=1, revision=number, group=0
    )


def test_changes_are_taken_once_in_order() -> None:
    waiting = Waiting()
    assert waiting.take() is None
    waiting.add([_change(1), _change(2)])
    taken = waiting.take()
    assert taken is not None
    assert [one["key"] for one in taken["changes"]] == ["k1", "k2"]
    assert (taken["left_out"], taken["gap"]) == (0, "")
    assert waiting.take() is None


def test_of_a_flood_the_newest_wait_and_the_others_are_counted() -> None:
    waiting = Waiting()
    waiting.add(map(_change, range(10 * CHANGES_MAX)))
    taken = waiting.take()
    assert taken is not None
    assert len(taken["changes"]) == CHANGES_MAX
    assert taken["left_out"] == 9 * CHANGES_MAX
    assert taken["changes"][-1]["key"] == f"k{10 * CHANGES_MAX - 1}"


def test_what_was_missed_is_told_even_if_there_is_nothing_else() -> None:
    waiting = Waiting()
    waiting.miss("changes are gone")
    taken = waiting.take()
    assert taken is not None
    assert (taken["changes"], taken["gap"]) == ([], "changes are gone")

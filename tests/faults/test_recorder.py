"""What is recorded of a call: the right side of the clock, and what its error says of the op."""

import asyncio
import threading
from itertools import count
from pathlib import Path

import pytest

from globaltable import errors
from globaltable.client import ClientClosed
from globaltable.errors import GlobalTableError
from globaltable.model import Binding
from tests.faults.history import Ending, Event, Kind, UnreadableHistory, read_history, write_history
from tests.faults.recorder import Recorder, ending_of

A1 = Binding("A", 1, 7, created=True)


def ticking() -> Recorder:
    """Its clock is a step further at each look."""
    return Recorder(count(1).__next__)


def test_an_answer_is_recorded_between_its_two_times() -> None:
    recorder = ticking()
    with recorder.call("a", Kind.BIND, "k", unit="A") as call:
        call.answered(A1)
    event = Event("a", Kind.BIND, "k", "A", 0, 1, Ending.OK, A1, 2)
    assert recorder.history() == [event]
    assert call.event == event


@pytest.mark.parametrize(
    ("error", "ending"),
    [
        (errors.NotBound("k"), Ending.NOT_BOUND),
        (errors.VersionConflict("k", 1, A1), Ending.CONFLICT),
        (errors.InvalidArgument("no"), Ending.FAILED),
        (errors.ConnectFailed("no"), Ending.FAILED),
        (errors.NoQuorum("no"), Ending.FAILED),
        (errors.Overloaded("no", 0.1), Ending.FAILED),
        (errors.DeadlineExceeded("late"), Ending.FAILED),
        (errors.OutcomeUnknown("late"), Ending.UNKNOWN),
        (ClientClosed("closed"), Ending.FAILED),
    ],
)
def test_an_error_says_whether_the_op_happened(error: GlobalTableError, ending: Ending) -> None:
    """As `globaltable.errors` has it: only `OutcomeUnknown` leaves it open."""
    recorder = ticking()
    with recorder.call("a", Kind.MOVE, "k", unit="B", version=1):
        raise error
    (event,) = recorder.history()
    assert (event.ending, event.error) == (ending, type(error).__name__)
    assert event.told == (A1 if ending is Ending.CONFLICT else None)


@pytest.mark.parametrize("error", [errors.ProtocolError("what?"), RuntimeError(), MemoryError()])
def test_what_is_no_answer_leaves_it_open_and_is_raised(error: Exception) -> None:
    recorder = ticking()
    with pytest.raises(type(error)), recorder.call("a", Kind.BIND, "k", unit="A"):
        raise error
    assert ending_of(error) is recorder.history()[0].ending is Ending.UNKNOWN


async def test_what_is_cancelled_or_has_not_ended_may_have_happened() -> None:
    recorder = ticking()

    async def bind(client: str) -> None:
        with recorder.call(client, Kind.BIND, "k", unit="A"):
            await asyncio.Event().wait()

    cancelled = asyncio.create_task(bind("a"))
    hanging = asyncio.create_task(bind("b"))
    await asyncio.sleep(0)
    cancelled.cancel()
    await asyncio.gather(cancelled, return_exceptions=True)
    first, second = recorder.history()
    assert (first.client, first.ending, first.returned) == ("a", Ending.UNKNOWN, 3)
    assert (second.client, second.ending, second.returned) == ("b", Ending.UNKNOWN, None)
    hanging.cancel()
    await asyncio.gather(hanging, return_exceptions=True)


def test_a_replica_is_named_only_if_it_was_the_same_for_the_whole_call() -> None:
    recorder = ticking()
    for lives in (["a.0", "a.0"], ["a.0", "a.1"]):
        with recorder.call("a", Kind.LOCAL_GET, "k", replica=iter(lives).__next__) as call:
            call.answered(None)
    assert [event.replica for event in recorder.history()] == ["a.0", ""]


def test_threads_record_at_once() -> None:
    recorder = Recorder()

    def work(client: str) -> None:
        for _ in range(200):
            with recorder.call(client, Kind.GET, "k") as call:
                call.answered(None)

    threads = [threading.Thread(target=work, args=(f"t{number}",)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    history = recorder.history()
    assert len(history) == 1_600
    assert all(e.returned is not None and e.returned >= e.invoked for e in history)


def test_a_history_comes_back_from_its_file_as_it_was(tmp_path: Path) -> None:
    recorder = ticking()
    with recorder.call("a", Kind.BIND, "clé", unit="A") as call:
        call.answered(A1)
    with recorder.call("b", Kind.UNBIND, "clé", version=1):
        raise errors.OutcomeUnknown("late")
    with recorder.call("b", Kind.LOCAL_GET, "clé", replica=lambda: "b.0") as call:
        call.answered(None)
    path = tmp_path / "history.jsonl"
    write_history(path, recorder.history())
    assert read_history(path) == recorder.history()
    assert len(path.read_text(encoding="utf-8").splitlines()) == 4


@pytest.mark.parametrize("content", ["", "[]\n", "no JSON\n", '{"format":1}\n'])
def test_another_file_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "history.jsonl"
    path.write_text(content)
    with pytest.raises(UnreadableHistory):
        read_history(path)

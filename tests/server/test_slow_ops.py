"""An op that took too long gets a line that says where the time went; of a flood a few do."""

import pytest
from structlog.testing import capture_logs

from globaltable.server.slow_ops import LINES_MAX, SlowOps
from tests.server.test_measures import _Trio


@pytest.fixture
def trio() -> _Trio:
    trio = _Trio()
    trio.elect()
    trio.measures.listen(SlowOps(trio.first.core, 1.0).ended)
    return trio


def _bind(trio: _Trio, *keys: str, queue_s: float, replicate_s: float, client_id: int = 1) -> None:
    trio.bind(*keys, client_id=client_id)
    trio.fine_s += queue_s
    trio.first.clock.run()
    trio.fine_s += replicate_s
    trio.run()


def test_a_line_says_where_the_time_went(trio: _Trio) -> None:
    with capture_logs() as lines:
        _bind(trio, "cid:1", "cid:2", queue_s=0.25, replicate_s=1.5)
    (line,) = lines
    assert line == {
        "event": "slow op",
        "log_level": "warning",
        "ms": 1750.0,
        "queue_ms": 250.0,
        "replicate_ms": 1500.0,
        "group": 0,
        "leader": "a",
        "table": "t",
        "key": "cid:1",
        "ops": 2,
        "outcomes": {"applied": 2},
    }


def test_what_took_no_longer_than_allowed_gets_none(trio: _Trio) -> None:
    with capture_logs() as lines:
        _bind(trio, "k", queue_s=0.25, replicate_s=0.75)
    assert not lines


def test_a_flood_of_slow_ops_is_counted_and_not_written_out(trio: _Trio) -> None:
    with capture_logs() as lines:
        for client_id in range(2, LINES_MAX + 7):
            trio.bind(f"k{client_id}", client_id=client_id)
        _bind(trio, "k1", queue_s=2.0, replicate_s=0.0)
        assert len(lines) == LINES_MAX
        _bind(trio, "later", queue_s=2.0, replicate_s=0.0, client_id=99)
    assert lines[-1]["key"] == "later"
    assert lines[-1]["left_out"] == 6


def test_what_was_never_proposed_has_waited_all_the_time() -> None:
    trio = _Trio()
    trio.measures.listen(SlowOps(trio.first.core, 1.0).ended)
    trio.bind("k")
    trio.fine_s += 9.0
    trio.first.clock.now += 9.0
    with capture_logs() as lines:
        trio.first.clock.run()
    (line,) = lines
    assert (line["queue_ms"], line["replicate_ms"]) == (9000.0, 0.0)
    assert line["leader"] is None
    assert line["outcomes"] == {"unavailable": 1}

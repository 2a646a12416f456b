"""A line for each request, but only on demand; and how long it took, always."""

from structlog.testing import capture_logs

from globaltable.model import Outcome, OutcomeStatus
from globaltable.server.measures import Measures
from globaltable.server.requests import Requests


class _Clock:
    now = 1.0


def test_a_request_is_measured_and_silent() -> None:
    clock = _Clock()
    measures = Measures(lambda: clock.now)
    request = Requests(measures).begin("Read", "t", 3, "ipv4:127.0.0.1:9")
    clock.now += 0.25
    with capture_logs() as lines:
        request.end()
    assert not lines
    assert measures.requests["Read", "t"].sum_s == 0.25


def test_a_line_tells_what_was_asked_and_how_it_ended() -> None:
    clock = _Clock()
    requests = Requests(Measures(lambda: clock.now), lines=True)
    request = requests.begin("WriteStream", "t", 3, "ipv4:127.0.0.1:9")
    request.told([Outcome(OutcomeStatus.APPLIED, None)] * 2)
    request.told([Outcome(OutcomeStatus.EXISTS, None)])
    clock.now += 0.0125
    with capture_logs() as lines:
        request.end()
    assert lines == [
        {
            "event": "request",
            "log_level": "info",
            "method": "WriteStream",
            "table": "t",
            "items": 3,
            "ms": 12.5,
            "caller": "ipv4:127.0.0.1:9",
            "outcomes": {"applied": 2, "exists": 1},
        }
    ]


def test_lines_are_turned_on_and_off_for_requests_that_begin_later() -> None:
    requests = Requests(Measures(lambda: 0.0))
    early = requests.begin("Read", "t", 1, "")
    with capture_logs() as lines:
        requests.toggle_lines()
        late = requests.begin("Read", "t", 1, "")
        early.end()
        late.end("NoQuorum")
        requests.toggle_lines()
    assert [(line["event"], line.get("error")) for line in lines[1:-1]] == [("request", "NoQuorum")]
    assert [line["on"] for line in (lines[0], lines[-1])] == [True, False]

"""Spans at a node: for the ops that come with a context, and a bounded number for a request."""

from collections.abc import Sequence

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from globaltable.errors import ConfigError
from globaltable.model import Outcome, OutcomeStatus
from globaltable.server.tracing import TRACED_OPS_MAX, Tracing, provider_of
from globaltable.v1 import globaltable_pb2 as pb

TRACE = f"{7:032x}"


def _context(span: int, *, sampled: bool = True) -> str:
    return f"00-{TRACE}-{span:016x}-{'01' if sampled else '00'}"


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def tracing(exporter: InMemorySpanExporter) -> Tracing:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return Tracing(provider, "a", lambda group: "b")


class _Told:
    def __init__(self) -> None:
        self.told: list[tuple[list[int], list[Outcome]]] = []

    def __call__(self, positions: Sequence[int], outcomes: Sequence[Outcome]) -> None:
        self.told.append((list(positions), list(outcomes)))


def _request(*traceparents: str) -> pb.WriteStreamRequest:
    count = len(traceparents)
    return pb.WriteStreamRequest(
        table="t",
        kinds=[pb.OP_KIND_BIND] * count,
        keys=[f"k{number}" for number in range(count)],
        traceparents=traceparents,
    )


APPLIED = Outcome(OutcomeStatus.APPLIED, None)
UNKNOWN = Outcome(OutcomeStatus.UNKNOWN, None, "proposed, but its outcome was not learnt in time")


def test_a_span_ends_with_the_outcome_of_its_own_op(
    tracing: Tracing, exporter: InMemorySpanExporter
) -> None:
    told = _Told()
    traced = tracing.begin(_request(_context(1), "", _context(3)), told)
    traced([1, 2], [APPLIED, UNKNOWN])
    (late,) = exporter.get_finished_spans()
    assert late.parent is not None and late.parent.span_id == 3
    assert late.status.status_code is StatusCode.ERROR
    traced([0], [APPLIED])
    early = exporter.get_finished_spans()[1]
    assert early.parent is not None and early.parent.span_id == 1
    assert early.attributes is not None
    assert early.attributes["globaltable.outcome"] == "applied"
    assert early.attributes["globaltable.key"] == "k0"
    assert told.told == [([1, 2], [APPLIED, UNKNOWN]), ([0], [APPLIED])], "who waits is told all"


def test_what_is_not_sampled_is_not_exported(
    tracing: Tracing, exporter: InMemorySpanExporter
) -> None:
    tracing.begin(_request(_context(1, sampled=False)), _Told())([0], [APPLIED])
    assert not exporter.get_finished_spans()


def test_without_a_context_nothing_is_put_between(tracing: Tracing) -> None:
    told = _Told()
    assert tracing.begin(_request("", ""), told) is told


def test_of_one_request_so_many_spans_and_no_more(
    tracing: Tracing, exporter: InMemorySpanExporter
) -> None:
    count = TRACED_OPS_MAX + 10
    traced = tracing.begin(_request(*map(_context, range(1, count + 1))), _Told())
    traced(range(count), [APPLIED] * count)
    assert len(exporter.get_finished_spans()) == TRACED_OPS_MAX


@pytest.mark.parametrize("context", ["nonsense", "00-0-0-01", f"00-{'0' * 32}-{1:016x}-01", "\x00"])
def test_a_context_that_is_none_is_left_alone(tracing: Tracing, context: str) -> None:
    told = _Told()
    assert tracing.begin(_request(context), told) is told


def test_an_exporter_that_is_not_installed_is_refused_with_those_that_are() -> None:
    with pytest.raises(ConfigError, match=r"no-such.*console"):
        provider_of("no-such", "a", "a")

"""A span for each op that comes with a trace context: at the node that it entered, phase by phase.

The client's span is its parent (`client._tracing`). What happens at the leader and at the other
replicas has no spans of its own, for a batch has ops of many traces: the events `sealed` and
`applied` of the entry node's span say how long it waited, and how long it was with the leader,
which an attribute names.

Spans go to the exporter that `[tracing] exporter` names, by OpenTelemetry's own names (`otlp`,
`console`): whatever is installed and registered, configured by its environment variables. They are
handed over on a thread of the SDK's, whose queue is bounded and drops what does not fit.
"""

import time
from collections.abc import Callable, Sequence
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Final

from globaltable import __version__
from globaltable.errors import ConfigError
from globaltable.model import Outcome, OutcomeStatus
from globaltable.server.measures import Ticket, Told
from globaltable.v1 import globaltable_pb2 as pb

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span

_VERBS: Final = {pb.OP_KIND_BIND: "bind", pb.OP_KIND_MOVE: "move", pb.OP_KIND_UNBIND: "unbind"}
_FAILED: Final = {
    OutcomeStatus.UNAVAILABLE,
    OutcomeStatus.OVERLOADED,
    OutcomeStatus.UNKNOWN,
}
TRACED_OPS_MAX: Final = 64
"""Spans for one request: more of its ops go without, lest a client that samples everything makes a
node do nothing but trace."""


def provider_of(exporter: str, node: str, region: str) -> "TracerProvider":
    """Raises `ConfigError` if it is not installed."""
    try:
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"tracing.exporter = {exporter!r} needs OpenTelemetry: pip install "
            "'globaltable[tracing]', and its exporter"
        ) from error
    found = list(entry_points(group="opentelemetry_traces_exporter", name=exporter))
    if not found:
        known = sorted({one.name for one in entry_points(group="opentelemetry_traces_exporter")})
        raise ConfigError(
            f"tracing.exporter = {exporter!r} is not installed; there are {', '.join(known)}. For "
            "otlp: pip install opentelemetry-exporter-otlp"
        )
    resource = Resource.create(
        {
            "service.name": "globaltable",
            "service.version": __version__,
            "service.instance.id": node,
            "cloud.region": region,
        }
    )
    provider = TracerProvider(resource=resource)
    provider.add_span_processor(BatchSpanProcessor(found[0].load()()))
    return provider


class TracedTold:
    """Whom to tell of ops, some of which are traced; by their positions, the spans."""

    __slots__ = ("spans", "told")

    def __init__(self, told: Told, spans: "dict[int, Span]") -> None:
        self.told = told
        self.spans = spans

    def __call__(self, positions: Sequence[int], outcomes: Sequence[Outcome]) -> None:
        from opentelemetry.trace import Status, StatusCode

        for position, outcome in zip(positions, outcomes, strict=True):
            span = self.spans.pop(position, None)
            if span is None:
                continue
            span.set_attribute("globaltable.outcome", outcome.status.name.lower())
            if outcome.status in _FAILED:
                span.set_status(Status(StatusCode.ERROR, outcome.detail))
            span.end()
        self.told(positions, outcomes)


class Tracing:
    """Of one node."""

    def __init__(
        self, provider: "TracerProvider", node: str, leader_of: Callable[[int], str | None]
    ) -> None:
        """`leader_of` a group, as this node knows it, or None."""
        from opentelemetry import trace
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._trace = trace
        self._provider = provider
        self._tracer = provider.get_tracer("globaltable.server", __version__)
        self._propagator = TraceContextTextMapPropagator()
        self._node = node
        self._leader_of = leader_of

    def begin(self, request: pb.WriteStreamRequest, told: Told) -> Told:
        """Spans for the ops that come with a context; they end as `told`, or what this returns, is
        told."""
        spans: dict[int, Span] = {}
        for position, traceparent in enumerate(request.traceparents):
            if len(spans) == TRACED_OPS_MAX:
                break
            if traceparent:
                context = self._propagator.extract({"traceparent": traceparent})
                parent = self._trace.get_current_span(context).get_span_context()
                if parent.is_valid and parent.trace_flags.sampled:
                    spans[position] = self._begin(request, position, context)
        return TracedTold(told, spans) if spans else told

    def _begin(self, request: pb.WriteStreamRequest, position: int, context: "Context") -> "Span":
        verb = _VERBS.get(request.kinds[position], "op") if request.kinds else "op"
        key = request.keys[position] if request.keys else ""
        return self._tracer.start_span(
            f"globaltable.node {verb}",
            context=context,
            kind=self._trace.SpanKind.SERVER,
            attributes={
                "globaltable.node": self._node,
                "globaltable.key": key,
                "db.collection.name": request.table,
                "db.operation.name": verb,
            },
        )

    def ended(self, ticket: Ticket, outcomes: Sequence[Outcome], now: float) -> None:
        """Told of each ticket before who waits is (`Measures.listen`)."""
        told = ticket.told
        if not isinstance(told, TracedTold):
            return
        at_ns = time.time_ns()
        leader = self._leader_of(ticket.group)
        for position in ticket.positions:
            span = told.spans.get(position)
            if span is None:
                continue
            span.set_attribute("globaltable.group", ticket.group)
            if leader is not None:
                span.set_attribute("globaltable.leader", leader)
            if ticket.sealed_at:
                sealed_ns = at_ns - round((now - ticket.sealed_at) * 1e9)
                span.add_event("sealed", timestamp=sealed_ns)
                span.add_event("applied", timestamp=at_ns)

    def close(self) -> None:
        """Export what is left, for as long as the SDK takes."""
        self._provider.shutdown()

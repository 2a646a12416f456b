"""A span for each write, with OpenTelemetry: from the call until its outcome, over all attempts.

Its context goes along with the op, in a column of the write stream's requests: a stream carries the
ops of many callers, so gRPC's metadata, which is the stream's, cannot. Nodes that trace make a span
of their own below it. Only spans that are recorded are told of, so the caller's sampling is all
there is. It needs opentelemetry-api (the extra `tracing`); what is done with spans is the SDK's,
which the application sets up.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from globaltable import __version__
from globaltable.client._lanes import Ticket, WriteOp
from globaltable.errors import ConfigError, GlobalTableError

if TYPE_CHECKING:
    from opentelemetry.trace import Span


class Tracing:
    """Of one client."""

    def __init__(self, table: str) -> None:
        """Raises `ConfigError` if OpenTelemetry is not installed."""
        try:
            from opentelemetry import trace
            from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
        except ModuleNotFoundError as error:
            raise ConfigError(
                "tracing=True needs OpenTelemetry: pip install 'globaltable[tracing]'"
            ) from error
        self._trace = trace
        self._tracer = trace.get_tracer("globaltable.client", __version__)
        self._propagator = TraceContextTextMapPropagator()
        self._table = table

    def follow(self, ticket: Ticket[Any], waiter: "asyncio.Future[Any]") -> None:
        """Have a span begin now, and end with `waiter`."""
        span = self._begin(ticket)
        if span is not None:
            waiter.add_done_callback(
                lambda done: self._end(
                    span,
                    asyncio.CancelledError() if done.cancelled() else done.exception(),
                )
            )

    @contextmanager
    def span(self, ticket: Ticket[Any]) -> Iterator[None]:
        """For what is done within."""
        span = self._begin(ticket)
        try:
            yield
        except BaseException as error:
            if span is not None:
                self._end(span, error)
            raise
        if span is not None:
            self._end(span, None)

    def _begin(self, ticket: Ticket[Any]) -> "Span | None":
        op = ticket.payload
        if not isinstance(op, WriteOp):
            return None
        span = self._tracer.start_span(
            f"globaltable {op.verb}",
            kind=self._trace.SpanKind.CLIENT,
            attributes={
                "db.system.name": "globaltable",
                "db.operation.name": op.verb,
                "db.collection.name": self._table,
                "globaltable.unit": op.unit,
                **({"globaltable.key": op.key} if op.key else {}),
            },
        )
        if span.is_recording():
            carrier: dict[str, str] = {}
            self._propagator.inject(carrier, self._trace.set_span_in_context(span))
            ticket.payload = op._replace(traceparent=carrier.get("traceparent", ""))
        return span

    def _end(self, span: "Span", error: BaseException | None) -> None:
        if error is not None:
            span.set_attribute("error.type", type(error).__name__)
            told = str(error) if isinstance(error, GlobalTableError) else type(error).__name__
            span.set_status(self._trace.Status(self._trace.StatusCode.ERROR, told))
        span.end()

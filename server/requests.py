"""What is known of each request once it has been answered: how long it took, and on demand a line.

The line is for somebody who looks for one caller's requests, or at what a client does: it is off
unless `[log] requests` says otherwise, or SIGUSR1 has toggled it, for at full load it costs more
than the requests do.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import structlog

from globaltable.model import Outcome
from globaltable.server.measures import Measures
from globaltable.server.tracing import Tracing

log = structlog.get_logger(__name__)


class Request:
    """One that is under way."""

    __slots__ = ("_outcomes", "_requests", "began", "caller", "items", "method", "table")

    def __init__(
        self, requests: "Requests", method: str, table: str, items: int, caller: str
    ) -> None:
        self._requests = requests
        self.method = method
        self.table = table
        self.items = items
        self.caller = caller
        self.began = requests.measures.now()
        self._outcomes: Counter[str] | None = Counter() if requests.lines else None

    def told(self, outcomes: Sequence[Outcome]) -> None:
        """Some of its ops have ended."""
        if self._outcomes is not None:
            self._outcomes.update(outcome.status.name.lower() for outcome in outcomes)

    def end(self, error: str = "") -> None:
        """It was answered; `error` names why it failed as a whole."""
        measures = self._requests.measures
        measures.request(self.method, self.table, self.began)
        if self._outcomes is not None:
            took_ms = round((measures.now() - self.began) * 1000, 3)
            more: dict[str, Any] = {"outcomes": dict(self._outcomes)} if self._outcomes else {}
            if error:
                more["error"] = error
            log.info(
                "request",
                method=self.method,
                table=self.table,
                items=self.items,
                ms=took_ms,
                caller=self.caller,
                **more,
            )


class Requests:
    """Of one node."""

    def __init__(
        self, measures: Measures, *, lines: bool = False, tracing: Tracing | None = None
    ) -> None:
        self.measures = measures
        self.tracing = tracing
        self.lines = lines
        """Whether requests that begin from now on get a line each."""

    def toggle_lines(self) -> None:
        self.lines = not self.lines
        log.info("one line for each request", on=self.lines)

    def begin(self, method: str, table: str, items: int, caller: str) -> Request:
        """A request on a table that the cluster has; `items` are its ops or keys, 0 of a scan."""
        return Request(self, method, table, items, caller)

"""Connections on which nothing is asked: what their mere being there costs is measured."""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass

from globaltable.bench.activities.activity import Clock
from globaltable.bench.crowd import connections
from globaltable.bench.findings import Findings
from globaltable.bench.systems import Client


@dataclass(frozen=True, slots=True)
class IdleConnections:
    """Holds `count` bare connections open, to these addresses in turn, until stopped."""

    count: int
    addresses: Sequence[str]

    async def prepare(self, client: Client, label: str) -> None:
        pass

    async def run(self, client: Client, label: str, clock: Clock, findings: Findings) -> None:
        with contextlib.ExitStack() as held:
            findings.answers = len(held.enter_context(connections(self.addresses, self.count)))
            await clock.stop.wait()

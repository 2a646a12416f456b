"""Watchers to whom nothing happens: what their mere being there costs others is measured."""

import asyncio
from dataclasses import dataclass

from globaltable.bench.activities.activity import Clock
from globaltable.bench.findings import Findings
from globaltable.bench.systems import Client
from globaltable.bench.systems.globaltable import GlobalTableClient


@dataclass(frozen=True, slots=True)
class IdleWatches:
    """Holds `watches` open, each of a key that is never bound, until stopped."""

    watches: int

    async def prepare(self, client: Client, label: str) -> None:
        assert isinstance(client, GlobalTableClient), "only GlobalTable's own watches are measured"
        await client.watch([f"{label}:{number}" for number in range(self.watches)])

    async def run(self, client: Client, label: str, clock: Clock, findings: Findings) -> None:
        await clock.stop.wait()
        assert isinstance(client, GlobalTableClient)
        findings.answers = client.watching()
        await asyncio.sleep(0)

"""Watchers to whom little or nothing happens: what their being there costs others is measured."""

import asyncio
import contextlib
from dataclasses import dataclass

from globaltable.bench.activities.activity import Clock
from globaltable.bench.findings import Findings
from globaltable.bench.systems import Client
from globaltable.bench.systems.globaltable import GlobalTableClient


@dataclass(frozen=True, slots=True)
class IdleWatches:
    """Holds `watches` open, each of a key of its own, or of a prefix that no key has, until
    stopped. Of the keys so many are bound a second, one after another, each once."""

    watches: int
    prefixes: bool = False
    changes_per_s: float = 0.0

    async def prepare(self, client: Client, label: str) -> None:
        assert isinstance(client, GlobalTableClient), "only GlobalTable's own watches are measured"
        names = [f"{label}:{number}" for number in range(self.watches)]
        await client.watch(names, prefixes=self.prefixes)

    async def run(self, client: Client, label: str, clock: Clock, findings: Findings) -> None:
        assert isinstance(client, GlobalTableClient)
        number = 0
        while self.changes_per_s and number < self.watches and not clock.stop.is_set():
            with contextlib.suppress(Exception):  # it is the load that is measured, and may be slow
                await client.create(f"{label}:{number}", label)
            number += 1
            await clock.sleep_until(number / self.changes_per_s)
        await clock.stop.wait()
        findings.answers = client.watching()
        await asyncio.sleep(0)

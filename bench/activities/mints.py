"""One caller who creates sessions, in turn under a key that the library mints and one of its own.

In turn, so that both kinds see the same minutes. The minted keys are told, for which groups they
fell into is what their latency hangs on.
"""

import contextlib
from dataclasses import dataclass
from typing import Final

from globaltable.bench.activities.activity import Clock, create, record_failure, warm_up
from globaltable.bench.findings import Findings
from globaltable.bench.systems import Client
from globaltable.bench.systems.globaltable import GlobalTableClient

MINTED: Final = "minted"


@dataclass(frozen=True, slots=True)
class Mints:
    """`ops` of each kind, one outstanding. The latencies of keys of its own are those of `WON`."""

    ops: int
    warm_up_ops: int = 20

    async def prepare(self, client: Client, label: str) -> None:
        assert isinstance(client, GlobalTableClient), "only GlobalTable mints keys"
        await warm_up(client, label, self.warm_up_ops)
        for _ in range(self.warm_up_ops):
            # The first also asks the node where keys are bound soonest.
            with contextlib.suppress(Exception):
                await client.create_minted(f"{label}:warm:", label)

    async def run(self, client: Client, label: str, clock: Clock, findings: Findings) -> None:
        assert isinstance(client, GlobalTableClient)
        for number in range(self.ops):
            if clock.stop.is_set():
                return
            await _create_minted(client, label, clock, findings)
            await create(client, f"{label}:{number}", label, clock.now_s(), clock, findings)


async def _create_minted(
    client: GlobalTableClient, label: str, clock: Clock, findings: Findings
) -> None:
    began_s = clock.now_s()
    try:
        key = await client.create_minted(f"{label}:", label)
    except Exception as error:
        record_failure(error, began_s, clock, findings)
        return
    now_s = clock.now_s()
    findings.record(MINTED, now_s - began_s, now_s)
    findings.won.append(key)

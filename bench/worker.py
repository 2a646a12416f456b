"""One process of load: `python -m globaltable.bench.worker`, run in a region by its parent.

The conversation, a line each: a job in JSON arrives on stdin; `ready` is said when the client is
connected and warm; `go SECONDS` gives the common start (CLOCK_MONOTONIC); `stop` ends an activity
that goes on until then; the findings leave as JSON. The parent's end of stdin closing ends all.

Targets cross as pickle: parent and child are one program under one user, and no socket is involved.
"""

import asyncio
import base64
import gc
import json
import pickle
import sys
import time
from dataclasses import dataclass
from typing import Any, Final

import uvloop

from globaltable.bench.activities import registry
from globaltable.bench.activities.activity import Clock
from globaltable.bench.activities.registry import AnyActivity
from globaltable.bench.findings import Findings
from globaltable.bench.systems import Target

_ALLOCATIONS_BETWEEN_COLLECTIONS: Final = 50_000


@dataclass(frozen=True, slots=True)
class Job:
    """What one process is to do."""

    target: Target
    label: str
    activity: AnyActivity

    def to_json(self) -> dict[str, Any]:
        return {
            "target": base64.b64encode(pickle.dumps(self.target)).decode("ascii"),
            "label": self.label,
            "activity": registry.to_json(self.activity),
        }

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> "Job":
        return cls(
            target=pickle.loads(base64.b64decode(document["target"])),
            label=document["label"],
            activity=registry.from_json(document["activity"]),
        )


async def work(job: Job, commands: asyncio.StreamReader) -> Findings:
    """Do the job; `commands` are the parent's lines after it."""
    client = await job.target.connect()
    try:
        await job.activity.prepare(client, job.label)
        _collect_seldom()
        _say("ready")
        word, start_s = (await commands.readline()).split()
        assert word == b"go", word
        clock = Clock(float(start_s), asyncio.Event())
        listening = asyncio.create_task(_listen(commands, clock))
        await clock.sleep_until(0.0)
        findings = Findings()
        used_s = time.process_time()
        await job.activity.run(client, job.label, clock, findings)
        findings.cpu_s = time.process_time() - used_s
        findings.took_s = findings.took_s or clock.now_s()
        listening.cancel()
        return findings
    finally:
        await client.close()


def _collect_seldom() -> None:
    """With tens of thousands of ops under way each full collection looks at all of them: time that
    would be taken from those who are measured."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_ALLOCATIONS_BETWEEN_COLLECTIONS, 50, 100)


async def _listen(commands: asyncio.StreamReader, clock: Clock) -> None:
    """Any line, or the end of the parent, stops the activity."""
    await commands.readline()
    clock.stop.set()


async def _main() -> None:
    commands = asyncio.StreamReader(limit=1 << 26)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    job = Job.from_json(json.loads(await commands.readline()))
    _say(json.dumps((await work(job, commands)).to_json()))


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    uvloop.run(_main())

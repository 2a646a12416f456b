"""Load in processes of their own, each placed in a region, all begun at one moment.

Responsible for their life: whatever happens, every process started here is ended here, by its id.
A process that fails takes the measurement with it; the error ends with what the process said.
"""

import contextlib
import json
import math
import re
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Final

from globaltable.bench.activities.registry import AnyActivity
from globaltable.bench.findings import Findings
from globaltable.bench.network import Network
from globaltable.bench.systems import Target
from globaltable.bench.worker import Job
from globaltable.errors import GlobalTableError
from globaltable.testing.tether import pass_fds, tied

READY_TIMEOUT_S: Final = 180.0
_START_IN_S: Final = 0.1
"""So that all have heard before it is time."""


class WorkerFailed(GlobalTableError):
    """A load process ended early, or did not answer."""


@dataclass(frozen=True, slots=True)
class Placement:
    """One process: where it runs, what it connects to, what it does."""

    region: str
    target: Target
    activity: AnyActivity


class Team:
    """Processes that are connected and wait for the start."""

    def __init__(self, members: Sequence["_Member"]) -> None:
        self._members = members
        self.start_s = math.nan

    def go(self) -> None:
        """Begin, all at the same moment: `start_s`, of CLOCK_MONOTONIC."""
        self.start_s = time.monotonic() + _START_IN_S
        for member in self._members:
            member.tell(f"go {self.start_s!r}")

    def stop(self) -> None:
        """End what would go on for ever; `findings` come soon."""
        for member in self._members:
            member.tell("stop")

    def findings(self, timeout_s: float) -> dict[str, Findings]:
        """Wait for all; by region, processes of one region added up."""
        deadline_s = time.monotonic() + timeout_s
        by_region: dict[str, list[Findings]] = {}
        for member in self._members:
            document = json.loads(member.hear(deadline_s))
            by_region.setdefault(member.region, []).append(Findings.from_json(document))
        return {region: Findings.total(parts) for region, parts in by_region.items()}


@contextlib.contextmanager
def team(network: Network, label: str, placements: Sequence[Placement]) -> Iterator[Team]:
    """Start the processes, and wait until all are ready. `label` begins all their keys."""
    with contextlib.ExitStack() as stack:
        members = []
        for number, placement in enumerate(placements):
            wrapper = network.wrappers.get(placement.region, ())
            member = stack.enter_context(_started(placement.region, wrapper))
            own = f"{label}:{placement.region}{number}"
            member.tell(json.dumps(Job(placement.target, own, placement.activity).to_json()))
            members.append(member)
        deadline_s = time.monotonic() + READY_TIMEOUT_S
        for member in members:
            said = member.hear(deadline_s)
            if said != "ready":
                raise WorkerFailed(f"load process in {member.region}: said {said[:200]!r}")
        yield Team(members)


def run(
    network: Network, label: str, placements: Sequence[Placement], timeout_s: float
) -> dict[str, Findings]:
    """From start to findings, for activities that end by themselves."""
    with team(network, label, placements) as members:
        members.go()
        return members.findings(timeout_s)


def everywhere(
    targets: Mapping[str, Target], activity: AnyActivity, processes_per_region: int = 1
) -> list[Placement]:
    """The same activity in each of the regions."""
    return [
        Placement(region, target, activity)
        for region, target in targets.items()
        for _ in range(processes_per_region)
    ]


class _Member:
    def __init__(self, region: str, process: subprocess.Popen[str], log: IO[bytes]) -> None:
        self.region = region
        self._process = process
        self._log = log
        self._heard = ""

    def tell(self, line: str) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._failure("ended early") from None

    def hear(self, deadline_s: float) -> str:
        """The next line. Raises WorkerFailed."""
        output = self._process.stdout
        assert output is not None
        # A line is awaited whole: the child writes it in one go, and then nothing more.
        ready, _, _ = select.select([output], [], [], max(0.0, deadline_s - time.monotonic()))
        if not ready:
            raise self._failure("did not answer in time")
        line = output.readline()
        if not line:
            raise self._failure("ended early")
        return line.rstrip("\n")

    def _failure(self, what: str) -> WorkerFailed:
        self._log.seek(0)
        said = self._log.read().decode(errors="replace").splitlines()
        # A traceback's last line that names an error, and what little follows it.
        named = [n for n, line in enumerate(said) if re.match(r"[ |]*[\w.]+: ", line)]
        tail = " ".join(line.strip(" |\t+-") for line in said[named[-1] if named else -1 :][:4])
        return WorkerFailed(f"load process in {self.region}: {what}; it said: {tail or 'nothing'}")


@contextlib.contextmanager
def _started(region: str, wrapper: Sequence[str]) -> Iterator[_Member]:
    command = [*wrapper, sys.executable, "-m", "globaltable.bench.worker"]
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            tied(command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            pass_fds=pass_fds(),
        )
        try:
            yield _Member(region, process, log)
        finally:
            assert process.stdin is not None and process.stdout is not None
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
            try:
                process.wait(10.0)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            process.stdout.close()

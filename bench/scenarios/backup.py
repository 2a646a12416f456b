"""What a backup costs those who write meanwhile, and how fast it and its return are.

A cluster is filled, and loaded by callers that await each bind, in phases: by themselves, and while
one backup after the other is taken. Phases alternate, so that both kinds see the same minutes; the
goal is about their p99. Then the replicas are compared, and the last backup is restored into a new
cluster of another shape.
"""

import json
import subprocess
import sys
import tempfile
import threading
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from globaltable.bench.findings import Findings
from globaltable.bench.processes import HighestMemory
from globaltable.bench.results import Measurement
from globaltable.bench.scenarios.growth import Grown, check_filled, filled_cluster
from globaltable.bench.scenarios.scenario import Scenario, Stage
from globaltable.bench.systems.globaltable import TABLE, GlobalTableRunning, GlobalTableSystem
from globaltable.errors import GlobalTableError
from globaltable.testing import LocalCluster
from globaltable.testing.tether import pass_fds, tied

NAME: Final = "backup"
_NEW_REGIONS: Final = ("p", "q", "r")
_NEW_GROUPS: Final = 5


class CommandFailed(GlobalTableError):
    """The message is what it printed."""


def _command(name: str, *arguments: object) -> dict[str, Any]:
    """A command of the CLI, and the JSON that it printed."""
    command = [sys.executable, "-m", "globaltable", name, *map(str, arguments), "--json"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    if run.returncode:
        raise CommandFailed(f"{name}: {run.stderr or run.stdout}")
    return dict(json.loads(run.stdout)) if run.stdout.startswith("{") else {}


class _Backups:
    """One after the other while it is entered, from the first region's node."""

    def __init__(self, cluster: LocalCluster, file: Path) -> None:
        self._address = cluster.addresses[cluster.regions[0]]
        self._file = file
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.taken: list[dict[str, Any]] = []
        self.process: subprocess.Popen[str] | None = None
        self._failure = ""

    def __enter__(self) -> "_Backups":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        if self._failure:
            raise CommandFailed(f"backup: {self._failure}")

    def pids(self) -> Mapping[str, int]:
        process = self.process
        return {"backup": process.pid} if process is not None and process.poll() is None else {}

    def _run(self) -> None:
        command = [sys.executable, "-m", "globaltable", "backup", str(self._file)]
        command += ["--node", self._address, "--force", "--json"]
        while not self._ended.is_set() and not self._failure:
            self.process = subprocess.Popen(
                tied(command),
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                pass_fds=pass_fds(),
            )
            told, said = self.process.communicate()
            if self.process.returncode:
                self._failure = said
            else:
                self.taken.append(json.loads(told))


def _measured(
    stage: Stage, running: GlobalTableRunning, options: Namespace, directory: Path, repeat: int
) -> Measurement:
    cluster = running.cluster
    check_filled(list(cluster.addresses.values()), options.sessions)
    grown = Grown(stage, running)
    grown.warm()
    grown.load(options.callers, 2.0)
    file = directory / f"{repeat}.backup"
    alone, meanwhile, taken = [], [], []
    memory_mb = 0.0
    for _ in range(options.phases):
        alone.append(grown.load(options.callers, options.seconds))
        with _Backups(cluster, file) as backups, HighestMemory(backups.pids) as highest:
            meanwhile.append(grown.load(options.callers, options.seconds))
        taken += backups.taken
        memory_mb = max(memory_mb, *highest.mb.values(), 0.0)
    before, amid = Findings.total(alone), Findings.total(meanwhile)
    last = taken[-1]
    figures = {
        "p50_before_ms": before.answered.percentile_ms(50),
        "p99_before_ms": before.answered.percentile_ms(99),
        "p50_meanwhile_ms": amid.answered.percentile_ms(50),
        "p99_meanwhile_ms": amid.answered.percentile_ms(99),
        "binds_per_s_before": before.answers / (options.seconds * options.phases),
        "binds_per_s_meanwhile": amid.answers / (options.seconds * options.phases),
        "failed": float(before.failed + amid.failed),
        "backups": float(len(taken)),
        "backup_s": sum(one["seconds"] for one in taken) / len(taken),
        "backup_rows": float(last["rows"]),
        "backup_mb": last["bytes"] / 1e6,
        "backup_process_mb": memory_mb,
    }
    began_s = time.monotonic()
    _command("check", "--config", cluster.config_path)
    figures["check_s"] = time.monotonic() - began_s
    figures |= _restored(file)
    latencies = {"before": before.answered, "meanwhile": amid.answered}
    case = {"sessions": options.sessions, "callers": options.callers}
    return Measurement(NAME, GlobalTableSystem.name, case, repeat, figures, latencies)


def _restored(file: Path) -> dict[str, float]:
    began_s = time.monotonic()
    verified = _command("verify", file)
    verified_s = time.monotonic() - began_s
    with LocalCluster(_NEW_REGIONS, tables=(TABLE,), groups=_NEW_GROUPS) as cluster:
        restored = _command("restore", file, "--config", cluster.config_path)
    return {
        "verified_rows_per_s": verified["rows"] / verified_s,
        "restored_rows_per_s": restored["imported"] / restored["seconds"],
    }


def measure(stage: Stage, options: Namespace) -> Iterator[Measurement]:
    for repeat in range(stage.repeats):
        stage.say(f"{NAME} {repeat + 1}/{stage.repeats}: {options.sessions:,} sessions")
        system = GlobalTableSystem(prepare=filled_cluster(options.sessions))
        with system.start(stage.network) as running, tempfile.TemporaryDirectory() as directory:
            yield _measured(stage, running, options, Path(directory), repeat)


def add_options(parser: ArgumentParser) -> None:
    parser.add_argument("--sessions", type=int, default=300_000, help="there before (%(default)s)")
    parser.add_argument("--callers", type=int, default=24, help="of all regions (%(default)s)")
    parser.add_argument(
        "--seconds", type=float, default=8.0, help="of each phase of load (%(default)s)"
    )
    parser.add_argument("--phases", type=int, default=3, help="of each kind (%(default)s)")


SCENARIO: Final = Scenario(
    NAME,
    "p99 of writes while backups are taken; how fast backup, verify and restore are",
    measure,
    add_options,
    short=("--seconds", "5", "--phases", "2"),
    repeats_in_all=1,
)

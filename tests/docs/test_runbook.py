"""Promise: every command of the runbook does what it says, on nodes in the state that it is for."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

import pytest

from globaltable.client import SyncGlobalTable
from globaltable.store import identity
from globaltable.testing import LocalCluster
from tests.cluster.damage import flip
from tests.cluster.of_before import founded_before
from tests.docs.blocks import Block, blocks_of
from tests.docs.shell import DocumentShell

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

RUNBOOK: Final = "docs/runbook.md"
TABLE: Final = "im.session"
KEYS: Final = 50

Task = list[Block]


def _tasks() -> dict[str, Task]:
    tasks: dict[str, Task] = {}
    for block in blocks_of(RUNBOOK):
        tasks.setdefault(block.heading, []).append(block)
    return tasks


def _kill(node: str) -> Callable[[LocalCluster], None]:
    return lambda cluster: cluster.kill(node)


def _damage(cluster: LocalCluster) -> None:
    cluster.terminate("shanghai")
    group = (1).to_bytes(2, "big")
    flip(cluster.data_dir("shanghai") / "log", b"entries", lambda key, _: key[:2] == group)
    cluster.start("shanghai")
    cluster.wait_serving("shanghai")
    assert cluster.status("shanghai").groups[1].failed


def _lose_disk(cluster: LocalCluster) -> None:
    cluster.kill("shanghai")
    for file in sorted(cluster.data_dir("shanghai").rglob("*"), reverse=True):
        file.rmdir() if file.is_dir() else file.unlink()


def _lose_majority(cluster: LocalCluster) -> None:
    cluster.kill("shanghai")
    cluster.kill("shenzhen")


UPGRADE: Final = "Upgrade to a new release"

BEFORE: Final[Mapping[str, Callable[[LocalCluster], None]]] = {
    UPGRADE: founded_before,
    "A node is down": _kill("shanghai"),
    "A disk is full": _kill("shanghai"),
    "A record is damaged": _damage,
    "A disk is lost": _lose_disk,
    "Replace a dead node": _kill("shanghai"),
    "A majority of regions is gone for good": _lose_majority,
}
"""What has happened when somebody opens the runbook there."""

AFTER_ADDING: Final = "A region is gone"
"""Its command needs a region more than there are replicas."""


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[DocumentShell]:
    regions = ("beijing", "shanghai", "shenzhen")
    with (
        LocalCluster(regions, cluster="example", directory=tmp_path) as cluster,
        DocumentShell(cluster, monkeypatch, ["hangzhou", "suzhou"]) as shell,
    ):
        with SyncGlobalTable.connect(cluster.addresses.values(), table=TABLE) as sessions:
            for number in range(KEYS):
                sessions.bind(f"cid:{number}", "A", timeout=10)
        yield shell


def _carry_out(shell: DocumentShell, task: Task) -> str:
    told = ""
    for block in task:
        if block.language == "toml":
            shell.append("cluster.toml", block.text)
        else:
            assert block.language == "sh", f"{block.heading}: {block.language!r}"
            told = shell.run(block.text)
    return told


TASKS: Final = _tasks()


@pytest.mark.parametrize("heading", [heading for heading in TASKS if heading != "Runbook"])
def test_a_task_is_done_by_its_commands(heading: str, shell: DocumentShell) -> None:
    """And no binding is lost by it, nor bound again."""
    _carry_out(shell, TASKS["Runbook"])
    if heading == AFTER_ADDING:
        _carry_out(shell, TASKS["Add a region"])
        shell.cluster.kill("shenzhen")
    if heading in BEFORE:
        BEFORE[heading](shell.cluster)
    told = _carry_out(shell, TASKS[heading])
    if heading == "A majority of regions is gone for good":
        assert f"{KEYS} bindings" in told or f" {KEYS} " in told, told
        return
    if heading == UPGRADE:
        assert "level 2 is in force, the newest" in told, told
        levels = {identity.noted_level(shell.cluster.data_dir(n)) for n in shell.cluster.nodes}
        assert levels == {2}
    left = [a for node, a in shell.cluster.addresses.items() if shell.cluster.is_running(node)]
    with SyncGlobalTable.connect(left, table=TABLE, timeout=10) as sessions:
        for number in range(KEYS):
            assert not sessions.bind(f"cid:{number}", "B").created


def test_what_has_happened_is_of_tasks_that_there_are() -> None:
    assert {*BEFORE, AFTER_ADDING} <= TASKS.keys()

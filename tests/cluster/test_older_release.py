"""Promise: a cluster of an older release is taken to this one node by node, under load, and no op
on a key tells otherwise: nothing is lost, and no two are told different things.

The older release is built from this repository's history, and its nodes are real: they write the
data directories that this release goes on with. Until the upgrade is finalized a node may go back,
and nothing that it could not read is allowed; from then on it is refused, and says why.
"""

import asyncio
import contextlib
import io
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Final

import pytest

from globaltable.cli.main import run as run_command
from globaltable.testing import LocalCluster
from tests.cluster import older_release
from tests.cluster.sessions import wait_equal
from tests.faults.history import Ending, Event, write_history
from tests.faults.judge import judge
from tests.faults.recorder import Recorder
from tests.faults.workload import TABLE, Lives, Plan, run

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

OLDER: Final = {
    "before slots moved": "32f3524678ca38ed98acdc4e71e1de6d53d6d70d",
    "before levels": "ab6d627507a76b399736a8a19d50b75b0d5ce41b",
}
"""Both speak version 4 of the protocol, each in words of its own, and know no levels. The first can
read neither steps of moves nor topologies with more groups."""
ROOT: Final = Path(__file__).parents[2]
PLAN: Final = Plan(seed=3, seconds=600.0, clients_per_region=2, pause_s=0.03)
_PATIENCE_S: Final = 30.0
_BUILD_TIMEOUT_S: Final = 120.0
_FAILED_SHARE_MAX: Final = 0.01
"""Of the ops of clients that may go to any node."""


@pytest.fixture(scope="module", params=OLDER)
def older(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """Where the older release is installed: its wheel alone, without what it depends on."""
    commit = OLDER[request.param]
    directory = tmp_path_factory.mktemp("older")
    known = ["git", "-C", str(ROOT), "cat-file", "-e", f"{commit}^{{commit}}"]
    try:
        if subprocess.run(known, capture_output=True, check=False).returncode:
            pytest.skip(f"commit {commit[:7]} is not in this checkout's history: fetch all of it")
    except FileNotFoundError:
        pytest.skip("git is not installed, and the older release comes from the history")
    archive = subprocess.run(
        ["git", "-C", str(ROOT), "archive", commit], capture_output=True, check=True
    )
    source = directory / "source"
    source.mkdir()
    subprocess.run(["tar", "-x", "-C", str(source)], input=archive.stdout, check=True)
    alone = ["--quiet", "--no-deps", "--no-index", "--disable-pip-version-check"]
    _pip("wheel", *alone, "--no-build-isolation", "--wheel-dir", str(directory), str(source))
    (wheel,) = directory.glob("*.whl")
    _pip("install", *alone, "--target", str(directory / "installed"), str(wheel))
    return directory / "installed"


def _pip(*words: str) -> None:
    subprocess.run(
        [sys.executable, "-m", "pip", *words], check=True, timeout=_BUILD_TIMEOUT_S, cwd="/"
    )


class Upgrade:
    """A cluster, of whose nodes each is of the one release or the other."""

    def __init__(self, cluster: LocalCluster, older: Path, lives: Lives) -> None:
        self.cluster = cluster
        self._older = older
        self._lives = lives

    def is_older(self, node: str, older: bool) -> None:
        """From its next start on."""
        file = _release_file(self.cluster.directory, node)
        if older:
            file.write_text(str(self._older))
        else:
            file.unlink(missing_ok=True)

    def replace(self, node: str, *, older: bool = False) -> None:
        """By the other release, on the same data directory; ends when the cluster is well."""
        self._lives.end(node)
        assert self.cluster.terminate(node) == 0
        self._lives.begin(node)
        self.is_older(node, older)
        self.cluster.start(node)
        self.cluster.wait_ready(_PATIENCE_S)
        for peer in self.cluster.nodes:
            wait_until(partial(self._is_connected, peer))

    def _is_connected(self, node: str) -> bool:
        return all(peer.connected for peer in self.cluster.status(node).peers)

    def command(self, *words: str) -> tuple[int, str]:
        """Its exit status, and what it printed."""
        out = io.StringIO()
        endpoints = ",".join(self.cluster.addresses.values())
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            status = run_command([*words, "--endpoints", endpoints])
        return status, out.getvalue()


def _release_file(directory: Path, node: str) -> Path:
    return directory / f"{node}.older"


def wait_until(reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture
def lives() -> Lives:
    return Lives()


@pytest.fixture
def upgrade(older: Path, lives: Lives, tmp_path: Path) -> Iterator[Upgrade]:
    script = str(Path(older_release.__file__))
    wrappers = {n: [sys.executable, script, str(_release_file(tmp_path, n))] for n in "abc"}
    cluster = LocalCluster(tables=[TABLE], groups=3, directory=tmp_path, wrappers=wrappers)
    upgrade = Upgrade(cluster, older, lives)
    for node in cluster.nodes:
        upgrade.is_older(node, True)
    with cluster:
        yield upgrade


def _to_the_newer(upgrade: Upgrade) -> None:
    """In a thread beside the load."""
    upgrade.replace("a")
    # Back, before anything was finalized, and once more.
    upgrade.replace("a", older=True)
    upgrade.replace("a")
    status, told = upgrade.command("upgrade")
    assert status == 0 and "level 1 is in force" in told, told
    status, told = upgrade.command("upgrade", "--finalize")
    assert status == 1 and "b: it understands level 1; c: it understands level 1" in told, told
    upgrade.replace("b")
    upgrade.replace("c")
    upgrade.replace("c", older=True)
    upgrade.replace("c")
    for words in (("slots", "move", "1,4-40/3", "--to", "2"), ("groups", "grow", "--to", "4")):
        status, told = upgrade.command(*words)
        assert status == 1 and "finalize the upgrade first" in told, told
    upgrade.cluster.pause("c")
    try:
        status, told = upgrade.command("upgrade", "--finalize")
        assert status == 1 and "c: it does not answer" in told, told
    finally:
        upgrade.cluster.resume("c")
    wait_until(lambda: "every node understands it" in upgrade.command("upgrade")[1])
    status, told = upgrade.command("upgrade", "--finalize")
    assert status == 0 and "level 2 is in force" in told, told


async def _under_load(upgrade: Upgrade, recorder: Recorder, lives: Lives) -> list[Event]:
    """Upgraded, and then slots moved; all that was recorded before the moves."""
    loading = asyncio.create_task(run(PLAN, upgrade.cluster.addresses, recorder, lives))
    try:
        clients = PLAN.clients_per_region * len(upgrade.cluster.nodes)
        while len({event.client for event in recorder.history()}) < clients:
            assert not loading.done()
            await asyncio.sleep(0.05)
        await asyncio.to_thread(_to_the_newer, upgrade)
        before_moves = recorder.history()
        for words in (("slots", "move", "1,4-40/3", "--to", "2"), ("groups", "grow", "--to", "4")):
            status, told = await asyncio.to_thread(upgrade.command, *words)
            assert status == 0, told
        await asyncio.sleep(1.0)
        assert not loading.done()
    finally:
        loading.cancel()
        await asyncio.gather(loading, return_exceptions=True)
    return before_moves


def _without_revisions(events: list[Event]) -> list[Event]:
    """A key's revision is another once its slot has moved; its version is the same."""
    return [
        event._replace(told=event.told._replace(revision=0)) if event.told is not None else event
        for event in events
    ]


@pytest.mark.timeout(600)
def test_an_older_release_is_replaced_node_by_node_and_then_slots_move(
    upgrade: Upgrade, lives: Lives, tmp_path: Path
) -> None:
    recorder = Recorder()
    before_moves = asyncio.run(_under_load(upgrade, recorder, lives))
    history = recorder.history()
    write_history(tmp_path / "history.jsonl", history)
    for told in (before_moves, _without_revisions(history)):
        judgement = judge(told)
        assert judgement.kept, judgement
        assert judgement.endings[Ending.OK] > 300 and judgement.contended > 20, judgement
    # Every other client of a region may go to any node; at the end each has one op under way.
    roaming = [event for event in history if int(event.client[1:]) % 2]
    failed = [e for e in roaming if e.ending in (Ending.FAILED, Ending.UNKNOWN) and e.error]
    failed = [event for event in failed if event.error != "CancelledError"]
    assert len(failed) <= _FAILED_SHARE_MAX * len(roaming), failed
    wait_equal(upgrade.cluster)
    _is_refused_from_now_on(upgrade)


def _is_refused_from_now_on(upgrade: Upgrade) -> None:
    """On its own directory, and on an empty one."""
    cluster = upgrade.cluster
    assert cluster.terminate("c") == 0
    upgrade.is_older("c", True)
    cluster.start("c")
    wait_until(lambda: not cluster.is_running("c"))
    assert "level 2: use newer release" in cluster.log_path("c").read_text()
    cluster.data_dir("c").rename(cluster.directory / "c.before")
    began = cluster.log_path("c").stat().st_size
    cluster.start("c")
    reason = b"level 2 is in force, and this release understands level 1: start it with"
    wait_until(lambda: reason in cluster.log_path("c").read_bytes()[began:])

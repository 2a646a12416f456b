"""Promise: nothing that an older release could not read is written before the upgrade is finalized,
by the command, on real nodes; and who does not understand what is in force does not start."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from globaltable.cli.main import run
from globaltable.server.config_file import render
from globaltable.server.security import Permission, Right, Security
from globaltable.store import identity
from globaltable.testing import LocalCluster
from globaltable.wire.packing import pack, unpack
from tests.cluster.of_before import founded_before
from tests.cluster.sessions import connect

pytestmark = pytest.mark.cluster

_PATIENCE_S = 15.0


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[LocalCluster]:
    with LocalCluster(directory=tmp_path, slots=64) as cluster:
        founded_before(cluster)
        yield cluster


def _command(
    cluster: LocalCluster, capsys: pytest.CaptureFixture[str], *words: str
) -> tuple[int, str]:
    status = run([*words, "--endpoints", ",".join(cluster.addresses.values())])
    told = capsys.readouterr()
    return status, told.out + told.err


@pytest.mark.long
def test_slots_move_only_once_the_upgrade_is_final_and_who_is_too_old_is_refused(
    cluster: LocalCluster, capsys: pytest.CaptureFixture[str]
) -> None:
    with connect(cluster) as sessions:
        bound = {f"cid:{n}": sessions.bind(f"cid:{n}", "A") for n in range(100)}
        status, told = _command(cluster, capsys, "upgrade")
        assert status == 0 and "level 1 is in force" in told, told
        assert "level 2 allows: more groups, and moves of slots" in told
        status, told = _command(cluster, capsys, "status")
        assert status == 0 and "some nodes understand 2: globaltable upgrade" in told
        move = ("slots", "move", "1-31/3", "--to", "0")
        status, told = _command(cluster, capsys, *move)
        assert status == 1 and "finalize the upgrade first" in told, told
        cluster.pause("b")
        status, told = _command(cluster, capsys, "upgrade", "--finalize")
        cluster.resume("b")
        assert status == 1 and "b: it does not answer" in told, told
        status, told = _command(cluster, capsys, "upgrade", "--finalize")
        assert status == 0 and "level 2 is in force, the newest" in told, told
        assert {identity.noted_level(cluster.data_dir(node)) for node in cluster.nodes} == {2}
        assert _command(cluster, capsys, *move)[0] == 0
        held = dict(sessions.scan())
        assert {key: held[key].unit for key in held} == dict.fromkeys(bound, "A")
    # As a later release would leave it.
    cluster.kill("c")
    _of_level(cluster.data_dir("c"), 3)
    cluster.start("c")
    _wait_ended(cluster, "c")
    told = cluster.log_path("c").read_text()
    assert "level 3 is in force, and this release understands levels 1 to 2: start it with" in told


def _of_level(directory: Path, level: int) -> None:
    found = dict(unpack((directory / "identity").read_bytes()))
    (directory / "identity").write_bytes(pack([*{**found, "level": level}.items()]))


def _wait_ended(cluster: LocalCluster, node: str) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while cluster.is_running(node):
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.slow
def test_who_joins_a_cluster_of_a_later_level_is_told_so_and_ends(tmp_path: Path) -> None:
    """The nodes that run have noted a level that a node of this release does not understand: by its
    handshake they know, as they know of one that is added."""
    with LocalCluster(directory=tmp_path) as cluster:
        for node in cluster.nodes:
            identity.note_level(cluster.data_dir(node), 2)
        script = tmp_path / "understands_less.py"
        script.write_text(
            "import runpy, sys\n"
            "import globaltable.levels as levels\n"
            "levels.UNDERSTOOD = levels.Levels(1, 1)\n"
            "sys.argv = ['globaltable', *sys.argv[1:]]\n"
            "runpy.run_module('globaltable', run_name='__main__', alter_sys=True)\n"
        )
        config = tmp_path / "joins.toml"
        text = render(cluster.config)
        text += '[regions."d"]\npeer = "127.0.0.1:1"\nclient = "127.0.0.1:2"\n'
        config.write_text(text + f'data_dir = "{tmp_path / "d"}"\n')
        command = [sys.executable, str(script), "node", "--config", str(config), "--node", "d"]
        ended = subprocess.run(
            [*command, "--join"], capture_output=True, text=True, timeout=30, check=False
        )
    assert ended.returncode == 2, ended.stderr
    assert "node d cannot join" in ended.stderr
    assert "level 2 is in force, and this release understands level 1" in ended.stderr


@pytest.mark.slow
def test_over_tls_nodes_ask_each_other_and_only_administrators_finalize(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    secure = Security(
        permissions=(
            Permission(("web",), frozenset((Right.READ, Right.BIND)), ("im.session",)),
            Permission(("op",), frozenset((Right.ADMIN,))),
        )
    )
    with LocalCluster(directory=tmp_path, secure=secure) as cluster:
        founded_before(cluster)
        for client, expected in (("web", 1), ("op", 0)):
            tls = cluster.tls(client)
            assert tls is not None
            shown = ["--ca", str(tls.ca), "--cert", str(tls.cert), "--key", str(tls.key)]
            status, told = _command(cluster, capsys, *shown, "upgrade", "--finalize")
            assert status == expected, told
        assert {identity.noted_level(cluster.data_dir(node)) for node in cluster.nodes} == {2}

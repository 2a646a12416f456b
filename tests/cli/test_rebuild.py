"""`globaltable rebuild` as a script uses it: what it prints, and the statuses it ends with."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from globaltable.cli.main import run
from globaltable.levels import FIRST
from globaltable.server.config import Address, Config, NodeConfig
from globaltable.server.config_file import render
from globaltable.slot_change import grow
from globaltable.store import identity, known_topology
from globaltable.store.known_topology import LOST, Known
from globaltable.store.lmdb_log import LmdbLogStore
from globaltable.store.log import Entry, HardState, LogWrite

Rebuild = Callable[..., int]


@pytest.fixture
def config(tmp_path: Path) -> Config:
    config = Config(
        cluster="im",
        tables=("im.session",),
        nodes=tuple(
            NodeConfig(
                name,
                name,
                Address("127.0.0.1", port),
                Address("127.0.0.1", port + 1),
                tmp_path / name,
            )
            for name, port in (("a", 7201), ("b", 7203), ("c", 7205))
        ),
        groups=2,
    )
    (tmp_path / "cluster.toml").write_text(render(config))
    return config


@pytest.fixture
def rebuild(config: Config, tmp_path: Path) -> Rebuild:
    """Of region a, which holds one entry of each group."""
    directory = tmp_path / "a"
    os.close(_claim(directory))
    log = LmdbLogStore(directory / "log")
    root = Entry(b"\x01", 1, 0)
    log.commit([LogWrite(group, None, None, (root,), HardState(1, "b")) for group in (0, 1)])
    log.close()

    def command(*options: str, region: str = "a") -> int:
        path = str(tmp_path / "cluster.toml")
        return run(["rebuild", "--config", path, "--node", region, *options])

    return command


def _claim(directory: Path, node: str = "a") -> int:
    return identity.claim(directory, cluster="im", node=node, groups=2, slots=4096)


def _damage(directory: Path) -> None:
    """The term and vote of group 1."""
    log = LmdbLogStore(directory / "log")
    with log._env.begin(write=True) as transaction:
        transaction.put(b"\0\1", b"\0\0\0\0damage", db=log._states)
    log.close()


def test_what_is_whole_is_left_alone(rebuild: Rebuild, capsys: pytest.CaptureFixture[str]) -> None:
    assert rebuild("--check") == 0
    assert capsys.readouterr().out == (
        "group 0: whole (1 log entries, 0 rows)\ngroup 1: whole (1 log entries, 0 rows)\n"
    )
    assert rebuild() == 0
    assert "nothing is damaged; nothing was discarded" in capsys.readouterr().out


def test_what_is_damaged_is_told_and_discarded(
    rebuild: Rebuild, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _damage(tmp_path / "a")
    assert rebuild("--check") == 1
    told = "group 1: damaged: term and vote of group 1 fails its checksum"
    assert told in capsys.readouterr().out
    assert rebuild("--check") == 1, "a check changes nothing"
    capsys.readouterr()
    assert rebuild() == 0
    printed = capsys.readouterr().out
    assert told in printed
    assert "group 1: discarded, to be rebuilt from its peers\nstart the node of a" in printed
    assert "group 0: discarded" not in printed
    assert rebuild("--check") == 0
    assert "group 1: is being rebuilt (0 log entries" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "discarded"),
    [(("--group", "0"), [0]), (("-g", "1", "-g", "0"), [0, 1]), (("--all",), [0, 1])],
)
def test_what_is_named_is_discarded_whole_or_not(
    rebuild: Rebuild,
    capsys: pytest.CaptureFixture[str],
    options: tuple[str, ...],
    discarded: list[int],
) -> None:
    assert rebuild(*options) == 0
    printed = capsys.readouterr().out
    assert [group for group in (0, 1) if f"group {group}: discarded" in printed] == discarded


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--group", "2"), "--group 2: the groups are 0 to 1"),
        (("--group", "-1"), "--group -1: the groups are 0 to 1"),
        (("--group", "0", "--all"), "give one of them"),
    ],
)
def test_wrong_usage(
    rebuild: Rebuild, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], said: str
) -> None:
    assert rebuild(*options) == 2
    assert said in capsys.readouterr().err


def test_an_unknown_region_or_a_directory_that_is_not_there(
    rebuild: Rebuild, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert rebuild(region="nowhere") == 2
    assert rebuild("--check", region="b") == 2
    assert "does not exist" in capsys.readouterr().err
    assert not (tmp_path / "b").exists()


def test_a_node_that_runs_is_not_touched(
    rebuild: Rebuild, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lock = _claim(tmp_path / "a")
    for options in ((), ("--check",), ("--all",)):
        assert rebuild(*options) == 2
        assert "in use by another process; stop it first" in capsys.readouterr().err
    os.close(lock)


def test_another_nodes_directory_is_not_touched(
    rebuild: Rebuild, config: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    regions = (config.nodes[0], replace(config.nodes[1], data_dir=tmp_path / "a"))
    swapped = replace(config, nodes=(*regions, config.nodes[2]))
    first = replace(swapped.nodes[0], data_dir=tmp_path / "elsewhere")
    text = render(replace(swapped, nodes=(first, *swapped.nodes[1:])))
    (tmp_path / "cluster.toml").write_text(text)
    assert rebuild("--all", region="b") == 2
    assert "belongs to node 'a'" in capsys.readouterr().err


def test_a_damaged_identity_is_replaced_only_with_everything(
    rebuild: Rebuild, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a" / "identity").write_bytes(b"damage")
    assert rebuild("--check") == 1
    assert "identity is damaged" in capsys.readouterr().out
    assert rebuild() == 5
    assert "globaltable rebuild --all" in capsys.readouterr().err
    assert rebuild("--all") == 0
    assert rebuild("--check") == 0
    assert "group 0: is being rebuilt" in capsys.readouterr().out


def test_of_a_cluster_that_has_grown_the_identity_is_that_of_its_founding(
    rebuild: Rebuild, config: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    grown = grow(config.topology(), 3)
    identity.note_level(tmp_path / "a", grown.level)
    known_topology.keep(tmp_path / "a", Known(grown, config.topology()))
    assert rebuild("--check") == 0
    assert "group 2: whole" in capsys.readouterr().out
    assert rebuild("--group", "2") == 0


def test_who_has_everything_discarded_keeps_the_level_and_believes_none_of_its_file(
    rebuild: Rebuild, tmp_path: Path
) -> None:
    assert rebuild("--all") == 0
    assert identity.noted_level(tmp_path / "a") == FIRST
    known = known_topology.load(tmp_path / "a")
    assert known is not None and (known.newest.level, known.founds_after) == (FIRST, LOST)
    identity.note_level(tmp_path / "a", 2)
    assert rebuild("--all") == 0
    assert identity.noted_level(tmp_path / "a") == 2

"""Who founds a group that is added: its first voters, each once, and nobody who may have taken part
in it before and has lost what it had promised."""

from dataclasses import replace
from pathlib import Path
from typing import Any, cast
from zlib import crc32

import pytest

from globaltable.errors import Corrupt, ProtocolError
from globaltable.members import Members
from globaltable.server.directories import Directories
from globaltable.server.live_topology import LiveTopology
from globaltable.server.slot_claims import SlotClaims
from globaltable.slot_change import grow
from globaltable.store import known_topology
from globaltable.store.known_topology import LOST, Known
from globaltable.topology import Topology, one_node_each, spread
from globaltable.wire.topologies import encode_topology

FOUNDED = spread("test", one_node_each("abcd"), 4, 3, 64)
GROWN = grow(FOUNDED, 6)
NEW = GROWN.groups[4]
VOTERS = Members(NEW.founders)


def _live(directory: Path, node: str, known: Known) -> LiveTopology:
    def ignore(*_: object) -> None: ...

    return LiveTopology(
        node=node,
        directory=directory,
        known=known,
        claims=SlotClaims(),
        directories=cast(Directories, _NoDirectories()),
        tell=ignore,
        peers=list,
        on_change=ignore,
        on_plan=ignore,
        on_lost=ignore,
    )


class _NoDirectories:
    met: Any = {}  # noqa: RUF012


def _is_founder(directory: Path, known: Known, node: str = NEW.founders[0]) -> bool:
    founders = _live(directory, node, known).founders_of(NEW.number)
    assert founders in (None, VOTERS)
    return founders is not None


def test_each_of_its_first_voters_founds_it_and_no_other(tmp_path: Path) -> None:
    known = Known(GROWN, FOUNDED)
    founding = {node for node in "abcd" if _is_founder(tmp_path, known, node)}
    assert founding == set(NEW.founders) and len(founding) == 3


def test_it_is_founded_by_those_although_others_are_its_voters_by_now(tmp_path: Path) -> None:
    (other,) = {*"abcd"} - {*NEW.founders}
    moved = replace(NEW, replicas=(*NEW.founders[1:], other))
    groups = tuple(moved if group is NEW else group for group in GROWN.groups)
    known = Known(replace(GROWN, groups=groups, version=5), FOUNDED)
    assert _is_founder(tmp_path, known, NEW.founders[0])
    assert not _is_founder(tmp_path, known, other)


@pytest.mark.parametrize(("joined", "founds"), [(0, True), (1, False), (2, False)])
def test_who_joined_founds_what_was_added_since(tmp_path: Path, joined: int, founds: bool) -> None:
    assert _is_founder(tmp_path, Known(GROWN, None, joined)) is founds


def test_who_has_lost_its_data_founds_nothing_until_it_is_current(tmp_path: Path) -> None:
    known_topology.note_loss(tmp_path, FOUNDED)
    known = known_topology.load(tmp_path)
    assert known == Known(FOUNDED, FOUNDED, LOST)
    live = _live(tmp_path, NEW.founders[0], known)
    assert live.adopt(GROWN) and live.founders_of(NEW.number) is None
    live.is_current()
    assert live.founders_of(NEW.number) is None, "it may have voted in it"
    later = grow(GROWN, 10)
    assert live.adopt(later)
    mine = {g.number for g in later.groups[6:] if NEW.founders[0] in g.founders}
    assert mine and mine == {n for n in range(4, 10) if live.founders_of(n) is not None}
    kept = known_topology.load(tmp_path)
    assert kept is not None and kept.founds_after == 1, "so it is after a crash"


def test_what_was_kept_before_groups_could_be_added_is_read(tmp_path: Path) -> None:
    for founding, founds_after in ((encode_topology(FOUNDED), 0), ("null", 3)):
        newest = replace(FOUNDED, version=3, level=1)
        body = f"{encode_topology(newest)}\n{founding}\n"
        (tmp_path / "topology").write_text(f"{crc32(body.encode()):08x}\n{body}")
        known = known_topology.load(tmp_path)
        assert known is not None and known.founds_after == founds_after
        known_topology.keep(tmp_path, known)
        assert known_topology.load(tmp_path) == known


@pytest.mark.parametrize("last", ["x", "-", "1\n2", ""])
def test_what_is_no_version_is_damage(tmp_path: Path, last: str) -> None:
    body = f"{encode_topology(FOUNDED)}\nnull\n{last}\n"
    (tmp_path / "topology").write_text(f"{crc32(body.encode()):08x}\n{body}")
    with pytest.raises(Corrupt):
        known_topology.load(tmp_path)


@pytest.mark.parametrize(
    "other",
    [
        replace(spread("test", one_node_each("abcd"), 4, 3, 32), version=9),
        replace(spread("test", one_node_each("abcd"), 5, 3, 64), version=9),
        replace(spread("other", one_node_each("abcd"), 4, 3, 64), version=9),
        replace(FOUNDED, version=9),
    ],
    ids=["slots", "founding groups", "cluster", "fewer groups"],
)
def test_what_cannot_follow_is_refused(tmp_path: Path, other: Topology) -> None:
    live = _live(tmp_path, "a", Known(GROWN, FOUNDED))
    with pytest.raises(ProtocolError, match="topology 9 is of cluster"):
        live.adopt(other)
    assert live.newest is GROWN

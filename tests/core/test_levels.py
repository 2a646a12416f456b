"""What a level allows, who understands it, and what is written and read at each.

The promise: what an older release cannot read is not written before the level says so, and what is
of a level that this release does not understand is refused, naming both.
"""

import os
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from globaltable.errors import ConfigError, NewerFormat, ProtocolError, Rejected, UpgradeNotFinal
from globaltable.levels import (
    FIRST,
    SINCE,
    UNDERSTOOD,
    Feature,
    Levels,
    enabled_by,
    require,
    why_not_understood,
)
from globaltable.slot_change import deal_slots, grow, move_slots, undo_slots
from globaltable.store import identity, known_topology
from globaltable.store.known_topology import LOST, Known
from globaltable.topology import Node, Topology, one_node_each, spread
from globaltable.topology_change import (
    TopologyRefused,
    add,
    differences,
    drain,
    require_successor,
    with_level,
)
from globaltable.wire.packing import pack, shown, unpack
from globaltable.wire.topologies import decode_topology, encode_topology

NEW = spread("test", one_node_each("abc"), 3, 3, 64)
OLD = replace(NEW, level=FIRST)
LATER = UNDERSTOOD.newest + 1


def test_each_feature_is_of_a_level_that_is_understood_and_none_of_the_first() -> None:
    assert SINCE.keys() == set(Feature)
    assert all(FIRST < level <= UNDERSTOOD.newest for level in SINCE.values())
    assert enabled_by(FIRST, UNDERSTOOD.newest) == [feature.value for feature in SINCE]
    assert enabled_by(UNDERSTOOD.newest, UNDERSTOOD.newest) == []


def test_the_newest_of_the_release_before_is_understood() -> None:
    """So that a cluster can be upgraded from it before it is finalized."""
    assert UNDERSTOOD.oldest < UNDERSTOOD.newest


def test_what_is_not_allowed_yet_is_refused_with_what_to_do() -> None:
    with pytest.raises(UpgradeNotFinal, match=r"level 2 is needed.*1 is in force.*finalize") as it:
        require(FIRST, Feature.SLOTS)
    assert isinstance(it.value, Rejected)
    require(2, Feature.SLOTS)


@pytest.mark.parametrize(
    "change",
    [
        partial(grow, groups=4),
        partial(grow, groups=4, empty=True),
        partial(move_slots, slots=[1], to=2),
        deal_slots,
        undo_slots,
    ],
)
def test_slots_and_groups_stay_as_they_are_at_the_first_level(change: object) -> None:
    assert callable(change)
    with pytest.raises(UpgradeNotFinal, match="finalize the upgrade first"):
        change(OLD)


def test_where_slots_had_moved_before_there_were_levels_they_still_do() -> None:
    """Else what is under way when a node is upgraded would be served by nobody."""
    moved = replace(move_slots(NEW, [1], 2), level=FIRST)
    moved.require_slots_may_move()
    assert undo_slots(moved).level == FIRST
    replace(grow(NEW, 4, empty=True), level=FIRST).require_slots_may_move()


def test_members_come_and_go_at_any_level_and_the_level_stays() -> None:
    for topology in (OLD, NEW):
        joined = add(topology, Node("d", "d", "d:1", "d:2"))
        assert drain(joined, "a").level == joined.level == topology.level


def test_a_level_is_raised_and_never_lowered() -> None:
    raised = with_level(OLD, 2)
    assert (raised.level, raised.version) == (2, OLD.version + 1)
    assert "level in force: 1 -> 2" in differences(OLD, raised)
    with pytest.raises(TopologyRefused, match=r"level 2 is in force already$"):
        with_level(raised, 2)
    with pytest.raises(TopologyRefused, match="never lowered, to 1"):
        with_level(raised, 1)
    require_successor(OLD, raised)
    with pytest.raises(ProtocolError, match=r"of level 1.*of level 2, which is never lowered"):
        require_successor(raised, replace(raised, level=1, version=9))


def test_a_topology_of_the_first_level_is_written_as_it_was_before_there_were_levels() -> None:
    text = encode_topology(OLD)
    assert "level" not in text and "format" not in text
    assert decode_topology(text) == OLD
    assert decode_topology(encode_topology(NEW)) == NEW


@pytest.mark.parametrize("level", [LATER, 2**62])
def test_a_topology_of_a_later_level_is_refused(level: int) -> None:
    text = encode_topology(replace(NEW, level=level))
    with pytest.raises(
        NewerFormat, match=f"level {level} is in force, and this release under.*1 to"
    ):
        decode_topology(text)


@pytest.mark.parametrize("level", ['"2"', "-1", "0", "true", "null", "2.0"])
def test_what_is_no_level_is_refused(level: str) -> None:
    text = encode_topology(NEW).replace('"level":2', f'"level":{level}')
    with pytest.raises(ProtocolError):
        decode_topology(text)


@pytest.mark.parametrize(
    ("level", "understood", "remedy"),
    [
        (3, Levels(1, 2), "level 3 is in force, and this release understands levels 1 to 2: start"),
        (1, Levels(2, 2), "understands level 2: start the release before, and finalize"),
        (2, Levels(1, 2), "^$"),
    ],
)
def test_why_a_release_does_not_do(level: int, understood: Levels, remedy: str) -> None:
    with pytest.raises(AssertionError, match=remedy):
        raise AssertionError(why_not_understood(level, understood))


class TestDirectory:
    """A data directory says which release may be started on it."""

    def _claim(self, directory: Path) -> None:
        os.close(identity.claim(directory, cluster="c", node="a", groups=3, slots=64))

    def test_of_the_first_level_it_is_as_it_was_before(self, tmp_path: Path) -> None:
        self._claim(tmp_path)
        assert identity.noted_level(tmp_path) == FIRST
        identity.note_level(tmp_path, FIRST)
        found = unpack((tmp_path / "identity").read_bytes())
        assert found == [
            ["format", 1],
            ["cluster", "c"],
            ["node", "a"],
            ["groups", 3],
            ["slots", 64],
        ]

    def test_a_level_that_is_noted_stays_and_never_falls(self, tmp_path: Path) -> None:
        self._claim(tmp_path)
        identity.note_level(tmp_path, 2)
        identity.note_level(tmp_path, FIRST)
        self._claim(tmp_path)
        assert identity.noted_level(tmp_path) == 2

    def test_older_releases_refuse_it_and_show_why(self, tmp_path: Path) -> None:
        """They compare the format with theirs, 1, and show what they find, cut at 30 characters."""
        self._claim(tmp_path)
        identity.note_level(tmp_path, 2)
        found = dict(unpack((tmp_path / "identity").read_bytes()))
        assert shown(found["format"]) == "'level 2: use newer release'"

    def test_of_a_later_level_it_is_refused(self, tmp_path: Path) -> None:
        self._claim(tmp_path)
        identity.note_level(tmp_path, LATER)
        with pytest.raises(ConfigError, match=f"level {LATER} is in force, and this release"):
            self._claim(tmp_path)

    @pytest.mark.parametrize("level", ["2", -1, None])
    def test_what_is_no_level_is_damage(self, tmp_path: Path, level: object) -> None:
        self._claim(tmp_path)
        found = unpack((tmp_path / "identity").read_bytes())
        (tmp_path / "identity").write_bytes(pack([*found, ["level", level]]))
        with pytest.raises(identity.DamagedIdentity, match="is no level"):
            self._claim(tmp_path)

    def test_who_has_all_data_discarded_keeps_it(self, tmp_path: Path) -> None:
        own = {"cluster": "c", "node": "a", "groups": 3, "slots": 64}
        self._claim(tmp_path)
        identity.write(tmp_path, **own, directory_id="x", level=2)  # type: ignore[arg-type]
        assert identity.noted_level(tmp_path) == 2


class TestKnownTopology:
    """What a node keeps of the topology can be read by the release before, as long as it may be."""

    @pytest.mark.parametrize("known", [Known(OLD, OLD), Known(replace(OLD, version=7), None, 5)])
    def test_without_added_groups_it_is_as_it_was_before(
        self, tmp_path: Path, known: Known
    ) -> None:
        known_topology.keep(tmp_path, known)
        assert len((tmp_path / "topology").read_text().splitlines()) == 3, "checksum and two"
        read = known_topology.load(tmp_path)
        assert read is not None and read.newest == known.newest
        # Whatever is added is added later than anything that is known.
        later = [replace(grow(replace(known.newest, level=2), 4), version=8).groups[3]]
        assert later[0].since > max(read.founds_after, known.founds_after)

    @pytest.mark.parametrize("known", [Known(OLD, OLD, LOST), Known(grow(NEW, 4), NEW, 1)])
    def test_what_it_must_not_forget_is_written(self, tmp_path: Path, known: Known) -> None:
        known_topology.keep(tmp_path, known)
        assert known_topology.load(tmp_path) == known

    def test_older_releases_find_nothing_that_they_could_misread(self, tmp_path: Path) -> None:
        """They would call it damaged; so they come to the identity, which says what is wrong."""
        known_topology.keep(tmp_path, Known(OLD, OLD))
        known_topology.keep(tmp_path, Known(NEW, OLD))
        assert [path.name for path in tmp_path.iterdir()] == ["topology.2"]
        assert known_topology.load(tmp_path) == Known(NEW, OLD)
        known_topology.forget(tmp_path)
        assert known_topology.load(tmp_path) is None

    def test_of_the_two_files_there_may_be_after_a_crash_the_later_counts(
        self, tmp_path: Path
    ) -> None:
        known_topology.keep(tmp_path, Known(OLD, OLD))
        (tmp_path / "topology").rename(tmp_path / "before")
        known_topology.keep(tmp_path, Known(NEW, OLD))
        (tmp_path / "before").rename(tmp_path / "topology")
        assert known_topology.load(tmp_path) == Known(NEW, OLD)

    def test_of_a_later_level_it_is_refused_and_not_called_damaged(self, tmp_path: Path) -> None:
        later: Topology = replace(NEW, level=LATER)
        known_topology.keep(tmp_path, Known(later, None, 0))
        with pytest.raises(ConfigError, match=f"level {LATER} is in force"):
            known_topology.load(tmp_path)

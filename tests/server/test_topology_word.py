"""What nodes tell each other of the topology, and to whom in which words.

The promise: a node of before hears nothing that it does not understand, and says nothing that is
not understood; who was founded at a level tells who must not believe less.
"""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from globaltable.errors import NewerFormat, ProtocolError
from globaltable.levels import UNDERSTOOD
from globaltable.server.directories import Directories
from globaltable.server.live_topology import LiveTopology
from globaltable.server.slot_claims import Claim, SlotClaims
from globaltable.server.topology_word import (
    UNKNOWN,
    Shape,
    TopologyWord,
    decode_word,
    encode_word,
)
from globaltable.store import identity, known_topology
from globaltable.store.known_directories import Met
from globaltable.store.known_topology import LOST, Known
from globaltable.topology import Topology, one_node_each, spread
from globaltable.wire.packing import pack, unpack

FOUNDED = spread("test", one_node_each("abc"), 3, 3, 64)
FIRST_LEVEL = replace(FOUNDED, level=1)
CLAIM = Claim("", 4, 3, 2)
WORD = TopologyWord(3, 7, {0: 3}, "text", {"a": Met(0, "ab12")}, (CLAIM,), 2)


@pytest.mark.parametrize(
    ("shape", "heard"),
    [
        (Shape.WITHOUT_CLAIMS, WORD._replace(claims=(), level=1)),
        (Shape.WITHOUT_LEVEL, WORD._replace(level=1)),
        (Shape.WITH_LEVEL, WORD),
    ],
)
def test_a_word_is_said_as_it_was_in_each_release(shape: Shape, heard: TopologyWord) -> None:
    body = encode_word(WORD._replace(shape=shape))
    assert len(unpack(body)) == shape
    assert decode_word(body) == heard._replace(shape=shape)


@pytest.mark.parametrize("level", ["2", -1, None, True])
def test_what_is_no_level_is_refused(level: object) -> None:
    with pytest.raises(ProtocolError):
        decode_word(pack([*unpack(encode_word(WORD))[:6], level]))


@pytest.mark.parametrize("fields", [4, 8])
def test_what_is_of_no_release_is_refused(fields: int) -> None:
    body = pack([*unpack(encode_word(WORD)), "more"][:fields])
    with pytest.raises(ProtocolError, match="not a word of the topology"):
        decode_word(body)


class _NoDirectories:
    met: Any = {}  # noqa: RUF012

    def hear(self, met: object) -> tuple[bool, str]:
        return False, ""


class _Speaker:
    """A node that is connected to one peer, `z`, and what it has said to it."""

    def __init__(self, directory: Path, known: Known, protocol: int = 5) -> None:
        claim = {"cluster": "test", "node": "a", "groups": 3, "slots": 64}
        os.close(identity.claim(directory, **claim))  # type: ignore[arg-type]
        self.directory = directory
        self.said: list[TopologyWord] = []
        self.changed: list[int] = []
        claims = SlotClaims()
        claims.hear([CLAIM])
        self.live = LiveTopology(
            node="a",
            directory=directory,
            known=known,
            claims=claims,
            directories=cast(Directories, _NoDirectories()),
            tell=lambda _, body: self.said.append(decode_word(body)),
            peers=lambda: ["z"],
            on_change=lambda _, topology: self.changed.append(topology.level),
            on_plan=lambda *_: None,
            on_lost=lambda _: None,
            protocol_of=lambda _: protocol,
        )

    def hear(self, word: TopologyWord) -> None:
        self.said.clear()
        self.live.hear("z", encode_word(word))


def _word(level: int = 1, version: int = 0, shape: Shape = Shape.WITH_LEVEL) -> TopologyWord:
    return TopologyWord(version, 0, {}, "", {}, level=level, shape=shape)


@pytest.mark.parametrize("shape", [Shape.WITHOUT_CLAIMS, Shape.WITHOUT_LEVEL])
def test_to_a_peer_of_before_nothing_is_said_until_it_has_spoken_and_then_as_it_does(
    tmp_path: Path, shape: Shape
) -> None:
    node = _Speaker(tmp_path, Known(FIRST_LEVEL, FIRST_LEVEL), protocol=4)
    for _ in range(2):
        node.live.introduce("z")
        node.live.tell_all()
        assert not node.said
        node.hear(_word(shape=shape))
        assert {word.shape for word in node.said} == {shape}
        node.said.clear()
        node.live.tell_all()
        assert [word.shape for word in node.said] == [shape]
        # It is replaced by another release: the next link begins anew.
        node.said.clear()
        shape = Shape.WITHOUT_LEVEL


def test_a_peer_of_before_that_is_behind_is_told_the_text(tmp_path: Path) -> None:
    node = _Speaker(tmp_path, Known(replace(FIRST_LEVEL, version=2), None, 2), protocol=4)
    node.hear(_word(shape=Shape.WITHOUT_CLAIMS))
    assert node.said[-1].text == node.live.text and node.said[-1].version == 2


def test_who_is_of_this_release_is_told_the_level_and_the_claims_at_once(tmp_path: Path) -> None:
    node = _Speaker(tmp_path, Known(FOUNDED, FOUNDED))
    node.live.introduce("z")
    assert [(word.level, tuple(word.claims)) for word in node.said] == [(2, (CLAIM,))]


def test_a_founder_that_lost_its_disk_believes_the_higher_level(tmp_path: Path) -> None:
    """It starts below, for its file does not say which is in force."""
    node = _Speaker(tmp_path, Known(FIRST_LEVEL, FIRST_LEVEL, LOST))
    node.live.introduce("z")
    assert [word.level for word in node.said] == [UNKNOWN]
    for level in (UNKNOWN, 1):
        node.hear(_word(level=level))
    assert not node.changed
    node.hear(_word(level=2))
    assert node.changed == [2] and node.live.newest == FOUNDED
    assert identity.noted_level(tmp_path) == 2
    kept = known_topology.load(tmp_path)
    assert kept is not None and kept.newest == FOUNDED


@pytest.mark.parametrize(("own", "other"), [(FOUNDED, 1), (FIRST_LEVEL, 2)])
def test_two_that_were_founded_at_different_levels_refuse_each_other(
    tmp_path: Path, own: Topology, other: int
) -> None:
    """Else one on an empty directory would raise the level of all, whoever is too old for it."""
    node = _Speaker(tmp_path, Known(own, own))
    node.hear(_word(level=UNKNOWN))
    with pytest.raises(ProtocolError, match=f"z was founded at level {other}, and this node at"):
        node.hear(_word(level=other))
    assert node.live.newest == own and not node.changed


def test_a_level_of_another_version_changes_nothing(tmp_path: Path) -> None:
    later = _Speaker(tmp_path, Known(replace(FIRST_LEVEL, version=3), None, 3))
    later.hear(_word(level=2, version=3))
    later.hear(_word(level=2, version=0))
    assert later.live.newest.level == 1, "it is decided in group 0, and told with its text"


def test_a_level_that_is_not_understood_is_not_believed(tmp_path: Path) -> None:
    node = _Speaker(tmp_path, Known(FIRST_LEVEL, FIRST_LEVEL, LOST))
    with pytest.raises(NewerFormat, match="is in force, and this release understands"):
        node.hear(_word(level=UNDERSTOOD.newest + 1))
    assert identity.noted_level(tmp_path) == 1

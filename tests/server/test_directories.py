"""A founder that comes with another data directory has lost its disk: it is refused, everywhere."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from globaltable.errors import Corrupt, ProtocolError
from globaltable.server.directories import Directories, Shown
from globaltable.server.topology_word import TopologyWord, decode_word, encode_word
from globaltable.store import identity, known_directories
from globaltable.store.identity import DirectoryId
from globaltable.store.known_directories import Met, decode_met, encode_met
from globaltable.wire.packing import pack

B = Shown("b", 0, "first", founds=True)


def _of_a(tmp_path: Path, own: str = "own", *, founds: bool = True) -> Directories:
    return Directories(tmp_path, "a", 0, DirectoryId(own, founds))


class TestMeeting:
    def test_the_first_is_remembered_over_a_restart(self, tmp_path: Path) -> None:
        assert _of_a(tmp_path).meet(B) == ""
        assert _of_a(tmp_path).meet(B) == ""
        assert "rebuild --all --node b" in _of_a(tmp_path).meet(B._replace(directory="other"))
        assert _of_a(tmp_path).met == {"a": Met(0, "own"), "b": Met(0, "first")}

    def test_who_was_rebuilt_or_joined_asks_by_itself(self, tmp_path: Path) -> None:
        """And from then on that is its directory: its next disk may be lost, too."""
        directories = _of_a(tmp_path)
        directories.meet(B)
        assert directories.meet(B._replace(directory="rebuilt", founds=False)) == ""
        assert directories.meet(B) != ""
        assert directories.meet(B._replace(directory="rebuilt")) == ""

    def test_another_node_of_its_name_is_another(self, tmp_path: Path) -> None:
        directories = _of_a(tmp_path)
        directories.meet(B)
        assert directories.meet(Shown("b", 4, "joined", founds=False)) == ""
        assert directories.met["b"] == Met(4, "joined")

    @pytest.mark.parametrize("shown", ["", "x" * 65])
    def test_who_shows_none_is_refused(self, tmp_path: Path, shown: str) -> None:
        with pytest.raises(ProtocolError, match="no data directory"):
            _of_a(tmp_path).meet(B._replace(directory=shown))


class TestHearing:
    def test_of_whom_it_has_never_met_it_knows_by_others(self, tmp_path: Path) -> None:
        """c has met b, which has lost its disk since; a has not."""
        directories = _of_a(tmp_path)
        assert directories.hear({"b": Met(0, "first")}) == (True, "")
        assert directories.hear({"b": Met(0, "first")}) == (False, "")
        assert directories.meet(B._replace(directory="other")) != ""

    def test_what_it_knows_itself_stands(self, tmp_path: Path) -> None:
        directories = _of_a(tmp_path)
        directories.meet(B._replace(directory="rebuilt", founds=False))
        assert directories.hear({"b": Met(0, "first")}) == (False, "")
        assert directories.met["b"] == Met(0, "rebuilt")

    def test_a_founder_that_hears_of_its_lost_disk_must_not_go_on(self, tmp_path: Path) -> None:
        news, lost = _of_a(tmp_path).hear({"a": Met(0, "lost"), "b": Met(0, "first")})
        assert not news and "rebuild --all --node a" in lost

    def test_one_that_was_rebuilt_goes_on(self, tmp_path: Path) -> None:
        rebuilt = _of_a(tmp_path, founds=False)
        assert rebuilt.hear({"a": Met(0, "lost")}) == (False, "")
        assert rebuilt.met["a"] == Met(0, "own")


class TestFile:
    def test_damage_is_noticed(self, tmp_path: Path) -> None:
        _of_a(tmp_path).meet(B)
        path = tmp_path / "directories"
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(data)
        with pytest.raises(Corrupt, match="checksum"):
            known_directories.load(tmp_path)

    @given(
        st.dictionaries(
            st.text(min_size=1, max_size=20),
            st.builds(Met, st.integers(0, 2**63 - 1), st.text(min_size=1, max_size=64)),
            max_size=5,
        )
    )
    def test_what_is_told_is_heard(self, met: dict[str, Met]) -> None:
        assert decode_met(encode_met(met)) == met
        word = TopologyWord(3, 7, {0: 3}, "", met)
        assert decode_word(encode_word(word)) == word

    @pytest.mark.parametrize(
        "rows",
        [
            None,
            [["a"]],
            [["a", 0, ""]],
            [["", 0, "x"]],
            [["a", -1, "x"]],
            [["a", True, "x"]],
            [["a", 0, "x" * 65]],
            [["n", 0, "x"]] * 4_097,
        ],
        ids=lambda rows: str(rows)[:20],
    )
    def test_what_is_none_is_refused(self, rows: object) -> None:
        with pytest.raises(ProtocolError):
            decode_word(pack([3, 7, [], "", rows]))


class TestIdentity:
    def test_it_has_an_id_from_its_first_claim_on(self, tmp_path: Path) -> None:
        def claim(fresh: DirectoryId | None) -> None:
            os.close(
                identity.claim(tmp_path, cluster="c", node="a", groups=1, slots=16, fresh=fresh)
            )

        claim(None)
        assert identity.directory_id(tmp_path) is None, "as of a version without"
        claim(DirectoryId("one", True))
        claim(DirectoryId("two", True))
        assert identity.directory_id(tmp_path) == DirectoryId("one", True)
        identity.write(tmp_path, cluster="c", node="a", groups=1, slots=16, directory_id="rebuilt")
        assert identity.directory_id(tmp_path) == DirectoryId("rebuilt", False)

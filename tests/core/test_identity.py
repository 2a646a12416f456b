"""A data directory is one node's of one cluster, and one process's at a time."""

import os
import subprocess
import sys
from pathlib import Path
from typing import TypedDict

import pytest

from globaltable.errors import ConfigError, StorageError
from globaltable.store import identity
from globaltable.store.identity import claim


class Claim(TypedDict):
    cluster: str
    node: str
    groups: int
    slots: int


MINE = Claim(cluster="prod", node="a", groups=4, slots=4096)


def _claim_and_release(directory: Path, wanted: Claim = MINE) -> None:
    os.close(claim(directory, **wanted))


def test_it_is_claimed_once_and_recognized_ever_after(tmp_path: Path) -> None:
    directory = tmp_path / "not" / "yet" / "there"
    _claim_and_release(directory)
    _claim_and_release(directory)


@pytest.mark.parametrize(
    ("other", "named"),
    [
        (Claim(cluster="staging", node="a", groups=4, slots=4096), "cluster 'prod'"),
        (Claim(cluster="prod", node="b", groups=4, slots=4096), "node 'a'"),
        (Claim(cluster="prod", node="a", groups=8, slots=4096), "groups 4"),
        (Claim(cluster="prod", node="a", groups=4, slots=64), "slots 4096"),
    ],
)
def test_somebody_elses_is_refused_and_says_whose_it_is(
    tmp_path: Path, other: Claim, named: str
) -> None:
    _claim_and_release(tmp_path)
    with pytest.raises(ConfigError, match=f"belongs to {named}"):
        claim(tmp_path, **other)
    _claim_and_release(tmp_path)


def test_one_in_a_newer_format_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as newer:
        newer.setattr(identity, "FORMAT_VERSION", identity.FORMAT_VERSION + 1)
        _claim_and_release(tmp_path)
    with pytest.raises(ConfigError, match="belongs to format"):
        claim(tmp_path, **MINE)


_SECOND_PROCESS = """
import sys
from pathlib import Path
from globaltable.errors import ConfigError
from globaltable.store.identity import claim
try:
    claim(Path(sys.argv[1]), cluster="prod", node="a", groups=4, slots=4096)
except ConfigError as error:
    print(error)
"""


def test_a_second_process_is_refused_until_the_first_has_ended(tmp_path: Path) -> None:
    def second() -> str:
        command = [sys.executable, "-c", _SECOND_PROCESS, str(tmp_path)]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    lock = claim(tmp_path, **MINE)
    assert "in use by another process" in second()
    os.close(lock)
    assert second() == ""


def test_one_that_was_refused_is_not_left_locked(tmp_path: Path) -> None:
    _claim_and_release(tmp_path)
    for _ in range(2):
        with pytest.raises(ConfigError, match="belongs to"):
            claim(tmp_path, **(MINE | {"node": "b"}))
    _claim_and_release(tmp_path)


@pytest.mark.parametrize("damaged", [b"", b"\x00", b"not an identity", b"\x91\xa1a", b"\x91\x93"])
def test_a_damaged_identity_is_no_new_directory(tmp_path: Path, damaged: bytes) -> None:
    _claim_and_release(tmp_path)
    (tmp_path / "identity").write_bytes(damaged)
    with pytest.raises(StorageError, match="damaged"):
        claim(tmp_path, **MINE)
    assert (tmp_path / "identity").read_bytes() == damaged


def test_a_claim_that_a_crash_interrupted_is_made_again(tmp_path: Path) -> None:
    (tmp_path / "identity.new").write_bytes(b"hal")
    _claim_and_release(tmp_path)
    _claim_and_release(tmp_path)


def test_a_directory_that_cannot_be_one_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(StorageError, match="cannot be used"):
        claim(file / "data", **MINE)


def test_a_value_nested_too_deeply_to_be_shown_is_somebody_elses(tmp_path: Path) -> None:
    """Found by `tests.fuzz`."""
    _claim_and_release(tmp_path)
    deep = b"\x91" * 1_000 + b"\xc0"
    (tmp_path / "identity").write_bytes(b"\x91\x92\xa6format" + deep)
    with pytest.raises(ConfigError, match="belongs to format"):
        claim(tmp_path, **MINE)


def test_a_directory_that_was_given_up_is_nobodys_again(tmp_path: Path) -> None:
    _claim_and_release(tmp_path)
    assert identity.successor(tmp_path) == ""
    lock = claim(tmp_path, **MINE)
    identity.retire(tmp_path, successor="0a1b", **MINE)
    os.close(lock)
    with pytest.raises(ConfigError, match=r"was given up .* recovered as '0a1b'"):
        _claim_and_release(tmp_path)
    os.close(claim(tmp_path, if_retired=True, **MINE))
    assert identity.successor(tmp_path) == "0a1b"
    with pytest.raises(ConfigError, match="belongs to node"):
        claim(tmp_path, if_retired=True, cluster="prod", node="b", groups=4, slots=4096)

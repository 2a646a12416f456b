"""A file is there whole, or not at all."""

from pathlib import Path

import pytest

from globaltable.admin.files import created, opened
from globaltable.errors import ConfigError


def test_it_is_there_once_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "x"
    with created(path, force=False) as file:
        file.write(b"whole")
        assert not path.exists()
    assert path.read_bytes() == b"whole"
    assert list(tmp_path.iterdir()) == [path]


def test_what_fails_leaves_nothing(tmp_path: Path) -> None:
    def fail() -> None:
        with created(tmp_path / "x", force=False) as file:
            file.write(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_another_file_is_written_over_only_if_told_to(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"old")
    with pytest.raises(ConfigError, match="exists; --force"), created(path, force=False):
        raise AssertionError("nothing is begun")
    with created(path, force=True) as file:
        file.write(b"new")
    assert path.read_bytes() == b"new"


def test_nor_is_one_that_came_meanwhile(tmp_path: Path) -> None:
    path = tmp_path / "x"

    def write() -> None:
        with created(path, force=False) as file:
            file.write(b"mine")
            path.write_bytes(b"another's")

    with pytest.raises(ConfigError, match="exists"):
        write()
    assert path.read_bytes() == b"another's"
    assert list(tmp_path.iterdir()) == [path]


def test_where_nothing_can_be_written_or_read_is_said(tmp_path: Path) -> None:
    nowhere = tmp_path / "no" / "x"
    with pytest.raises(ConfigError, match="cannot be written"), created(nowhere, force=False):
        pass
    with pytest.raises(ConfigError, match="cannot be read"), opened(tmp_path / "x"):
        pass

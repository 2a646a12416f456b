"""LMDB's own file, damaged: whatever comes of it, a process ends in a way that is known."""

import random
from pathlib import Path

import pytest

from tests.fuzz.damaged_pages import Store, damage, fill, read, read_in_child


@pytest.mark.parametrize("store", Store, ids=lambda store: store.value)
def test_pages_of_nothing_are_refused(tmp_path: Path, store: Store) -> None:
    fill(store, tmp_path / "s")
    file = tmp_path / "s" / "data.mdb"
    expected = tmp_path / "expected"
    expected.write_text(read(store, tmp_path / "s"))
    data = file.read_bytes()
    file.write_bytes(data[:8_192] + bytes(len(data) - 8_192))
    found = read_in_child(store, tmp_path / "s", expected)
    assert found.startswith(("refused by", "ends by")), found


def test_damage_is_one_bit() -> None:
    data = bytes(range(256)) * 64
    changed = damage(data, random.Random(1), in_meta=False)
    assert sum((a ^ b).bit_count() for a, b in zip(data, changed, strict=True)) == 1

"""Whole conversations between replicas, kept as text and reviewed like code.

Each `*.txt` shows a rule of Raft, or of GlobalTable's use of it. `pytest tests/interaction
--regenerate-transcripts` rewrites what the replicas do; what is committed is what they should do.
"""

from pathlib import Path
from typing import Final

import pytest

from tests.interaction.runner import rewritten

TRANSCRIPTS: Final = sorted(Path(__file__).parent.glob("*.txt"))


@pytest.mark.parametrize("path", TRANSCRIPTS, ids=lambda path: path.stem)
def test_the_replicas_still_say_and_do_this(path: Path, pytestconfig: pytest.Config) -> None:
    expected = path.read_text()
    printed = rewritten(expected)
    if pytestconfig.getoption("regenerate_transcripts"):
        path.write_text(printed)
    else:
        assert printed.splitlines() == expected.splitlines()


@pytest.mark.parametrize("path", TRANSCRIPTS, ids=lambda path: path.stem)
def test_it_opens_with_the_rule_it_shows_and_its_source(path: Path) -> None:
    opening = path.read_text().split("\n\n")[0]
    assert all(line.startswith("# ") for line in opening.splitlines())
    assert "Raft" in opening or "docs/" in opening

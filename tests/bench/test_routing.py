"""The bench of routing: every command has its help, and runs."""

import json
from pathlib import Path

import pytest

from globaltable.bench.routing.__main__ import COMMANDS, main


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_its_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0 and "--json" in capsys.readouterr().out


def test_headers_are_measured_and_written_down(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "headers.json"
    assert main(["headers", "--seconds", "0.01", "--routes", "100", "--json", str(path)]) == 0
    printed = capsys.readouterr().out
    found = json.loads(path.read_text())
    assert found["bytes"] == {"HMAC": 71, "Ed25519": 119}
    for row in found["rows"]:
        assert row["what"] in printed and 0 < row["p50_us"] <= row["p99_us"]

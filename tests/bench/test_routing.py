"""The bench of routing: every command has its help, and runs."""

import json
from pathlib import Path

import pytest

from globaltable.bench.routing.__main__ import COMMANDS, main
from globaltable.bench.routing.goals import goals


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


def test_resolving_is_measured_and_written_down(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "resolve.json"
    assert main(["resolve", "--seconds", "0.01", "--routes", "50", "--json", str(path)]) == 0
    found = json.loads(path.read_text())["per_second"]
    printed = capsys.readouterr().out
    assert all(what in printed and per_second > 0 for what, per_second in found.items())
    assert (
        found["L2, known in this process"] > found["from an agent in the same process, 1 at a time"]
    )


def test_headers_spare_lookups_and_every_message_is_served_by_its_owner(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "zipf.json"
    small = ["--messages", "6000", "--sessions", "100", "--moves", "50"]
    assert main(["zipf", *small, "--json", str(path)]) == 0
    found = json.loads(path.read_text())["zipf"]
    assert found["moved"] == 50 and found["told_elsewhere"] > 0 and found["headers_refused"] == 0
    assert found["lookups"] == found["lookups_first"] <= 100 < found["lookups_without_headers"]
    assert "goal 95 %: met" in capsys.readouterr().out
    assert main(["zipf", *small, "--first", "nearby", "--json", str(path)]) == 0
    found = json.loads(path.read_text())["zipf"]
    assert found["lookups"] == 0 < found["reads_by_units"] <= 100
    assert found["fewer_percent"] == 100 * (1 - found["reads_by_units"] / 6_000)


def test_with_headers_that_expire_or_routes_that_are_evicted_more_is_asked(tmp_path: Path) -> None:
    """The measure can tell: at a message a minute, nothing is known any more when it is needed."""
    path = tmp_path / "zipf.json"
    slow = ["--messages", "300", "--sessions", "100", "--moves", "0", "--per-second", "0.017"]
    assert main(["zipf", *slow, "--json", str(path)]) == 0
    found = json.loads(path.read_text())["zipf"]
    assert found["lookups_again"] > 50 and found["fewer_of_known_percent"] < 95


def test_goals_are_held_against_what_was_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "all.json"
    assert main(["all", "--quick", "--only", "zipf", "--json", str(path)]) == 0
    printed = capsys.readouterr().out
    found = json.loads(path.read_text())
    assert list(found) == ["zipf"] and len(goals(found)) == 2
    for goal in goals(found):
        assert goal.what in printed and goal.measured in printed
    moves = {"sessions": 10, "left": 0, "wrong": 1, "lost": 0}
    assert [goal.met for goal in goals({"moves": {"moves": moves}})] == [True, False, True]


@pytest.mark.slow
@pytest.mark.cluster
@pytest.mark.long
def test_push_is_measured_and_written_down(tmp_path: Path) -> None:
    path = tmp_path / "push.json"
    few = ["--clients", "20", "--processes", "2", "--moves", "3", "--pause", "0.3"]
    assert main(["push", *few, "--json", str(path)]) == 0
    found = json.loads(path.read_text())["push"]
    assert 10.0 <= found["push_p50_ms"] <= found["push_p99_ms"] <= found["push_max_ms"]
    assert found["router_us_per_message"] > 0

"""Promise: every command explains itself, with an example that it takes; shells complete it."""

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import typer.main
from typer.testing import CliRunner

from globaltable.cli.examples import EXAMPLES
from globaltable.cli.main import app

_AS_INSTALLED: Final = (
    "import sys; sys.argv[0] = 'globaltable'; from globaltable.cli.main import run; sys.exit(run())"
)


def _commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    if hasattr(command, "commands"):
        for name, inner in command.commands.items():
            yield from _commands(inner, (*path, name))
    else:
        yield " ".join(path), command


COMMANDS: Final = dict(_commands(typer.main.get_command(app)))


def test_every_command_has_an_example_and_no_example_is_left_of_one() -> None:
    assert COMMANDS.keys() == EXAMPLES.keys(), "globaltable/cli/examples.py has them"


@pytest.mark.parametrize(
    ("path", "line"), [(path, line) for path, lines in EXAMPLES.items() for line in lines]
)
def test_an_example_is_taken_by_its_command(path: str, line: str) -> None:
    COMMANDS[path].make_context(path, shlex.split(line))


@pytest.mark.parametrize("path", COMMANDS)
def test_help_says_what_a_command_does_and_shows_how(path: str) -> None:
    told = CliRunner().invoke(app, [*path.split(), "--help"], env={"COLUMNS": "200"})
    assert told.exit_code == 0
    assert COMMANDS[path].help
    for line in EXAMPLES[path]:
        assert f"globaltable {path} {line}".strip() in told.output


def test_brackets_in_a_help_are_shown() -> None:
    """They are marks of what prints it."""
    assert "[placement]" in CliRunner().invoke(app, ["plan", "--help"]).output


def _shell(home: Path, *words: str, **settings: str) -> str:
    environment = {**os.environ, "HOME": str(home), **settings}
    environment["_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION"] = "1"
    ended = subprocess.run(
        [sys.executable, "-c", _AS_INSTALLED, *words],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_a_shell_completes_commands(tmp_path: Path) -> None:
    assert "completion installed" in _shell(tmp_path, "--install-completion", "bash")
    [script] = (tmp_path / ".bash_completions").iterdir()
    assert script.name == "globaltable.sh" and "_GLOBALTABLE_COMPLETE" in script.read_text()
    asked = {"_GLOBALTABLE_COMPLETE": "complete_bash", "COMP_CWORD": "2"}
    told = _shell(tmp_path, COMP_WORDS="globaltable member re", **asked)
    assert set(told.split()) == {"remove", "replace", "replicas"}

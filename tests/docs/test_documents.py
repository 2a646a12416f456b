"""Promise: what the documents tell readers to type is there, and does what they say.

A block that is not run is named here, with the reason.
"""

import ast
import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import typer.main

from globaltable.cli.main import app
from globaltable.testing import LocalCluster
from tests.docs.blocks import ROOT, Block, blocks_of, documents
from tests.docs.shell import DocumentShell

RUN_HERE: Final = {
    ("README.md", "Bind from the shell"),
    ("README.md", "Bind from Python"),
    ("docs/testing-your-application.md", "Testing your application"),
}
RUN_ELSEWHERE: Final = {"docs/runbook.md": "tests/docs/test_runbook.py"}
NOT_RUN: Final = {
    ("README.md", "GlobalTable"): "make demo and make test are run as they are, by .ci/run",
    ("README.md", "Start region nodes"): "its ports are fixed, and may be in use where tests run",
    ("docs/architecture.md", "Architecture"): "a drawing",
    ("docs/scaling.md", "Nodes, groups and cores"): "a formula",
    (
        "README.md",
        "Route to units",
    ): "needs routers: tests/routing has them; its unit: tests/examples",
}
DOCUMENTS_NOT_RUN: Final = {
    "docs/routing.md": "needs units, routers and keys, which tests/routing and tests/cluster have",
}
_COMMAND: Final = re.compile(
    r"(?m)(?:^\s*|`)globaltable (?!route header)([a-z][a-z-]*(?: [^`\n#&]*)?)"
)


def _block(document: str, heading: str) -> Block:
    return next(block for block in blocks_of(document) if block.heading == heading)


def test_every_block_is_run_or_there_is_a_reason() -> None:
    unknown = [
        (block.document, block.heading)
        for document in documents()
        if document not in {*RUN_ELSEWHERE, *DOCUMENTS_NOT_RUN}
        for block in blocks_of(document)
        if (block.document, block.heading) not in {*RUN_HERE, *NOT_RUN}
    ]
    assert not unknown, f"run them, or say why not: {unknown}"


def _told_commands() -> Iterator[tuple[str, str]]:
    for document in documents():
        text = (ROOT / document).read_text(encoding="utf-8")
        for found in _COMMAND.finditer(text):
            yield document, found[1].strip()


@pytest.mark.parametrize(("document", "line"), sorted(set(_told_commands())))
def test_commands_and_options_that_are_told_of_are_there(document: str, line: str) -> None:
    words = line.replace("|", " ").split()
    command: Any = typer.main.get_command(app)
    while words and hasattr(command, "commands") and words[0] in command.commands:
        command = command.commands[words.pop(0)]
    assert command.name != "globaltable", f"{document}: globaltable {line}: no such command"
    known = {option for parameter in command.params for option in parameter.opts}
    told = {word.strip("[].,;:()") for word in words if word.startswith("--")}
    if not hasattr(command, "commands"):
        assert told <= {*known, "--help"}, f"{document}: globaltable {line}"


@pytest.mark.cluster
def test_the_readme_binds_from_the_shell(
    globaltable_cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoints = ",".join(globaltable_cluster.addresses.values())
    monkeypatch.setenv("GLOBALTABLE_ENDPOINTS", endpoints)
    told, endless, rest = _block("README.md", "Bind from the shell").text.partition(
        "globaltable watch"
    )
    # Ends at Ctrl-C, as it should.
    assert endless and "\n" not in rest
    with DocumentShell(globaltable_cluster, monkeypatch, []) as shell:
        assert "cid:1001  B  version 2" in shell.run(told)


@pytest.mark.cluster
async def test_the_readme_binds_from_python(globaltable_cluster: LocalCluster) -> None:
    told, endless, _ = _block("README.md", "Bind from Python").text.partition("    async for")
    assert endless
    told = told.replace("127.0.0.1:7101", globaltable_cluster.addresses["a"])
    told = told.replace("cid:1001", "cid:2002")
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    names: dict[str, Any] = {}
    running = eval(compile(told, "README.md", "exec", flags=flags), names)
    assert inspect.iscoroutine(running)
    await running
    assert (names["binding"].unit, names["binding"].version) == ("B", 2)


@pytest.mark.cluster
@pytest.mark.slow
def test_the_tests_that_users_are_shown_pass(tmp_path: Path) -> None:
    """In an empty directory, with nothing but the plugin and pytest-asyncio."""
    shown = _block("docs/testing-your-application.md", "Testing your application").text
    (tmp_path / "test_mine.py").write_text(shown)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "globaltable.testing.pytest_plugin"]
    command += ["-o", "asyncio_mode=auto", str(tmp_path)]
    ended = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=90, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "2 passed" in ended.stdout

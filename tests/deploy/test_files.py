"""Promise: what `deploy/` hands out names commands, settings and ports that there are.

No container engine runs where tests do: image and manifest are only linted (`.ci/run`).
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from textwrap import dedent
from typing import Final

import pytest

from globaltable.server.config_file import parse

DEPLOY: Final = Path(__file__).parents[2] / "deploy"
UNIT: Final = DEPLOY / "systemd" / "globaltable@.service"
IMAGE: Final = DEPLOY / "docker" / "Dockerfile"
MANIFEST: Final = DEPLOY / "kubernetes" / "region.yaml"


def _configuration() -> str:
    found = re.search(r"cluster\.toml: \|\n((?: {4}.*\n|\n)+)", MANIFEST.read_text())
    assert found
    return dedent(found[1])


def test_the_manifest_has_a_configuration_of_the_nodes_it_starts(tmp_path: Path) -> None:
    config = parse(_configuration(), base_dir=tmp_path)
    text = MANIFEST.read_text()
    node = re.search(r"args: \[node, --config, (\S+), --node, (\w+)\]", text)
    assert node
    assert node[1] == "/etc/globaltable/cluster.toml"
    own = config.node(node[2])
    assert f"containerPort: {own.peer.port}" in text
    assert f"containerPort: {own.client.port}" in text
    assert str(own.data_dir).startswith("/var/lib/globaltable/")


def test_the_unit_checks_the_configuration_that_it_starts_with() -> None:
    lines = UNIT.read_text().splitlines()
    [start] = [line.partition("=")[2] for line in lines if line.startswith("ExecStart=")]
    [check] = [line.partition("=")[2] for line in lines if line.startswith("ExecStartPre=")]
    assert check == f"{start} --check"


def test_the_commands_handed_out_are_taken(tmp_path: Path) -> None:
    file = tmp_path / "cluster.toml"
    file.write_text(_configuration())
    [start] = re.findall(r"^ExecStart=\S+/globaltable (.*)$", UNIT.read_text(), re.M)
    arguments = start.replace("/etc/globaltable/cluster.toml", str(file)).replace("%i", "beijing")
    ended = subprocess.run(
        [sys.executable, "-m", "globaltable", *arguments.split(), "--check"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    healthy = re.search(r"CMD \[(.*)\]", IMAGE.read_text())
    assert healthy
    command = [word.strip(' "') for word in healthy[1].split(",")]
    assert command[0] == "globaltable"
    ended = subprocess.run(
        [sys.executable, "-m", "globaltable", *command[1:-1], "0.2"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    # Nobody is there: the command was understood, and says that.
    assert ended.returncode not in (0, 2), ended.stderr


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze here")
def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    copy = tmp_path / UNIT.name
    copy.write_text(UNIT.read_text().replace("/opt/globaltable/bin/globaltable", "/bin/true"))
    ended = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(copy)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (ended.returncode, ended.stderr.strip()) == (0, "")

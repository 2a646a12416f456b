"""What a command is given to show to nodes, it shows to each node that it asks."""

import ast
from pathlib import Path

import pytest

import globaltable
from globaltable.cli.main import run
from globaltable.cli.tls import tls
from globaltable.client import TlsConfig

ROOT = Path(globaltable.__file__).parent
ASKING = {"look", "change", "connect"}
"""Functions of `admin` and of the client that a command reaches nodes by; all take `tls`."""


OPENING = {("client", "tls.py"), ("server", "node_channels.py")}
"""A client shows its certificate, a node its own."""


def _calls(path: Path) -> list[ast.Call]:
    return [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]


def _name(call: ast.Call) -> str:
    match call.func:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
    return ""


def test_every_command_that_asks_shows_it() -> None:
    asking = [
        (path.name, call)
        for path in sorted((ROOT / "cli").glob("*.py"))
        for call in _calls(path)
        if _name(call) in ASKING
    ]
    assert len(asking) > 5
    for name, call in asking:
        given = [*call.args, *(keyword.value for keyword in call.keywords)]
        shown = [one for one in given if isinstance(one, ast.Call) and _name(one) == "tls"]
        assert shown, f"{name}, line {call.lineno}: asks nodes without tls()"


@pytest.mark.parametrize("package", ["cli", "admin", "client", "server", "routing", "testing"])
def test_channels_are_opened_in_one_place(package: str) -> None:
    """So that none goes in the clear because somebody has forgotten."""
    top = (ROOT / package).resolve()
    for path in sorted(top.rglob("*.py")):
        if (package, path.name) in OPENING:
            continue
        opened = {"insecure_channel", "secure_channel"} & {_name(call) for call in _calls(path)}
        assert not opened, path


def test_options_and_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # A command that asks nobody.
    command = ["node", "--config", str(tmp_path / "none.toml"), "--node", "a"]
    assert run(["--ca", "x.pem", "--cert", "y.pem", "--key", "z.pem", *command]) == 2
    assert tls() == TlsConfig(Path("x.pem"), Path("y.pem"), Path("z.pem"))
    for name in ("CA", "CERT", "KEY"):
        monkeypatch.setenv(f"GLOBALTABLE_{name}", f"{name}.pem")
    assert run(command) == 2
    assert tls() == TlsConfig(Path("CA.pem"), Path("CERT.pem"), Path("KEY.pem"))
    monkeypatch.delenv("GLOBALTABLE_KEY")
    capsys.readouterr()
    assert run(command) == 2
    assert "go together" in capsys.readouterr().err
    for name in ("CA", "CERT"):
        monkeypatch.delenv(f"GLOBALTABLE_{name}")
    assert run(command) == 2
    assert tls() is None

"""The routing commands against a real agent, to which no GlobalTable is to be reached."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

import globaltable
from globaltable.cli.main import run
from globaltable.testing.tether import pass_fds, tied

pytestmark = [pytest.mark.cluster, pytest.mark.long]

EXAMPLE = Path(globaltable.__file__).parent.parent / "routing.example.toml"
READY_S = 30.0


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where it listens. It must end with status 0 when it is told to."""
    directory = tmp_path_factory.mktemp("agent")
    config = directory / "routing.toml"
    text = EXAMPLE.read_text().replace("127.0.0.1:710", "127.0.0.1:1")
    config.write_text(text.replace("# timeout_s = 5.0 ", "timeout_s = 0.5 "))
    address = f"unix:{directory}/agent"
    command = [sys.executable, "-m", "globaltable", "agent", "-c", str(config), "-l", address]
    command += ["--keep", str(directory / "routes")]
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(tied(command), stdout=log, stderr=log, pass_fds=pass_fds())
    try:
        with grpc.insecure_channel(address) as channel:
            grpc.channel_ready_future(channel).result(READY_S)
        yield address
        process.send_signal(signal.SIGTERM)
        assert process.wait(READY_S) == 0, (directory / "log").read_text()
        assert (directory / "routes").exists()
    finally:
        process.kill()
        process.wait()


def test_a_configuration_is_checked(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert run(["router", "--config", str(EXAMPLE), "--check"]) == 0
    assert "3 dimensions are well configured" in capsys.readouterr().out
    wrong = tmp_path / "wrong.toml"
    wrong.write_text('namespace = "x"\n')
    assert run(["router", "--config", str(wrong)]) == 2
    assert "wrong.toml: endpoints is missing" in capsys.readouterr().err


def test_an_agent_serves_its_own_machine_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["agent", "--config", str(EXAMPLE), "--listen", "0.0.0.0:7302"]) == 2
    assert "0.0.0.0:7302 is not on this machine alone" in capsys.readouterr().err


def test_rules_are_answered_by_themselves(agent: str, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["resolve", "user", "bj.1", "u-1", "--router", agent]
    assert run(asked) == 0
    assert capsys.readouterr().out.splitlines() == [
        "bj.1  bj-1  by no binding  rule",
        "u-1  sz-vip  by no binding  rule",
    ]
    before_s = int(time.time())
    assert run(["resolve", "edge", "me", "--region", "shanghai", "--json", "-r", agent]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["unit"], told["layer"], told["source"]) == ("sh-1", "L0", "rule")
    assert before_s + 60 <= told["expires_at_s"] <= time.time() + 60


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["resolve", "chats", "x"], 2, "x: 'chats' is no dimension"),
        (["resolve", "chat", "x"], 3, "globaltable: x: connect to 127.0.0.1:11, "),
        (["resolve", "user", "x", "-a", "vip"], 2, "give NAME=VALUE"),
        (["policy", "get", "new-chats"], 3, "no node answered in time"),
        (["policy", "get", "old-chats"], 2, "'old-chats' is no policy"),
        (["policy", "set", "new-chats", "/nowhere", "--version", "0"], 2, "cannot be read"),
        (["unit", "drain", "nowhere"], 2, "'nowhere' is no unit"),
    ],
)
def test_what_cannot_be_done_is_said_with_its_own_status(
    agent: str,
    words: list[str],
    status: int,
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run([*words, "--router", agent]) == status
    assert message in capsys.readouterr().err


def test_units_are_listed(agent: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["unit", "list", "--router", agent]) == 0
    assert capsys.readouterr().out.splitlines()[2].split() == [
        *("sz-vip", "serving", "shenzhen", "capacity", "1", "vip")
    ]


def test_no_router_is_said_to_be_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["unit", "list", "--router", "127.0.0.1:1", "--timeout", "2"]) == 3
    assert "no router answers at 127.0.0.1:1" in capsys.readouterr().err

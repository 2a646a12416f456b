"""`globaltable demo --console`: its nodes have pages, and are kept until Control-C."""

import re
import signal
import subprocess
import sys
from typing import Final

import pytest

from tests.console.asking import Asking

pytestmark = [pytest.mark.cluster, pytest.mark.long]

END_S: Final = 60.0


def test_the_demo_shows_where_its_consoles_are_and_keeps_them() -> None:
    command = [sys.executable, "-m", "globaltable", "demo", "--console"]
    command += ["--sessions", "50", "--round-trip-ms", "1"]
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
    ) as running:
        try:
            assert running.stdout is not None
            urls = []
            for line in running.stdout:
                if found := re.match(r"Console of \w+: (\S+)", line):
                    urls.append(found[1])
                if "until Control-C" in line:
                    break
            assert len(urls) == 3
            shown = Asking(urls[1]).get("api/snapshot").body
            assert shown["node"] == "shanghai"
            assert [node["name"] for node in shown["nodes"]] == ["beijing", "shanghai", "shenzhen"]
            running.send_signal(signal.SIGINT)
            running.stdout.read()
            assert running.wait(END_S) == 0
        finally:
            if running.poll() is None:
                running.terminate()
                running.wait(END_S)

"""A real Chromium without a window, led over its DevTools protocol: no driver stands between.

Whatever is typed goes by the browser's own input, so that focus, tab order and what keys do are
its own. Everything that a page complains of is kept: exceptions, the console's errors, requests
that failed, and what the content security policy has refused.

Invariant: the browser that was started here is ended here.
"""

import base64
import contextlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from websockets.sync.client import ClientConnection, connect

NAMES: Final = ("chromium", "chromium-browser", "google-chrome")
START_S: Final = 20.0
ANSWER_S: Final = 60.0
UNTIL_S: Final = 30.0
_POLL_S: Final = 0.05
_END_S: Final = 5.0

_KEYS: Final[dict[str, tuple[str, int, str]]] = {
    "Tab": ("Tab", 9, ""),
    "Enter": ("Enter", 13, "\r"),
    "Escape": ("Escape", 27, ""),
    " ": ("Space", 32, " "),
    "ArrowDown": ("ArrowDown", 40, ""),
}
"""Code, number and text."""


def chromium() -> str | None:
    """The program, if it is installed."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Page:
    """One page. What it has complained of is in `complaints`."""

    def __init__(self, connection: ClientConnection, session: str) -> None:
        self._connection = connection
        self._session = session
        self._number = 0
        self.complaints: list[str] = []
        for domain in ("Page", "Runtime", "Log", "Audits"):
            self.tell(f"{domain}.enable")

    def tell(self, method: str, **parameters: Any) -> Any:
        """The answer to a command of the protocol. Raises `AssertionError` if it is refused."""
        self._number += 1
        command = {"id": self._number, "method": method, "params": parameters}
        self._connection.send(json.dumps(command | {"sessionId": self._session}))
        while True:
            message = json.loads(self._connection.recv(timeout=ANSWER_S))
            if message.get("id") == self._number:
                assert "error" not in message, f"{method}: {message['error']}"
                return message["result"]
            self._hear(message)

    def _hear(self, message: dict[str, Any]) -> None:
        told = message.get("params", {})
        match message.get("method"):
            case "Runtime.exceptionThrown":
                self.complaints.append(json.dumps(told["exceptionDetails"])[:600])
            case "Runtime.consoleAPICalled" if told["type"] in ("error", "warning", "assert"):
                self.complaints.append(json.dumps(told["args"])[:600])
            case "Log.entryAdded" if told["entry"]["level"] in ("error", "warning"):
                self.complaints.append(json.dumps(told["entry"])[:600])
            case "Audits.issueAdded" if "ContentSecurityPolicy" in told["issue"]["code"]:
                self.complaints.append(json.dumps(told["issue"])[:600])

    def close(self) -> None:
        """A browser keeps few connections to one host, and a page's stream is one of them."""
        self.tell("Page.close")

    def open(self, url: str) -> None:
        self.tell("Page.navigate", url=url)
        self.until("document.readyState === 'complete' && location.href !== 'about:blank'")

    def ask(self, expression: str) -> Any:
        """The value of an expression in the page; a promise is awaited."""
        answer = self.tell(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def until(self, expression: str, timeout_s: float = UNTIL_S) -> Any:
        """Wait until an expression is true in the page; its value."""
        deadline = time.monotonic() + timeout_s
        while not (value := self.ask(expression)):
            assert time.monotonic() < deadline, f"never: {expression}\n{self.text()}"
            time.sleep(_POLL_S)
        return value

    def text(self) -> str:
        return str(self.ask("document.body.innerText"))

    # --- the keyboard ----------------------------------------------------------------------------

    def press(self, key: str) -> None:
        code, number, text = _KEYS[key]
        for kind in ("keyDown", "keyUp"):
            event = {"key": key, "code": code, "windowsVirtualKeyCode": number}
            if text and kind == "keyDown":
                event["text"] = text
            self.tell("Input.dispatchKeyEvent", type=kind, **event)

    def type(self, text: str) -> None:
        """As a keyboard would, but for what is held down."""
        self.tell("Input.insertText", text=text)

    def focused(self) -> str:
        """What has the focus, by the name that a screen reader would say."""
        return str(
            self.ask(
                "(() => { const e = document.activeElement; return e.getAttribute('aria-label')"
                " || e.labels?.[0]?.textContent || e.textContent.trim().slice(0, 60); })()"
            )
        )

    def tab_to(self, name: str, presses_max: int = 60) -> None:
        """By the Tab key alone."""
        passed = []
        for _ in range(presses_max):
            self.press("Tab")
            passed.append(self.focused())
            if passed[-1] == name:
                return
        raise AssertionError(f"Tab never comes to {name!r}, but to {passed}")

    # --- how it looks ----------------------------------------------------------------------------

    def look_like(self, *, width: int, height: int, dark: bool = False, scale: float = 1.0) -> None:
        """The window's size, and what its user prefers."""
        self.tell(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=scale,
            mobile=False,
        )
        features = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.tell("Emulation.setEmulatedMedia", features=features)

    def picture(self, path: Path, *, whole: bool = False) -> None:
        """A PNG of what is to be seen, or of the whole page."""
        more: dict[str, Any] = {}
        if whole:
            size = self.tell("Page.getLayoutMetrics")["cssContentSize"]
            clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
            more = {"captureBeyondViewport": True, "clip": clip}
        taken = self.tell("Page.captureScreenshot", format="png", **more)
        path.write_bytes(base64.b64decode(taken["data"]))


class Browser:
    """Of which pages are made."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection

    def page(self) -> Page:
        made = self.tell("Target.createTarget", url="about:blank")["targetId"]
        attached = self.tell("Target.attachToTarget", targetId=made, flatten=True)
        return Page(self._connection, attached["sessionId"])

    def tell(self, method: str, **parameters: Any) -> Any:
        self._connection.send(json.dumps({"id": 0, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._connection.recv(timeout=ANSWER_S))
            if message.get("id") == 0:
                return message["result"]


@contextlib.contextmanager
def browser() -> Iterator[Browser]:
    """For as long as the context lasts."""
    program = chromium()
    assert program is not None
    with contextlib.ExitStack() as stack:
        directory = Path(tempfile.mkdtemp(prefix="globaltable-chromium-"))
        stack.callback(shutil.rmtree, directory, ignore_errors=True)
        process = _start(program, directory)
        stack.callback(_end, process)
        connection = stack.enter_context(
            connect(
                _address(process, directory),
                max_size=None,
                # Nobody reads while a test looks elsewhere.
                max_queue=None,
                ping_interval=None,
                open_timeout=START_S,
            )
        )
        yield Browser(connection)


def _start(program: str, directory: Path) -> "subprocess.Popen[bytes]":
    command = [program, "--headless=new", "--remote-debugging-port=0"]
    command += [f"--user-data-dir={directory}", "--no-first-run", "--disable-gpu"]
    # Tests may run as root in a container, where its sandbox has nothing to stand on.
    command += ["--no-sandbox", "--disable-dev-shm-usage", "--hide-scrollbars"]
    command += ["--disable-background-networking", "--disable-component-update", "about:blank"]
    nowhere = subprocess.DEVNULL
    return subprocess.Popen(
        command, stdin=nowhere, stdout=nowhere, stderr=nowhere, start_new_session=True
    )


def _address(process: "subprocess.Popen[bytes]", directory: Path) -> str:
    told = directory / "DevToolsActivePort"
    deadline = time.monotonic() + START_S
    while not told.exists() or "\n" not in (text := told.read_text()):
        assert process.poll() is None, "the browser has ended"
        assert time.monotonic() < deadline, "the browser does not start"
        time.sleep(_POLL_S)
    port, path = text.split("\n", 1)
    return f"ws://127.0.0.1:{port}{path.strip()}"


def _end(process: "subprocess.Popen[bytes]") -> None:
    """With the processes that it has started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(_END_S)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

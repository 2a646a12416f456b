"""The console as an ASGI application, without a network: files, headers, and what is refused."""

import asyncio
import json
import re
from typing import Any

import pytest

from globaltable.server.console import app as module
from globaltable.server.console.app import BODY_BYTES_MAX, INDEX, console_app
from globaltable.server.console.calls import Shown
from globaltable.server.console.connections import SHOWN
from globaltable.server.console.entrance import SECURITY
from globaltable.server.console.page import files
from globaltable.server.console.stream import STREAMS_MAX, Streams

ACT = {
    "host": "127.0.0.1:7401",
    "content-type": "application/json",
    "x-globaltable-console": "act",
}
NOBODY: Any = None
"""The desk of a console of which nothing is asked that would reach it."""
DRAIN = {"where": "a", "undo": False}


class Answer:
    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = b""

    @property
    def error(self) -> str:
        return str(json.loads(self.body)["error"])


async def _ask(
    path: str,
    *,
    method: str = "GET",
    body: bytes = b"",
    headers: dict[str, str] | None = None,
    desk: Any = None,
    streams: Streams | None = None,
    stalls: bool = False,
) -> Answer:
    """Of a console whose desk nothing that is refused may reach."""
    answer = Answer()
    sent = [body[:100], body[100:]]

    async def receive() -> dict[str, Any]:
        if stalls:
            await asyncio.sleep(60)
        return {"type": "http.request", "body": sent.pop(0), "more_body": bool(sent)}

    async def send(event: Any) -> None:
        if event["type"] == "http.response.start":
            answer.status = event["status"]
            answer.headers = {name.decode(): value.decode() for name, value in event["headers"]}
        else:
            answer.body += event["body"]

    raw = {"host": "127.0.0.1:7401"} if headers is None else headers
    where, _, query = path.partition("?")
    scope = {
        "type": "http",
        "method": method,
        "path": where,
        "query_string": query.encode(),
        "scheme": "http",
        "headers": [(name.encode(), value.encode()) for name, value in raw.items()],
        "state": {SHOWN: Shown()},
    }
    application = console_app(desk, streams or Streams(desk), {"localhost"})
    await application(scope, receive, send)
    return answer


@pytest.mark.parametrize("name", ["", *(name for name in files() if name != INDEX)])
async def test_each_file_is_served_with_its_type_and_all_that_browsers_are_to_heed(
    name: str,
) -> None:
    answer = await _ask(f"/{name}")
    assert answer.status == 200
    assert answer.body == files()[name or INDEX].body
    assert SECURITY.items() <= answer.headers.items()


@pytest.mark.parametrize("path", ["/x", "/../config.toml", "/static/main.js", "/api/", "/%2e%2e/x"])
async def test_nothing_else_is_served(path: str) -> None:
    answer = await _ask(path)
    assert answer.status == 404
    assert SECURITY.items() <= answer.headers.items(), "refusals too"


def test_the_page_is_of_its_own_files_and_needs_nobody_else() -> None:
    """It works offline, and nothing in it is what its policy refuses."""
    page = files()["index.html"].body.decode()
    referred = re.findall(r'(?:src|href)="([^"#]+)"', page)
    assert set(referred) <= set(files())
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=", page)
    for name, file in files().items():
        text = file.body.decode()
        outward = [url for url in re.findall(r"https?://[^\s\"'`)]+", text) if "w3.org" not in url]
        assert outward == [], f"{name} refers to {outward}"
        assert "innerHTML" not in text, name
        for imported in re.findall(r'from "\./([^"]+)"', text):
            assert imported in files(), f"{name} imports {imported}"


async def test_a_foreign_name_is_refused_before_anything_is_looked_at() -> None:
    answer = await _ask("/api/snapshot", headers={"host": "evil.example"})
    assert answer.status == 421
    assert "evil.example" in answer.error


@pytest.mark.parametrize("path", ["/api/drain", "/api/leader"])
async def test_nothing_is_done_by_get_nor_without_the_header(path: str) -> None:
    assert (await _ask(path)).status == 405
    body = json.dumps(DRAIN).encode()
    without = {name: value for name, value in ACT.items() if name != "x-globaltable-console"}
    assert (await _ask(path, method="POST", body=body, headers=without)).status == 403


@pytest.mark.parametrize(
    ("body", "named"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"\xff", "not JSON"),
        (b"[" * 4_000, "not JSON"),
        (b"[]", "give an object of where, undo"),
        (b'{"where": "a"}', "give an object of where, undo"),
        (b'{"where": "a", "undo": false, "more": 1}', "give an object of where, undo"),
        (b'{"where": 1, "undo": false}', "where = '1': give a str"),
        (b'{"where": "a", "undo": 0}', "undo = '0': give a bool"),
        (b" " * (BODY_BYTES_MAX + 1), f"more than {BODY_BYTES_MAX} bytes"),
    ],
)
async def test_what_is_no_request_is_refused_by_name(body: bytes, named: str) -> None:
    answer = await _ask("/api/drain", method="POST", body=body, headers=ACT)
    assert answer.status == 400
    assert named in answer.error


async def test_who_trickles_a_body_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BODY_S", 0.02)
    answer = await _ask("/api/drain", method="POST", headers=ACT, stalls=True)
    assert answer.status == 400
    assert "did not come within" in answer.error


async def test_streams_are_bounded() -> None:
    streams = Streams(NOBODY)
    streams._count = STREAMS_MAX
    answer = await _ask("/api/stream", streams=streams)
    assert answer.status == 503
    assert "as many streams as it may" in answer.error

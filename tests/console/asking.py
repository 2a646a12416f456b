"""A console asked over HTTP as a script would, with or without a certificate."""

import json
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, NamedTuple
from urllib.parse import urlencode

from globaltable.client import TlsConfig

TIMEOUT_S: Final = 15.0
ACT: Final = {"x-globaltable-console": "act", "content-type": "application/json"}


class Told(NamedTuple):
    status: int
    body: Any


class Asking:
    """Of one console."""

    def __init__(self, url: str, tls: TlsConfig | None = None) -> None:
        self.url = url
        handlers = []
        if tls is not None:
            context = ssl.create_default_context(cafile=str(tls.ca))
            context.load_cert_chain(str(tls.cert), str(tls.key))
            handlers.append(urllib.request.HTTPSHandler(context=context))
        self._opener = urllib.request.build_opener(*handlers)

    def get(self, path: str, *, headers: dict[str, str] | None = None, **asked: str) -> Told:
        query = f"?{urlencode(asked)}" if asked else ""
        return self._tell(urllib.request.Request(f"{self.url}{path}{query}", headers=headers or {}))

    def act(self, path: str, **asked: object) -> Told:
        body = json.dumps(asked).encode()
        return self._tell(urllib.request.Request(f"{self.url}{path}", body, ACT, method="POST"))

    def _tell(self, request: urllib.request.Request) -> Told:
        try:
            with self._opener.open(request, timeout=TIMEOUT_S) as answer:
                return Told(answer.status, json.loads(answer.read()))
        except urllib.error.HTTPError as error:
            with error:
                return Told(error.code, json.loads(error.read()))

    @contextmanager
    def events(self, **asked: str) -> Iterator[Iterator[tuple[str, Any]]]:
        """A stream's events, by name; it ends with the context."""
        url = f"{self.url}api/stream?{urlencode(asked)}"
        with self._opener.open(url, timeout=TIMEOUT_S) as answer:
            yield _events(answer)


def _events(lines: Any) -> Iterator[tuple[str, Any]]:
    name = ""
    for line in lines:
        kind, _, value = line.decode().rstrip("\n").partition(": ")
        if kind == "event":
            name = value
        elif kind == "data":
            yield name, json.loads(value)

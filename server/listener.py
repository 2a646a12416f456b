"""The HTTP side for those who look after a node: `/metrics`, `/healthz`, `/readyz`.

It runs on threads of its own, so that it can say of the event loop that it does not turn:
`/healthz` is 200 while it does, and 503 otherwise: the one thing that a restart helps against.
`/readyz` is 503 while a caller would better be sent elsewhere. Both have a JSON body that says what
is not well. All else that is asked is asked on the loop's thread.

Invariants: as many requests are answered at a time as `REQUESTS_MAX`, and each ends within
`TIMEOUT_S`; more are closed unanswered. On loopback it is in the clear, for whoever is on this
machine; beyond, with TLS, whoever asks shows a certificate as peers and clients do. It tells no key
and no unit, but names, tables and numbers.
"""

import asyncio
import json
import socket
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotInTime
from socketserver import ThreadingMixIn
from typing import Any, Final, TypeVar
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import structlog
from prometheus_client import CollectorRegistry, ProcessCollector, make_wsgi_app

from globaltable.errors import ProtocolError, StorageError
from globaltable.server.config import Address
from globaltable.server.health import Health
from globaltable.server.identities import Certificate, Unidentified, certificate_of
from globaltable.server.metrics.collector import NodeCollector
from globaltable.server.tls import Certificates

REQUESTS_MAX: Final = 8
TIMEOUT_S: Final = 5.0
LOOP_TURNS_S: Final = 2.0
"""A loop that does not come to it within this does not turn: a turn takes milliseconds."""

T = TypeVar("T")

log = structlog.get_logger(__name__)


class LoopStuck(Exception):
    """The event loop has not answered in time."""


class _Handler(WSGIRequestHandler):
    timeout = TIMEOUT_S  # of the socket: who connects and says nothing is let go

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        log.debug("http", line=format % args)


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    certificates: Certificates | None = None
    why_not: Callable[[Certificate], str] = staticmethod(lambda shown: "")

    def __init__(self, *args: Any, **named: Any) -> None:
        self._room = threading.BoundedSemaphore(REQUESTS_MAX)
        super().__init__(*args, **named)

    def verify_request(self, request: Any, client_address: Any) -> bool:
        return self._room.acquire(blocking=False)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            if self.certificates is not None:
                request.settimeout(TIMEOUT_S)
                request = self.certificates.accepting.wrap_socket(request, server_side=True)
                shown = certificate_of(request.getpeercert() or {}, self.certificates.cluster)
                why_not = self.why_not(shown)
                if why_not:
                    raise Unidentified(why_not)
            super().process_request_thread(request, client_address)
        except (OSError, ProtocolError) as error:
            log.debug("http refused", client=str(client_address), reason=str(error))
            self.shutdown_request(request)
        finally:
            self._room.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        # Who asked has gone amid the answer.
        log.debug("http request broken off", client=str(client_address), exc_info=True)


class _Server6(_Server):
    address_family = socket.AF_INET6


class Listener:
    """Of one node; without an address it does nothing."""

    def __init__(
        self,
        address: Address | None,
        loop: asyncio.AbstractEventLoop,
        health: Health,
        collector: NodeCollector,
        certificates: Certificates | None = None,
        why_not: Callable[[Certificate], str] = lambda shown: "",
    ) -> None:
        """`why_not` says of a certificate that was shown why it is not believed."""
        self._address = address
        self._why_not = why_not
        self._certificates = certificates
        self._loop = loop
        self._health = health
        registry = CollectorRegistry()
        registry.register(_OnLoop(collector, self._on_loop))
        ProcessCollector(registry=registry)
        self._metrics = make_wsgi_app(registry)
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Raises `StorageError` if the address cannot be listened on."""
        if self._address is None:
            return
        host, port = self._address.host, self._address.port
        kind = _Server6 if ":" in host else _Server
        try:
            self._server = make_server(host, port, self._answer, kind, _Handler)
            if not self._address.is_loopback:
                self._server.certificates = self._certificates
                self._server.why_not = self._why_not_believed
        except OSError as error:
            raise StorageError(
                f"metrics address {self._address} cannot be listened on: {error}; is another "
                "process using it?"
            ) from error
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.1,), name="http", daemon=True
        )
        self._thread.start()

    async def close(self) -> None:
        """Answer nobody any more."""
        if self._server is not None:
            await self._loop.run_in_executor(None, self._server.shutdown)
            self._server.server_close()

    # --- on the threads --------------------------------------------------------------------------

    def _on_loop(self, asked: Callable[[], T]) -> T:
        """What `asked` returns on the loop's thread. Raises `LoopStuck`."""
        answer: Future[T] = Future()

        def answered() -> None:
            try:
                answer.set_result(asked())
            except Exception as error:
                answer.set_exception(error)

        try:
            self._loop.call_soon_threadsafe(answered)
            return answer.result(LOOP_TURNS_S)
        except (NotInTime, RuntimeError) as error:
            # RuntimeError: the loop is closed.
            raise LoopStuck("the event loop does not turn") from error

    def _why_not_believed(self, shown: Certificate) -> str:
        try:
            return self._on_loop(lambda: self._why_not(shown))
        except LoopStuck:
            # Who asks must be told just that.
            return ""

    def _answer(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        match environ["PATH_INFO"]:
            case "/metrics":
                try:
                    answer: Iterable[bytes] = self._metrics(environ, start_response)
                    return answer
                except LoopStuck as error:
                    return _json(start_response, {"node": str(error)})
            case "/healthz":
                return _json(start_response, self._ills(lambda: {}))
            case "/readyz":
                return _json(start_response, self._ills(lambda: self._health.readiness.ills))
            case path:
                known = "/metrics, /healthz, /readyz"
                return _respond(start_response, "404 Not Found", f"no {path}; there are {known}\n")

    def _ills(self, asked: Callable[[], Any]) -> dict[str, str]:
        try:
            return dict(self._on_loop(asked))
        except LoopStuck as error:
            return {"loop": str(error)}


class _OnLoop:
    """The node's collector as prometheus-client asks one, on its threads."""

    def __init__(
        self, collector: NodeCollector, on_loop: Callable[[Callable[[], Any]], Any]
    ) -> None:
        self._collector = collector
        self._on_loop = on_loop

    def describe(self) -> Iterable[Any]:
        """Nothing: to say it in full is to collect, which needs the loop."""
        return ()

    def collect(self) -> Iterable[Any]:
        yield from self._on_loop(self._collector.of_the_loop)
        yield from self._collector.of_the_disk()


def _json(start_response: Any, ills: dict[str, str]) -> Iterable[bytes]:
    status = "503 Service Unavailable" if ills else "200 OK"
    body = json.dumps({"ok": not ills, "ills": ills}, indent=2) + "\n"
    return _respond(start_response, status, body, "application/json")


def _respond(
    start_response: Any, status: str, body: str, content_type: str = "text/plain; charset=utf-8"
) -> Iterable[bytes]:
    encoded = body.encode()
    headers = [("Content-Type", content_type), ("Content-Length", str(len(encoded)))]
    start_response(status, headers)
    return [encoded]

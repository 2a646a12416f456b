"""ASGI applications: a unit decides on each HTTP request that is routed. Needs no package.

::

    app = RoutingMiddleware(app, unit, lambda scope: ("chat", scope["path"].split("/")[2]))

Responsible for what a decision is in HTTP. The sender's header comes as `x-globaltable-route`, and
so goes a new one; the other names are `admission`'s.

    serve                    the application runs under a permit, which is confirmed before anything
                             of its response leaves: so make the message durable before you respond
    moved, forward           handed on by `forward`; else 307 to `address_of(unit)`; else 421
    moving, ask, lapsed      503, with Retry-After: nothing happened
    not bound                404
    not confirmed            503 with the verdict "unconfirmed": it may have happened; send it again
                             with its own id
    a name that cannot be    400

A WebSocket is decided on when it opens, and holds no permit: a drain would wait for it. What it
writes it writes within `admission.admitted`. One that is refused is closed before it is accepted.
"""

import math
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final
from urllib.parse import quote

from globaltable.errors import (
    GlobalTableError,
    InvalidArgument,
    NotBound,
    OutcomeUnknown,
    Unavailable,
)
from globaltable.routing.fence import NotConfirmed, Permit
from globaltable.routing.header import HeaderRefused, from_text, to_text
from globaltable.routing.integrations.admission import (
    FORWARDED,
    ROUTE,
    Admitted,
    Gate,
    LivesElsewhere,
    admitted,
    carried,
    carried_error,
    decided,
    retry_after_s_of,
)
from globaltable.routing.route import Route

Scope = MutableMapping[str, Any]
Event = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Event]]
Send = Callable[[Event], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

NameOf = Callable[[Scope], tuple[str, str] | None]
"""Dimension and key of a request; None if it is not routed."""

Forward = Callable[[Route, bytes, Scope, Receive, Send], Awaitable[None]]
"""Hands a request on to the unit of a route, with its header and `x-globaltable-forwarded: 1`."""

WEBSOCKET_TRY_AGAIN: Final = 1013
WEBSOCKET_REASON_BYTES_MAX: Final = 123
"""RFC 6455, 5.5: a control frame holds 125 bytes, two of which are the code."""


class RoutingMiddleware:
    """One for each unit and application."""

    def __init__(
        self,
        app: App,
        gate: Gate,
        name_of: NameOf,
        *,
        forward: Forward | None = None,
        address_of: Callable[[str], str | None] = lambda _unit: None,
    ) -> None:
        """`address_of` is a unit's "https://host:port", None if senders find it by its name."""
        self._app = app
        self._gate = gate
        self._name_of = name_of
        self._forward = forward
        self._address_of = address_of

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        name = self._name_of(scope) if scope["type"] in ("http", "websocket") else None
        if name is None:
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._websocket(name, scope, receive, send)
        else:
            await self._http(name, scope, receive, send)

    async def _http(
        self, name: tuple[str, str], scope: Scope, receive: Receive, send: Send
    ) -> None:
        header = _header(scope)
        guarded = _GuardedSend(self._gate, send)
        try:
            async with admitted(self._gate, *name, header) as message:
                guarded.begin(message)
                await self._app(scope, receive, guarded)
                if guarded.refused is not None:
                    raise guarded.refused
        except LivesElsewhere as elsewhere:
            if self._forward is not None and not _value(scope, FORWARDED):
                given = elsewhere.decision.header or header
                await self._forward(elsewhere.route, given, scope, receive, send)
            else:
                await self._answer(scope, send, elsewhere)
        except GlobalTableError as error:
            if guarded.has_started and isinstance(error, NotConfirmed):
                return  # the lease ended after the answer had begun, which was confirmed before
            if guarded.has_started:
                raise  # the application's own
            await self._answer(scope, send, error)

    async def _answer(self, scope: Scope, send: Send, error: GlobalTableError) -> None:
        told = carried_error(error)
        status = _status(error)
        if status == 503:
            told["retry-after"] = str(max(1, math.ceil(retry_after_s_of(told))))
        if isinstance(error, LivesElsewhere):
            if error.decision.header:
                told[ROUTE] = to_text(error.decision.header)
            address = self._address_of(error.route.unit)
            if address is not None:
                status = 307  # unlike 302, the method and the body stay as they are
                query = scope.get("query_string", b"").decode("latin-1")
                raw = scope.get("raw_path")
                path = raw.decode("latin-1") if raw else quote(scope["path"])
                told["location"] = address + path + (f"?{query}" if query else "")
        body = f"{error}\n".encode()
        headers = [(name.encode(), value.encode("latin-1")) for name, value in told.items()]
        headers.append((b"content-type", b"text/plain; charset=utf-8"))
        headers.append((b"content-length", str(len(body)).encode()))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _websocket(
        self, name: tuple[str, str], scope: Scope, receive: Receive, send: Send
    ) -> None:
        try:
            await decided(self._gate, *name, _header(scope))
        except GlobalTableError as error:
            await receive()  # the connect
            reason = str(error).encode()[:WEBSOCKET_REASON_BYTES_MAX].decode(errors="ignore")
            code = WEBSOCKET_TRY_AGAIN
            await send({"type": "websocket.close", "code": code, "reason": reason})
            return
        await self._app(scope, receive, send)


class _GuardedSend:
    """Lets an application's response out only once its permit is confirmed."""

    def __init__(self, gate: Gate, send: Send) -> None:
        self._gate = gate
        self._send = send
        self._permit: Permit | None = None
        self._added: list[tuple[bytes, bytes]] = []
        self.has_started = False
        self.refused: NotConfirmed | None = None

    def begin(self, message: Admitted) -> None:
        self._permit = message.permit
        header = message.decision.header
        if header:
            told = {ROUTE: to_text(header), **carried(message.decision)}
            self._added = [(name.encode(), value.encode("latin-1")) for name, value in told.items()]

    async def __call__(self, event: Event) -> None:
        if self.refused is not None:
            return  # the application goes on; nothing of it leaves
        if event["type"] == "http.response.start":
            assert self._permit is not None
            try:
                self._gate.confirm(self._permit)
            except NotConfirmed as refused:
                self.refused = refused
                return
            self.has_started = True
            event = {**event, "headers": [*event.get("headers", ()), *self._added]}
        await self._send(event)


def _status(error: GlobalTableError) -> int:
    match error:
        case LivesElsewhere():
            return 421
        case NotBound():
            return 404
        case InvalidArgument():
            return 400
        case Unavailable() | OutcomeUnknown():
            return 503
        case _:
            return 500


def _value(scope: Scope, name: str) -> str:
    wanted = name.encode()
    return next((v.decode("latin-1") for n, v in scope.get("headers", ()) if n == wanted), "")


def _header(scope: Scope) -> bytes:
    text = _value(scope, ROUTE)
    try:
        return from_text(text)
    except HeaderRefused:
        # What is no base64url begins with no format there is: so whoever verifies refuses it, and
        # counts it with the others.
        return text.encode("latin-1")

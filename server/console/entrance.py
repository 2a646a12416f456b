"""Around everything that the console serves: foreign requests stay out, and every answer says what
browsers may do with it.

The page is of files that come from here alone, and may send to nowhere else: no script and no style
within the page's text, no frame around it, no form that leaves it. What fails is logged, and the
browser is told no more than that.
"""

from collections.abc import Awaitable, Callable, Collection, MutableMapping
from typing import Any, Final

import structlog
from starlette.responses import JSONResponse

from globaltable.server.console.origins import headers_of, why_foreign

Scope = MutableMapping[str, Any]
Event = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Event]]
Send = Callable[[Event], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

SECURITY: Final = {
    "content-security-policy": "; ".join(
        (
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "img-src 'self'",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types 'none'",
        )
    ),
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), usb=()",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}
_ENCODED: Final = [(name.encode(), value.encode()) for name, value in SECURITY.items()]

log = structlog.get_logger(__name__)


class Entrance:
    """An ASGI application around another."""

    def __init__(self, inner: Application, names: Collection[str]) -> None:
        """`names` are those that the console is reached by, in lower case."""
        self._inner = inner
        self._names = frozenset(names)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "http", scope["type"]
        began = False

        async def secured(event: Event) -> None:
            nonlocal began
            if event["type"] == "http.response.start":
                began = True
                headers = list(event.get("headers", ()))
                if not any(name == b"cache-control" for name, _ in headers):
                    headers.append((b"cache-control", b"no-store"))
                event = {**event, "headers": [*headers, *_ENCODED]}
            await send(event)

        headers = headers_of(scope["headers"])
        foreign = why_foreign(scope["method"], scope["path"], headers, scope["scheme"], self._names)
        if foreign is not None:
            refused = JSONResponse({"error": foreign.why}, foreign.status)
            await refused(scope, receive, secured)
            return
        try:
            await self._inner(scope, receive, secured)
        except Exception:
            log.exception("console request failed", path=scope["path"])
            if began:
                raise
            answer = JSONResponse({"error": "this node failed to answer; its log says why"}, 500)
            await answer(scope, receive, secured)

"""What the console serves: its page, what the page asks for, and what it may do.

::

    GET  /                page, and its files
    GET  /api/snapshot    all that is shown, once
    GET  /api/stream      the same, as it changes; ?table= and &prefix= add changes of bindings
    GET  /api/binding     ?table= &key= [&linearizable=1]: a binding and its past
    POST /api/drain       {"where": a region or a node, "undo": true or false}
    POST /api/leader      {"group": number, "to": node, "topology_version": what the page goes by}

An error is JSON with `error`. Its status is that of the RPC's code; 421 and 403 may be `origins`'.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Collection
from typing import Any, Final

import grpc
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from globaltable.errors import InvalidArgument
from globaltable.server.console.calls import CallRefused, Shown
from globaltable.server.console.connections import SHOWN
from globaltable.server.console.desk import Desk, Stale
from globaltable.server.console.entrance import Application, Entrance, Receive, Scope, Send
from globaltable.server.console.page import files
from globaltable.server.console.stream import Streams

BODY_BYTES_MAX: Final = 4_096
BODY_S: Final = 5.0
INDEX: Final = "index.html"

_STATUS: Final = {
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.UNAUTHENTICATED: 401,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.FAILED_PRECONDITION: 409,
    grpc.StatusCode.OUT_OF_RANGE: 410,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.UNAVAILABLE: 503,
}

Handler = Callable[[Request, Shown], Awaitable[Response]]


def console_app(desk: Desk, streams: Streams, names: Collection[str]) -> Application:
    """`names` are those that browsers reach it by."""
    routes = [
        Route("/", _file(INDEX)),
        *(Route(f"/{name}", _file(name)) for name in files() if name != INDEX),
        Route("/api/snapshot", _asked(lambda r, s: _snapshot(desk, s))),
        Route("/api/binding", _asked(lambda r, s: _binding(desk, r, s))),
        Route("/api/drain", _asked(lambda r, s: _drain(desk, r, s)), methods=["POST"]),
        Route("/api/leader", _asked(lambda r, s: _leader(desk, r, s)), methods=["POST"]),
        Route("/api/stream", _Stream(streams)),
    ]
    handlers: Any = {404: _nowhere, 405: _otherwise}
    return Entrance(Starlette(routes=routes, exception_handlers=handlers), names)


def _file(name: str) -> Callable[[Request], Awaitable[Response]]:
    file = files()[name]

    async def served(_request: Request) -> Response:
        headers = {"cache-control": "no-cache"}
        return Response(file.body, media_type=file.content_type, headers=headers)

    return served


async def _nowhere(request: Request, _error: Exception) -> Response:
    return _refused(404, f"there is no {request.url.path[:255]} here")


async def _otherwise(request: Request, _error: Exception) -> Response:
    return _refused(405, f"{request.url.path} is not asked by {request.method[:32]}")


def _asked(handler: Handler) -> Callable[[Request], Awaitable[Response]]:
    """What is refused is answered so."""

    async def answered(request: Request) -> Response:
        try:
            return await handler(request, request.scope["state"][SHOWN])
        except CallRefused as refused:
            retry = {"retry-after": "1"} if refused.code is grpc.StatusCode.UNAVAILABLE else None
            return _refused(_STATUS.get(refused.code, 500), str(refused), retry)
        except Stale as error:
            return _refused(409, str(error))
        except InvalidArgument as error:
            return _refused(400, str(error))

    return answered


def _refused(status: int, why: str, headers: dict[str, str] | None = None) -> Response:
    return JSONResponse({"error": why}, status, headers)


async def _snapshot(desk: Desk, shown: Shown) -> Response:
    view = await desk.view(shown, 0)
    return JSONResponse(view | {"course": desk.course()})


async def _binding(desk: Desk, request: Request, shown: Shown) -> Response:
    asked = request.query_params
    table, key = asked.get("table", ""), asked.get("key", "")
    linearizable = asked.get("linearizable") == "1"
    try:
        return JSONResponse(await desk.binding(shown, table, key, linearizable=linearizable))
    except CallRefused as refused:
        if refused.code is not grpc.StatusCode.FAILED_PRECONDITION:
            raise
        held_by = desk.holders_of(table, key)
        return JSONResponse({"error": str(refused), "held_by": held_by}, 409)


async def _drain(desk: Desk, request: Request, shown: Shown) -> Response:
    asked = await _body(request, {"where": str, "undo": bool})
    return JSONResponse(await desk.drain(shown, asked["where"], undo=asked["undo"]))


async def _leader(desk: Desk, request: Request, shown: Shown) -> Response:
    asked = await _body(request, {"group": int, "to": str, "topology_version": int})
    done = await desk.lead(shown, asked["group"], asked["to"], asked["topology_version"])
    return JSONResponse(done)


async def _body(request: Request, fields: dict[str, type]) -> dict[str, Any]:
    """Raises `InvalidArgument`."""
    body = b""
    try:
        async with asyncio.timeout(BODY_S):
            async for part in request.stream():
                body += part
                if len(body) > BODY_BYTES_MAX:
                    raise InvalidArgument(f"more than {BODY_BYTES_MAX} bytes; no request has that")
        asked = json.loads(body)
    except TimeoutError as error:
        raise InvalidArgument(f"the rest did not come within {BODY_S:g} s") from error
    except (ValueError, RecursionError) as error:
        if isinstance(error, InvalidArgument):
            raise
        raise InvalidArgument(f"not JSON: {error}") from error
    if not isinstance(asked, dict) or asked.keys() != fields.keys():
        raise InvalidArgument(f"give an object of {', '.join(fields)}")
    for name, kind in fields.items():
        if type(asked[name]) is not kind:
            raise InvalidArgument(f"{name} = {str(asked[name])[:255]!r}: give a {kind.__name__}")
    return asked


class _Stream:
    """An ASGI application of its own: the stream sends by itself."""

    def __init__(self, streams: Streams) -> None:
        self._streams = streams

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope)
        if request.method != "GET":
            await _refused(405, "a stream is asked for by GET")(scope, receive, send)
        elif self._streams.is_full:
            why = "this console has as many streams as it may; close a page, or use another node's"
            await _refused(503, why, {"retry-after": "5"})(scope, receive, send)
        else:
            asked = request.query_params
            await self._streams.serve(
                scope, receive, send, asked.get("table", ""), asked.get("prefix", "")
            )

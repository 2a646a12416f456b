"""What the console's users ask of this node, asked of the very services that the client port has.

A request becomes the RPC that a client would have sent, and goes its way inside the process: by the
gate, with the certificate that the browser has shown, to the same handler. So rights, allowances,
audit and effects are those of the RPC, and there is no second way to any of them.

Invariant: with a gate nothing is answered that it has not let through. Without one everybody may
everything, as on the client port.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Final, NamedTuple, NoReturn

import grpc

from globaltable.errors import GlobalTableError
from globaltable.server.gate import Gate
from globaltable.v1 import globaltable_pb2 as pb

SERVICE: Final = "/globaltable.v1.GlobalTableService/"
ADMIN: Final = "/globaltable.v1.AdminService/"


class Shown(NamedTuple):
    """Whoever asks: the certificate that was shown, in PEM, and where from, as gRPC has it."""

    pem: bytes = b""
    address: str = ""


class CallRefused(GlobalTableError):
    """How an RPC ended that did not end well."""

    def __init__(
        self,
        code: grpc.StatusCode,
        message: str,
        oldest: Mapping[int, int] | None = None,
        retry_delay_s: float = 0.0,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.oldest = dict(oldest or {})
        """Of a watch that is told that changes are gone: what is kept, by group."""
        self.retry_delay_s = retry_delay_s


class Handlers:
    """Takes handlers from generated code (`add_..._to_server`) as a server does."""

    def __init__(self) -> None:
        self.by_method: dict[str, Any] = {}

    def add_generic_rpc_handlers(self, handlers: Any) -> None:
        """The same, as older servers want them."""

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        self.by_method.update({f"/{service}/{name}": one for name, one in handlers.items()})


class _Details(NamedTuple):
    """`grpc.HandlerCallDetails`, as far as the gate asks."""

    method: str


class _Context:
    """`grpc.aio.ServicerContext` of a call that comes from no wire, as far as it is asked for."""

    def __init__(self, shown: Shown, now: Callable[[], float], timeout_s: float | None) -> None:
        self._shown = shown
        self._now = now
        self._deadline = None if timeout_s is None else now() + timeout_s
        self._code: grpc.StatusCode | None = None
        self._details = ""

    def auth_context(self) -> dict[str, tuple[bytes, ...]]:
        return {"x509_pem_cert": (self._shown.pem,)} if self._shown.pem else {}

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        return ()

    def peer(self) -> str:
        return self._shown.address

    def time_remaining(self) -> float | None:
        return None if self._deadline is None else max(0.0, self._deadline - self._now())

    def code(self) -> grpc.StatusCode | None:
        return self._code

    def details(self) -> str:
        return self._details

    async def abort(
        self, code: grpc.StatusCode, details: str = "", trailing_metadata: Any = ()
    ) -> NoReturn:
        self._code, self._details = code, details
        for _, value in trailing_metadata:
            detail = pb.ErrorDetail.FromString(value)
            oldest = {one.group: one.revision for one in detail.oldest}
            raise CallRefused(code, details, oldest, detail.retry_delay_ms / 1_000)
        raise CallRefused(code, details)


class Calls:
    """RPCs of this node, from inside."""

    def __init__(self, handlers: Handlers, gate: Gate | None) -> None:
        self._handlers = handlers.by_method
        self._gate = gate
        self._now = asyncio.get_running_loop().time

    async def ask(
        self, method: str, request: Any, shown: Shown, timeout_s: float | None = None
    ) -> Any:
        """The answer. Raises `CallRefused`."""
        handler = await self._handler(method)
        return await handler.unary_unary(request, _Context(shown, self._now, timeout_s))

    async def stream(self, method: str, request: Any, shown: Shown) -> AsyncIterator[Any]:
        """The answers of an RPC that streams, to be iterated and closed. Raises `CallRefused`, from
        the iterator."""
        handler = await self._handler(method)
        answers: AsyncIterator[Any] = handler.unary_stream(
            request, _Context(shown, self._now, None)
        )
        return answers

    async def _handler(self, method: str) -> Any:
        async def known(details: grpc.HandlerCallDetails) -> Any:
            return self._handlers[details.method]

        details: Any = _Details(method)
        if self._gate is None:
            return await known(details)
        return await self._gate.intercept_service(known, details)

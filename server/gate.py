"""Every RPC of the client port passes here: who calls, whether it may, and what is noted of it.

One interceptor around all services, by the one table of `rules`. It is there only if callers are
asked who they are: a node that listens in the clear has none, and pays nothing.

Invariants: no handler runs for a caller without a certificate of this cluster that names a client
(or, for health checks, a node), nor without the right that the RPC takes; an RPC that no rule names
is refused. What a call holds is given back however it ends.
"""

import asyncio
import inspect
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import aclosing
from typing import Any, Final, NoReturn

import grpc
import structlog

from globaltable.limits import TABLE_BYTES_MAX
from globaltable.server.audit import RETRY_S, AuditLog
from globaltable.server.callers import BUSY_RETRY_S, CALLER, Caller, Callers
from globaltable.server.config import Config
from globaltable.server.identities import Identity, Kind, Unidentified, identity_in
from globaltable.server.permissions import Permissions
from globaltable.server.rate_limit import TokenBucket
from globaltable.server.rules import RULES, Need, Rule, in_words
from globaltable.server.security import Right, Security
from globaltable.server.service import ERROR_TRAILER
from globaltable.v1 import globaltable_pb2 as pb

_WORDS_PER_S: Final = 1.0
_WORDS_AT_ONCE: Final = 20
"""Refusals that are logged."""

Context = grpc.aio.ServicerContext[Any, Any]
Behaviour = Callable[[Any, Context], Any]

log = structlog.get_logger(__name__)


class Gate(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]
    """Of one node. `close` once the server has stopped."""

    def __init__(self, config: Config, node: str) -> None:
        """Raises `StorageError` if the audit log cannot be written."""
        security = config.security
        self._cluster = config.cluster
        self._connection_age_s = security.connection_age_s
        self._loop = asyncio.get_running_loop()
        directory = security.audit.directory or config.node(node).data_dir / "audit"
        self._audit = AuditLog(directory, security.audit, node, self._loop.time)
        permissions = Permissions(security.permissions)
        self._callers = Callers(permissions, security.allowances, self._audit)
        self._guarded: dict[str, Any] = {}
        self._words = TokenBucket(_WORDS_PER_S, _WORDS_AT_ONCE, self._loop.time())
        _warn_if_closed(security)

    @property
    def options(self) -> list[tuple[str, int]]:
        """Of the server. A connection ends when it is so old, so that who made it is asked anew;
        calls that are under way then may go on for as long once more."""
        age_ms = round(self._connection_age_s * 1_000)
        names = ("grpc.max_connection_age_ms", "grpc.max_connection_age_grace_ms")
        return [(name, age_ms) for name in names]

    def permit(self, security: Security) -> None:
        """Go by other permissions and allowances from now on, for streams under way too."""
        permissions = Permissions(security.permissions)
        self._callers.permit(permissions, security.allowances, self._loop.time())
        _warn_if_closed(security)

    def caller(self, uris: Iterable[str]) -> Caller:
        """The client that shows a certificate with these URIs: whoever it is, and what it may.
        Raises `Unidentified`; a node is no client."""
        identity = identity_in(uris, self._cluster)
        if identity.kind is Kind.NODE:
            raise Unidentified(f"{identity} is no client; show a client's certificate")
        return self._callers.of(identity, self._loop.time())

    def close(self) -> None:
        self._audit.close()

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """The handler of an RPC, behind this gate; the same for all calls."""
        method = handler_call_details.method
        guarded = self._guarded.get(method)
        if guarded is None:
            handler = await continuation(handler_call_details)
            if handler is None:
                return None
            guarded = self._guarded[method] = self._guard(method, handler)
        return guarded

    # --- one RPC ---------------------------------------------------------------------------------

    def _guard(self, method: str, handler: Any) -> Any:
        rule = RULES.get(method)
        name = method.rpartition("/")[2]
        kinds = {
            (False, False): (handler.unary_unary, grpc.unary_unary_rpc_method_handler),
            (False, True): (handler.unary_stream, grpc.unary_stream_rpc_method_handler),
            (True, False): (handler.stream_unary, grpc.stream_unary_rpc_method_handler),
            (True, True): (handler.stream_stream, grpc.stream_stream_rpc_method_handler),
        }
        behaviour, make = kinds[handler.request_streaming, handler.response_streaming]

        async def awaited(request: Any, context: Context) -> Any:
            caller = await self._enter(name, rule, request, context)
            answer, answered = None, False
            try:
                answer = await behaviour(request, context)
                answered = True
            finally:
                self._leave(name, rule, caller, request, context, answered, answer)
            return answer

        async def iterated(request: Any, context: Context) -> AsyncIterator[Any]:
            caller = await self._enter(name, rule, request, context)
            answered = False
            try:
                async with aclosing(behaviour(request, context)) as answers:
                    async for answer in answers:
                        if caller is not None and rule is not None and rule.is_watch:
                            # It may have been permitted when it began.
                            await self._require_right(caller, rule, request, context, name)
                        yield answer
                answered = True
            finally:
                self._leave(name, rule, caller, request, context, answered, None)

        return make(
            iterated if inspect.isasyncgenfunction(behaviour) else awaited,
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )

    async def _enter(
        self, name: str, rule: Rule | None, request: Any, context: Context
    ) -> Caller | None:
        """Who it is, let in; None if it is a node. Aborts if it may not come in."""
        try:
            uris = context.auth_context().get("peer_uri", ())
            identity = identity_in((uri.decode(errors="replace") for uri in uris), self._cluster)
        except Unidentified as error:
            await self._refuse(context, grpc.StatusCode.UNAUTHENTICATED, name, str(error))
        if rule is None:
            await self._deny(context, identity, name, "no rule says who may call it")
        if identity.kind is Kind.NODE:
            if rule.need not in (Need.CERTIFICATE, Need.NODE):
                await self._deny(context, identity, name, "a node is no client")
            return None
        caller = self._callers.of(identity, self._loop.time())
        await self._require_right(caller, rule, request, context, name)
        await self._require_room(caller, rule, request, context)
        if rule.is_audited and self._audit.refusal:
            await _abort(
                context, grpc.StatusCode.UNAVAILABLE, _overloaded(self._audit.refusal, RETRY_S)
            )
        caller.calls += 1
        caller.watches += rule.is_watch
        CALLER.set(caller)
        return caller

    async def _require_right(
        self, caller: Caller, rule: Rule, request: Any, context: Context, name: str
    ) -> None:
        why_not = _why_not(caller, rule, request)
        if why_not:
            await self._deny(context, caller.identity, name, why_not)

    async def _require_room(
        self, caller: Caller, rule: Rule, request: Any, context: Context
    ) -> None:
        exhausted = grpc.StatusCode.RESOURCE_EXHAUSTED
        too_many = caller.too_many(rule.is_watch)
        if too_many:
            await _abort(context, exhausted, _overloaded(too_many, BUSY_RETRY_S))
        wait_s = caller.take(rule.ops(request), self._loop.time())
        if wait_s > 0.0:
            await _abort(context, exhausted, _overloaded(caller.over_its_rate(), wait_s))

    def _leave(
        self,
        name: str,
        rule: Rule | None,
        caller: Caller | None,
        request: Any,
        context: Context,
        answered: bool,
        answer: Any,
    ) -> None:
        if caller is None or rule is None:
            return
        caller.calls -= 1
        caller.watches -= rule.is_watch
        if rule.is_audited:
            outcome = _outcome(context, answered)
            words = {"from": context.peer(), "asked": in_words(request)}
            if answer is not None:
                words["answer"] = rule.answer(answer)
            self._audit.note(str(caller.identity), name, outcome, words)

    async def _deny(
        self, context: Context, identity: Identity, name: str, why_not: str
    ) -> NoReturn:
        message = f"{identity} may not call {name}: {why_not}"
        self._audit.note_refused(str(identity), name, {"from": context.peer(), "why": why_not})
        await self._refuse(context, grpc.StatusCode.PERMISSION_DENIED, name, message)

    async def _refuse(
        self, context: Context, code: grpc.StatusCode, name: str, message: str
    ) -> NoReturn:
        if self._words.take(1, self._loop.time()) == 0.0:
            log.warning("call refused", peer=context.peer(), method=name, reason=message)
        reason = pb.ErrorDetail.REASON_PERMISSION_DENIED
        await _abort(context, code, pb.ErrorDetail(reason=reason, message=message))


def _warn_if_closed(security: Security) -> None:
    if not security.permissions:
        log.warning("no [[permissions]] in the configuration: no client may do anything")


def _outcome(context: Context, answered: bool) -> str:
    """How a call ended that is over: with an answer, a code, or because who asked went away."""
    if answered:
        return "OK"
    code: Any = context.code()
    number = code.value[0] if isinstance(code, grpc.StatusCode) else code
    known = [one.name for one in grpc.StatusCode if one.value[0] == number]
    return known[0] if known and number else "CANCELLED"


def _why_not(caller: Caller, rule: Rule, request: Any) -> str:
    grant = caller.grant
    if rule.need is Need.CERTIFICATE:
        return ""
    if rule.need is Need.NODE:
        return "only nodes may"
    if grant.is_empty:
        return "no permission names it"
    if rule.need is Need.ADMIN and not grant.is_admin:
        return "it has no right to admin"
    if rule.need is Need.READ and not grant.may(Right.READ, request.table):
        return f"it has no right to read table {request.table[:TABLE_BYTES_MAX]!r}"
    return ""


def _overloaded(message: str, retry_delay_s: float) -> pb.ErrorDetail:
    return pb.ErrorDetail(
        reason=pb.ErrorDetail.REASON_OVERLOADED,
        message=message,
        retry_delay_ms=max(1, math.ceil(retry_delay_s * 1_000)),
    )


async def _abort(context: Context, code: grpc.StatusCode, detail: pb.ErrorDetail) -> NoReturn:
    await context.abort(code, detail.message, ((ERROR_TRAILER, detail.SerializeToString()),))
    raise AssertionError("abort does not return")

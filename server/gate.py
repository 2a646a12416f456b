"""Every RPC of the client port passes here: who calls, whether it may, and what is noted of it.

One interceptor around all services, by the one table of `rules`. It is there only if callers are
asked who they are, or what they do is audited: else a node in the clear has none, and pays nothing.
In the clear nobody is refused anything by it, and whoever calls is known by an address.

Invariants, with TLS: no handler runs for a caller without a certificate of this cluster that names
a client (or, for health checks, a node), nor without the right that the RPC takes; an RPC that no
rule names is refused. What a call holds is given back however it ends. Who has shown a certificate
that was revoked, or of a node that was removed, is refused at once, and its connections are ended
within `LOOK_S`, as are those of certificates that have expired: none outlives what it was opened
with.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any, Final, NoReturn

import grpc
import structlog

from globaltable.limits import TABLE_BYTES_MAX
from globaltable.server.audit import RETRY_S, AuditLog
from globaltable.server.callers import BUSY_RETRY_S, CALLER, CALLERS_MAX, Caller, Callers
from globaltable.server.config import Config
from globaltable.server.connections import Connections, end_connections, place_of
from globaltable.server.handlers import (
    Context,
    HandlerInterceptor,
    behaviour_of,
    streams_by_yielding,
    with_behaviour,
)
from globaltable.server.identities import (
    Certificate,
    Identity,
    Kind,
    Unidentified,
    certificate_in,
)
from globaltable.server.permissions import Permissions
from globaltable.server.rate_limit import TokenBucket
from globaltable.server.refusals import overloaded, refuse
from globaltable.server.revocation import Revocations
from globaltable.server.rules import RULES, Need, Rule, in_words
from globaltable.server.security import ALL_TABLES, EVERYBODY, Permission, Right, Security
from globaltable.server.tls import Certificates
from globaltable.server.tokens import Token, TokenKeys
from globaltable.v1 import globaltable_pb2 as pb

LOOK_S: Final = 1.0
"""How often it is looked whether those who are connected are still believed."""
_SHOWN: Final = "x509_pem_cert"
_AUTHORIZATION: Final = "authorization"
_BEARER: Final = "Bearer "
_NO_SERIAL: Final = -1
"""Of a token: no certificate has it."""
_EVERYTHING: Final = Permission((EVERYBODY,), frozenset(Right), (ALL_TABLES,))
_WORDS_PER_S: Final = 1.0
_WORDS_AT_ONCE: Final = 20
"""Refusals that are logged."""

log = structlog.get_logger(__name__)


class _Held:
    """A call that goes on for as long as its token is believed."""

    __slots__ = ("ended", "task", "token")

    def __init__(self, task: "asyncio.Task[Any]", token: Token) -> None:
        self.task = task
        self.token = token
        self.ended = ""
        """Why it was."""


class Gate(HandlerInterceptor):
    """Of one node. `close` once the server has stopped."""

    def __init__(
        self,
        config: Config,
        node: str,
        certificates: Certificates | None,
        why_no_member: Callable[[str], str] = lambda name: "",
    ) -> None:
        """Without certificates everybody may do everything, and is known by an address.
        `why_no_member` says of a node's name why it is no part of the cluster, if it is none.
        Raises `StorageError` if the audit log cannot be written."""
        super().__init__()
        security = config.security
        self._cluster = config.cluster
        self._connection_age_s = security.connection_age_s if certificates is not None else None
        self._loop = asyncio.get_running_loop()
        directory = security.audit.directory or config.node(node).data_dir / "audit"
        self._audit = AuditLog(directory, security.audit, node, self._loop.time)
        self._certificates = certificates
        self._audience = config.fence
        self._token_keys = self._keys_of(security)
        self._tokens: OrderedDict[str, Token] = OrderedDict()
        """Those believed, by their text: to check a signature takes longer than a call does."""
        self._held: dict[Context, _Held] = {}
        """Calls under way that a token was shown for."""
        self._callers = Callers(self._permissions(security), security.allowances, self._audit)
        self._why_no_member = why_no_member
        self._read: OrderedDict[bytes, Certificate] = OrderedDict()
        """Certificates as they are shown, by their text: it takes longer to read one than a call
        takes."""
        self._connections = Connections()
        own = config.node(node)
        listening = (own.listens_for_clients_on, own.console)
        self._ports = {address.port for address in listening if address is not None}
        self._looking: asyncio.Task[None] | None = None
        self._words = TokenBucket(_WORDS_PER_S, _WORDS_AT_ONCE, self._loop.time())

    def _keys_of(self, security: Security) -> TokenKeys:
        return TokenKeys(security.token_keys, self._cluster, self._audience)

    def _permissions(self, security: Security) -> Permissions:
        if self._certificates is None:
            return Permissions((_EVERYTHING,))
        if not security.permissions:
            log.warning("no [[permissions]] in the configuration: no client may do anything")
        return Permissions(security.permissions)

    @property
    def options(self) -> list[tuple[str, int]]:
        """Of the server. A connection ends when it is so old, so that who made it is asked anew;
        calls that are under way then may go on for as long once more."""
        if self._connection_age_s is None:
            return []
        age_ms = round(self._connection_age_s * 1_000)
        names = ("grpc.max_connection_age_ms", "grpc.max_connection_age_grace_ms")
        return [(name, age_ms) for name in names]

    def permit(self, security: Security) -> None:
        """Go by other permissions and allowances from now on, for streams under way too."""
        permissions = self._permissions(security)
        self._callers.permit(permissions, security.allowances, self._loop.time())
        self._token_keys = self._keys_of(security)
        self._tokens.clear()

    def caller(self, pem: bytes) -> Caller:
        """The client that shows this certificate: who it is, and what it may. Raises
        `Unidentified`; a node is no client."""
        identity = self._certificate(pem).identity
        if identity.kind is Kind.NODE:
            raise Unidentified(f"{identity} is no client; show a client's certificate")
        return self._callers.of(identity, self._loop.time())

    def start(self) -> None:
        """Look now and then whether those who are connected are still believed."""
        if self._certificates is not None:
            self._looking = asyncio.create_task(self._look(self._certificates.revocations))

    def close(self) -> None:
        if self._looking is not None:
            self._looking.cancel()
        self._audit.close()

    # --- who is believed -------------------------------------------------------------------------

    def why_not(self, shown: Certificate) -> str:
        """Why a certificate that a CA has signed is not believed; empty if it is."""
        return shown.why_not(time.time()) or self._why_out(shown)

    def _why_out(self, shown: Certificate) -> str:
        """The same, whenever it expires."""
        assert self._certificates is not None, "none is shown in the clear"
        revoked = self._certificates.revocations.present.why(shown)
        if revoked or shown.identity.kind is not Kind.NODE:
            return revoked
        return self._why_no_member(shown.identity.name)

    def _why_no_token(self, token: Token) -> str:
        """Why one that was believed is not any more; empty if it is."""
        if not self._token_keys.knows(token.key_id):
            return f"the token's key {token.key_id!r} is known here no more"
        shown = Certificate(token.identity, _NO_SERIAL, token.expires_at_s)
        if shown.why_not(time.time()):
            return f"the token of {token.identity} has ended"
        return self._why_out(shown)

    def _token(self, context: Context) -> Token:
        """Raises `Unidentified`."""
        said = [
            value for key, value in context.invocation_metadata() or () if key == _AUTHORIZATION
        ]
        if len(said) != 1 or not isinstance(said[0], str) or not said[0].startswith(_BEARER):
            raise Unidentified(
                "neither a certificate was shown nor a token, as authorization: Bearer TOKEN"
            )
        text = said[0].removeprefix(_BEARER)
        token = self._tokens.get(text)
        if token is None or self._why_no_token(token):
            token = self._tokens[text] = self._token_keys.read(text, time.time())
            if len(self._tokens) > CALLERS_MAX:
                self._tokens.popitem(last=False)
        return token

    def _end_by_token(self) -> None:
        """End the calls whose token is believed no more: it was shown at their beginning only."""
        for held in self._held.values():
            if not held.ended:
                held.ended = self._why_no_token(held.token)
                if held.ended:
                    held.task.cancel()

    async def _tell_why_ended(self, context: Context) -> None:
        """End a call that was cancelled here with a word of why; with one that leaves open what
        happened, for it was under way."""
        held = self._held.get(context)
        if held is not None and held.ended:
            held.task.uncancel()
            await context.abort(grpc.StatusCode.UNAVAILABLE, held.ended)

    def _certificate(self, pem: bytes) -> Certificate:
        """Raises `Unidentified`."""
        shown = self._read.get(pem)
        if shown is None:
            shown = self._read[pem] = certificate_in(pem, self._cluster)
            if len(self._read) > CALLERS_MAX:
                self._read.popitem(last=False)
        return shown

    async def _look(self, revocations: Revocations) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            revocations.newest()
            self._end_by_token()
            for shown, addresses in self._connections.take(self.why_not).items():
                try:
                    ended = await asyncio.to_thread(end_connections, self._ports, addresses)
                except OSError as error:
                    log.error("connections cannot be ended", reason=str(error))
                    continue
                if ended:
                    log.warning("connections ended", count=ended, reason=self.why_not(shown))

    # --- one RPC ---------------------------------------------------------------------------------

    def _around(self, method: str, handler: Any) -> Any:
        rule = RULES.get(method)
        name = method.rpartition("/")[2]
        behaviour = behaviour_of(handler)

        async def awaited(request: Any, context: Context) -> Any:
            caller = await self._enter(name, rule, request, context)
            answer, answered = None, False
            try:
                answer = await behaviour(request, context)
                answered = True
            except asyncio.CancelledError:
                await self._tell_why_ended(context)
                raise
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
            except asyncio.CancelledError:
                await self._tell_why_ended(context)
                raise
            finally:
                self._leave(name, rule, caller, request, context, answered, None)

        return with_behaviour(handler, iterated if streams_by_yielding(behaviour) else awaited)

    async def _enter(
        self, name: str, rule: Rule | None, request: Any, context: Context
    ) -> Caller | None:
        """Who it is, let in; None if it is a node. Aborts if it may not come in."""
        if self._certificates is None:
            if rule is None:
                return None
            caller = self._callers.of(self._address(context), self._loop.time())
            await self._begin(caller, rule, context)
            return caller
        token: Token | None = None
        try:
            pem: bytes = next(iter(context.auth_context().get(_SHOWN, ())), b"")
            if pem:
                # What the connection has proven counts, whatever else is said on it.
                shown = self._certificate(pem)
                self._connections.note(context.peer(), shown)
            else:
                token = self._token(context)
                shown = Certificate(token.identity, _NO_SERIAL, token.expires_at_s)
        except Unidentified as error:
            await self._refuse(context, grpc.StatusCode.UNAUTHENTICATED, name, str(error))
        identity = shown.identity
        out = self._why_out(shown)
        if out:
            await self._deny(context, identity, name, out)
        if rule is None:
            await self._deny(context, identity, name, "no rule says who may call it")
        if identity.kind is Kind.NODE:
            if rule.need not in (Need.CERTIFICATE, Need.NODE):
                await self._deny(context, identity, name, "a node is no client")
            return None
        caller = self._callers.of(identity, self._loop.time())
        await self._require_right(caller, rule, request, context, name)
        await self._require_room(caller, rule, request, context)
        await self._begin(caller, rule, context)
        if token is not None:
            task = asyncio.current_task()
            assert task is not None, "gRPC runs each call in one"
            self._held[context] = _Held(task, token)
        return caller

    def _address(self, context: Context) -> Identity:
        address = context.peer()
        place = place_of(address)
        name = f"{place[0]}:{place[1]}" if place is not None else address
        return Identity(self._cluster, Kind.ADDRESS, name)

    async def _begin(self, caller: Caller, rule: Rule, context: Context) -> None:
        if rule.is_audited and self._audit.refusal:
            await refuse(
                context, grpc.StatusCode.UNAVAILABLE, overloaded(self._audit.refusal, RETRY_S)
            )
        caller.calls += 1
        caller.watches += rule.is_watch
        CALLER.set(caller)

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
            await refuse(context, exhausted, overloaded(too_many, BUSY_RETRY_S))
        wait_s = caller.take(rule.ops(request), self._loop.time())
        if wait_s > 0.0:
            await refuse(context, exhausted, overloaded(caller.over_its_rate(), wait_s))

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
        self._held.pop(context, None)
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
        await refuse(context, code, pb.ErrorDetail(reason=reason, message=message))


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

"""Who calls, and what it has left: its rights, its rate, its calls under way at this node.

Counts are this node's: a client that asks three nodes may use all it is allowed at each.
Clocks come as arguments.

Invariant: at most `CALLERS_MAX` clients are remembered. Whoever is forgotten had no call under way,
and begins anew with a full bucket; to make use of that would take as many certificates.
"""

from collections import OrderedDict
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Final

from globaltable.server.audit import AuditLog
from globaltable.server.identities import Identity
from globaltable.server.permissions import Grant, Permissions
from globaltable.server.rate_limit import TokenBucket
from globaltable.server.security import EVERYBODY, Allowance

CALLERS_MAX: Final = 4_096
BUSY_RETRY_S: Final = 0.1
"""When to try again for who has as many calls under way as it may: some will have ended."""

_UNBOUNDED: Final = Allowance()


class Caller:
    """A client, as this node knows it."""

    __slots__ = ("_bucket", "allowance", "audit", "calls", "grant", "identity", "watches")

    def __init__(
        self,
        identity: Identity,
        grant: Grant,
        allowance: Allowance,
        audit: AuditLog,
        now_s: float,
    ) -> None:
        self.identity = identity
        self.grant = grant
        self.allowance = allowance
        self.audit = audit
        self.calls = 0
        self.watches = 0
        """Under way."""
        self._bucket = _bucket(allowance, now_s)

    def permit(self, grant: Grant, allowance: Allowance, now_s: float) -> None:
        """From now on these, for what is under way too."""
        self.grant = grant
        if allowance != self.allowance:
            self.allowance = allowance
            self._bucket = _bucket(allowance, now_s)

    def take(self, ops: int, now_s: float) -> float:
        """Use some of its rate: 0.0, or the seconds after which to ask again."""
        return self._bucket.take(ops, now_s) if self._bucket is not None and ops else 0.0

    def over_its_rate(self) -> str:
        return (
            f"{self.identity} is over the {self.allowance.ops_per_s:g} ops a second that it is "
            "allowed at a node"
        )

    def too_many(self, is_watch: bool) -> str:
        """Why it may begin no further call now; empty if it may."""
        allowance = self.allowance
        if allowance.calls is not None and self.calls >= allowance.calls:
            return f"{self.identity} has {self.calls} calls, and may have {allowance.calls}"
        if is_watch and allowance.watches is not None and self.watches >= allowance.watches:
            return f"{self.identity} has {self.watches} watches, and may have {allowance.watches}"
        return ""


def _bucket(allowance: Allowance, now_s: float) -> TokenBucket | None:
    rate = allowance.ops_per_s
    return TokenBucket(rate, allowance.burst_ops or rate, now_s) if rate else None


CALLER: Final[ContextVar[Caller | None]] = ContextVar("caller", default=None)
"""Of the call that runs. None where nobody is asked who they are: a node in the clear."""


class Callers:
    """All clients that this node has heard of lately."""

    def __init__(
        self, permissions: Permissions, allowances: Mapping[str, Allowance], audit: AuditLog
    ) -> None:
        self._permissions = permissions
        self._allowances = allowances
        self._audit = audit
        self._known: OrderedDict[Identity, Caller] = OrderedDict()

    def of(self, identity: Identity, now_s: float) -> Caller:
        """Whoever it is that calls; of rights it may have none."""
        caller = self._known.get(identity)
        if caller is None:
            grant, allowance = self._permitted(identity.name)
            caller = Caller(identity, grant, allowance, self._audit, now_s)
            self._known[identity] = caller
            self._forget()
        else:
            self._known.move_to_end(identity)
        return caller

    def permit(
        self, permissions: Permissions, allowances: Mapping[str, Allowance], now_s: float
    ) -> None:
        """Others from now on, also of those that have calls under way."""
        self._permissions, self._allowances = permissions, allowances
        for identity, caller in self._known.items():
            caller.permit(*self._permitted(identity.name), now_s)

    def _permitted(self, name: str) -> tuple[Grant, Allowance]:
        everybody = self._allowances.get(EVERYBODY, _UNBOUNDED)
        return self._permissions.of(name), self._allowances.get(name, everybody)

    def _forget(self) -> None:
        """The one that was heard of least lately, of those that have nothing under way."""
        if len(self._known) <= CALLERS_MAX:
            return
        for identity, caller in self._known.items():
            if not caller.calls:
                del self._known[identity]
                return

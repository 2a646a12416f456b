"""A node's part in a restore: whether it may begin, how far it has come, and rows brought in.

How far is a binding of the system table, so that it is as durable as what it speaks of, and two
who restore at once meet: each note is a move at the version that its writer knows, and one loses.

Invariants: a restore begins only while no group holds a binding: those of this node are looked at
here, and those of others by who restores, at nodes that hold them (`find`). Of a cluster that was
restored, or is being, no other backup is restored to it.
"""

import asyncio
import random
from collections.abc import Collection, Sequence
from typing import Final, Protocol

from globaltable import limits
from globaltable.errors import Elsewhere, InvalidArgument, LimitExceeded, NoQuorum, Rejected
from globaltable.model import (
    SYSTEM_TABLE,
    Binding,
    Op,
    OpKind,
    Outcome,
    OutcomeStatus,
    is_name,
    qualified_name,
    split_name,
)
from globaltable.row_keys import SLOT_BYTES
from globaltable.server.core import NodeCore
from globaltable.server.driver import Told
from globaltable.server.ops import require_table
from globaltable.server.writes import RETRY_DELAY_MS
from globaltable.v1 import admin_pb2 as pb
from globaltable.validation import require_key, require_unit, require_version

MARK: Final = qualified_name(SYSTEM_TABLE, "restore")
BACKUP_ID_CHARACTERS: Final = 32
_DONE: Final = "done"
_BEHIND_ALL_ROWS: Final = b"\xff" * 4


class RestoreBackend(Protocol):
    """What a restore asks of the node."""

    @property
    def tables(self) -> Sequence[str]: ...

    def submit(self, ops: Sequence[Op], timeout_s: float | None, told: Told) -> None: ...

    def read(self, names: Sequence[bytes]) -> list[tuple[Binding | None, int]]: ...

    async def barrier_of(self, groups: Collection[int], timeout_s: float | None) -> None: ...


class Restores:
    def __init__(self, core: NodeCore, backend: RestoreBackend) -> None:
        self._core = core
        self._backend = backend
        self._client_id = random.SystemRandom().getrandbits(63)
        self._sequence = 0

    # --- how far ---------------------------------------------------------------------------------

    async def begin(self, request: pb.BeginRestoreRequest) -> pb.RestoreStanding:
        """Raises `Rejected` if the cluster holds anything else."""
        backup_id = request.backup_id
        _require_backup_id(backup_id)
        await self._backend.barrier_of(list(self._core.replicas), None)
        ((mark, _),) = self._backend.read([MARK])
        if mark is None:
            self._require_empty()
            if not request.found_empty:
                return pb.RestoreStanding()
            outcome = await self._decide(OpKind.BIND, f"{backup_id} 0", 0)
            assert outcome.binding is not None
            mark = outcome.binding
        standing = _standing(mark, backup_id)
        if standing.done:
            return standing
        # Whoever was at it before loses its place to this caller.
        return await self._note(backup_id, mark.version, standing.chunks, done=False)

    async def note(self, request: pb.NoteRestoreRequest) -> pb.RestoreStanding:
        """Raises `Rejected` if somebody else has noted something since."""
        _require_backup_id(request.backup_id)
        require_version(request.version)
        return await self._note(request.backup_id, request.version, request.chunks, request.done)

    async def _note(
        self, backup_id: str, version: int, chunks: int, done: bool
    ) -> pb.RestoreStanding:
        text = f"{backup_id} {_DONE if done else chunks}"
        outcome = await self._decide(OpKind.MOVE, text, version)
        if outcome.status is not OutcomeStatus.APPLIED:
            raise Rejected("somebody else restores this cluster too; only one goes on")
        assert outcome.binding is not None
        return _standing(outcome.binding, backup_id)

    async def find(self, group: int) -> pb.FindRowResponse:
        """Of a group, any row there is, of a table that callers may name."""
        self._core.serving(group)
        await self._backend.barrier_of([group], None)
        table, key = self._find(group)
        return pb.FindRowResponse(found=bool(table), table=table, key=key)

    def _find(self, group: int) -> tuple[str, str]:
        """Empty if there is none."""
        for key, _ in self._core.serving(group).table.scan(b"", _BEHIND_ALL_ROWS):
            table, session = split_name(key[SLOT_BYTES:])
            if table != SYSTEM_TABLE:
                return table, session
        return "", ""

    def _require_empty(self) -> None:
        for group in self._core.replicas:
            table, key = self._find(group)
            if table:
                raise Rejected(not_empty(table, key))

    async def _decide(self, kind: OpKind, unit: str, version: int) -> Outcome:
        self._sequence += 1
        op = Op(kind, MARK, unit, version, self._client_id, self._sequence)
        (outcome,) = await decided(self._backend, [op])
        if outcome.status is OutcomeStatus.ELSEWHERE:
            raise Elsewhere(outcome.detail)
        if outcome.status in _UNDECIDED:
            raise NoQuorum(outcome.detail)
        return outcome

    # --- rows ------------------------------------------------------------------------------------

    async def bring_in(self, request: pb.ImportRequest) -> pb.ImportResponse:
        """Raises `InvalidArgument`."""
        ops = self._imports(request)
        response = pb.ImportResponse()
        for position, outcome in enumerate(await decided(self._backend, ops)):
            if outcome.status is OutcomeStatus.APPLIED:
                response.imported += 1
            elif outcome.status is OutcomeStatus.EXISTS:
                response.present += 1
            elif outcome.status is OutcomeStatus.VERSION_CONFLICT:
                assert outcome.binding is not None
                response.refused.add(
                    position=position, unit=outcome.binding.unit, version=outcome.binding.version
                )
            else:
                response.undecided.append(position)
                response.detail = outcome.detail
                response.retry_delay_ms = RETRY_DELAY_MS
        return response

    def _imports(self, request: pb.ImportRequest) -> list[Op]:
        columns = (
            request.names,
            request.units,
            request.versions,
            request.client_ids,
            request.sequences,
        )
        if len({len(column) for column in columns}) != 1:
            raise InvalidArgument("the columns of an import must be equally long")
        if len(request.names) > limits.WRITE_OPS_MAX:
            raise LimitExceeded(
                f"{len(request.names)} rows in one import; at most {limits.WRITE_OPS_MAX} are "
                "allowed"
            )
        ops = []
        for name, unit, version, client_id, sequence in zip(*columns, strict=True):
            if not is_name(name):
                raise InvalidArgument(f"{name[:80]!r} is not a name: a table, a NUL, and a key")
            table, key = split_name(name)
            require_table(table, self._backend.tables)
            require_key(key)
            if unit:
                require_unit(unit)
            require_version(version)
            ops.append(Op(OpKind.IMPORT, name, unit, version, client_id, sequence))
        return ops


def not_empty(table: str, key: str) -> str:
    """Why nothing is restored."""
    return f"the cluster is not empty: {key!r} of {table!r} is bound; restore into a new cluster"


_UNDECIDED: Final = (OutcomeStatus.UNAVAILABLE, OutcomeStatus.OVERLOADED, OutcomeStatus.UNKNOWN)


async def decided(backend: RestoreBackend, ops: Sequence[Op]) -> list[Outcome]:
    """How each op ended."""
    outcomes: dict[int, Outcome] = {}
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def told(positions: Sequence[int], some: Sequence[Outcome]) -> None:
        outcomes.update(zip(positions, some, strict=True))
        if len(outcomes) == len(ops) and not done.done():
            done.set_result(None)

    if ops:
        backend.submit(ops, None, told)
        await done
    return [outcomes[position] for position in range(len(ops))]


def _require_backup_id(text: str) -> None:
    if len(text) != BACKUP_ID_CHARACTERS or not set(text) <= set("0123456789abcdef"):
        raise InvalidArgument(f"{text[:80]!r} is not the id of a backup")


def _standing(mark: Binding, backup_id: str) -> pb.RestoreStanding:
    standing_id, _, chunks = mark.unit.partition(" ")
    if standing_id != backup_id:
        raise Rejected(
            f"another backup ({standing_id}) was restored to this cluster, or is being; restore "
            f"{backup_id} into a new cluster"
        )
    done = chunks == _DONE
    return pb.RestoreStanding(version=mark.version, chunks=0 if done else int(chunks), done=done)

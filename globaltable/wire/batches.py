"""One log entry: a batch of ops, or a step of a slot's move.

The bytes are part of the log's and the wire's format. `decode_batch` accepts only what
`encode_batch` can have made from valid values, so that a batch which was once admitted to the log
can be applied by every replica.
"""

from typing import Any

from globaltable import limits
from globaltable.errors import ProtocolError
from globaltable.model import TOPOLOGY_NAME, Batch, Op, OpKind, is_name
from globaltable.wire.packing import pack, shown, unpack
from globaltable.wire.slot_steps import step_fields, step_of

BATCH_ID_BYTES = 16
_KINDS: dict[int, OpKind] = {int(kind): kind for kind in OpKind}
_NAME_BYTES_MAX = limits.TABLE_BYTES_MAX + 1 + limits.KEY_BYTES_MAX
_ID_LIMIT = 2**64


def encode_batch(batch: Batch) -> bytes:
    """The bytes of a log entry."""
    if batch.step is None:
        return pack(batch[:3])
    return pack([*batch[:3], step_fields(batch.step)])


def decode_batch(data: bytes) -> Batch:
    """The batch of a log entry; `ProtocolError` if the bytes are not one."""
    value = unpack(data)
    try:
        batch_id, as_of, rows, *steps = value
        if type(batch_id) is not bytes or len(batch_id) != BATCH_ID_BYTES:
            raise ProtocolError(f"batch id {shown(batch_id)} is not {BATCH_ID_BYTES} bytes")
        if type(as_of) is not int or not 0 <= as_of < _ID_LIMIT:
            raise ProtocolError(f"as_of {shown(as_of)} is not a revision")
        if type(rows) is not list or len(rows) > limits.BATCH_OPS_MAX:
            raise ProtocolError(f"a batch holds at most {limits.BATCH_OPS_MAX} ops")
        if steps:
            (fields,) = steps
            if rows:
                raise ProtocolError("a step of a slot's move is a batch of its own")
            return Batch(batch_id, as_of, (), step_of(fields))
        return Batch(batch_id, as_of, tuple([_decode_op(*row) for row in rows]))
    except (TypeError, ValueError) as error:
        raise ProtocolError(f"not a batch: {error}") from error


def _decode_op(kind: Any, name: Any, unit: Any, version: Any, client_id: Any, sequence: Any) -> Op:
    known = _KINDS.get(kind)
    if (
        known is None
        or type(kind) is not int
        or type(name) is not bytes
        or not 3 <= len(name) <= _NAME_BYTES_MAX
        or not is_name(name)
        or type(unit) is not str
        or ((len(unit) > limits.UNIT_BYTES_MAX or not unit.isascii()) and not _fits(name, unit))
        or not (unit or known is OpKind.UNBIND or known is OpKind.IMPORT)
        or type(version) is not int
        or not (known is OpKind.IMPORT) <= version <= limits.VERSION_MAX
        or type(client_id) is not int
        or not 0 <= client_id < _ID_LIMIT
        or type(sequence) is not int
        or not 0 <= sequence < _ID_LIMIT
    ):
        raise ProtocolError(f"not an op: {shown([kind, name, unit, version, client_id, sequence])}")
    return Op(known, name, unit, version, client_id, sequence)


def _fits(name: bytes, unit: str) -> bool:
    """The cluster's topology is kept as a unit (`topology`), and longer than any caller's."""
    most = limits.TOPOLOGY_BYTES_MAX if name == TOPOLOGY_NAME else limits.UNIT_BYTES_MAX
    return len(unit.encode()) <= most

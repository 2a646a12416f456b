"""Requests and answers of a write stream as lists of `pb.Op` and `pb.Outcome`, and back again.

Tests speak of ops and outcomes one by one; on a stream they travel in columns.
"""

from collections.abc import Sequence

from globaltable.v1 import globaltable_pb2 as pb


def stream_request(
    number: int, write: pb.WriteRequest, timeout_ms: int = 0
) -> pb.WriteStreamRequest:
    return pb.WriteStreamRequest(
        number=number,
        timeout_ms=timeout_ms,
        table=write.table,
        client_id=write.client_id,
        kinds=[op.kind for op in write.ops],
        keys=[op.key for op in write.ops],
        units=[op.unit for op in write.ops],
        versions=[op.version for op in write.ops],
        sequences=[op.sequence for op in write.ops],
    )


def write_in(request: pb.WriteStreamRequest) -> pb.WriteRequest:
    """What a request of a stream asks for."""
    versions = list(request.versions) or [0] * len(request.keys)
    columns = (request.kinds, request.keys, request.units, versions, request.sequences)
    ops = [
        pb.Op(kind=kind, key=key, unit=unit, version=version, sequence=sequence)
        for kind, key, unit, version, sequence in zip(*columns, strict=True)
    ]
    return pb.WriteRequest(table=request.table, client_id=request.client_id, ops=ops)


def stream_part(
    number: int, positions: Sequence[int], outcomes: Sequence[pb.Outcome]
) -> pb.WritePart:
    return pb.WritePart(
        number=number,
        positions=positions,
        statuses=[outcome.status for outcome in outcomes],
        units=[outcome.binding.unit for outcome in outcomes],
        versions=[outcome.binding.version for outcome in outcomes],
        revisions=[outcome.binding.revision for outcome in outcomes],
        details=[outcome.detail for outcome in outcomes],
    )


def outcomes_in(part: pb.WritePart) -> list[pb.Outcome]:
    details = list(part.details) or [""] * len(part.positions)
    columns = (part.statuses, part.units, part.versions, part.revisions, details)
    return [
        pb.Outcome(
            status=status,
            binding=pb.Binding(unit=unit, version=version, revision=revision) if version else None,
            detail=detail,
        )
        for status, unit, version, revision, detail in zip(*columns, strict=True)
    ]

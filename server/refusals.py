"""How a call is ended that the node refuses: a code, and in a trailer the node's own word for it.

Only that word tells a caller that nothing happened: gRPC itself gives the same codes to calls that
were carried out.
"""

import math
from typing import Any, Final, NoReturn

import grpc

from globaltable.v1 import globaltable_pb2 as pb

ERROR_TRAILER: Final = "globaltable-error-bin"


def overloaded(message: str, retry_delay_s: float) -> pb.ErrorDetail:
    """That nothing happened, and when to ask again."""
    return pb.ErrorDetail(
        reason=pb.ErrorDetail.REASON_OVERLOADED,
        message=message,
        retry_delay_ms=max(1, math.ceil(retry_delay_s * 1_000)),
    )


def trailers_of(detail: pb.ErrorDetail) -> tuple[tuple[str, bytes], ...]:
    return ((ERROR_TRAILER, detail.SerializeToString()),)


async def refuse(
    context: grpc.aio.ServicerContext[Any, Any], code: grpc.StatusCode, detail: pb.ErrorDetail
) -> NoReturn:
    """End the call. It does not return."""
    await context.abort(code, detail.message, trailers_of(detail))
    raise AssertionError("abort does not return")

"""A unit's control over gRPC: the service beside a unit, and the unit as a mover reaches it.

Responsible for messages: bad ones are refused by INVALID_ARGUMENT before anything is done. Whoever
can reach the service can stop a session: it is for the network of movers and units alone.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

import grpc
import grpc.aio

from globaltable import limits, validation
from globaltable.client.tls import Credentials, TlsConfig, open_aio_channel
from globaltable.errors import (
    DeadlineExceeded,
    GlobalTableError,
    InvalidArgument,
    ProtocolError,
    StorageError,
    Unavailable,
)
from globaltable.routing.client.bindings import Bindings
from globaltable.routing.handover import Answer, Handover, Place, Reply, UnitControl, UnitLost
from globaltable.routing.lease import control_key
from globaltable.v1 import unit_control_pb2 as pb
from globaltable.v1 import unit_control_pb2_grpc as pb_grpc

KEYS_MAX: Final = 1_000
TIMEOUT_S_MAX: Final = 600.0
GRACE_S: Final = 5.0
"""How long a call may take beyond what it waits for."""
RECEIVE_S: Final = 600.0
"""How long a batch's data may take to be handed over, before the mover asks again."""

_ANSWERS: Final = {
    Answer.DONE: pb.UNIT_ANSWER_DONE,
    Answer.BUSY: pb.UNIT_ANSWER_BUSY,
    Answer.SUPERSEDED: pb.UNIT_ANSWER_SUPERSEDED,
    Answer.FAILED: pb.UNIT_ANSWER_FAILED,
}
_ANSWER_OF: Final = {number: answer for answer, number in _ANSWERS.items()}

Context = grpc.aio.ServicerContext[Any, Any]


class UnitControlService(pb_grpc.UnitControlServiceServicer):
    """Serves one unit: `add_to(server)`."""

    def __init__(self, unit: UnitControl) -> None:
        self._unit = unit

    def add_to(self, server: grpc.aio.Server) -> None:
        pb_grpc.add_UnitControlServiceServicer_to_server(self, server)

    async def Drain(self, request: pb.DrainKeysRequest, context: Context) -> pb.UnitReplies:  # noqa: N802
        async def drain() -> list[Reply]:
            handovers = _handovers(request.handovers)
            if not 0 <= request.timeout_s <= TIMEOUT_S_MAX:
                raise InvalidArgument(
                    f"timeout_s is {request.timeout_s}; it must be 0 to {TIMEOUT_S_MAX:.0f}"
                )
            return await self._unit.drain(request.dimension, handovers, request.timeout_s)

        return await _answer(drain, context)

    async def Receive(self, request: pb.ReceiveKeysRequest, context: Context) -> pb.UnitReplies:  # noqa: N802
        async def receive() -> list[Reply]:
            return await self._unit.receive(request.dimension, _handovers(request.handovers))

        return await _answer(receive, context)

    async def Settle(self, request: pb.SettleKeysRequest, context: Context) -> pb.UnitReplies:  # noqa: N802
        async def settle() -> list[Reply]:
            _require_count(request.places)
            places = [Place(one.key, one.unit, one.version) for one in request.places]
            for place in places:
                _require(place.key, place.version)
                validation.require_unit(place.unit)
            return await self._unit.settle(request.dimension, places)

        return await _answer(settle, context)


async def _answer(
    ask: Callable[[], Awaitable[Sequence[Reply]]], context: Context
) -> pb.UnitReplies:
    try:
        replies = await ask()
    except GlobalTableError as error:
        await context.abort(_code(error), str(error))
    return pb.UnitReplies(
        replies=[pb.UnitReply(answer=_ANSWERS[one.answer], detail=one.detail) for one in replies]
    )


def _code(error: GlobalTableError) -> grpc.StatusCode:
    match error:
        case InvalidArgument():
            return grpc.StatusCode.INVALID_ARGUMENT
        case Unavailable() | DeadlineExceeded():
            return grpc.StatusCode.UNAVAILABLE
        case StorageError():
            return grpc.StatusCode.DATA_LOSS
        case _:
            return grpc.StatusCode.INTERNAL


def _handovers(messages: Sequence[pb.KeyHandover]) -> list[Handover]:
    _require_count(messages)
    handovers = [
        Handover(one.key, one.version, one.source, one.target, one.forced) for one in messages
    ]
    for one in handovers:
        _require(one.key, one.version)
        validation.require_unit(one.source)
        validation.require_unit(one.target)
    return handovers


def _require_count(messages: Sequence[object]) -> None:
    if len(messages) > KEYS_MAX:
        raise InvalidArgument(f"{len(messages)} keys in one request; at most {KEYS_MAX} are taken")


def _require(key: str, version: int) -> None:
    validation.require_key(key)
    validation.require_version(version)


class RemoteUnit:
    """A unit behind its control address. Raises UnitLost if nobody answers there."""

    def __init__(
        self, unit: str, address: str, credentials: grpc.ChannelCredentials | None = None
    ) -> None:
        self._unit = unit
        self.address = address
        self._channel = open_aio_channel(
            address,
            credentials,
            [
                ("grpc.max_receive_message_length", limits.GRPC_MESSAGE_BYTES_MAX),
                ("grpc.max_reconnect_backoff_ms", 1_000),
                ("grpc.use_local_subchannel_pool", 1),
            ],
        )
        self._stub = pb_grpc.UnitControlServiceStub(self._channel)

    async def close(self) -> None:
        await self._channel.close(grace=None)

    async def drain(
        self, dimension: str, handovers: Sequence[Handover], timeout_s: float
    ) -> list[Reply]:
        request = pb.DrainKeysRequest(
            dimension=dimension, handovers=_messages(handovers), timeout_s=timeout_s
        )
        return await self._replies(self._stub.Drain(request, timeout=timeout_s + GRACE_S))

    async def receive(self, dimension: str, handovers: Sequence[Handover]) -> list[Reply]:
        request = pb.ReceiveKeysRequest(dimension=dimension, handovers=_messages(handovers))
        return await self._replies(self._stub.Receive(request, timeout=RECEIVE_S))

    async def settle(self, dimension: str, places: Sequence[Place]) -> list[Reply]:
        messages = [pb.KeyPlace(key=key, unit=unit, version=v) for key, unit, v in places]
        request = pb.SettleKeysRequest(dimension=dimension, places=messages)
        return await self._replies(self._stub.Settle(request, timeout=GRACE_S))

    async def _replies(self, call: Awaitable[pb.UnitReplies]) -> list[Reply]:
        try:
            replies = (await call).replies
        except grpc.aio.AioRpcError as error:
            where = f"unit {self._unit!r} at {self.address}"
            detail = error.details() or error.code().name
            match error.code():
                case grpc.StatusCode.INVALID_ARGUMENT:
                    raise InvalidArgument(f"{where}: {detail}") from None
                case grpc.StatusCode.DATA_LOSS:
                    raise StorageError(f"{where}: {detail}") from None
                case grpc.StatusCode.UNAVAILABLE | grpc.StatusCode.DEADLINE_EXCEEDED:
                    raise UnitLost(f"{where} does not answer: {detail}") from None
                case _:
                    raise ProtocolError(f"{where}: {error.code().name}: {detail}") from None
        if not all(one.answer in _ANSWER_OF for one in replies):
            raise ProtocolError(f"unit {self._unit!r} sent an answer that there is not")
        return [Reply(_ANSWER_OF[one.answer], one.detail) for one in replies]


def _messages(handovers: Sequence[Handover]) -> list[pb.KeyHandover]:
    return [
        pb.KeyHandover(key=key, version=version, source=source, target=target, forced=forced)
        for key, version, source, target, forced in handovers
    ]


class RemoteUnits:
    """Units by name, where `routing.meta` says that they can be reached. Close it in the end.

    `tls` is the certificate to show, and the CAs to trust; without, in the clear.
    """

    def __init__(self, meta: Bindings, tls: TlsConfig | None = None) -> None:
        self._meta = meta
        self._credentials = Credentials(tls)
        self._units: dict[str, RemoteUnit] = {}

    async def reach(self, unit: str) -> UnitControl:
        """Raises UnitLost if it has told nobody where, and what the client does."""
        binding = await self._meta.get(control_key(unit))
        if binding is None:
            raise UnitLost(
                f"unit {unit!r} has told nobody where it is reached: it was never started, or has "
                "no control_address"
            )
        known = self._units.get(unit)
        if known is None or known.address != binding.unit:
            if known is not None:
                await known.close()
            known = self._units[unit] = RemoteUnit(unit, binding.unit, self._credentials.newest())
        return known

    async def close(self) -> None:
        for unit in self._units.values():
            await unit.close()

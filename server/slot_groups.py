"""The groups between which slots move, wherever they are: what one holds of a slot, and its steps.

A group of which this node holds a replica is asked here, any other at a node that holds one, by way
of the admin API. What is asked may be asked again, of whomever: a step that was taken already
changes nothing.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final

import grpc

from globaltable import limits
from globaltable.errors import InvalidArgument, NoQuorum, ProtocolError
from globaltable.holdings import Holding
from globaltable.model import Outcome, OutcomeStatus
from globaltable.server.core import NodeCore
from globaltable.server.driver import Driver
from globaltable.server.node_channels import NodeChannels
from globaltable.server.tls import Certificates
from globaltable.slot_steps import Step
from globaltable.v1 import admin_pb2 as pb
from globaltable.v1 import admin_pb2_grpc as pb_grpc
from globaltable.wire.holdings import holdings_fields, moved_of
from globaltable.wire.packing import pack, unpack
from globaltable.wire.slot_steps import decode_step, encode_step

STEP_TIMEOUT_S: Final = 5.0
_OPTIONS: Final = (("grpc.max_send_message_length", limits.GRPC_MESSAGE_BYTES_MAX),)


class SlotGroups:
    def __init__(
        self,
        core: NodeCore,
        driver: Driver,
        now: Callable[[], float],
        certificates: Certificates | None,
    ) -> None:
        self._core = core
        self._driver = driver
        self._now = now
        self._channels = NodeChannels(certificates, _OPTIONS)

    # --- for who moves slots from here -----------------------------------------------------------

    async def holding(self, group: int, slot: int) -> Holding:
        """Of some replica, however late. Raises `NoQuorum`."""
        if not self._core.refusal(group):
            return self._core.replicas[group].table.holdings.of(slot)
        request = pb.GetHoldingRequest(group=group, slot=slot)
        answer: pb.HoldingStanding = await self._ask(group, "GetHolding", request)
        try:
            return dict(moved_of(unpack(answer.holding)))[slot]
        except (ProtocolError, KeyError) as error:
            raise NoQuorum(f"a holder of group {group} does not say what it holds") from error

    async def take(self, group: int, step: Step) -> Outcome:
        """Raises `NoQuorum` if nobody who holds the group answers: it may have been taken;
        `UpgradeNotFinal` if a log must not hold steps yet."""
        if not self._core.refusal(group):
            return await self._take_here(group, step, STEP_TIMEOUT_S)
        request = pb.TakeStepRequest(group=group, step=encode_step(step))
        answer: pb.StepOutcome = await self._ask(group, "TakeStep", request)
        try:
            return Outcome(OutcomeStatus(answer.status), None, answer.detail)
        except ValueError as error:
            raise NoQuorum(f"a holder of group {group} answers {answer.status}") from error

    async def _ask(self, group: int, method: str, request: Any) -> Any:
        """Of the holders, the first that answers: those of this node's region come first."""
        topology = self._core.topology
        region = topology.region_of.get(self._core.node, "")
        known = topology.node_by_name
        holders = [known[name] for name in topology.groups[group].replicas]
        holders.sort(key=lambda node: node.region != region)
        reason = "nobody else holds it"
        for node in holders:
            if node.name == self._core.node:
                continue
            stub = pb_grpc.AdminServiceStub(await self._channels.to(node.client))  # type: ignore[arg-type]
            call = getattr(stub, method)
            try:
                return await call(request, timeout=STEP_TIMEOUT_S)
            except grpc.aio.AioRpcError as error:
                reason = f"{node.name}: {error.details()}"
        raise NoQuorum(f"group {group}: {reason}")

    async def close(self) -> None:
        await self._channels.close()

    # --- for who moves them from elsewhere -------------------------------------------------------

    def standing(self, request: pb.GetHoldingRequest) -> pb.HoldingStanding:
        """Raises `Unavailable`, `InvalidArgument`."""
        self._require_slot(request.slot)
        holding = self._core.serving(request.group).table.holdings.of(request.slot)
        return pb.HoldingStanding(holding=pack(holdings_fields({request.slot: holding})))

    async def taken(self, request: pb.TakeStepRequest, timeout_s: float | None) -> pb.StepOutcome:
        """Raises `Unavailable`, `InvalidArgument`, `UpgradeNotFinal`."""
        try:
            step = decode_step(request.step)
        except ProtocolError as error:
            raise InvalidArgument(str(error)) from error
        self._require_slot(step.slot)
        self._core.serving(request.group)
        bound_s = min(STEP_TIMEOUT_S, STEP_TIMEOUT_S if timeout_s is None else timeout_s)
        outcome = await self._take_here(request.group, step, bound_s)
        return pb.StepOutcome(status=int(outcome.status), detail=outcome.detail)

    def _require_slot(self, slot: int) -> None:
        slots = self._core.topology.slots
        if not 0 <= slot < slots:
            raise InvalidArgument(f"slot {slot} is none of {slots}")

    async def _take_here(self, group: int, step: Step, timeout_s: float) -> Outcome:
        """Raises `UpgradeNotFinal`: this is where steps come into logs."""
        self._core.topology.require_slots_may_move()
        decided: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()

        def told(_positions: Sequence[int], outcomes: Sequence[Outcome]) -> None:
            if not decided.done():
                decided.set_result(outcomes[0])

        self._driver.submit_step(group, step, self._now() + timeout_s, told)
        return await decided

"""One question to a router at a time, over gRPC: what the command line asks by.

Responsible for messages and for turning a status into the error it stands for.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import NamedTuple, Self

import grpc

from globaltable.client.tls import TlsConfig, open_channel
from globaltable.errors import (
    ConnectFailed,
    DeadlineExceeded,
    GlobalTableError,
    InvalidArgument,
    Overloaded,
    PermissionDenied,
    ProtocolError,
    Rejected,
    Unavailable,
)
from globaltable.v1 import routing_pb2 as pb
from globaltable.v1 import routing_pb2_grpc as pb_grpc


class Answered(NamedTuple):
    """What a router says of a key: its unit, or why it has none."""

    key: str
    unit: str
    version: int
    expires_at_s: int
    layer: str
    source: str
    address: str
    failure: str
    """Empty if there is none, else as `not_bound`; `message` says what to do about it."""
    message: str


class UnitFare(NamedTuple):
    """What a router says of a unit."""

    name: str
    region: str
    address: str
    capacity: float
    tags: list[str]
    state: str


class Asking:
    """A connection to one router."""

    def __init__(self, router: str, timeout_s: float, tls: TlsConfig | None = None) -> None:
        self._router = router
        self._timeout_s = timeout_s
        credentials = tls.credentials() if tls is not None else None
        self._channel = open_channel(router, credentials)
        self._stub = pb_grpc.RoutingServiceStub(self._channel)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._channel.close()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except grpc.RpcError as error:
            raise self._error(error) from None

    def _error(self, error: grpc.RpcError) -> GlobalTableError:
        code, detail = error.code(), error.details() or ""
        match code:
            case grpc.StatusCode.INVALID_ARGUMENT:
                return InvalidArgument(detail)
            case grpc.StatusCode.PERMISSION_DENIED:
                return PermissionDenied(detail)
            case grpc.StatusCode.ABORTED | grpc.StatusCode.FAILED_PRECONDITION:
                return Rejected(detail)
            case grpc.StatusCode.RESOURCE_EXHAUSTED:
                return Overloaded(detail, 1.0)
            case grpc.StatusCode.DEADLINE_EXCEEDED:
                return DeadlineExceeded(f"{self._router}: {detail}")
            case grpc.StatusCode.UNAVAILABLE if "connect" in detail:
                return ConnectFailed(f"no router answers at {self._router}: {detail}")
            case grpc.StatusCode.UNAVAILABLE:
                return Unavailable(detail)
            case _:
                return ProtocolError(f"{self._router} ended the call with {code}: {detail}")

    def resolve(
        self,
        dimension: str,
        keys: Iterable[str],
        region: str,
        creator: str,
        attributes: Mapping[str, str],
        *,
        lookup: bool,
    ) -> list[Answered]:
        """The unit of each key, in their order."""
        queries = [
            pb.RouteQuery(
                dimension=dimension,
                key=key,
                region=region,
                creator=creator,
                attributes=attributes,
            )
            for key in keys
        ]
        with self._errors():
            request = pb.ResolveRequest(queries=queries, lookup=lookup)
            response = self._stub.Resolve(request, timeout=self._timeout_s)
        return [
            Answered(
                query.key,
                result.route.unit,
                result.route.version,
                result.route.expires_at_s,
                _word(pb.Layer.Name(result.layer), "LAYER_"),
                _word(pb.RouteSource.Name(result.source), "ROUTE_SOURCE_").lower(),
                result.route.address,
                _word(pb.RouteFailure.Name(result.failure), "ROUTE_FAILURE_").lower()
                if result.failure
                else "",
                result.message,
            )
            for query, result in zip(queries, response.results, strict=True)
        ]

    def policy(self, name: str) -> tuple[str, int]:
        """A policy's text and version."""
        with self._errors():
            got = self._stub.GetPolicy(pb.GetPolicyRequest(name=name), timeout=self._timeout_s)
        return got.text, got.version

    def set_policy(self, name: str, text: str, version: int) -> tuple[str, int]:
        """Set it, if it is at that version; its text and version from now on."""
        request = pb.SetPolicyRequest(name=name, text=text, version=version)
        with self._errors():
            got = self._stub.SetPolicy(request, timeout=self._timeout_s)
        return got.text, got.version

    def units(self) -> list[UnitFare]:
        """The units, and how they fare."""
        with self._errors():
            got = self._stub.ListUnits(pb.ListUnitsRequest(), timeout=self._timeout_s)
        return [
            UnitFare(
                one.name,
                one.region,
                one.address,
                one.capacity,
                list(one.tags),
                _word(pb.UnitState.Name(one.state), "UNIT_STATE_").lower(),
            )
            for one in got.units
        ]

    def drain(self, unit: str, *, serve: bool) -> None:
        """Give a unit no new sessions, or again some."""
        with self._errors():
            self._stub.DrainUnit(
                pb.DrainUnitRequest(unit=unit, serve=serve), timeout=self._timeout_s
            )


def _word(name: str, prefix: str) -> str:
    return name.removeprefix(prefix)

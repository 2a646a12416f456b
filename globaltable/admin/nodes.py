"""The nodes of one cluster, as their admin API describes them, and what their errors mean here."""

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from types import TracebackType
from typing import Final, NamedTuple, Self

import grpc

from globaltable import limits
from globaltable.client.tls import Credentials, TlsConfig, open_channel
from globaltable.errors import (
    ConfigError,
    ConnectFailed,
    Corrupt,
    GlobalTableError,
    InvalidArgument,
    NoQuorum,
    Overloaded,
    PermissionDenied,
    ProtocolError,
    Rejected,
)
from globaltable.topology import Topology
from globaltable.v1 import admin_pb2 as pb
from globaltable.v1 import admin_pb2_grpc as pb_grpc
from globaltable.wire.topologies import decode_topology

DESCRIBE_TIMEOUT_S: Final = 5.0
_RETRY_DELAY_S: Final = 0.5
_OPTIONS: Final = (
    ("grpc.max_receive_message_length", limits.GRPC_MESSAGE_BYTES_MAX),
    ("grpc.max_send_message_length", limits.GRPC_MESSAGE_BYTES_MAX),
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    # Each client its own connections, so that one that is cut off is not another's.
    ("grpc.use_local_subchannel_pool", 1),
)


def _error_of(address: str, error: grpc.RpcError) -> GlobalTableError:
    code: grpc.StatusCode = error.code()
    text = f"{address}: {error.details()}"
    match code:
        case grpc.StatusCode.INVALID_ARGUMENT:
            return InvalidArgument(text)
        case grpc.StatusCode.FAILED_PRECONDITION:
            return Rejected(text)
        case grpc.StatusCode.RESOURCE_EXHAUSTED:
            return Overloaded(text, _RETRY_DELAY_S)
        case grpc.StatusCode.DATA_LOSS:
            return Corrupt(text)
        case grpc.StatusCode.PERMISSION_DENIED | grpc.StatusCode.UNAUTHENTICATED:
            return PermissionDenied(text)
        case grpc.StatusCode.UNIMPLEMENTED:
            return ProtocolError(f"{address}: the node is of a version without this command")
        case grpc.StatusCode.UNAVAILABLE | grpc.StatusCode.DEADLINE_EXCEEDED:
            return NoQuorum(text)
        case _:
            return ProtocolError(f"{text} ({code.name})")


@contextlib.contextmanager
def asking(address: str) -> Iterator[None]:
    """What a node refuses or fails is raised as what it means."""
    try:
        yield
    except grpc.RpcError as error:
        raise _error_of(address, error) from error


def nobody_answers(refusals: Sequence[GlobalTableError]) -> GlobalTableError:
    """What to raise of them all: that this client may not, if that is what each node said."""
    if refusals and all(isinstance(one, PermissionDenied) for one in refusals):
        return refusals[0]
    return ConnectFailed("no node answers: " + "; ".join(map(str, refusals)))


class Node(NamedTuple):
    """A node that answered, and what it is."""

    address: str
    stub: pb_grpc.AdminServiceStub
    description: pb.DescribeResponse

    @property
    def name(self) -> str:
        return self.description.node

    def holds(self, group: int) -> bool:
        return any(one.group == group for one in self.description.held)

    def serves(self, group: int) -> bool:
        return any(one.group == group and not one.refusal for one in self.description.held)

    def refusal(self, group: int) -> str | None:
        """Why its replica of a group serves nobody; None if it does, or if it has none."""
        held = (one for one in self.description.held if one.group == group)
        return next((one.refusal for one in held if one.refusal), None)


class Nodes:
    """A cluster's nodes that could be reached. A context manager."""

    def __init__(
        self,
        nodes: list[Node],
        missing: dict[str, GlobalTableError],
        tls: TlsConfig | None = None,
    ) -> None:
        self._credentials = Credentials(tls)
        self.nodes = nodes
        self.missing = missing
        """By address, why nothing was heard of a node."""
        self._channels: list[grpc.Channel] = []
        self._topologies: list[Topology] = []

    @classmethod
    def connect(cls, addresses: Iterable[str], tls: TlsConfig | None = None) -> Self:
        """All nodes that there are by the word of those at `addresses`, which need not be all, and
        may be of nodes that were removed.

        Raises `ConnectFailed` if none answers, `ConfigError` if they are of several clusters.
        """
        connected = cls([], {}, tls)
        try:
            for address in dict.fromkeys(addresses):
                connected._connect(address)
            connected._require_one_cluster()
            connected._connect_present()
            connected._require_one_cluster()
        except BaseException:
            connected.close()
            raise
        return connected

    def _connect(self, address: str) -> None:
        channel = open_channel(address, self._credentials.newest(), _OPTIONS)
        self._channels.append(channel)
        stub = pb_grpc.AdminServiceStub(channel)
        try:
            self.nodes.append(Node(address, stub, describe(address, stub)))
        except GlobalTableError as error:
            self.missing[address] = error
        else:
            self._topologies.append(_topology(address, stub))

    def _connect_present(self) -> None:
        """Whom the latest topology names, and nobody else."""
        where = {node.name: node.client for node in self.topology.nodes}
        self.nodes[:] = [node for node in self.nodes if node.name in where]
        heard = {node.name for node in self.nodes}
        named = set(where.values())
        for address in self.missing.keys() - named:
            del self.missing[address]
        for name, address in where.items():
            if name not in heard and address not in self.missing:
                self._connect(address)

    def _require_one_cluster(self) -> None:
        if not self.nodes:
            raise nobody_answers(list(self.missing.values()))
        first = self.nodes[0]
        for node in self.nodes:
            if _shape(node.description) != _shape(first.description):
                raise ConfigError(
                    f"{node.address} and {first.address} are not of one cluster: "
                    f"{_shape(node.description)} and {_shape(first.description)}"
                )

    @property
    def topology(self) -> Topology:
        """The newest that any of them knew when it was asked."""
        return max(self._topologies, key=lambda one: one.version)

    @property
    def cluster(self) -> pb.DescribeResponse:
        """What is said alike by all."""
        return self.nodes[0].description

    @property
    def groups(self) -> int:
        """How many there are, by the word of who has heard of most."""
        return max(node.description.groups for node in self.nodes)

    def serving(self, group: int) -> list[Node]:
        return [node for node in self.nodes if node.serves(group)]

    def close(self) -> None:
        for channel in self._channels:
            channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def describe(address: str, stub: pb_grpc.AdminServiceStub) -> pb.DescribeResponse:
    with asking(address):
        return stub.Describe(pb.DescribeRequest(), timeout=DESCRIBE_TIMEOUT_S)


def _topology(address: str, stub: pb_grpc.AdminServiceStub) -> Topology:
    with asking(address):
        answer = stub.GetTopology(pb.GetTopologyRequest(), timeout=DESCRIBE_TIMEOUT_S)
    return decode_topology(answer.json)


def _shape(description: pb.DescribeResponse) -> tuple[str, str, int]:
    # Not how many groups there are: one node hears of those that are added before the other.
    return description.cluster, description.cluster_id, description.slots

"""etcd as a system under test: one member in each region, data on disk, each write synced.

Heartbeat and election timeout are etcd's defaults (100 ms, 1,000 ms): its tuning guide asks for a
heartbeat of about the largest round trip and ten times that for an election, which holds up to
100 ms. A create is one transaction, `if create_revision == 0 then put else range`; a client asks
the member of its own region, which forwards to the leader.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar, Final

import grpc

from globaltable.bench.network import Network
from globaltable.bench.systems import etcd_pb2 as pb
from globaltable.bench.systems import packages
from globaltable.bench.systems.members import Members, members

NAME: Final = "etcd"
PACKAGE: Final = "etcd-server"
HEARTBEAT_MS: Final = 100
ELECTION_MS: Final = 1_000
OP_TIMEOUT_S: Final = 10.0
_CLIENT_PORT: Final = 2_379
_PEER_PORT: Final = 2_380
_STATUS_TIMEOUT_S: Final = 2.0
_QUOTA_BYTES: Final = 8 << 30
"""The most that etcd recommends: the default of 2 GB would end a long run."""


def transaction(key: str, value: str) -> pb.TxnRequest:
    """Create if absent, and say what is there otherwise."""
    name = key.encode()
    return pb.TxnRequest(
        compare=[
            pb.Compare(
                result=pb.Compare.EQUAL, target=pb.Compare.CREATE, key=name, create_revision=0
            )
        ],
        success=[pb.RequestOp(request_put=pb.PutRequest(key=name, value=value.encode()))],
        failure=[pb.RequestOp(request_range=pb.RangeRequest(key=name))],
    )


class EtcdClient:
    """One HTTP/2 connection, which all callers of the process share."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._channel = channel
        self._txn = channel.unary_unary(
            "/etcdserverpb.KV/Txn",
            request_serializer=pb.TxnRequest.SerializeToString,
            response_deserializer=pb.TxnResponse.FromString,
        )

    async def create(self, key: str, value: str) -> bool:
        answer = await self._txn(transaction(key, value), timeout=OP_TIMEOUT_S)
        return bool(answer.succeeded)

    async def close(self) -> None:
        await self._channel.close(None)


@dataclass(frozen=True, slots=True)
class EtcdTarget:
    """A member's client address."""

    address: str

    async def connect(self) -> EtcdClient:
        channel = grpc.aio.insecure_channel(self.address)
        await channel.channel_ready()
        return EtcdClient(channel)


class EtcdRunning:
    """Members that serve, one of which leads."""

    def __init__(self, network: Network, processes: Members) -> None:
        self.members = processes
        self._addresses = {
            region: f"{network.hosts[region]}:{_CLIENT_PORT}" for region in network.regions
        }

    @property
    def leader_region(self) -> str | None:
        ids = self._ids_and_leaders()
        for region, (member, leader) in ids.items():
            if member == leader:
                return region
        return None

    @property
    def agreed(self) -> bool:
        """Whether every member answers and knows the same leader."""
        known = self._ids_and_leaders()
        leaders = {leader for _, leader in known.values()}
        return len(known) == len(self._addresses) and len(leaders) == 1 and 0 not in leaders

    def target(self, region: str) -> EtcdTarget:
        return EtcdTarget(self._addresses[region])

    def move_leader(self, region: str) -> None:
        """Hand leadership over to that region's member, and wait until all know."""
        self.members.wait("of one leader", lambda: self.agreed)
        old = self.leader_region
        assert old is not None
        if old != region:
            target, _ = self._ids_and_leaders()[region]
            with grpc.insecure_channel(self._addresses[old]) as channel:
                channel.unary_unary(
                    "/etcdserverpb.Maintenance/MoveLeader",
                    request_serializer=pb.MoveLeaderRequest.SerializeToString,
                    response_deserializer=pb.MoveLeaderResponse.FromString,
                )(pb.MoveLeaderRequest(targetID=target), timeout=OP_TIMEOUT_S)
        self.members.wait(
            f"led from {region}", lambda: self.agreed and self.leader_region == region
        )

    def _ids_and_leaders(self) -> dict[str, tuple[int, int]]:
        """Of every member that answers: its id, and the id of the leader it knows (0: none)."""
        found = {}
        for region, address in self._addresses.items():
            with grpc.insecure_channel(address) as channel:
                status = channel.unary_unary(
                    "/etcdserverpb.Maintenance/Status",
                    request_serializer=pb.StatusRequest.SerializeToString,
                    response_deserializer=pb.StatusResponse.FromString,
                )
                try:
                    answer = status(pb.StatusRequest(), timeout=_STATUS_TIMEOUT_S)
                except grpc.RpcError:
                    continue
                found[region] = (answer.header.member_id, answer.leader)
        return found


class EtcdSystem:
    """`leader` is the region that is to lead at first; without it, whichever is elected."""

    name: ClassVar[str] = NAME

    def __init__(self, leader: str | None = None) -> None:
        self._leader = leader

    @contextmanager
    def start(self, network: Network) -> Iterator[EtcdRunning]:
        binary = packages.program("etcd", PACKAGE)
        with members(NAME, network) as processes:
            for region in network.regions:
                directory = str(processes.directory(region))
                processes.start(region, command(binary, region, network.hosts, directory))
            running = EtcdRunning(network, processes)
            processes.wait("of one leader", lambda: running.agreed)
            if self._leader is not None:
                running.move_leader(self._leader)
            yield running


def command(binary: str, region: str, hosts: Mapping[str, str], directory: str) -> Sequence[str]:
    """A member's command line."""
    peers = {name: f"http://{host}:{_PEER_PORT}" for name, host in hosts.items()}
    client = f"http://{hosts[region]}:{_CLIENT_PORT}"
    options = {
        "name": region,
        "data-dir": directory,
        "listen-client-urls": client,
        "advertise-client-urls": client,
        "listen-peer-urls": peers[region],
        "initial-advertise-peer-urls": peers[region],
        "initial-cluster": ",".join(f"{name}={url}" for name, url in peers.items()),
        "initial-cluster-state": "new",
        "heartbeat-interval": str(HEARTBEAT_MS),
        "election-timeout": str(ELECTION_MS),
        "quota-backend-bytes": str(_QUOTA_BYTES),
        "logger": "zap",
        "log-level": "warn",
    }
    return [binary, *(f"--{name}={value}" for name, value in options.items())]

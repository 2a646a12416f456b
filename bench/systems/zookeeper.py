"""ZooKeeper as a system under test: one server in each region, data on disk, each write synced.

Times are those of its sample configuration (tickTime 2,000 ms, initLimit 10, syncLimit 5), which
leave room for any round trip up to seconds; forceSync stays on. Who leads is decided by the order
of the start: of servers with equal data the highest id wins, so the one that is to lead has it, and
is started first with as many others as make a majority.

A create is `create(path)` of one node below `/bench`; that it exists already is the other outcome.
Clients are kazoo sessions on the server of their own region, which forwards to the leader; callers
of a session share it, and their requests are pipelined.
"""

import asyncio
import importlib.util
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final
from urllib.parse import quote

from globaltable.bench.network import Network
from globaltable.bench.systems import packages
from globaltable.bench.systems.members import Members, members

NAME: Final = "zookeeper"
PACKAGE: Final = "zookeeper"
TICK_MS: Final = 2_000
INIT_TICKS: Final = 10
SYNC_TICKS: Final = 5
OP_TIMEOUT_S: Final = 10.0
_ROOT: Final = "/bench"
_JAR: Final = Path("/usr/share/java/zookeeper.jar")
_MAIN: Final = "org.apache.zookeeper.server.quorum.QuorumPeerMain"
_HEAP_MB: Final = 1_000
"""What ZooKeeper's own start script gives a server."""
_CLIENT_PORT: Final = 2_181
_FOLLOWER_PORT: Final = 2_888
_ELECTION_PORT: Final = 3_888
_WORD_TIMEOUT_S: Final = 2.0
_CONNECT_TIMEOUT_S: Final = 30.0


def path_of(key: str) -> str:
    """The node of a key: what a path must not hold is escaped."""
    return f"{_ROOT}/{quote(key, safe=':')}"


class ZooKeeperClient:
    """One session or several, whose callers take turns among them."""

    def __init__(self, sessions: list[Any]) -> None:
        self._sessions = sessions
        self._next = 0

    async def create(self, key: str, value: str) -> bool:
        from kazoo.exceptions import NodeExistsError

        self._next = (self._next + 1) % len(self._sessions)
        loop = asyncio.get_running_loop()
        answered: asyncio.Future[None] = loop.create_future()
        pending = self._sessions[self._next].create_async(path_of(key), value.encode())

        def answer(_: object) -> None:
            # On kazoo's thread.
            loop.call_soon_threadsafe(_set, answered)

        pending.rawlink(answer)
        await asyncio.wait_for(answered, OP_TIMEOUT_S)
        error = pending.exception
        if error is None:
            return True
        if isinstance(error, NodeExistsError):
            return False
        raise error

    async def close(self) -> None:
        for session in self._sessions:
            await asyncio.to_thread(session.stop)
            await asyncio.to_thread(session.close)


def _set(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)


@dataclass(frozen=True, slots=True)
class ZooKeeperTarget:
    """A server's client address, and how many sessions a process has there."""

    address: str
    sessions: int = 1

    async def connect(self) -> ZooKeeperClient:
        return ZooKeeperClient(
            [await asyncio.to_thread(self._session) for _ in range(self.sessions)]
        )

    def _session(self) -> Any:
        from kazoo.client import KazooClient

        session = KazooClient(hosts=self.address, timeout=30.0)
        session.start(timeout=_CONNECT_TIMEOUT_S)
        session.ensure_path(_ROOT)
        return session


class ZooKeeperRunning:
    """Servers that serve, one of which leads."""

    def __init__(self, network: Network, processes: Members, sessions: int) -> None:
        self.members = processes
        self._hosts = network.hosts
        self._sessions = sessions

    @property
    def leader_region(self) -> str | None:
        return next((region for region in self._hosts if self.mode(region) == "leader"), None)

    def mode(self, region: str) -> str:
        """`leader`, `follower`, or empty if the server does not serve."""
        try:
            return mode_in(ask(self._hosts[region], "srvr"))
        except OSError:
            return ""

    def target(self, region: str) -> ZooKeeperTarget:
        return ZooKeeperTarget(f"{self._hosts[region]}:{_CLIENT_PORT}", self._sessions)


class ZooKeeperSystem:
    """`leader` is the region that leads, by default the first. `sessions` is for each client."""

    name: ClassVar[str] = NAME

    def __init__(self, leader: str | None = None, sessions: int = 1) -> None:
        self._leader = leader
        self._sessions = sessions

    @contextmanager
    def start(self, network: Network) -> Iterator[ZooKeeperRunning]:
        java = packages.program("java", "default-jre-headless")
        jar = packages.jar(_JAR, PACKAGE)
        if importlib.util.find_spec("kazoo") is None:
            raise packages.PeerMissing(
                "there is no kazoo, ZooKeeper's client: pip install 'globaltable[bench]'"
            )
        leader = self._leader or network.regions[0]
        order = [leader, *(region for region in network.regions if region != leader)]
        # The highest id is the leader's.
        ids = {region: len(order) - place for place, region in enumerate(order)}
        majority = len(order) // 2 + 1
        with members(NAME, network) as processes:
            running = ZooKeeperRunning(network, processes, self._sessions)
            for started in (order[:majority], order[majority:]):
                for region in started:
                    directory = processes.directory(region)
                    (directory / "myid").write_text(f"{ids[region]}\n")
                    (directory / "log4j.properties").write_text(LOGGING)
                    configuration = directory / "zoo.cfg"
                    configuration.write_text(configure(region, network.hosts, ids, directory))
                    classes = f"{directory}:{jar}"
                    words = [java, f"-Xmx{_HEAP_MB}m", "-cp", classes, _MAIN, str(configuration)]
                    processes.start(region, words)
                processes.wait("serving", lambda: all(running.mode(r) for r in started))  # noqa: B023 - waited for here
            yield running


LOGGING: Final = """\
log4j.rootLogger=WARN, CONSOLE
log4j.appender.CONSOLE=org.apache.log4j.ConsoleAppender
log4j.appender.CONSOLE.layout=org.apache.log4j.PatternLayout
log4j.appender.CONSOLE.layout.ConversionPattern=%p %c{1}: %m%n
"""


def configure(
    region: str, hosts: Mapping[str, str], ids: Mapping[str, int], directory: Path
) -> str:
    """A server's `zoo.cfg`."""
    lines = [
        f"tickTime={TICK_MS}",
        f"initLimit={INIT_TICKS}",
        f"syncLimit={SYNC_TICKS}",
        f"dataDir={directory}",
        f"clientPort={_CLIENT_PORT}",
        f"clientPortAddress={hosts[region]}",
        "maxClientCnxns=0",
        "admin.enableServer=false",
        "4lw.commands.whitelist=srvr",
        *(
            f"server.{ids[name]}={host}:{_FOLLOWER_PORT}:{_ELECTION_PORT}"
            for name, host in hosts.items()
        ),
    ]
    return "\n".join(lines) + "\n"


def ask(host: str, word: str) -> str:
    """A four-letter word, and what the server says to it. Raises OSError."""
    with socket.create_connection((host, _CLIENT_PORT), _WORD_TIMEOUT_S) as connection:
        connection.settimeout(_WORD_TIMEOUT_S)
        connection.sendall(word.encode("ascii"))
        parts = []
        while part := connection.recv(4_096):
            parts.append(part)
        return b"".join(parts).decode(errors="replace")


def mode_in(said: str) -> str:
    """The mode in an answer to `srvr`; empty if the server serves nobody yet."""
    for line in said.splitlines():
        name, _, value = line.partition(": ")
        if name == "Mode":
            return value.strip()
    return ""

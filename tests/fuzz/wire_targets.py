"""What comes between nodes, and what is read at start: down to the values in it."""

import os
import random
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from globaltable.errors import ConfigError, Corrupt, ProtocolError, StorageError
from globaltable.history import History, HistoryRecord, identity_of
from globaltable.model import Batch, split_name
from globaltable.server import config_file
from globaltable.server.frames import FrameKind, FrameParser, encode
from globaltable.server.handshake import Hello, check_hello, decode_hello, encode_hello
from globaltable.server.peer_link import PeerLink
from globaltable.server.peers import Peer, PeerLinks
from globaltable.server.topology_word import Shape, TopologyWord, decode_word, encode_word
from globaltable.store import identity
from globaltable.store.identity import DirectoryId
from globaltable.store.known_directories import Met
from globaltable.topology import Node, spread
from globaltable.topology_change import drain, replace_node
from globaltable.wire.batches import decode_batch, encode_batch
from globaltable.wire.frames import decode_frame, encode_frame
from globaltable.wire.packing import pack, unpack
from globaltable.wire.rows import (
    decode_history,
    decode_row,
    encode_history,
    encode_row,
)
from globaltable.wire.topologies import decode_topology, encode_topology
from tests.fuzz import samples
from tests.fuzz.directories import scratch
from tests.fuzz.loops import new_runner
from tests.fuzz.mutations import Grammar
from tests.fuzz.subject import Refused, Subject, Target

_EXAMPLE = Path(__file__).parents[2] / "config.example.toml"
_FOUNDED = spread("im", [Node(n, n, f"{n}:1", f"{n}:2") for n in "abc"], 2, 3)
_CHANGED = drain(replace_node(_FOUNDED, "a", Node("d", "d", "d:1", "d:2")), "b")
_OLD = replace(_CHANGED, level=1)
_WORDS = [
    encode_word(TopologyWord(7, 2**31, {0: 7, 1: 3}, "", {"a": Met(0, "ab12")})),
    encode_word(TopologyWord(1, 5, {}, encode_topology(_CHANGED), {})),
    *(encode_word(TopologyWord(1, 5, {0: 1}, "", {}, level=2, shape=shape)) for shape in Shape),
]
_HELLOS = [encode_hello("im", "b", "a", 2**61), encode_hello("im", "b", "", 1)]
_HELLOS += [encode_hello("im", "b", "a", 3, version=4)]


def _packing() -> Subject:
    values: list[Any] = [[1, [2, b"x"], "y", None, True, 1.5], [[[]]], 7, b"", "é"]
    seeds = [pack(value) for value in values]

    def again(value: Any) -> Any:
        try:
            return unpack(pack(value))
        except ValueError:
            return value  # nested more deeply than is ever encoded

    return Subject(seeds, unpack, again)


def _frames() -> Subject:
    each = [[(0, message)] for message in samples.messages()]
    together = [(n % 3, message) for n, message in enumerate(samples.messages())]
    seeds = [encode_frame(envelopes) for envelopes in [*each, together, []]]
    return Subject(seeds, decode_frame, lambda value: decode_frame(encode_frame(value)))


def _batches() -> Subject:
    seeds = [encode_batch(samples.batch(n, ops)) for n, ops in enumerate((0, 1, 3, 40))]
    seeds += [encode_batch(Batch(bytes(16), 9, (), step)) for step in samples.steps()]
    return Subject(seeds, decode_batch, lambda value: decode_batch(encode_batch(value)))


def _rows() -> Subject:
    seeds = [encode_row(row) for row in samples.ROWS]
    return Subject(seeds, decode_row, lambda value: decode_row(encode_row(value)))


def _history() -> Subject:
    seeds = [encode_history(samples.history_rows(5, rows)) for rows in (0, 1, 2, 20)]

    def decode(data: bytes) -> Any:
        rows = decode_history(data)
        # What is decoded is indexed, searched and forgotten.
        history = History(1, [HistoryRecord(2, max(1, len(rows)), data)])
        for row in rows[:3]:
            assert history.find(identity_of(row.client_id, row.sequence)) is not None
            split_name(row.name)
        return rows

    return Subject(seeds, decode, lambda value: decode_history(encode_history(value)))


def _hello() -> Subject:
    def decode(body: bytes) -> Any:
        hello = decode_hello(body)
        check_hello(hello, cluster="im", node="a", expected={"b": 0, "c": 0})
        return hello

    def again(hello: Hello) -> Any:
        cluster, node, to, incarnation, plan, since = hello[2:8]
        own, said = DirectoryId(hello.directory, hello.founds), (hello.version, hello.levels)
        return decode_hello(encode_hello(cluster, node, to, incarnation, plan, since, own, *said))

    return Subject(_HELLOS, decode, again)


def _word() -> Subject:
    return Subject(_WORDS, decode_word, lambda word: decode_word(encode_word(word)))


def _topology() -> Subject:
    def decode(data: bytes) -> Any:
        return decode_topology(data.decode(errors="surrogateescape"))

    seeds = [encode_topology(topology).encode() for topology in (_FOUNDED, _CHANGED, _OLD)]
    return Subject(seeds, decode, lambda topology: decode_topology(encode_topology(topology)))


def _stream() -> Subject:
    data = encode_frame([(0, message) for message in samples.messages()[:4]])
    seeds = [
        encode(kind, body)
        for kind, body in zip(
            FrameKind, (_HELLOS[0], b"no", b"", bytes(8), data, _WORDS[0]), strict=True
        )
    ]
    seeds.append(b"".join(seeds))

    def decode(stream: bytes) -> Any:
        parser = FrameParser(1_024)
        piece = 1 + len(stream) % 7 * 100
        return [
            f for at in range(0, len(stream), piece) for f in parser.feed(stream[at : at + piece])
        ]

    return Subject(seeds, decode, lambda frames: decode(b"".join(encode(*f) for f in frames)))


def _ignore(_: object) -> None:
    pass


class _Wire:
    """As much of a transport as a link asks for."""

    def __init__(self) -> None:
        self.closed = False

    def get_extra_info(self, _: str) -> None:
        return None

    def write(self, _: bytes) -> None:
        pass

    def is_closing(self) -> bool:
        return self.closed

    def get_write_buffer_size(self) -> int:
        return 0

    def close(self) -> None:
        self.closed = True

    abort = close


def _link() -> Subject:
    """A connection from its first byte on: handshake, pings, messages."""
    runner = new_runner()
    hello = encode(FrameKind.HELLO, encode_hello("im", "a", "b", 5))
    rest = [
        encode(FrameKind.PING, bytes(8)),
        encode(FrameKind.PONG, bytes(8)),
        encode(FrameKind.DATA, encode_frame([(0, samples.messages()[8])])),
    ]
    seeds = [hello, hello + b"".join(rest), *(hello + one for one in rest)]
    seeds.append(encode(FrameKind.REFUSE, b"no"))

    async def receive(data: bytes) -> bool:
        links = PeerLinks(
            cluster="im",
            node="b",
            incarnation=1,
            listen=("127.0.0.1", 1),
            peers={"a": Peer("127.0.0.1", 1), "c": Peer("127.0.0.1", 1)},
            on_payload=lambda _, payload: _ignore(decode_frame(payload)),
            on_topology=lambda _, body: _ignore(decode_word(body)),
            on_up=lambda _: None,
            on_down=lambda _: None,
            buffer_bytes_max=1_000_000,
            reconnect_min_s=1.0,
            reconnect_max_s=1.0,
            random=random.Random(1),
        )
        link, wire = PeerLink(links, ""), _Wire()
        link.connection_made(wire)  # type: ignore[arg-type]
        link.data_received(data)
        closed = wire.closed
        link.connection_lost(None)
        return closed

    def decode(data: bytes) -> None:
        if runner.run(receive(data)):
            raise Refused("the link is closed")

    return Subject(seeds, decode)


def _identity() -> Subject:
    directory = scratch("identity")
    wanted: dict[str, Any] = {"cluster": "im", "node": "a", "groups": 8, "slots": 1_024}
    os.close(identity.claim(directory, **wanted))
    file = directory / "identity"

    def decode(data: bytes) -> None:
        file.write_bytes(data)
        os.close(identity.claim(directory, **wanted))

    first = file.read_bytes()
    identity.note_level(directory, 2)
    return Subject([first, file.read_bytes()], decode)


def _config() -> Subject:
    parse = partial(config_file.parse, base_dir=Path("/srv"))
    example = _EXAMPLE.read_text()
    latency = "[injected_latency]\nround_trip_ms = 10\n[injected_latency.pairs]\n"
    latency += '"beijing-shanghai" = 1.5\n'
    plain = "\n".join(line for line in example.splitlines() if not line.lstrip().startswith("#"))
    seeds = [plain, config_file.render(parse(example))]
    if "[injected_latency]" not in plain:
        seeds.append(plain + "\n" + latency)
    weights = "[placement.weights]\nbeijing = 1\nshanghai = 2.5\nshenzhen = 0\n"
    seeds.append(plain + "\n" + latency.replace("injected_latency", "placement") + weights)
    directory = scratch("config")
    file = directory / "cluster.toml"

    def decode(data: bytes) -> Any:
        file.write_bytes(data)
        loaded = config_file.load(file)
        loaded.topology()
        return loaded

    return Subject(
        [seed.encode() for seed in seeds], decode, lambda value: parse(config_file.render(value))
    )


_PEER = (ProtocolError,)
_DISK = (Corrupt,)

TARGETS = (
    Target("packing", _packing, _PEER, Grammar.MSGPACK),
    Target("peer frame", _frames, _PEER, Grammar.MSGPACK, share=200),
    Target("peer stream", _stream, _PEER, Grammar.PLAIN),
    Target("peer link", _link, (Refused,), Grammar.PLAIN, 40, True),
    Target("handshake", _hello, _PEER, Grammar.MSGPACK),
    Target("word of a topology", _word, _PEER, Grammar.MSGPACK),
    Target("topology", _topology, _PEER, Grammar.TEXT, share=60, bytes_per_input_byte=512),
    Target("log batch", _batches, _PEER, Grammar.MSGPACK, share=150),
    Target("table row", _rows, _DISK, Grammar.MSGPACK),
    Target("history record", _history, _DISK, Grammar.MSGPACK, share=150),
    Target("identity file", _identity, (ConfigError, StorageError), Grammar.MSGPACK, share=30),
    Target(
        "configuration", _config, (ConfigError,), Grammar.TEXT, share=30, bytes_per_input_byte=512
    ),
)

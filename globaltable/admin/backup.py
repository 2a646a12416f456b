"""An online backup: every group from a node that serves it, into one file.

The file is written as it comes, so neither this process nor a node holds more than a few chunks.
"""

import contextlib
import time
from collections.abc import Callable, Iterable, Sequence
from typing import BinaryIO, NamedTuple

import globaltable
from globaltable.admin.nodes import DESCRIBE_TIMEOUT_S, Node, Nodes, asking
from globaltable.admin.slots import slots_in
from globaltable.backup.contents import Tally
from globaltable.backup.reading import BackupReader
from globaltable.backup.records import FORMAT_VERSION, Begin, Header, Origin, Trailer
from globaltable.backup.writing import BackupWriter
from globaltable.errors import NoQuorum, ProtocolError, Unavailable
from globaltable.v1 import admin_pb2 as pb

Progress = Callable[[int, int], None]
"""Told how many rows are done, and roughly how many there are; 0 if that is not known."""


class Taken(NamedTuple):
    header: Header
    trailer: Trailer
    tally: Tally
    heads: dict[int, Begin]
    bytes: int

    @property
    def backup_id(self) -> str:
        return backup_id(self.trailer)


def backup_id(trailer: Trailer) -> str:
    """What tells a backup from every other."""
    return trailer.digest[:16].hex()


def take(nodes: Nodes, file: BinaryIO, progress: Progress) -> Taken:
    """Raises `NoQuorum` if a group is served by no node that answers, or no longer."""
    header = Header(
        format_version=FORMAT_VERSION,
        origin=Origin.ONLINE,
        cluster=nodes.cluster.cluster,
        cluster_id=nodes.cluster.cluster_id,
        successor_id="",
        tables=tuple(nodes.cluster.tables),
        slots=nodes.cluster.slots,
        groups=nodes.groups,
        begun_at_ms=int(time.time() * 1_000),
        made_by=globaltable.__version__,
    )
    shares = _shares(nodes)
    moves = _moves(nodes)
    writer = BackupWriter(file.write, header)
    for node, groups in shares:
        with asking(node.address):
            _write(writer, node.stub.Backup(pb.BackupRequest(groups=groups)), progress)
    if _moves(nodes) != moves:
        raise Unavailable("slots were moved between groups meanwhile: take the backup again")
    trailer = writer.finish()
    contents = writer.contents
    return Taken(header, trailer, contents.tally, contents.heads, writer.bytes)


def _moves(nodes: Nodes) -> int:
    """Rises with each move of a slot. Raises `Unavailable` while there are any under way: what is
    in a slot that moves would be in the backup twice, or not at all, for groups are not of one
    time."""
    answers = []
    for node in nodes.nodes:
        # Each knows what the others do, or soon will: those that are left are enough.
        with contextlib.suppress(NoQuorum), asking(node.address):
            request = pb.GetTopologyRequest()
            answers.append(node.stub.GetTopology(request, timeout=DESCRIBE_TIMEOUT_S))
    if not answers:
        raise NoQuorum("no node answers any more that was asked where slots are")
    now = slots_in(answers)
    if now.under_way:
        raise Unavailable(
            f"{len(now.under_way)} slots are on their way between groups: take the backup once "
            "they are there (globaltable slots wait)"
        )
    return now.moves


def _shares(nodes: Nodes) -> list[tuple[Node, Sequence[int]]]:
    """Each group from the first node, in the order in which they were given, that serves it."""
    shares: dict[str, tuple[Node, list[int]]] = {}
    for group in range(nodes.groups):
        serving = nodes.serving(group)
        if not serving:
            why = [f"{n.name}: {refusal}" for n in nodes.nodes if (refusal := n.refusal(group))]
            why += [f"{address} does not answer" for address in nodes.missing]
            raise NoQuorum(
                f"group {group} is served by none of the nodes that were asked"
                + (f" ({'; '.join(why)})" if why else "")
            )
        shares.setdefault(serving[0].address, (serving[0], []))[1].append(group)
    return list(shares.values())


def _write(writer: BackupWriter, parts: Iterable[pb.BackupPart], progress: Progress) -> None:
    rows_about = 0
    for part in parts:
        match part.WhichOneof("part"):
            case "begin":
                begin = part.begin
                rows_about = begin.rows_about
                writer.begin_group(Begin(begin.group, begin.revision, begin.term, begin.node))
            case "rows":
                writer.rows(part.rows)
            case "end":
                writer.end_group()
            case other:
                raise ProtocolError(f"a part of a backup that is not known: {other}")
        progress(writer.contents.tally.rows, rows_about)


def verify(file: BinaryIO, progress: Progress) -> Taken:
    """Read everything, check everything. Raises `NotABackup`, or `Corrupt`."""
    reader = BackupReader(file.read)
    for _ in reader.chunks():
        progress(reader.contents.tally.rows, 0)
    assert reader.trailer is not None
    contents = reader.contents
    return Taken(reader.header, reader.trailer, contents.tally, contents.heads, reader.bytes)

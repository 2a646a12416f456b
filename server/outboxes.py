"""What one turn has to say to each peer, of all groups, made into frames."""

from collections.abc import Iterable, Iterator
from typing import Final

from globaltable.raft.messages import Message
from globaltable.wire.frames import Envelope, encode_frame

FRAME_MESSAGE_BYTES: Final = 1_048_576
"""Messages of one turn to one peer are split over frames of about this size."""

Outboxes = dict[str, list[Envelope]]
"""Messages for each peer."""


def post(outboxes: Outboxes, group: int, messages: Iterable[tuple[str, Message]]) -> None:
    for peer, message in messages:
        outboxes.setdefault(peer, []).append((group, message))


def frames(outboxes: Outboxes) -> Iterator[tuple[str, bytes]]:
    """Split by size, for a frame is read and decoded as a whole."""
    for peer, envelopes in outboxes.items():
        if len(envelopes) == 1:
            yield peer, encode_frame(envelopes)
            continue
        part: list[Envelope] = []
        size = 0
        for envelope in envelopes:
            part.append(envelope)
            size += _weight(envelope)
            if size >= FRAME_MESSAGE_BYTES:
                yield peer, encode_frame(part)
                part, size = [], 0
        if part:
            yield peer, encode_frame(part)


def _weight(envelope: Envelope) -> int:
    message = envelope[1]
    entries = getattr(message, "entries", ())
    return sum(len(entry.command) for entry in entries) + len(getattr(message, "payload", b""))

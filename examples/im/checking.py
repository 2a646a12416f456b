"""Whether every message is where it should be: what users were told, against what units hold."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from examples.im.storage import Row


class Acknowledged(NamedTuple):
    """What a sender was told of its message."""

    chat: str
    message_id: str
    number: int


class Findings(NamedTuple):
    """Each a list of what is wrong: all empty if every promise was kept."""

    lost: list[str]
    """Acknowledged, and in no unit, or not under the number that was told."""
    doubled: list[str]
    """Stored more than once, in one unit or in several."""
    out_of_order: list[str]
    """Chats whose messages are not numbered 1, 2, 3 …"""
    misplaced: list[str]
    """Chats that another unit holds than GlobalTable says."""
    pushed_wrong: list[str]
    """Chats whose follower was sent something else than what is stored, in that order."""

    @property
    def hold(self) -> bool:
        return not any(self)


def check(
    acknowledged: Sequence[Acknowledged],
    units: Mapping[str, Mapping[str, Sequence[Row]]],
    owners: Mapping[str, str],
    pushed: Mapping[str, Sequence[tuple[int, str]]],
) -> Findings:
    """`units` is what each holds, by chat; `owners` the unit of each chat; `pushed` the numbers and
    message ids that came to each chat's follower."""
    everywhere: dict[str, list[tuple[str, Row]]] = {}
    for unit, chats in units.items():
        for chat, rows in chats.items():
            everywhere.setdefault(chat, []).extend((unit, row) for row in rows)

    stored = {
        (chat, row.message_id): row.number for chat, rows in everywhere.items() for _, row in rows
    }
    lost = [
        f"{one.chat} #{one.number}: {one.message_id}"
        for one in acknowledged
        if stored.get((one.chat, one.message_id)) != one.number
    ]
    times = Counter((chat, row.message_id) for chat, rows in everywhere.items() for _, row in rows)
    doubled = [
        f"{chat}: {message_id}, {count} times"
        for (chat, message_id), count in times.items()
        if count > 1
    ]
    out_of_order = [
        chat
        for chat, rows in everywhere.items()
        if [row.number for _, row in rows] != list(range(1, len(rows) + 1))
    ]
    misplaced = [
        f"{chat} in {unit}, which lives in {owners.get(chat)}"
        for unit, chats in units.items()
        for chat in chats
        if owners.get(chat) != unit
    ]
    pushed_wrong = [
        chat
        for chat, messages in pushed.items()
        if list(messages) != [(row.number, row.message_id) for _, row in everywhere.get(chat, [])]
    ]
    return Findings(lost, doubled, out_of_order, misplaced, pushed_wrong)

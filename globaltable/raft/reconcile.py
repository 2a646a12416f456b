"""What a follower does with the entries of an append message, decided without side effects.

PySyncObj drops everything behind the message's previous entry and appends what came, so that a
late duplicate of an old message removes entries that were acknowledged since. Raft §5.3 (figure 2,
AppendEntries, rules 3 and 4) deletes from the first entry that conflicts, and only then.
"""

from collections.abc import Sequence
from typing import NamedTuple

from globaltable.raft.journal import InvariantViolated, Journal
from globaltable.store.log import Entry


class Accept(NamedTuple):
    """The message matches: keep the log up to `keep_through`, append `entries` to it.

    `covered` is the last index that this message has verified, and so all that it acknowledges.
    """

    keep_through: int
    entries: Sequence[Entry]
    covered: int


class Reject(NamedTuple):
    """The message's previous entry is not held: ask for entries from `next_index` on."""

    next_index: int


def reconcile(
    journal: Journal, prev_index: int, prev_term: int, entries: Sequence[Entry]
) -> Accept | Reject:
    """Compare the log with an append message of the current term's leader.

    Raises `InvariantViolated` if the message contradicts an entry that is committed here.
    """
    covered = prev_index + len(entries)
    if prev_index > journal.last_index:
        return Reject(journal.last_index + 1)
    if prev_index < journal.first_index:
        # What was compacted here is committed, hence held by the leader too (Leader Completeness,
        # Raft §5.4.3): nothing of it can conflict.
        held = journal.first_index - prev_index
        if covered <= journal.first_index:
            return Accept(journal.last_index, (), covered)
        base = entries[held - 1]
        if base.term != journal.term_at(base.index):
            raise _contradiction(journal, base.index, base.term)
        entries = entries[held:]
    elif journal.term_at(prev_index) != prev_term:
        if prev_index <= journal.commit_index:
            raise _contradiction(journal, prev_index, prev_term)
        return Reject(_first_of_term(journal, prev_index))
    for position, entry in enumerate(entries):
        if entry.index > journal.last_index:
            return Accept(journal.last_index, entries[position:], covered)
        if journal.term_at(entry.index) != entry.term:
            if entry.index <= journal.commit_index:
                raise _contradiction(journal, entry.index, entry.term)
            return Accept(entry.index - 1, entries[position:], covered)
    return Accept(journal.last_index, (), covered)


def _first_of_term(journal: Journal, index: int) -> int:
    """Back over a whole term at once (Raft §5.3, the optimization at its end), but never below
    what is committed."""
    term = journal.term_at(index)
    while index - 1 > journal.commit_index and journal.term_at(index - 1) == term:
        index -= 1
    return index


def _contradiction(journal: Journal, index: int, term: int) -> InvariantViolated:
    return InvariantViolated(
        f"the leader holds term {term} at index {index}, but term {journal.term_at(index)} is "
        f"committed there (commit index {journal.commit_index})"
    )

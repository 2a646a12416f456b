"""The arithmetic of majorities, and nothing else."""

from collections.abc import Iterable


def majority(voters: int) -> int:
    """The least number of voters that any two majorities share one of."""
    return voters // 2 + 1


def follower_commit(
    voters: int, matched: int, held_by_others: Iterable[int], *, votes: bool = True
) -> int:
    """Up to where a follower knows by itself that a majority holds the log durably; 0 for nowhere.

    `matched` is what it holds itself, and has verified against the leader of the present term;
    `held_by_others` is what others, the leader among them, have told in that term to hold in the
    same way, one number for each. With as many others as make a majority together with itself the
    least of them bounds it: the (majority - 1)-th largest. Who has told nothing does not count; the
    leader, too, does only by its own word, for entries leave it before they are durable there. A
    follower without a vote (`votes`) counts in no majority, so it needs one more.

    Whom an acknowledgement reaches is nothing to Raft: a follower that counts holders as the leader
    does, of the same term, concludes what the leader might. If the entry there is of the present
    term it is committed, with all before it (Raft §5.4.2: an entry of an earlier term is never
    committed by counting).
    """
    needed = majority(voters) - votes
    held = sorted(held_by_others, reverse=True)
    return min(matched, held[needed - 1]) if len(held) >= needed else 0

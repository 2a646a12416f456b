"""The arithmetic of majorities, and nothing else."""


def majority(voters: int) -> int:
    """The least number of voters that any two majorities share one of."""
    return voters // 2 + 1


def follower_commit(voters: int, matched: int, leader_held: int) -> int:
    """Up to where a follower knows by itself that a majority holds the log durably; 0 for nowhere.

    `matched` is what it holds itself, and has verified against the leader of the present term, and
    `leader_held` what that leader has told to be durable on its own disk. With three voters the two
    are a majority. If the entry there is of the present term it is committed, with all before it
    (Raft §5.4.2: an entry of an earlier term is never committed by counting). With five voters two
    holders are no majority, and the follower must wait to be told.
    """
    return min(matched, leader_held) if voters == 3 else 0

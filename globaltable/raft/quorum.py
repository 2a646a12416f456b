"""The arithmetic of majorities, and nothing else."""


def majority(voters: int) -> int:
    """The least number of voters that any two majorities share one of."""
    return voters // 2 + 1


def follower_commit(voters: int, covered: int, covered_term: int, leader_term: int) -> int | None:
    """What a follower may commit by itself, once it holds `covered` durably; None if nothing.

    The leader persists an entry before it sends it. So with three voters the leader and this
    follower are a majority that holds everything up to `covered`, the last entry the leader's
    message verified; and if that entry is of the leader's current term it is committed, with all
    before it (Raft §5.4.2: an entry of an earlier term is never committed by counting).
    With five voters two holders are no majority, and the follower must wait to be told.
    """
    if voters == 3 and covered_term == leader_term:
        return covered
    return None

"""What a write costs in round trips: the least time in which a group can commit, from each voter.

Only the ways between voters are counted; disks, processors and the way between a caller and its
node come on top. So a measurement is judged by its ratio to this, and a planner may compare leaders
by it.

Invariants: the least time for a leader is the round trip to its nearest majority; for a follower it
is never less than its round trip to the leader.
"""

from collections.abc import Mapping, Sequence

from globaltable.errors import ConfigError
from globaltable.raft.quorum import majority


def commit_latency_s(
    round_trip_s: Mapping[tuple[str, str], float],
    voters: Sequence[str],
    leader: str,
    entry_region: str,
) -> float:
    """How long after a write enters at `entry_region` its voter there can know it committed.

    `round_trip_s` has each pair of voters once, in either order. A follower F sends the write to
    the leader L, which sends it to all; it has come back to F after one round trip, with L's word
    that L holds it. With three voters that is a majority (`quorum`). With more, F waits for enough
    of the other followers G to say that they hold it, d(F,L) + d(L,G) + d(G,F); or for L to tell it
    that L has committed, which on ways that obey the triangle inequality is never earlier.
    """
    for place in (leader, entry_region):
        if place not in voters:
            raise ConfigError(f"{place!r} has no voter of the group; its voters are in {voters}")

    def way_s(a: str, b: str) -> float:
        pair = (a, b) if (a, b) in round_trip_s else (b, a)
        if pair not in round_trip_s:
            raise ConfigError(f"the round trip between {a!r} and {b!r} is not given; add it")
        return round_trip_s[pair] / 2

    others_needed = majority(len(voters)) - 1
    answers_s = sorted(2 * way_s(leader, peer) for peer in voters if peer != leader)
    leader_commits_s = answers_s[others_needed - 1] if others_needed else 0.0
    if entry_region == leader:
        return leader_commits_s
    there_s = way_s(entry_region, leader)
    told_s = 2 * there_s + leader_commits_s
    words_s = [2 * there_s]
    if len(voters) > 3:
        words_s += [
            there_s + way_s(leader, peer) + way_s(peer, entry_region)
            for peer in voters
            if peer not in (leader, entry_region)
        ]
    known_s = max(2 * there_s, sorted(words_s)[others_needed - 1])
    return min(known_s, told_s)

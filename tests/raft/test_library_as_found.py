"""PySyncObj 0.3.17 left alone: what it does that Raft does not, each by its shortest schedule.

These are not promises of ours but reasons for `raft.guard`: each test passes while the library does
what the guard must put right. One that fails after an upgrade names a rule that may go. Node `a` is
the library; `b` to `e` are what it is told.
"""

import pickle
import random

import pytest
from pysyncobj import SyncObjConf
from pysyncobj.node import Node
from pysyncobj.transport import Transport

from globaltable.members import Members
from globaltable.raft import adaptor
from globaltable.raft.adaptor import Adaptor, Role, Timing
from globaltable.raft.dialect import Said
from globaltable.raft.journal import Journal
from globaltable.raft.messages import Ack, Append, RequestVote, Vote
from globaltable.store.log import Entry, HardState, LogImage
from tests.raft.rig import ROOT, command, entries


class _Library:
    """A copy of the library, without the guard around it."""

    def __init__(self, *terms: int, voters: str = "abc") -> None:
        self.sent: list[tuple[str, Said]] = []
        self.journal = Journal(0, LogImage((ROOT, *entries(*terms))), 1, 0)
        self.adaptor = Adaptor(
            node="a",
            members=Members(tuple(voters)),
            journal=self.journal,
            applied=1,
            timing=Timing(),
            rng=random.Random(1),
            now=100.0,
            send=lambda peer, message: self.sent.append((peer, message)),
        )
        for peer in voters[1:]:
            self.adaptor.set_connected(peer, True)

    def campaign(self) -> int:
        """Its election deadline passes; the term it campaigns in."""
        self.adaptor.set_election_deadline(-1.0)
        self.adaptor.tick()
        return self.adaptor.term

    def lead(self) -> int:
        term = self.campaign()
        self.adaptor.deliver("b", Vote(term, True))
        assert self.adaptor.role is Role.LEADER
        return term

    def taken(self) -> list[tuple[str, Said]]:
        sent, self.sent = self.sent, []
        return sent


def _append(term: int, *new: Entry, prev_index: int = 1, prev_term: int = 0) -> Append:
    return Append(term, 0, prev_index, prev_term, 1, 0, new)


@pytest.fixture
def library() -> _Library:
    return _Library()


def test_a_late_duplicate_of_an_append_removes_what_was_acknowledged_since(
    library: _Library,
) -> None:
    """Raft deletes from the first entry that conflicts (figure 2); it deletes all behind `prev`."""
    first, second, third = entries(1, 1, 1)
    library.adaptor.deliver("b", _append(1, first))
    library.adaptor.deliver("b", _append(1, second, third, prev_index=2, prev_term=1))
    assert library.journal.last_index == 4
    library.adaptor.deliver("b", _append(1, first))
    assert library.journal.last_index == 2


def test_a_message_without_entries_of_a_snapshot_commits_a_deposed_leaders_tail() -> None:
    """`min(leader's commit, own last index)`, though nothing has been matched with the leader."""
    library = _Library(1, 1)
    waits_for_snapshot = {
        "type": "append_entries",
        "term": 2,
        "commit_index": 3,
        "serialized": None,
    }
    adaptor = library.adaptor
    adaptor._links._onMessageReceived(adaptor._nodes["b"], waits_for_snapshot)
    assert adaptor.commit_index == 3


def test_an_acknowledgement_of_an_earlier_term_counts(library: _Library) -> None:
    """`next_node_idx` carries no term. With this one entry 3 is committed; nobody else holds it."""
    library.lead()
    library.adaptor.append(command(1))
    from_an_earlier_life = Ack(0, 0, next_index=4, success=True, reset=False)
    library.adaptor.deliver("c", from_an_earlier_life)
    library.adaptor.tick()
    assert library.adaptor.commit_index == 3


def test_one_voter_elects_a_leader_of_five_if_its_vote_comes_twice() -> None:
    library = _Library(voters="abcde")
    term = library.campaign()
    library.adaptor.deliver("b", Vote(term, True))
    library.adaptor.deliver("b", Vote(term, True))
    assert library.adaptor.role is Role.LEADER


def test_a_follower_that_hears_its_leader_helps_to_depose_it(library: _Library) -> None:
    """No stickiness (Raft thesis §4.2.3): who was away comes back with a later term, and wins."""
    library.adaptor.deliver("b", _append(1))
    assert library.adaptor.leader == "b"
    library.adaptor.deliver("c", RequestVote(7, 1, 0, False))
    assert library.adaptor.term == 7
    assert ("c", Vote(7, True)) in library.sent


def test_nobody_is_asked_before_a_campaign_raises_the_term(library: _Library) -> None:
    """No pre-vote (Raft thesis §9.6)."""
    before = library.adaptor.term
    library.campaign()
    assert library.adaptor.term == before + 1


def test_every_acknowledgement_has_all_that_is_in_flight_sent_again(library: _Library) -> None:
    library.lead()
    for number in range(3):
        library.adaptor.append(command(number))
        library.adaptor.send_now()
        library.adaptor.tick()
    library.taken()
    library.adaptor.deliver("c", Ack(1, 0, next_index=3, success=True, reset=False))
    library.adaptor.send_now()
    library.adaptor.tick()
    again = [message for peer, message in library.taken() if peer == "c"]
    assert [len(m.entries) for m in again if isinstance(m, Append)] == [3]


class _Links(Transport):  # type: ignore[misc]
    """They lead nowhere; what arrives is handed in."""

    ready = True

    def __init__(self) -> None:
        super().__init__(None, None, [])

    def send(self, node: Node, message: object) -> bool:
        return True

    def addNode(self, node: Node) -> None:  # noqa: N802 - PySyncObj's name
        pass

    def dropNode(self, node: Node) -> None:  # noqa: N802
        pass


class _ChangesItsMembers:
    """Node `a` of `a`, `b`, `c`: the library with its own change of membership, which is off in
    `raft.adaptor`."""

    def __init__(self, *log: Entry, term: int = 0) -> None:
        journal = Journal(0, LogImage((ROOT, *log), HardState(term, None)), 1, 0)
        module = adaptor._private_module()
        module.createJournal = lambda _: journal
        module.createPoller = lambda _: adaptor._NoPoller()
        module.PIPE_NOTIFIER_ENABLED = False
        conf = SyncObjConf(autoTick=False, dynamicMembershipChange=True, connectionTimeout=99.0)
        self.core = module.SyncObj("a", ["b", "c"], conf, nodeClass=Node, transport=_Links())
        self.core._SyncObj__connectedNodes.update(map(Node, "bc"))

    def told(self, sender: str, **message: object) -> None:
        self.core._SyncObj__onMessageReceived(Node(sender), message)
        self.core.doTick(0.0)

    def lead(self) -> None:
        self.core._SyncObj__raftElectionDeadline = -1.0
        self.core.doTick(0.0)
        self.told("b", type="response_vote", term=self.core.raftCurrentTerm)
        assert self.core._isLeader()

    @property
    def voters(self) -> str:
        return "a" + "".join(sorted(node.id for node in self.core.otherNodes))


def test_its_changes_of_membership_do_not_wait_for_each_other() -> None:
    """`__changeClusterIDx` is compared and never set. So d and e come at once: a majority of five
    is a, d and e, and of the three that b and c know of, b and c (Raft thesis, figure 4.2)."""
    library = _ChangesItsMembers()
    library.lead()
    library.told("b", type="next_node_idx", next_node_idx=3, reset=False, success=True)
    committed = library.core.raftCommitIndex
    library.core.addNodeToCluster("d")
    library.core.addNodeToCluster("e")
    library.core.doTick(0.0)
    assert library.voters == "abcde"
    assert library.core.raftCommitIndex == committed, "neither change is committed"
    for added in "de":
        library.told(added, type="next_node_idx", next_node_idx=5, reset=False, success=True)
    assert library.core.raftCommitIndex == 4, "nor do b or c hold anything of it"


def test_a_change_in_its_log_is_not_in_force_after_a_restart() -> None:
    """Until it is applied again, which is after the election. That d and e were added stands in the
    log; the vote of b alone makes a leader, while d, e and c may have another."""
    change = [b"\x02" + pickle.dumps(["add", name, Node(name)]) for name in "de"]
    log = [Entry(command, index, 1) for index, command in enumerate(change, 2)]
    library = _ChangesItsMembers(*log, term=1)
    assert library.voters == "abc"
    library.lead()

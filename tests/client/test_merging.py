"""A watch over several nodes: nothing missed, nothing twice, whatever moves between them."""

import random
from collections.abc import Mapping, Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from globaltable.client._merging import MergedProgress
from globaltable.client._nodes import Nodes
from globaltable.client._routes import Routes, read_topology
from globaltable.client._watching import WatchProgress
from globaltable.v1 import globaltable_pb2 as pb
from tests.client.topologies import told

TABLE = "im.session"
NODES = {name: f"{name}:1" for name in ("a-1", "a-2", "a-3")}


class _Known:
    """What a client knows, as it learns."""

    def __init__(self) -> None:
        self.routes = Routes(TABLE)
        self._nodes = Nodes(list(NODES.values()), 0.0)
        self._version = 0

    def learn(self, holders: Sequence[Sequence[str]]) -> None:
        self._version += 1
        said = told(NODES, holders, version=self._version).SerializeToString()
        topology = read_topology(said).topology
        assert topology is not None
        self._nodes.learn(topology.nodes, 0.0, discover=True)
        self.routes.learn(topology, self._nodes.numbers_of)


def _watch(after: Mapping[int, int] | None = None, key: str | None = None) -> MergedProgress:
    return MergedProgress(WatchProgress(TABLE, key, "", after or {}, random.Random(1)))


def _asked(stream: WatchProgress) -> tuple[set[int], dict[int, int]]:
    request = pb.WatchRequest.FromString(stream.request())
    return {*request.groups}, {place.group: place.revision for place in request.after}


def _position(at: Mapping[int, int], *changes: tuple[int, int, str]) -> bytes:
    places = [pb.GroupRevision(group=g, revision=r) for g, r in at.items()]
    made = [
        pb.Change(
            kind=pb.CHANGE_KIND_BOUND, key=key, unit="A", version=1, revision=revision, group=group
        )
        for group, revision, key in changes
    ]
    return pb.WatchResponse(position=places, changes=made).SerializeToString()


def test_it_has_started_once_every_node_has_said_where() -> None:
    known, watch = _Known(), _watch()
    known.learn([["a-1"], ["a-2"]])
    watch.follow(known.routes)
    one, other = watch.streams
    assert [_asked(stream) for stream in (one, other)] == [({0}, {}), ({1}, {})]
    one.received(_position({0: 5}))
    before = watch.started
    other.received(_position({1: 7}))
    assert (before, watch.started) == (False, True) and watch.position == {0: 5, 1: 7}
    assert watch.follow(known.routes) == [] and watch.streams == [one, other]


def test_a_group_that_is_new_is_watched_from_its_beginning() -> None:
    known, watch = _Known(), _watch()
    known.learn([["a-1"]])
    watch.follow(known.routes)
    watch.streams[0].received(_position({0: 5}))
    known.learn([["a-1"], ["a-2"]])
    watch.follow(known.routes)
    assert [_asked(stream) for stream in watch.streams] == [({0}, {0: 5}), ({1}, {1: 0})]


def test_a_group_that_has_not_said_where_it_starts_still_starts_at_the_present() -> None:
    known, watch = _Known(), _watch()
    known.learn([["a-1"], ["a-2"]])
    watch.follow(known.routes)
    watch.streams[0].received(_position({0: 5}))
    known.learn([["a-1"], ["a-3"]])
    watch.follow(known.routes)
    assert _asked(watch.streams[1]) == ({1}, {})


def test_resumed_it_misses_nothing_of_a_group_its_position_does_not_name() -> None:
    known, watch = _Known(), _watch({0: 5})
    known.learn([["a-1"], ["a-2"]])
    watch.follow(known.routes)
    assert [_asked(stream) for stream in watch.streams] == [({0}, {0: 5}), ({1}, {1: 0})]


def test_a_key_is_watched_on_one_stream_at_who_holds_it() -> None:
    known, watch = _Known(), _watch(key="k")
    known.learn([["a-1"], ["a-2"]])
    watch.follow(known.routes)
    (stream,) = watch.streams
    assert stream.route == known.routes.of_key("k") and _asked(stream) == (set(), {})


# What happens: a group's changes are brought by who holds it, some are handed out, or the groups
# are dealt out anew.
_STEPS = st.lists(
    st.tuples(st.sampled_from(["bring", "hand out", "deal"]), st.integers(0, 3), st.integers(1, 4)),
    max_size=40,
)
_DEALS = st.lists(st.sampled_from(list(NODES)), min_size=4, max_size=4)


@settings(max_examples=300, deadline=None)
@given(_STEPS, st.lists(_DEALS, min_size=1, max_size=5), st.integers(1, 4))
def test_every_change_once_and_in_order_whatever_is_dealt_where(
    steps: list[tuple[str, int, int]], deals: list[list[str]], groups: int
) -> None:
    known, watch = _Known(), _watch()
    dealt = 0
    known.learn([[deals[0][group]] for group in range(groups)])
    watch.follow(known.routes)
    for stream in watch.streams:
        stream.received(_position(dict.fromkeys(_asked(stream)[0] or range(groups), 0)))
    seen: dict[int, list[int]] = {group: [] for group in range(4)}
    position: dict[int, int] = {}

    def hand_out(most: int) -> None:
        for _ in range(most):
            change = watch.next_change()
            if change is None:
                return
            seen[change.group].append(change.revision)
            position.update(watch.position)
            # A position that is kept misses nothing and covers nothing unseen.
            assert watch.position[change.group] <= change.revision
            for group, revisions in seen.items():
                assert watch.position.get(group, 0) <= (revisions[-1] if revisions else 0)

    last = dict.fromkeys(range(4), 0)
    for what, number, many in steps:
        if what == "hand out":
            hand_out(many)
        elif what == "deal":
            dealt += 1
            groups = max(groups, number + 1)
            deal = deals[dealt % len(deals)]
            known.learn([[deal[group]] for group in range(groups)])
            watch.follow(known.routes)
        else:
            stream = watch.streams[number % len(watch.streams)]
            own, after = _asked(stream)
            for group in own or set(range(groups)):
                begin = after.get(group, 0)
                revisions = range(begin + 1, begin + 1 + many)
                last[group] = max(last[group], begin + many)
                stream.received(
                    _position({group: begin + many}, *((group, r, f"k{r}") for r in revisions))
                )
    hand_out(10_000)
    assert seen == {group: list(range(1, last[group] + 1)) for group in range(4)}

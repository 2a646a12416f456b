"""Which replicas move so that every region, and every node of a region, holds equally many.

Pure arithmetic over a topology whose nodes, or the regions of whose geos, have changed. Each geo is
spread by itself, over its own regions. As few replicas move as can: what stands
where it may stays there, what is missing goes to where least is held, and then one replica at a
time moves from who holds most to who holds least, until they differ by no more than one.

Invariants: of the result those of `Topology`; it is a function of its argument; a group takes back
a replica that the last change took from it before it takes one elsewhere, so that to undo a change
moves back what it moved.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from globaltable.errors import ConfigError
from globaltable.geo import EVERYWHERE, Geo
from globaltable.topology import Group, Node, Topology

_Placed = list[list[str]]
"""Node names, by group."""


def rebalanced(
    topology: Topology, nodes: Sequence[Node], replicas: int, geos: Sequence[Geo] | None = None
) -> tuple[Group, ...]:
    """The groups of `topology`, each with `replicas` voters in regions of their own, and a learner
    in every region that only reads, over `nodes`; of each geo within its regions, as `geos` have
    them. Raises `ConfigError` if the regions of one are too few."""
    groups: dict[int, Group] = {}
    before = {group.number: group.holders for group in topology.before}
    for geo in (EVERYWHERE, *(topology.geos if geos is None else geos)):
        own = [node for node in nodes if geo.allows(node.region)]
        for group in _rebalanced(geo, topology.groups_in(geo.name), own, replicas, before):
            groups[group.number] = group
    return tuple(groups[number] for number in range(len(groups)))


def _rebalanced(
    geo: Geo,
    groups: Sequence[Group],
    nodes: Sequence[Node],
    replicas: int,
    before: dict[int, tuple[str, ...]],
) -> list[Group]:
    voting = [node for node in nodes if not node.learner]
    regions = list(dict.fromkeys(node.region for node in voting))
    if len(regions) < replicas:
        if geo.name:
            raise ConfigError(
                f"geo {geo.name} would have {len(regions)} regions with a vote "
                f"({', '.join(regions) or 'none'}) for groups of {replicas} replicas, each of "
                f"which needs a region of its own, of {', '.join(geo.regions)}; add a node in "
                "another of these first (globaltable member add), or have the geo in more regions "
                f"(globaltable geo regions {geo.name})"
            )
        raise ConfigError(
            f"{len(regions)} regions with a vote would be left for groups of {replicas} replicas, "
            "each of which needs a region of its own; add a node in another region first "
            "(globaltable member add), or have fewer replicas (globaltable member replicas)"
        )
    spread = _Spread(voting, [before.get(group.number, ()) for group in groups])
    spread.keep([group.replicas for group in groups], replicas)
    spread.fill(replicas)
    spread.level()
    learners = _learners(groups, nodes, before)
    return [
        replace(group, replicas=tuple(voters), learners=tuple(learning))
        for group, voters, learning in zip(groups, spread.placed, learners, strict=True)
    ]


def grown(topology: Topology, geo: Geo, count: int) -> tuple[Group, ...]:
    """The groups of `topology`, which stay as they are, and `count` more of a geo behind them, each
    where least is held of it. It is to be led in a region that leads others, in proportion: where
    leaders stand has been decided, and more of the same is no reason to do so anew."""
    present = topology.groups_in(geo.name)
    nodes = [node for node in topology.nodes if geo.allows(node.region)]
    first, since = len(topology.groups), topology.version + 1
    added = [Group(first + number, (), geo=geo.name, since=since) for number in range(count)]
    groups = (*present, *added)
    spread = _Spread([node for node in nodes if not node.learner], [()] * len(groups))
    spread.keep([group.replicas for group in groups], topology.replicas)
    spread.fill(topology.replicas)
    learners = _learners(groups, nodes, {})
    leads = Counter(topology.region_of[group.preferred] for group in present)
    led, most = Counter(leads), max(leads.values())

    def turn(name: str) -> tuple[bool, float]:
        region = topology.region_of[name]
        # Regions that lead one less are what remains when groups are dealt.
        share = most if leads[region] >= most - 1 else leads[region]
        return not share, (led[region] + 1) / max(1, share)

    placed = list(zip(added, spread.placed[len(present) :], learners[len(present) :], strict=True))
    new = []
    for group, names, learning in placed:
        leader = min(names, key=turn)
        led[topology.region_of[leader]] += 1
        voters = (leader, *(name for name in names if name != leader))
        new.append(replace(group, replicas=voters, learners=tuple(learning), founders=voters))
    return (*topology.groups, *new)


def _learners(
    groups: Sequence[Group], nodes: Sequence[Node], before: dict[int, tuple[str, ...]]
) -> _Placed:
    """One in each region that only reads: each such region is spread by itself."""
    learners: _Placed = [[] for _ in groups]
    for region in dict.fromkeys(node.region for node in nodes if node.learner):
        own = [node for node in nodes if node.region == region]
        spread = _Spread(own, [before.get(group.number, ()) for group in groups])
        spread.keep([group.learners for group in groups], 1)
        spread.fill(1)
        spread.level()
        for learning, placed in zip(learners, spread.placed, strict=True):
            learning += placed
    return learners


class _Spread:
    """Replicas of one kind being placed. The order of a group's replicas is kept: who takes the
    place of another takes its preference to lead, too."""

    def __init__(self, nodes: Sequence[Node], returning: Sequence[Sequence[str]]) -> None:
        self._region_of = {node.name: node.region for node in nodes}
        self._returning = returning
        """What each group would rather have back."""
        self._held = dict.fromkeys(self._region_of, 0)
        self._held_in = dict.fromkeys(self._region_of.values(), 0)
        self._holes: list[list[int]] = []
        self.placed: _Placed = []

    def _count(self, name: str, change: int) -> None:
        self._held[name] += change
        self._held_in[self._region_of[name]] += change

    def keep(self, present: Sequence[Sequence[str]], most: int) -> None:
        """Take over what may stay: of too many, those go that are held where most is."""
        for names in present:
            kept = [name if name in self._region_of else "" for name in names]
            self.placed.append(kept)
            for name in filter(None, kept):
                self._count(name, 1)
        for kept in self.placed:
            while len(kept) > most and "" in kept:
                kept.remove("")
            while len(kept) > most:
                # The first leads: it goes last.
                goes = max(kept[1:], key=lambda n: self._held_in[self._region_of[n]])
                kept.remove(goes)
                self._count(goes, -1)

    def fill(self, wanted: int) -> None:
        for number, kept in enumerate(self.placed):
            kept += [""] * (wanted - len(kept))
            while "" in kept:
                taken = {self._region_of[name] for name in kept if name}
                name = min(
                    (name for name, region in self._region_of.items() if region not in taken),
                    key=lambda n: self._cost(number, n),
                )
                kept[kept.index("")] = name
                self._count(name, 1)

    def _cost(self, number: int, name: str) -> tuple[bool, int, int]:
        returns = name in self._returning[number]
        return not returns, self._held_in[self._region_of[name]], self._held[name]

    def level(self) -> None:
        while self._move_between_regions():
            pass
        for region in self._held_in:
            while self._move_within(region):
                pass

    def _move_between_regions(self) -> bool:
        """From a region to one that holds at least two less; each move makes them more equal."""
        pairs = [
            (full, free)
            for full, most in self._held_in.items()
            for free, least in self._held_in.items()
            if most - least > 1
        ]
        # The farthest apart first; among equals in the order of the nodes.
        pairs.sort(key=lambda pair: self._held_in[pair[1]] - self._held_in[pair[0]])
        for full, free in pairs:
            into = min(
                (name for name, region in self._region_of.items() if region == free),
                key=self._held.__getitem__,
            )
            going = [
                (kept, inside.index(full))
                for kept in self.placed
                if full in (inside := [self._region_of[name] for name in kept])
                and free not in inside
            ]
            if going:
                # A preferred leader moves only if nobody else can; then who is on the fullest node.
                kept, place = min(
                    going, key=lambda found: (found[1] == 0, -self._held[found[0][found[1]]])
                )
                self._swap(kept, place, into)
                return True
        return False

    def _move_within(self, region: str) -> bool:
        own = [name for name, where in self._region_of.items() if where == region]
        full, free = max(own, key=self._held.__getitem__), min(own, key=self._held.__getitem__)
        if self._held[full] - self._held[free] <= 1:
            return False
        holding = [kept for kept in self.placed if full in kept]
        # A preferred leader moves only if nobody else can.
        kept = max(holding, key=lambda names: names.index(full) > 0)
        self._swap(kept, kept.index(full), free)
        return True

    def _swap(self, kept: list[str], place: int, into: str) -> None:
        self._count(kept[place], -1)
        self._count(into, 1)
        kept[place] = into


def moved(before: Sequence[Group], after: Sequence[Group]) -> int:
    """How many replicas have to be made anew."""
    return sum(
        sum((Counter(new.holders) - Counter(old.holders)).values())
        for old, new in zip(before, after, strict=True)
    )

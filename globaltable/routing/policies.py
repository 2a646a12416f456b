"""Where a new session is to be placed: expressions that are data, and evaluate to a unit.

::

    {"first_of": [
        {"switch": "kind", "cases": {"education": {"unit": "E"}}},
        {"switch": "tier", "cases": {"vip": {"weighted": {"tags": ["vip"]}}}},
        {"home": "user"},
        {"nearest": {}},
        {"weighted": {}}]}

Responsible for what an expression says. How it is written is `policy_text`'s matter. Each form is
a value with one pure function, `propose`; None is "no opinion", upon which `FirstOf` asks the next.

Invariants:

* A proposal is only that: the bind decides, and whoever was bound first has won.
* Nothing is proposed that may not be given something new (`Fleet.may_take`).
* Everyone with the same policy, fleet, key and context proposes the same unit, so that even those
  who cannot ask anyone mostly agree.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from globaltable.routing import rendezvous
from globaltable.routing.context import Context
from globaltable.routing.fleet import Fleet, Selection, Unit
from globaltable.routing.static_rules import Rule, unit_of


class Question(NamedTuple):
    """What a policy is asked: where to place `key`, as things stand."""

    dimension: str
    key: str
    context: Context
    fleet: Fleet
    homes: Mapping[str, Sequence[Rule]]
    """The rules of the dimensions of layer L1, by name."""

    def of(self, units: Iterable[Unit]) -> str | None:
        """The one of some units that the key falls to, by capacity."""
        subject = f"{self.dimension}\0{self.key}"
        return rendezvous.chosen(subject, ((unit.name, unit.capacity) for unit in units))


class To(NamedTuple):
    """One named unit."""

    unit: str

    def propose(self, question: Question) -> str | None:
        return self.unit if question.fleet.may_take(self.unit) else None


class Home(NamedTuple):
    """The unit that the creator belongs to, by a dimension of layer L1."""

    dimension: str

    def propose(self, question: Question) -> str | None:
        creator = question.context.creator
        if not creator:
            return None
        unit = unit_of(question.homes.get(self.dimension, ()), creator)
        return unit if unit is not None and question.fleet.may_take(unit) else None


class Weighted(NamedTuple):
    """Spread over units by their capacities."""

    among: Selection

    def propose(self, question: Question) -> str | None:
        return question.of(question.fleet.available(self.among))


class Nearest(NamedTuple):
    """The units nearest to the client's region; of several equally near, by capacity."""

    among: Selection

    def propose(self, question: Question) -> str | None:
        region = question.context.region
        return question.of(question.fleet.nearest(region, self.among)) if region else None


class Switch(NamedTuple):
    """By what the context says under a name: a tenant's tier, a session's kind."""

    attribute: str
    cases: Mapping[str, "Policy"]
    otherwise: "Policy | None"

    def propose(self, question: Question) -> str | None:
        value = question.context.attributes.get(self.attribute)
        case = self.otherwise if value is None else self.cases.get(value, self.otherwise)
        return None if case is None else case.propose(question)


class FirstOf(NamedTuple):
    """The first that has an opinion."""

    policies: tuple["Policy", ...]

    def propose(self, question: Question) -> str | None:
        for policy in self.policies:
            unit = policy.propose(question)
            if unit is not None:
                return unit
        return None


class Excluding(NamedTuple):
    """As if some units did not exist."""

    units: Selection
    policy: "Policy"

    def propose(self, question: Question) -> str | None:
        return self.policy.propose(question._replace(fleet=question.fleet.without(self.units)))


Policy = To | Home | Weighted | Nearest | Switch | FirstOf | Excluding


def parts(policy: Policy) -> Iterator[Policy]:
    """The policy, and all that it is made of."""
    yield policy
    inner: Iterable[Policy]
    match policy:
        case FirstOf(policies):
            inner = policies
        case Excluding(_, one):
            inner = (one,)
        case Switch(_, cases, otherwise):
            inner = [*cases.values(), *(() if otherwise is None else (otherwise,))]
        case _:
            inner = ()
    for one in inner:
        yield from parts(one)

"""Is there an order of these ops that explains every answer? For any sequential object.

A history is linearizable if each op can be given one moment between its invocation and its return
such that, taken in the order of these moments, every answer is the sequential object's (Herlihy &
Wing, "Linearizability: a correctness condition for concurrent objects", TOPLAS 1990, §2). It is
enough to judge each key alone (locality, ibid. §3.2), so this module knows one object only.

The search is Wing & Gong's ("Testing and verifying concurrent objects", JPDC 1993): place some op
that may come first, namely one that no other op returned before; go on with the rest; on a dead
end, take the last choice back. Ops stand in a doubly linked list of calls and returns, from which
one is lifted and put back in constant time. It is Lowe's in that a set of placed ops is not tried
twice from the same state ("Testing for linearizability", CCPE 2017, §3), and Porcupine's in spirit.

It differs in what need not be tried at all, which makes the usual history a matter of one pass:

* An op that reads is placed wherever it is legal first. Had an order placed it later, it could as
  well be placed here: what comes in between is not changed by a read.
* An op that is legal in one state only, which every other change leaves for good, is placed as
  soon as it is legal and no read is: what came instead would be a change, after which there was no
  place for it.
* Ops that may have taken effect (no return) never have to be placed. Of equal ones only the
  earliest is tried: both could be placed here and at any time later, so they can be exchanged.
  And those that need another `moment` of the object are not even looked at.

`shortcut` says which op is which; a model that always says NONE gets the plain search.

Invariants: no recursion; at most about `steps_max` calls of `step`, then UNDECIDED.
"""

import enum
from collections.abc import Hashable, Sequence
from typing import Final, Generic, NamedTuple, Protocol, TypeVar

STEPS_MAX: Final = 20_000_000

O = TypeVar("O", bound=Hashable)  # noqa: E741
S = TypeVar("S", bound=Hashable)
O_contra = TypeVar("O_contra", bound=Hashable, contravariant=True)


class Verdict(enum.Enum):
    LINEARIZABLE = "linearizable"
    NOT_LINEARIZABLE = "not linearizable"
    UNDECIDED = "undecided"


class Shortcut(enum.Enum):
    """What is known of all places an op could be given."""

    READS = "it changes no state"
    ONE_STATE = "it is legal in one state only, and any other change leaves that for good"
    NONE = "every place has to be tried"


class Timed(NamedTuple, Generic[O]):
    """An op in its time; `returned` is None if it may take effect at any time later, or never."""

    op: O
    invoked: int
    returned: int | None


class Sequential(Protocol[O_contra, S]):
    """An object that does one op at a time. What an op was told is part of the op."""

    @property
    def initial(self) -> S: ...

    def step(self, state: S, op: O_contra) -> S | None:
        """The state after `op`; None if it would not have answered so, or if an op that may not
        have happened would change nothing."""
        ...

    def shortcut(self, op: O_contra) -> Shortcut: ...

    def needs(self, op: O_contra) -> Hashable:
        """The only moment at which an op is legal; None if there may be several."""
        ...

    def moment(self, state: S) -> Hashable: ...


class Finding(NamedTuple):
    """The answer. Ops are named by their position in what was asked of."""

    verdict: Verdict
    order: tuple[int, ...]
    """The order that explains everything; if none was found, the longest beginning of one."""
    unplaced: int | None
    """After that beginning this op should have been placed next, for it is the first to return."""
    steps: int


def check(model: Sequential[O, S], ops: Sequence[Timed[O]], steps_max: int = STEPS_MAX) -> Finding:
    """Look for an order that explains what the ops were told."""
    return _Search(model, ops, steps_max).run()


class _Choice(NamedTuple, Generic[S]):
    """A point at which several ops could come next, and those of them not yet tried."""

    placed: int
    used: int
    first_return: int
    untried: list[tuple[int, S]]


class _Search(Generic[O, S]):
    def __init__(self, model: Sequential[O, S], ops: Sequence[Timed[O]], steps_max: int) -> None:
        self._step = model.step
        self._steps_max = steps_max
        self._ops = ops
        self._shortcuts = [model.shortcut(op.op) for op in ops]
        self._state: S = model.initial
        self._steps = 0
        self._placed: list[int] = []
        self._choices: list[_Choice[S]] = []
        self._seen: set[tuple[S, int, tuple[int, ...], int]] = set()
        """Dead ends, or about to be: state, first return, ops placed neither yet nor later, used.
        As ops are only placed if invoked before the first return, that says which are placed."""
        self._longest: tuple[int, ...] = ()
        self._longest_weight = (-1, 0)
        self._unplaced: int | None = None
        self._rank: dict[int, int] = {}
        """Of each open-ended op, by invocation."""
        self._alike: dict[O, list[int]] = {}
        """The open-ended ops that are equal, by invocation: they are placed in this order."""
        self._needing: dict[Hashable, list[O]] = {}
        self._taken: dict[O, int] = {}
        """How many of those that are equal are placed."""
        self._used = 0
        """A bit for each open-ended op, by rank: whether it is placed."""
        self._moment = model.moment
        self._sort_open_ended(model)
        self._link()

    def _sort_open_ended(self, model: Sequential[O, S]) -> None:
        numbers = [number for number, op in enumerate(self._ops) if op.returned is None]
        numbers.sort(key=lambda number: self._ops[number].invoked)
        for rank, number in enumerate(numbers):
            op = self._ops[number].op
            self._rank[number] = rank
            if op not in self._alike:
                self._alike[op] = []
                self._taken[op] = 0
                self._needing.setdefault(model.needs(op), []).append(op)
            self._alike[op].append(number)

    def _link(self) -> None:
        """The list: entry 0 is its head, the last its end; calls are `number`, returns `~number`.

        At the same time calls stand before returns: what touches counts as overlapping.
        """
        entries: list[tuple[int, bool, int]] = []
        for number, op in enumerate(self._ops):
            if op.returned is not None:
                entries.append((op.invoked, False, number))
                entries.append((max(op.invoked, op.returned), True, number))
        entries.sort()
        self._times = [0, *(time for time, _, _ in entries), 0]
        self._at = [-1, *(~number if back else number for _, back, number in entries), -1]
        self._end = len(entries) + 1
        self._next = list(range(1, self._end + 2))
        self._before = list(range(-1, self._end + 1))
        self._call = [0] * len(self._ops)
        self._return = [0] * len(self._ops)
        for position, (_, back, number) in enumerate(entries, start=1):
            (self._return if back else self._call)[number] = position

    # --- the list --------------------------------------------------------------------------------

    def _place(self, number: int) -> None:
        self._placed.append(number)
        rank = self._rank.get(number)
        if rank is not None:
            self._used |= 1 << rank
            self._taken[self._ops[number].op] += 1
            return
        following, before = self._next, self._before
        for entry in (self._call[number], self._return[number]):
            after, previous = following[entry], before[entry]
            following[previous] = after
            before[after] = previous

    def _take_back(self, choice: _Choice[S]) -> None:
        """Everything that was placed since; in reverse, so that the links left in it still hold."""
        following, before = self._next, self._before
        while len(self._placed) > choice.placed:
            number = self._placed.pop()
            if number in self._rank:
                self._taken[self._ops[number].op] -= 1
                continue
            for entry in (self._return[number], self._call[number]):
                following[before[entry]] = entry
                before[following[entry]] = entry
        self._used = choice.used

    # --- the search ------------------------------------------------------------------------------

    def run(self) -> Finding:
        while True:
            waiting, first_return = self._advance()
            if first_return == self._end:
                return self._found(Verdict.LINEARIZABLE, tuple(self._placed), None)
            untried = self._alternatives(waiting, first_return)
            self._choices.append(_Choice(len(self._placed), self._used, first_return, untried))
            if self._steps > self._steps_max:
                self._note(first_return)
                return self._found(Verdict.UNDECIDED, self._longest, self._unplaced)
            if not self._choose():
                return self._found(Verdict.NOT_LINEARIZABLE, self._longest, self._unplaced)

    def _found(self, verdict: Verdict, order: tuple[int, ...], unplaced: int | None) -> Finding:
        return Finding(verdict, order, unplaced, self._steps)

    def _advance(self) -> tuple[list[tuple[int, S]], int]:
        """Place what has only one place to be tried, up to a return that stands in the way.

        Gives what else could be placed now, and that return.
        """
        step, ops, shortcuts = self._step, self._ops, self._shortcuts
        at, following, before = self._at, self._next, self._before
        while True:
            state = self._state
            waiting: list[tuple[int, S]] = []
            single: tuple[int, S] | None = None
            entry = following[0]
            # The end of the list looks like a return, too.
            while (number := at[entry]) >= 0:
                self._steps += 1
                after = step(state, ops[number].op)
                if after is None:
                    entry = following[entry]
                elif shortcuts[number] is Shortcut.READS:
                    previous = before[entry]
                    self._place(number)
                    entry = following[previous]
                else:
                    if shortcuts[number] is Shortcut.NONE:
                        waiting.append((number, after))
                    elif single is None:
                        single = (number, after)
                    entry = following[entry]
            if single is None or self._steps > self._steps_max:
                return waiting, entry
            self._place(single[0])
            self._state = single[1]

    def _alternatives(self, waiting: list[tuple[int, S]], first_return: int) -> list[tuple[int, S]]:
        """All that could be placed next, the first to be tried last; none if tried before."""
        unplaced: list[int] = []
        entry = self._next[0]
        while entry != first_return:
            unplaced.append(self._at[entry])
            entry = self._next[entry]
        configuration = (self._state, first_return, tuple(unplaced), self._used)
        if configuration in self._seen:
            return []
        self._seen.add(configuration)
        untried = list(waiting)
        moment = self._moment(self._state)
        possible = [*self._needing.get(None, ())]
        if moment is not None:
            possible += self._needing.get(moment, ())
        for op in possible:
            taken, alike = self._taken[op], self._alike[op]
            if taken == len(alike) or self._ops[alike[taken]].invoked > self._times[first_return]:
                continue
            self._steps += 1
            after = self._step(self._state, op)
            if after is not None:
                untried.append((alike[taken], after))
        untried.reverse()
        return untried

    def _choose(self) -> bool:
        """Go on from the last choice that leaves one; False if all have been tried."""
        while self._choices:
            choice = self._choices[-1]
            self._take_back(choice)
            if choice.untried:
                number, self._state = choice.untried.pop()
                self._place(number)
                return True
            self._choices.pop()
            self._note(choice.first_return)
        return False

    def _note(self, first_return: int) -> None:
        """A dead end. Kept is the beginning that explains most, with the fewest guesses."""
        guesses = self._used.bit_count()
        weight = (len(self._placed) - guesses, -guesses)
        if weight > self._longest_weight:
            self._longest = tuple(self._placed)
            self._longest_weight = weight
            self._unplaced = ~self._at[first_return]

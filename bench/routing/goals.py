"""What routing promises itself, each held against what the commands measured. No measuring here."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from globaltable.bench.report.goals import Goal
from globaltable.bench.routing import push, zipf

Found = Mapping[str, Any]

_HEADERS: Final = (
    ("HMAC: check", "p50_us", 5.0),
    ("Ed25519: check", "p50_us", 60.0),
    ("HMAC: check, seen before", "p50_us", 1.0),
    ("Ed25519: check, seen before", "p50_us", 1.0),
)
RESOLVED_PER_S: Final = 300_000.0


def goals(found: Mapping[str, Found]) -> list[Goal]:
    """Of what each command wrote down, by the command's name."""
    held: list[Goal] = []
    for name, of in _OF.items():
        if name in found:
            held += of(found[name])
    return held


def _headers(found: Found) -> Iterator[Goal]:
    rows = {row["what"]: row for row in found["rows"]}
    for what, figure, limit_us in _HEADERS:
        yield _at_most(f"{what}, P50", limit_us, rows[what][figure], " µs", 2)
    for algorithm, limit in (("HMAC", 86), ("Ed25519", 120)):
        yield _at_most(f"bytes of a header, {algorithm}", limit, found["bytes"][algorithm], "", 0)


def _resolve(found: Found) -> Iterator[Goal]:
    what = "L2, known in this process"
    yield _at_least(f"{what}, a second", RESOLVED_PER_S, found["per_second"][what], "", 0)


def _push(found: Found) -> Iterator[Goal]:
    one = found["push"]
    what = f"pushed to {one['clients']:,} clients, P99 beyond the round trip"
    yield _at_most(what, push.GOAL_MS, one["push_p99_beyond_round_trip_ms"], " ms", 0)


def _moves(found: Found) -> Iterator[Goal]:
    one = found["moves"]
    under = f"of {one['sessions']:,} moved under live writes"
    yield _at_most(f"sessions {under}, left behind", 0, one["left"], "", 0)
    yield _at_most(f"messages {under}, in a wrong unit", 0, one["wrong"], "", 0)
    yield _at_most(f"sessions {under}, that lost a message", 0, one["lost"], "", 0)


def _zipf(found: Found) -> Iterator[Goal]:
    one = found["zipf"]
    of = f"of {one['messages']:,} messages"
    for what, name in (
        (f"fewer lookups, {of}", "fewer_percent"),
        (f"fewer lookups, {of}, sessions known before", "fewer_of_known_percent"),
    ):
        yield _at_least(what, zipf.GOAL_PERCENT, one[name], " %", 2)


_OF: Final = {
    "headers": _headers,
    "resolve": _resolve,
    "zipf": _zipf,
    "moves": _moves,
    "push": _push,
}


def _at_most(what: str, limit: float, value: float, unit: str, digits: int) -> Goal:
    return Goal(what, f"at most {limit:g}{unit}", f"{value:,.{digits}f}{unit}", value <= limit)


def _at_least(what: str, limit: float, value: float, unit: str, digits: int) -> Goal:
    return Goal(what, f"at least {limit:,g}{unit}", f"{value:,.{digits}f}{unit}", value >= limit)

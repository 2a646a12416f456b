"""Everybody races for one key, in every region, round after round: one winner, and who waits?

Beside each race stands the same burst on free keys, so that what is seen is the race's own cost.
"""

from argparse import ArgumentParser, Namespace
from collections import Counter
from collections.abc import Iterator
from typing import Final

from globaltable.bench import workers
from globaltable.bench.activities.rounds import Rounds
from globaltable.bench.findings import FAILED, LOST, WON, Findings
from globaltable.bench.histogram import Histogram
from globaltable.bench.results import Measurement
from globaltable.bench.scenarios.scenario import Scenario, Stage
from globaltable.bench.systems import Running
from globaltable.bench.systems.globaltable import GlobalTableSystem
from globaltable.errors import GlobalTableError

NAME: Final = "contention"
FREE: Final = "free"
_PATIENCE_S: Final = 60.0


class NotOneWinner(GlobalTableError):
    """A key was won by several callers, or by none: the promise itself is broken."""


def measure_round(
    stage: Stage, running: Running, options: Namespace, *, contended: bool
) -> Findings:
    regions = stage.network.regions
    name = stage.label("race")
    placements = []
    for number, region in enumerate(regions):
        callers = options.callers // len(regions) + (number < options.callers % len(regions))
        activity = Rounds(name, callers, options.rounds, options.interval_ms / 1_000, contended)
        placements.append(workers.Placement(region, running.target(region), activity))
    seconds = options.rounds * options.interval_ms / 1_000
    found = workers.run(stage.network, stage.label("round"), placements, seconds + _PATIENCE_S)
    return Findings.total(list(found.values()))


def require_one_winner(raced: Findings, rounds: int) -> None:
    """Of each key, whoever was told of it. Raises `NotOneWinner`.

    A caller whose op failed may have won without knowing, so then a winner may be missing.
    """
    winners = Counter(raced.won)
    twice = [key for key, count in winners.items() if count > 1]
    if twice:
        raise NotOneWinner(f"{len(twice)} of {rounds} keys have several winners, as {twice[0]!r}")
    if len(winners) != rounds and not raced.failed:
        raise NotOneWinner(f"{rounds - len(winners)} of {rounds} keys were won by nobody")


def measure(stage: Stage, options: Namespace) -> Iterator[Measurement]:
    system = GlobalTableSystem()
    with system.start(stage.network) as running:
        for repeat in range(stage.repeats):
            stage.say(f"{NAME} {repeat + 1}/{stage.repeats}: {options.rounds} rounds")
            free = measure_round(stage, running, options, contended=False)
            raced = measure_round(stage, running, options, contended=True)
            require_one_winner(raced, options.rounds)
            latencies = {
                FREE: free.answered,
                WON: raced.latencies.get(WON, Histogram()),
                LOST: raced.latencies.get(LOST, Histogram()),
            }
            figures = {
                "rounds": float(options.rounds),
                "winners": float(len(set(raced.won))),
                FAILED: float(raced.failed + free.failed),
            }
            for what, one in latencies.items():
                if not one.count:
                    continue
                figures[f"p50_ms:{what}"] = one.percentile_ms(50)
                figures[f"p99_ms:{what}"] = one.percentile_ms(99)
            case = {"callers": options.callers}
            yield Measurement(NAME, system.name, case, repeat, figures, latencies)


def add_options(parser: ArgumentParser) -> None:
    parser.add_argument("--callers", type=int, default=64, help="in all (%(default)s)")
    parser.add_argument("--rounds", type=int, default=100, help="one key each (%(default)s)")
    parser.add_argument(
        "--interval-ms", type=float, default=80.0, help="from round to round (%(default)s)"
    )


SCENARIO: Final = Scenario(
    NAME,
    "callers in all regions race for one key: one winner (checked), beside free keys",
    measure,
    add_options,
    short=("--rounds", "60"),
)

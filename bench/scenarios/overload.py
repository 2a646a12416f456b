"""What becomes of the rate when several times as much is asked as can be done.

The peak is looked for with callers that await; then ops are begun at multiples of it, whatever
becomes of them, as by a crowd that comes at once. Goodput is what is answered all the same.
"""

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from globaltable.bench.results import Measurement
from globaltable.bench.scenarios.scenario import Scenario, Stage, comma_separated
from globaltable.bench.scenarios.throughput import measure_closed, measure_open
from globaltable.bench.systems.globaltable import GlobalTableSystem

NAME: Final = "overload"
PEAK: Final = 0.0
"""As `times_peak`: the callers that await, who find what the peak is."""


def measure(stage: Stage, options: Namespace) -> Iterator[Measurement]:
    system = GlobalTableSystem()
    for repeat in range(stage.repeats):
        # A cluster of its own: what was overloaded before is no part of it.
        with system.start(stage.network) as running:
            stage.say(f"{NAME} {repeat + 1}/{stage.repeats}: {options.callers:,} callers")
            closed = measure_closed(
                stage, NAME, system.name, running, repeat, options.callers, options.seconds
            )
            peak = closed.figures["binds_per_s"]
            yield _at(closed, PEAK, peak)
            for times in options.times:
                stage.say(f"{NAME} {repeat + 1}/{stage.repeats}: {times:g} x the peak")
                opened = measure_open(
                    stage, NAME, system.name, running, repeat, times * peak, options.seconds
                )
                yield _at(opened, times, peak)


def _at(one: Measurement, times: float, peak: float) -> Measurement:
    """The rate differs between repeats, as the peak does: so it is a figure, and no case."""
    case = {name: value for name, value in one.case.items() if name != "rate_per_s"}
    goodput = one.figures["binds_per_s"] / peak if peak else 0.0
    figures = {**one.figures, "peak_per_s": peak, "goodput": goodput}
    return replace(one, case={**case, "times_peak": times}, figures=figures)


def add_options(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--callers", type=int, default=1_024, help="that find the peak (%(default)s)"
    )
    parser.add_argument(
        "--times",
        type=comma_separated(float),
        default=[1.0, 3.0],
        help="the peak, begun a second (1,3)",
    )
    parser.add_argument("--seconds", type=float, default=15.0, help="of each load (%(default)s)")


SCENARIO: Final = Scenario(
    NAME,
    "binds answered while several times as many are asked for as there can be",
    measure,
    add_options,
    short=("--seconds", "10"),
)

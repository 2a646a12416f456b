"""What measuring costs: `python -m tests.server.measures_cost`.

Three nodes in one process, without sockets and with disks in memory, take the same writes with and
without measures at the one they enter, in turn: processor time of all three, and the ratio of the
two, medians over pairs. In life gRPC, sockets and disks come on top, and the ratio is nearer to 1.
"""

import gc
import statistics
import time
from collections.abc import Sequence
from typing import Final

from globaltable.model import Op, OpKind, Outcome, qualified_name
from globaltable.server.measures import Measures
from tests.server.test_measures import _Trio

PAIRS: Final = 7
TURNS: Final = 60
CASES: Final = ((1, 1), (16, 1), (16, 16), (4, 256))
"""Requests in a turn, and ops in each."""


def _told(_positions: Sequence[int], _outcomes: Sequence[Outcome]) -> None:
    pass


def _requests(turn: int, requests: int, ops: int) -> list[list[Op]]:
    """Of as many clients, each of which has an op for every sequence number once."""
    numbers = range(1 + turn * ops, 1 + (turn + 1) * ops)
    return [
        [
            Op(OpKind.BIND, qualified_name("t", f"{client}-{number}"), "A", 0, client, number)
            for number in numbers
        ]
        for client in range(1, requests + 1)
    ]


def cpu_s_per_op(*, measured: bool, requests: int, ops: int) -> float:
    trio = _Trio(pending_ops=100_000)
    trio.first.driver._measures = Measures(time.perf_counter) if measured else None
    trio.elect()
    spent = 0.0
    for turn in range(TURNS):
        made = _requests(turn, requests, ops)
        began = time.process_time()
        for request in made:
            trio.first.driver.submit(request, trio.first.clock.now + 5, _told)
        trio.run()
        spent += time.process_time() - began
    return spent / (TURNS * requests * ops)


def main() -> None:
    # As in a node (`server.running.run`): or collections are measured, not measures.
    gc.set_threshold(50_000, 20, 50)
    for requests, ops in CASES:
        pairs = [
            (
                cpu_s_per_op(measured=False, requests=requests, ops=ops),
                cpu_s_per_op(measured=True, requests=requests, ops=ops),
            )
            for _ in range(PAIRS)
        ]
        without, having = (statistics.median(times) * 1e6 for times in zip(*pairs, strict=True))
        ratio = statistics.median(on / off for off, on in pairs)
        print(
            f"{requests} requests of {ops} ops a turn: {without:.1f} µs an op without measures, "
            f"{having:.1f} with; ratio {ratio:.3f}"
        )


if __name__ == "__main__":
    main()

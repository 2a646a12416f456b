"""`python -m tests.endurance --minutes 120`: load and faults for hours: nodes must not grow.

Writes a sample each window to DIRECTORY/samples.jsonl, and at the end a picture. Exit status: 0
all promises kept and everything flat, 1 not, 2 usage.
"""

import argparse
import asyncio
import signal
import sys
import tempfile
from pathlib import Path

from tests.endurance.flatness import growths
from tests.endurance.picture import picture
from tests.endurance.run import Course, Endurance
from tests.endurance.samples import read


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.endurance", description=__doc__)
    parser.add_argument("--minutes", type=float, default=120.0, help="(%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the first window (%(default)s)")
    parser.add_argument("--sessions", type=int, default=30_000, help="in the table (%(default)s)")
    parser.add_argument("--rate", type=float, default=200.0, help="ops a second (%(default)s)")
    parser.add_argument("--window", type=float, default=55.0, help="seconds (%(default)s)")
    parser.add_argument("--directory", type=Path, help="a temporary one unless given; it is kept")
    parser.add_argument("--draw", type=Path, help="draw these samples again, and run nothing")
    parser.add_argument("--picture", type=Path, help="an SVG (DIRECTORY/endurance.svg)")
    options = parser.parse_args()
    directory = options.directory or Path(tempfile.mkdtemp(prefix="globaltable-endurance-"))
    directory.mkdir(parents=True, exist_ok=True)
    course = Course(
        options.minutes, options.seed, options.sessions, options.rate, options.window, directory
    )
    endurance = Endurance(course, lambda text: print(text, flush=True))
    problem = ""
    if options.draw is not None:
        endurance.samples = read(options.draw)
    else:
        print(f"everything is kept in {directory}", flush=True)
        # Whoever ends it, nodes are put away as after an interrupt.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        problem = _played(endurance)
    return _told(endurance, options.picture or directory / "endurance.svg", problem)


def _played(endurance: Endurance) -> str:
    """What ended it before its time; empty if nothing did."""
    try:
        asyncio.run(endurance.play())
    except KeyboardInterrupt:
        return "interrupted"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


def _told(endurance: Endurance, drawn: Path, problem: str) -> int:
    found = growths(endurance.samples)
    for growth in found:
        print(
            f"node {growth.node}, {growth.resource}: {growth.early:,.0f} in the second quarter, "
            f"{growth.late:,.0f} in the last ({growth.ratio:.2f} x)"
            f"{'' if growth.is_flat else ': IT GREW'}"
        )
    if not found:
        print("too few samples to say whether anything grew")
    faults = ", ".join(f"{count:,} {what}" for what, count in sorted(endurance.faults.items()))
    endings = ", ".join(f"{count:,} {what}" for what, count in sorted(endurance.endings.items()))
    minutes = endurance.samples[-1].at_s / 60 if endurance.samples else 0.0
    caption = f"{minutes:.0f} minutes"
    if endurance.samples:
        drawn.write_text(picture(endurance.samples, caption), encoding="utf-8")
        print(f"picture: {drawn}")
    print(
        f"{caption}: {faults or 'no fault'} | judged ops: {endings or 'none'} | "
        f"replicas compared {endurance.comparisons} times | "
        f"{endurance.violations} violations, {endurance.undecided} undecided"
        f"{f' | ENDED: {problem}' if problem else ''}"
    )
    grew = any(not growth.is_flat for growth in found)
    return 1 if problem or grew or endurance.violations or endurance.undecided else 0


if __name__ == "__main__":
    sys.exit(main())

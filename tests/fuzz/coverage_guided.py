"""`python -m tests.fuzz.coverage_guided --target 'peer frame' -runs=100000`: led by coverage.

Needs `pip install atheris`, which the project does not depend on. What begins with `-` goes to
libFuzzer. Its inputs are judged like those of `running`.
"""

import argparse
import importlib
import sys
import tempfile
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.coverage_guided")
    parser.add_argument("--target", required=True)
    options, to_fuzzer = parser.parse_known_args()
    atheris = importlib.import_module("atheris")

    # Only what is imported under it is watched, so the decoders are imported here.
    with atheris.instrument_imports(include=["globaltable"]):
        from tests.fuzz.__main__ import quieten
        from tests.fuzz.running import Tally, judge, opened
        from tests.fuzz.targets import BY_NAME
    quieten()
    target, subject = BY_NAME[options.target], opened(options.target)

    def one(data: bytes) -> None:
        tally = Tally()
        judge(target, subject, data, tally, traced=False)
        if tally.findings:
            print(tally.findings[0].what, tally.findings[0].command, sep="\n")
            raise AssertionError(tally.findings[0].what)

    with tempfile.TemporaryDirectory() as corpus:
        for number, seed in enumerate(subject.seeds):
            (Path(corpus) / str(number)).write_bytes(seed)
        atheris.Setup([sys.argv[0], *to_fuzzer, corpus], one)
        atheris.Fuzz()


if __name__ == "__main__":
    main()

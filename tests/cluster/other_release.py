"""Runs the command that follows as if it were another release, which speaks other versions.

`python -m tests.cluster.other_release FILE PYTHON -m globaltable ...`: FILE holds the oldest and
the newest version that it speaks; without it, it is this release. Only the numbers differ: no
release of another format exists.
"""

import runpy
import sys
from pathlib import Path

import globaltable.server.versions as spoken


def main() -> None:
    file, _python, _m, module, *arguments = sys.argv[1:]
    if Path(file).exists():
        oldest, newest = map(int, Path(file).read_text().split())
        # Before anybody else has imported it.
        assert "globaltable.server.handshake" not in sys.modules
        spoken.SPOKEN = spoken.Versions(oldest, newest)  # type: ignore[misc]
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()

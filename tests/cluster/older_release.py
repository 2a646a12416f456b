"""The command of a node of an older release, which it is as long as a file says where that lies.

`python older_release.py FILE PYTHON -m globaltable node --config CLUSTER ...`: FILE holds the
directory that the release was installed to; without it the command is executed as it is. Runs with
the standard library alone, and becomes the node: its process id is the node's.
"""

import os
import sys
from pathlib import Path
from typing import Final

SETTINGS_SINCE: Final = ("requests = ", "slow_op_ms = ", "calls = ")
"""An operator's file has settings that are newer than a release only once all nodes are."""


def main() -> None:
    file, *command = sys.argv[1:]
    if Path(file).exists():
        at = command.index("--config") + 1
        command[at] = str(_as_then(Path(command[at]), Path(file).with_suffix(".toml")))
        # Not what lies in the working directory, or is installed beside this interpreter.
        os.environ["PYTHONPATH"] = Path(file).read_text()
        os.environ["PYTHONSAFEPATH"] = "1"
    os.execv(command[0], command)


def _as_then(config: Path, written: Path) -> Path:
    lines = config.read_text().splitlines(keepends=True)
    written.write_text("".join(line for line in lines if not line.startswith(SETTINGS_SINCE)))
    return written


if __name__ == "__main__":
    main()

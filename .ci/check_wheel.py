"""Fail unless a wheel adds exactly one top-level name and every part the project has."""

import sys
import zipfile

PARTS = {
    *("admin", "backup", "bench", "cli", "client", "demo"),
    *("raft", "routing", "server", "store", "testing", "v1", "wire"),
}


def main(path: str) -> None:
    names = [name for name in zipfile.ZipFile(path).namelist() if ".dist-info/" not in name]
    tops = {name.split("/")[0] for name in names}
    assert tops == {"globaltable"}, f"top-level names: {sorted(tops)}"
    parts = {name.split("/")[1] for name in names if name.count("/") > 1}
    assert parts == PARTS, f"parts: {sorted(parts ^ PARTS)} differ"
    for wanted in (
        "globaltable/py.typed",
        "globaltable/v1/globaltable.proto",
        "globaltable/bench/emulator.c",
        "globaltable/server/console/static/index.html",
    ):
        assert wanted in names, f"{wanted} is missing"
    print(f"{len(names)} files, all under globaltable/")


main(sys.argv[1])

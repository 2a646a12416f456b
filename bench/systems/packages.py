"""The distribution's packages of the peers: where their programs are, and how to get them.

Invariant: no service of a package installed here is left running or set to start by itself; the
bench starts its own, in its own places.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from globaltable.errors import GlobalTableError

PEERS: Final = ("etcd-server", "zookeeper")
_SERVICES: Final = ("etcd", "zookeeper")
_APT: Final = ("apt-get", "install", "-y", "-qq", "--no-install-recommends")
_APT_TIMEOUT_S: Final = 900.0
_POLICY: Final = Path("/usr/sbin/policy-rc.d")
_NO_SERVICE: Final = "#!/bin/sh\nexit 101\n"
"""What package scripts ask before they start a service; 101 forbids it."""


class PeerMissing(GlobalTableError):
    """A peer's program is not installed."""


def program(name: str, package: str) -> str:
    """The path of a program. Raises PeerMissing."""
    if path := shutil.which(name):
        return path
    raise PeerMissing(
        f"there is no program {name!r}: apt-get install --no-install-recommends {package}"
    )


def jar(path: Path, package: str) -> Path:
    """A Java archive that is there. Raises PeerMissing."""
    if path.exists():
        return path
    raise PeerMissing(f"there is no {path}: apt-get install --no-install-recommends {package}")


def install_peers() -> None:
    """Install what is missing of the peers, without starting them. Raises PeerMissing."""
    missing = [package for package in PEERS if not _installed(package)]
    if not missing:
        return
    if os.geteuid() != 0:
        raise PeerMissing(
            f"{', '.join(missing)}: only root may install packages; as root:"
            f" apt-get install --no-install-recommends {' '.join(missing)}"
        )
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    with _services_forbidden():
        for command in (["apt-get", "update", "-qq"], [*_APT, *missing]):
            try:
                run = subprocess.run(
                    command,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                    timeout=_APT_TIMEOUT_S,
                )
            except FileNotFoundError:
                raise PeerMissing(
                    f"there is no apt-get here; install {' and '.join(missing)} by other means"
                ) from None
            if run.returncode:
                said = " | ".join(run.stdout.strip().splitlines()[-5:])
                raise PeerMissing(f"{' '.join(command)} failed: {said}")
    _stop_services()


def _installed(package: str) -> bool:
    query = ["dpkg-query", "--show", "--showformat", "${db:Status-Status}", package]
    try:
        run = subprocess.run(query, capture_output=True, text=True, timeout=20)
    except FileNotFoundError:
        return False
    return run.stdout == "installed"


@contextmanager
def _services_forbidden() -> Iterator[None]:
    """Package scripts start nothing meanwhile. A policy that is there already is left alone."""
    try:
        with _POLICY.open("x") as file:
            file.write(_NO_SERVICE)
    except FileExistsError:
        yield
        return
    try:
        _POLICY.chmod(0o755)
        yield
    finally:
        _POLICY.unlink()


def _stop_services() -> None:
    """A policy of the machine's own may have let them start, and the next boot would."""
    if shutil.which("systemctl"):
        for service in _SERVICES:
            command = ["systemctl", "disable", "--now", "--quiet", service]
            subprocess.run(command, capture_output=True, timeout=60)
    elif shutil.which("service"):
        for service in _SERVICES:
            if Path("/etc/init.d", service).exists():
                subprocess.run(["service", service, "stop"], capture_output=True, timeout=60)

"""What is said when a peer is not installed."""

import os
import subprocess
from pathlib import Path

import pytest

from globaltable.bench.systems import packages
from globaltable.bench.systems.packages import PeerMissing


def test_a_missing_program_names_its_package(tmp_path: Path) -> None:
    with pytest.raises(PeerMissing, match=r"'no-such-etcd'.*apt-get install .*etcd-server"):
        packages.program("no-such-etcd", "etcd-server")
    with pytest.raises(PeerMissing, match=r"no\.jar.*apt-get install .*zookeeper"):
        packages.jar(tmp_path / "no.jar", "zookeeper")
    assert packages.program("sh", "dash").endswith("/sh")
    assert packages.jar(tmp_path, "anything") == tmp_path


def test_only_root_installs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "PEERS", ("globaltable-no-such-package",))
    monkeypatch.setattr(os, "geteuid", lambda: 1_000)
    with pytest.raises(PeerMissing, match=r"as root: apt-get install .*no-such-package"):
        packages.install_peers()


def test_nothing_is_run_if_nothing_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def installed(command: list[str], **_: object) -> "subprocess.CompletedProcess[str]":
        assert command[0] == "dpkg-query"
        asked.append(command[-1])
        return subprocess.CompletedProcess(command, 0, stdout="installed")

    asked: list[str] = []
    monkeypatch.setattr(subprocess, "run", installed)
    packages.install_peers()
    assert asked == ["etcd-server", "zookeeper"]

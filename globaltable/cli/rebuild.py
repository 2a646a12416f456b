"""`globaltable rebuild`: verify what a stopped node has stored, and discard what is damaged."""

import os
import secrets
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from globaltable.cli.exits import ExitStatus
from globaltable.errors import ConfigError, StorageError

if TYPE_CHECKING:
    from globaltable.server.config import Config, NodeConfig
    from globaltable.store.verification import Finding, Report
    from globaltable.topology import Topology


def rebuild(
    config: Annotated[
        Path,
        typer.Option("--config", "-c", metavar="FILE", help="The file that all nodes share."),
    ],
    name: Annotated[str, typer.Option("--node", "-n", metavar="NAME", help="The node's name.")],
    groups: Annotated[
        list[int] | None,
        typer.Option("--group", "-g", metavar="N", help="Rebuild this group; may be repeated."),
    ] = None,
    everything: Annotated[
        bool,
        typer.Option("--all", help="Rebuild every group, whatever is on the disk, or is not."),
    ] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Only verify; exit status 1 if anything is damaged.")
    ] = False,
) -> None:
    """Have damaged replicas of a stopped node rebuilt from their peers.

    Verifies every stored record and discards the groups in which one is damaged (or those named, or
    all, unread), with a durable mark. Then start the node as usual: each replica asks every other
    voter of its group once, catches up, and serves again; `globaltable status` shows it. Until then
    its group has one holder less: rebuild one node at a time, with all others up.
    """
    from globaltable.server import config_file

    loaded = config_file.load(config)
    own = loaded.node(name)
    there_are = _groups(loaded, own)
    unknown = sorted(set(groups or ()) - set(range(there_are)))
    if unknown:
        raise ConfigError(f"--group {unknown[0]}: the groups are 0 to {there_are - 1}")
    if groups and everything:
        raise ConfigError("--group and --all: give one of them")
    if check:
        _check(loaded, own)
    elif everything:
        _discard_all(loaded, own)
    else:
        _discard(loaded, own, groups or ())


def _topology(loaded: "Config", own: "NodeConfig") -> "Topology":
    """The newest that the node knows, or else the file's: as of before there were levels, for which
    one is in force is for the others to say."""
    from globaltable.levels import FIRST
    from globaltable.store import known_topology

    try:
        known = known_topology.load(own.data_dir)
    except StorageError:
        known = None
    return known.newest if known is not None else replace(loaded.topology(), level=FIRST)


def _groups(loaded: "Config", own: "NodeConfig") -> int:
    """How many there are."""
    return len(_topology(loaded, own).groups)


def _claim(loaded: "Config", own: "NodeConfig", *, if_damaged: bool = False) -> int:
    from globaltable.store import identity

    return identity.claim(
        own.data_dir,
        cluster=loaded.fence,
        node=own.name,
        groups=_topology(loaded, own).founding_groups,
        slots=loaded.slots,
        if_damaged=if_damaged,
    )


def _verify(loaded: "Config", own: "NodeConfig") -> "Report":
    """What is stored, told as it is found. The directory is held."""
    from globaltable.store import verification

    report = verification.verify(own.data_dir, _groups(loaded, own))
    for finding in report.findings:
        print(_line(finding))
    return report


def _line(finding: "Finding") -> str:
    if finding.damages:
        return f"group {finding.group}: damaged: {'; '.join(finding.damages)}"
    standing = "is being rebuilt" if finding.rebuilding else "whole"
    return f"group {finding.group}: {standing} ({finding.entries} log entries, {finding.rows} rows)"


def _check(loaded: "Config", own: "NodeConfig") -> None:
    from globaltable.store.identity import DamagedIdentity

    if not own.data_dir.exists():
        raise ConfigError(f"data directory {own.data_dir} does not exist; nothing is stored")
    try:
        lock = _claim(loaded, own)
    except DamagedIdentity as error:
        print(error)
        raise typer.Exit(ExitStatus.REJECTED) from None
    try:
        report = _verify(loaded, own)
    finally:
        os.close(lock)
    for reason in report.unreadable:
        print(reason)
    if not report.is_whole:
        raise typer.Exit(ExitStatus.REJECTED)


def _discard(loaded: "Config", own: "NodeConfig", named: Collection[int]) -> None:
    from globaltable.store import replacement

    lock = _claim(loaded, own)
    try:
        report = _verify(loaded, own)
        if report.unreadable:
            raise StorageError("; ".join(report.unreadable))
        wanted = sorted(set(named or report.damaged))
        replacement.discard(own.data_dir, wanted)
    finally:
        os.close(lock)
    _tell(own.name, wanted)


def _discard_all(loaded: "Config", own: "NodeConfig") -> None:
    from globaltable.levels import FIRST
    from globaltable.store import identity, known_topology, replacement

    lock = _claim(loaded, own, if_damaged=True)
    known = _topology(loaded, own)
    groups = len(known.groups)
    try:
        try:
            level = identity.noted_level(own.data_dir)
        except StorageError:
            level = known.level
        known_topology.note_loss(own.data_dir, replace(loaded.topology(), level=FIRST))
        replacement.discard_all(own.data_dir, groups)
        identity.write(
            own.data_dir,
            cluster=loaded.fence,
            node=own.name,
            groups=known.founding_groups,
            slots=loaded.slots,
            directory_id=secrets.token_hex(8),
            level=level,
        )
    finally:
        os.close(lock)
    _tell(own.name, list(range(groups)))


def _tell(region: str, discarded: list[int]) -> None:
    if not discarded:
        print("nothing is damaged; nothing was discarded")
        return
    for group in discarded:
        print(f"group {group}: discarded, to be rebuilt from its peers")
    print(f"start the node of {region}, with every other node up; `globaltable status` shows it")

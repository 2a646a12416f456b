"""`globaltable check`: whether all replicas of a cluster hold the same."""

import json
from typing import TYPE_CHECKING, Any

import typer

from globaltable.cli.backup import AsJson, ConfigFile, NodeAddresses, addresses
from globaltable.cli.exits import ExitStatus
from globaltable.cli.tls import tls
from globaltable.model import split_name

if TYPE_CHECKING:
    from globaltable.admin.check import Camps, Comparison, KeyDifference


def check(
    config: ConfigFile = None,
    node: NodeAddresses = "",
    as_json: AsJson = False,
) -> None:
    """Compare the replicas of every group while they serve, and name whatever differs.

    Each group's replicas are compared at one revision, so under any load nothing is taken for a
    difference that is only late. Exit status 1 if any replica differs from another, 3 if one could
    not be compared.
    """
    from globaltable.admin.check import check as compare
    from globaltable.admin.nodes import Nodes

    with Nodes.connect(addresses(config, node), tls()) as nodes:
        comparisons = []
        for one in compare(nodes):
            comparisons.append(one)
            if not as_json:
                print("\n".join(_lines(one)), flush=True)
    if as_json:
        print(json.dumps([_record(one) for one in comparisons]))
    if not all(one.same for one in comparisons):
        raise typer.Exit(ExitStatus.REJECTED)
    if any(one.not_compared for one in comparisons):
        raise typer.Exit(ExitStatus.UNAVAILABLE)


def _lines(one: "Comparison") -> list[str]:
    if one.revision:
        verdict = "the same" if one.same else "DIFFER"
        lines = [
            f"group {one.group}: {', '.join(one.nodes)}: {verdict} at revision {one.revision:,} "
            f"({one.rows:,} rows)"
        ]
    else:
        lines = [f"group {one.group}: not compared"]
    lines += [f"  {name} was not compared: {why}" for name, why in one.not_compared.items()]
    lines += [f"  slot {slot}: {_shown(camps)}" for slot, camps in one.slots]
    if one.history:
        lines += [f"  which ops are remembered: {_shown(one.history)}"]
    lines += [line for key in one.keys for line in _key_lines(key)]
    if one.keys_unnamed:
        lines += [f"  and {one.keys_unnamed:,} more keys"]
    if one.slots and not one.keys:
        lines += ["  but at a later revision their rows did not differ"]
    return lines


def _shown(camps: "Camps") -> str:
    return " differs from ".join(" = ".join(camp) for camp in reversed(camps))


def _key_lines(key: "KeyDifference") -> list[str]:
    table, session = split_name(key.name)
    lines = [f"  {table} {session!r}"]
    for name, row in key.rows.items():
        if row is None:
            held = "nothing"
        else:
            unit = f"unit {row.unit!r}" if row.unit is not None else "unbound"
            held = f"{unit}, version {row.version}, revision {row.revision}"
        lines += [f"    {name}: {held}"]
    return lines


def _record(one: "Comparison") -> dict[str, Any]:
    return {
        "group": one.group,
        "revision": one.revision,
        "rows": one.rows,
        "nodes": one.nodes,
        "same": one.same,
        "not_compared": one.not_compared,
        "slots": [difference._asdict() for difference in one.slots],
        "history": one.history,
        "keys": [
            {
                "table": split_name(key.name)[0],
                "key": split_name(key.name)[1],
                "rows": {n: row and row._asdict() for n, row in key.rows.items()},
            }
            for key in one.keys
        ],
        "keys_unnamed": one.keys_unnamed,
    }

"""`globaltable recover`: what to do when the majority of a cluster is lost for good."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from globaltable.cli.backup import File
from globaltable.cli.progress import bar
from globaltable.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from globaltable.admin.salvage import Found

_WARNING = """\
THIS GIVES UP THE CLUSTER {cluster}, AND MAY LOSE WRITES THAT WERE ACKNOWLEDGED.

A majority of its nodes must be lost FOR GOOD: if one more than these survivors can be brought
back, bring it back instead, and nothing is lost. What is lost otherwise are the last writes that
the lost nodes acknowledged and that had not reached a survivor; what the survivors hold of
writes whose end is not known takes effect. See to it that no node of the old cluster is started
again where clients can reach it: it would answer them.
"""


def recover(
    file: File,
    config: Annotated[
        Path,
        typer.Option("--config", "-c", metavar="FILE", help="Says where the survivors' data is."),
    ],
    nodes: Annotated[
        list[str],
        typer.Option(
            "--node", "-n", metavar="NAME", help="A survivor; repeat it, name all there are."
        ),
    ],
    yes: Annotated[
        str,
        typer.Option(
            "--yes-i-may-lose-writes",
            metavar="CLUSTER",
            help="Go on without asking; give the cluster's name.",
            show_default=False,
        ),
    ] = "",
    force: Annotated[bool, typer.Option("--force", help="Write over a file that exists.")] = False,
) -> None:
    """Save what the stopped survivors of a lost majority hold, for a new cluster.

    Writes a backup file of what is on the survivors' disks, where the data_dir of FILE says, and
    gives their directories up. Then start a new cluster, with the cluster_id that is printed and
    empty data directories, and `globaltable restore` the file into it.
    """
    from globaltable.admin.files import created
    from globaltable.admin.salvage import Salvage
    from globaltable.cli.backup import show
    from globaltable.server import config_file

    loaded = config_file.load(config)
    if len(set(nodes)) != len(nodes):
        raise ConfigError(f"--node {', '.join(nodes)}: a node is named twice")
    if yes and yes != loaded.cluster:
        raise ConfigError(f"--yes-i-may-lose-writes {yes}: the cluster is named {loaded.cluster}")
    with Salvage(loaded, nodes) as salvage:
        found = salvage.survey()
        if salvage.is_majority(found):
            raise ConfigError(
                f"{', '.join(nodes)} are a majority of every group: nothing is lost; start them"
            )
        print(_WARNING.format(cluster=loaded.cluster), file=sys.stderr)
        print("\n".join(_lines(found)))
        if not yes:
            _ask(loaded.cluster)
        with created(file, force=force) as out, bar("recover") as progress:
            taken = salvage.write(out, found, progress)
        salvage.retire()
        successor = salvage.successor_id
    print()
    show(file, taken)
    print(
        f'\nNow put   cluster_id = "{successor}"   into the new configuration, with empty data '
        f"directories,\nstart its nodes, and run   globaltable restore {file} --config NEW"
    )


def _ask(cluster: str) -> None:
    if not sys.stdin.isatty():
        raise ConfigError(
            "there is no terminal to ask at; --yes-i-may-lose-writes CLUSTER goes on without"
        )
    typed = typer.prompt("Type the cluster's name to go on", default="", show_default=False)
    if typed != cluster:
        raise ConfigError(f"{typed!r} is not {cluster!r}: nothing was done")


def _lines(found: "Sequence[Found]") -> list[str]:
    lines = []
    for group, chosen, others in found:
        lines += [
            f"group {group}: from {chosen.node}, whose log ends at {chosen.last_index} in term "
            f"{chosen.last_term}; of its last {chosen.tail} entries it is not known whether they "
            "were acknowledged"
        ]
        lines += [
            f"  not from {one.node}: "
            + (one.reason or f"its log ends at {one.last_index} in term {one.last_term}")
            for one in others
        ]
    return lines

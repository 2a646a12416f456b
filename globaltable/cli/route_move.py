"""`globaltable route move`: sessions, tenants and whole units are moved, with a fence.

The work is a job in `routing.meta`: if this command ends before it is done, `--resume` goes on with
it from anywhere.
"""

import asyncio
import json
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from globaltable.cli.exits import ExitStatus
from globaltable.cli.options import ENDPOINTS_DEFAULT, AsJson, Endpoints, addresses_of
from globaltable.cli.progress import bar
from globaltable.cli.tls import tls

if TYPE_CHECKING:
    from globaltable.routing.moves import Job
    from globaltable.routing.service.jobs import KeptJob, Summary

META_TABLE: str = "routing.meta"
GIVEN_UP_SHOWN_MAX = 10

route = typer.Typer(
    name="route",
    help="Where routed sessions live: move them, with a fence.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@route.callback()
def _route() -> None:
    pass


@route.command()
def move(
    session: Annotated[
        str, typer.Option("--session", metavar="KEY", help="Move one session.")
    ] = "",
    prefix: Annotated[
        str, typer.Option("--prefix", metavar="TEXT", help="Move all keys that begin with this.")
    ] = "",
    unit: Annotated[
        str, typer.Option("--unit", metavar="UNIT", help="Move all that lives in a unit.")
    ] = "",
    to: Annotated[
        str, typer.Option("--to", metavar="UNIT|spread", help="Where to; spread: over all others.")
    ] = "",
    force: Annotated[
        bool,
        typer.Option(
            "--force",
            help="The unit is lost: take its lease away, wait until it has ended, then move.",
        ),
    ] = False,
    resume: Annotated[str, typer.Option("--resume", metavar="JOB", help="Go on with a job.")] = "",
    undo: Annotated[
        str, typer.Option("--undo", metavar="JOB", help="Move a job's sessions back.")
    ] = "",
    status: Annotated[bool, typer.Option("--status", help="Print all jobs.")] = False,
    dimension: Annotated[
        str, typer.Option("--dimension", metavar="NAME", help="What is moved.")
    ] = "chat",
    table: Annotated[
        str,
        typer.Option("--table", "-t", metavar="NAME", help="Its table; else routing.DIMENSION."),
    ] = "",
    rate_per_s: Annotated[
        float, typer.Option("--rate", min=0.0, metavar="N", help="Keys a second; 0: no bound.")
    ] = 0.0,
    concurrency: Annotated[
        int, typer.Option("--concurrency", min=1, max=64, help="Batches of 100 at a time.")
    ] = 2,
    endpoints: Endpoints = ENDPOINTS_DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Move sessions to another unit: each is drained, handed over, and bound there.

    No message is accepted by two units and none is lost: those that come meanwhile are told to come
    again. Exit status 1 if sessions are left, 3 if a unit or GlobalTable cannot be reached.
    """
    from globaltable.routing.moves import Job, SelectionKind

    selected = [
        (kind, value)
        for kind, value in (
            (SelectionKind.SESSION, session),
            (SelectionKind.PREFIX, prefix),
            (SelectionKind.UNIT, unit),
        )
        if value
    ]
    if len(selected) + bool(resume) + bool(undo) + status != 1:
        raise typer.BadParameter(
            "give one of --session, --prefix, --unit, --resume, --undo, --status"
        )
    if bool(selected) != bool(to):
        raise typer.BadParameter("--to goes with --session, --prefix or --unit")
    addresses = addresses_of(endpoints)
    if status:
        asyncio.run(_show(addresses, as_json))
        return
    job = None
    if selected:
        ((kind, value),) = selected
        job = Job(dimension, table or f"routing.{dimension}", kind, value, to, force).checked()
    summary = asyncio.run(_run(addresses, job, resume, undo, rate_per_s, concurrency, as_json))
    if summary.left:
        raise typer.Exit(ExitStatus.REJECTED)


async def _run(
    addresses: list[str],
    job: "Job | None",
    resume: str,
    undo: str,
    rate_per_s: float,
    concurrency: int,
    as_json: bool,
) -> "Summary":
    from contextlib import AsyncExitStack

    from globaltable.client import GlobalTable
    from globaltable.routing.service import jobs
    from globaltable.routing.service.mover import MoverSettings
    from globaltable.routing.service.unit_control import RemoteUnits

    async with AsyncExitStack() as stack:
        meta = await stack.enter_async_context(
            GlobalTable.connect(addresses, table=META_TABLE, tls=tls())
        )
        job_id = resume or undo
        if job is not None:
            job_id = await jobs.create(meta, job)
        if undo:
            await jobs.undo(meta, undo)
        kept = await jobs.find(meta, job_id)
        if not as_json:
            print(f"job {job_id}: {_what(kept.job)}", flush=True)
        bindings = await stack.enter_async_context(
            GlobalTable.connect(addresses, table=kept.job.table, tls=tls())
        )
        units = RemoteUnits(meta, tls())
        stack.push_async_callback(units.close)
        show = stack.enter_context(bar("moved back" if undo else "moved"))
        runner = jobs.JobRunner(
            meta,
            lambda _: bindings,
            units.reach,
            MoverSettings(concurrency=concurrency, rate_per_s=rate_per_s),
            progress=lambda now: show(now.done, now.total),
            say=lambda what: print(what, file=sys.stderr, flush=True),
        )
        summary = await runner.run(job_id)
    _tell(job_id, summary, as_json)
    return summary


def _what(job: "Job") -> str:
    how = ", by force" if job.forced else ""
    return f"{job.dimension}: {job.kind.value} {job.value} to {job.to}{how}"


def _tell(job_id: str, summary: "Summary", as_json: bool) -> None:
    if as_json:
        record = {
            "job": job_id,
            "state": summary.state.value,
            "moved": summary.moved,
            "elsewhere": summary.elsewhere,
            "left": summary.left,
            "given_up": dict(summary.given_up),
            "waited_s": round(summary.waited_s, 2),
        }
        print(json.dumps(record))
        return
    print(f"{summary.state.value}: {summary.moved} moved, {summary.left} left", end="")
    print(f", {summary.elsewhere} moved or ended by others" if summary.elsewhere else "")
    for key, why in list(summary.given_up.items())[:GIVEN_UP_SHOWN_MAX]:
        print(f"  {key}: {why}")
    if summary.left > GIVEN_UP_SHOWN_MAX:
        print(f"  and {summary.left - GIVEN_UP_SHOWN_MAX} more")
    if summary.left:
        print(f"go on: globaltable route move --resume {job_id}")


async def _show(addresses: list[str], as_json: bool) -> None:
    from globaltable.client import GlobalTable
    from globaltable.routing.service import jobs

    async with GlobalTable.connect(addresses, table=META_TABLE, tls=tls()) as meta:
        every = [(kept, await jobs.notes(meta, kept.job_id)) for kept in await jobs.every(meta)]
    if as_json:
        for kept, noted in every:
            print(json.dumps(_record(kept, noted)))
        return
    shown = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    for title in ("JOB", "STATE", "KEYS BEGUN", "WHAT"):
        shown.add_column(title)
    for kept, noted in every:
        shown.add_row(kept.job_id, kept.state.value, f"{noted:,}", _what(kept.job))
    Console(width=None if sys.stdout.isatty() else 120, highlight=False, markup=False).print(shown)


def _record(kept: "KeptJob", noted: int) -> dict[str, Any]:
    job = kept.job
    return {
        "job": kept.job_id,
        "state": kept.state.value,
        "keys_begun": noted,
        "dimension": job.dimension,
        "table": job.table,
        job.kind.value: job.value,
        "to": job.to,
        "forced": job.forced,
    }

"""``lading jobs``: what is done in the background, and what became of it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from lading.errors import ConfigurationError, Missing, Unsupported

if TYPE_CHECKING:
    from lading.config.model import Configuration
    from lading.jobs.executions import Execution, Line
    from lading.jobs.queue import Enqueued, JobQueue
    from lading.jobs.schedule import Schedule
    from lading.stores.metadata.transaction import Metadata, Transaction

T = TypeVar("T")

STATES = ("waiting", "running", "done", "failed", "cancelled")

_config = click.option(
    "--config", metavar="CONFIG.yml", type=click.Path(path_type=Path), help="The registry's configuration."
)
_json = click.option("--json", "as_json", is_flag=True, help="As JSON, for programs; times in milliseconds since 1970.")


@click.group()
def jobs() -> None:
    """Work done in the background: list it, look at one, cancel it, have it done now.

    A running server does the work; these commands only read and write its index. What they show they also show with
    --json, for programs.
    """


@jobs.command("list")
@click.option("--kind", default="", help="Only jobs of this kind.")
@click.option(
    "--state", default="", type=click.Choice(["", *STATES]), metavar="STATE", help=f"Only {', '.join(STATES)}."
)
@click.option("--limit", default=30, type=click.IntRange(1, 10_000), help="How many, the newest first. 30 by default.")
@_json
@_config
def list_(kind: str, state: str, limit: int, as_json: bool, config: Path | None) -> None:
    """List jobs, the newest first, and when which begins by itself."""
    from lading.jobs.executions import Executions
    from lading.jobs.schedule import Schedules

    async def read(tx: Transaction) -> tuple[int, Sequence[Execution], Sequence[Schedule]]:
        return tx.now, await Executions(tx).newest(limit, kind=kind, state=state), await Schedules(tx).all()

    now, found, scheduled = _with_index(config, lambda metadata: metadata.read(read))
    if as_json:
        _print_json({"jobs": found, "schedules": scheduled})
        return
    rows = [
        (str(e.id), e.kind, _state(e), _progress(e), str(e.attempts), _when(e, now), e.error.partition("\n")[0])
        for e in found
    ]
    _table(("ID", "KIND", "STATE", "PROGRESS", "ATTEMPTS", "WHEN", "ERROR"), rows, "no jobs")
    if scheduled:
        click.echo()
        _table(
            ("SCHEDULE", "TIMING (UTC)", "NEXT RUN", "LAST RUN"),
            [(s.name, s.timing, _ago(s.next_at, now), _ago(s.last_at, now) if s.last_at else "-") for s in scheduled],
            "",
        )


@jobs.command()
@click.argument("number", metavar="ID", type=int)
@_json
@_config
def show(number: int, as_json: bool, config: Path | None) -> None:
    """Show all that is known of a job, with its log."""
    from lading.jobs.executions import Executions

    async def read(tx: Transaction) -> tuple[int, Execution | None, Sequence[Line]]:
        return tx.now, await Executions(tx).one(number), await Executions(tx).lines(number)

    now, job, lines = _with_index(config, lambda metadata: metadata.read(read))
    if job is None:
        raise _unknown(number)
    if as_json:
        _print_json({"job": job, "log": lines})
        return
    told = {
        "job": str(job.id),
        "kind": job.kind,
        "state": _state(job),
        "progress": " ".join(filter(None, (_progress(job), job.message))),
        "attempts": str(job.attempts),
        "when": _when(job, now),
        "enqueued": _ago(job.created_at, now),
        "process": job.process or "",
        "payload": _json_text(job.payload) if job.payload is not None else "",
        "result": _json_text(job.result) if job.result is not None else "",
        "error": job.error,
    }
    for name, text in told.items():
        if text and text != "-":
            click.echo(f"{name + ':':10} {_plain(text)}")
    if lines:
        click.echo()
    for line in lines:
        click.echo(f"{_moment(line.at)}  {_plain(line.line)}")


@jobs.command()
@click.argument("number", metavar="ID", type=int)
@_config
def cancel(number: int, config: Path | None) -> None:
    """Cancel a job.

    One that waits ends at once, one that runs within some seconds.
    """
    from lading.control.notifications import JOB
    from lading.jobs.executions import Executions

    async def write(queue: JobQueue, tx: Transaction) -> str | None:
        job = await Executions(tx).one(number)
        if job is not None and job.kind == JOB and not job.ended:
            raise Unsupported(
                f"job {number} delivers notifications for as long as the server runs; to stop it, set disabled: true "
                "for the endpoints and restart"
            )
        return await queue.cancel(tx, number)

    before = _change(config, write)
    if before is None:
        raise _unknown(number)
    if before == "waiting":
        click.echo(f"job {number} is cancelled")
    elif before == "running":
        click.echo(f"job {number} is asked to end; see lading jobs show {number}")
    else:
        raise Unsupported(f"job {number} is {before} already")


@jobs.command()
@click.argument("kind")
@_json
@_config
def run(kind: str, as_json: bool, config: Path | None) -> None:
    """Have a job done now.

    KIND is collect, purge-uploads or prune-jobs. A running server begins it within a second. One that waits already is not made twice.
    """
    from lading.app import SCHEDULES

    if kind not in SCHEDULES:
        raise click.BadParameter(f"{kind!r} is none of {', '.join(SCHEDULES)}", param_hint="KIND")

    async def write(queue: JobQueue, tx: Transaction) -> tuple[Enqueued, bool]:
        made = await queue.enqueue(tx, kind, key=kind)
        return made, made.new or await queue.hasten(tx, made.job)

    made, _ = _change(config, write, writes=True)
    if as_json:
        _print_json(made._asdict())
    elif made.new:
        click.echo(f"job {made.job} waits for a server; see lading jobs show {made.job}")
    else:
        click.echo(f"job {made.job} was there already and is not made twice; see lading jobs show {made.job}")


# ---- the index


def _with_index(config: Path | None, work: Callable[[Metadata], Awaitable[T]], *, writes: bool = False) -> T:
    from lading.config.load import load
    from lading.stores.metadata.engine import open_index

    configuration = load(config, os.environ)
    if writes and configuration.storage.maintenance.readonly.enabled:
        raise Unsupported("this registry is read-only (storage.maintenance.readonly); its servers do no such work")
    index = _index(configuration)

    async def run() -> T:
        metadata = open_index(index, connections=1)
        try:
            return await work(metadata)
        finally:
            await metadata.close()

    return asyncio.run(run())


def _index(configuration: Configuration) -> str:
    from lading.stores.metadata.engine import require_index

    index = configuration.index
    if index is None:
        raise ConfigurationError("this registry keeps everything in memory; its jobs cannot be seen from outside")
    require_index(index)
    return index


def _change(config: Path | None, work: Callable[[JobQueue, Transaction], Awaitable[T]], *, writes: bool = False) -> T:
    from lading.jobs.queue import JobQueue

    async def change(metadata: Metadata) -> T:
        queue = JobQueue(metadata, "cli")
        return await metadata.write(lambda tx: work(queue, tx))

    return _with_index(config, change, writes=writes)


def _unknown(number: int) -> Missing:
    return Missing(f"there is no job {number}; it may have been forgotten (jobs.history, jobs.keep)")


# ---- for a reader


def _state(job: Execution) -> str:
    if job.cancelling and not job.ended:
        return "cancelling"
    return "to retry" if job.state == "waiting" and job.attempts else job.state


def _progress(job: Execution) -> str:
    if job.total:
        return f"{job.done:,}/{job.total:,} ({100 * job.done // job.total} %)"
    return f"{job.done:,}" if job.done else "-"


def _when(job: Execution, now: int) -> str:
    if job.ended_at is not None:
        took = f", took {_length(job.ended_at - job.began_at)}" if job.began_at else ""
        return f"{_ago(job.ended_at, now)}{took}"
    if job.state == "running":
        return f"since {_length(now - (job.began_at or now))}"
    return "due" if (job.next_at or now) <= now else _ago(job.next_at or now, now)


def _ago(moment: int, now: int) -> str:
    if abs(now - moment) < 1000:
        return "now"
    return f"in {_length(moment - now)}" if moment > now else f"{_length(now - moment)} ago"


def _length(milliseconds: int) -> str:
    seconds = max(0, milliseconds) / 1000
    if seconds < 10:
        return f"{seconds:.1f} s"
    for size, name in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {name}"
    return f"{seconds:.0f} s"


def _moment(milliseconds: int) -> str:
    from datetime import UTC, datetime

    return f"{datetime.fromtimestamp(milliseconds / 1000, UTC):%Y-%m-%d %H:%M:%S}Z"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], nothing: str) -> None:
    if not rows:
        click.echo(nothing)
        return
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    for row in (head, *rows):
        click.echo("  ".join(_plain(text).ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())


def _plain(text: str) -> str:
    """Without what would move a terminal's cursor: errors quote what others sent."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)


def _json_text(value: Any) -> str:
    import msgspec

    return msgspec.json.encode(value).decode()


def _print_json(value: Any) -> None:
    import msgspec

    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())

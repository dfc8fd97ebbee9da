"""`headend reads`: readings from files."""

from __future__ import annotations

import time
from dataclasses import asdict
from decimal import Decimal, InvalidOperation
from pathlib import Path

import rich_click as click

from headend.cli.common import App, json_option, pass_app, person_option, print_json
from headend.cli.evidence import redecode_command, trace_command
from headend.importing import load
from headend.importing.rows import BadFile
from headend.store.sheets import FILE_SOURCES
from headend.store.tables import SOURCES


@click.group(name="reads")
def command() -> None:
    """Bring readings in from files."""


@command.command(name="import")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@click.option(
    "--format",
    "name",
    type=click.Choice(load.FORMATS),
    help="What the file is; without it, by its name and first bytes.",
)
@click.option(
    "--source",
    type=click.Choice(FILE_SOURCES),
    default="curve",
    show_default=True,
    help="Load curve (负荷曲线), day freezes (日冻结) or month freezes (月冻结).",
)
@click.option("--dry-run", is_flag=True, help="Check everything, change nothing.")
@click.option(
    "--batches",
    is_flag=True,
    help="Commit batch by batch, after the whole file was checked: for files too large for one transaction.",
)
@click.option(
    "--opening",
    multiple=True,
    metavar="[METER=]KWH",
    help="NEM12: the register where the file begins, for meters whose register the store does not know; may be given again.",
)
@person_option
@json_option
@pass_app
def import_(
    app: App,
    file: Path,
    name: str | None,
    source: str,
    dry_run: bool,
    batches: bool,
    opening: tuple[str, ...],
    person: str,
    as_json: bool,
) -> None:
    """Import readings from FILE: CSV and Parquet as `headend export reads` writes them, or NEM12. All or nothing, unless --batches.

    Estimates and edits in the file come in as such; what the meter itself said is never displaced by a file's estimate.
    """  # fmt: skip
    name = name or load.guess(file)
    if name == "nem12" and source != "curve":
        raise click.UsageError("NEM12 holds the load curve; leave --source out")
    job = load.Job(file, name, SOURCES[source], app.zone, app.clock.now(), person, _openings(opening))
    begin = time.perf_counter()
    try:
        done = load.load(app.conn, job, dry_run=dry_run, batches=batches)
    except BadFile as error:
        if as_json:
            print_json({"errors": [asdict(c) for c in error.complaints], "total": error.total})
        for complaint in error.complaints if error.total > 1 else []:
            click.echo(str(complaint), err=True)
        raise
    app.conn.commit()
    seconds = max(time.perf_counter() - begin, 1e-9)
    if as_json:
        print_json(
            {
                "file": str(file),
                "format": name,
                "dry_run": dry_run,
                **asdict(done),
                "seconds": round(seconds, 3),
            }
        )
        return
    click.echo(
        f"{done.rows} rows of {file}{' checked, nothing imported' if dry_run else ''}: {done.new} new, {done.repeated} there already, "
        f"{done.revised} values revised, {done.laid_over} of {done.marked} estimates and edits laid over; {done.rows / seconds:,.0f} rows/s"
    )


def _openings(given: tuple[str, ...]) -> dict[str, int]:
    """Meter ('' for all others) -> register in 1e-4 kWh."""
    found = {}
    for text in given:
        meter, _, number = text.rpartition("=")
        try:
            exact = Decimal(number) * 10_000
            if not exact.is_finite() or exact < 0 or exact != exact.to_integral_value() or exact >= 10**13:
                raise InvalidOperation
        except InvalidOperation:
            raise click.UsageError(
                f"--opening {text!r} is not a register in kWh such as 1234.5678, or METER=1234.5678"
            ) from None
        found[meter] = int(exact)
    return found


command.add_command(trace_command)
command.add_command(redecode_command)

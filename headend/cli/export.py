"""`headend export`: readings as files, and the daily file with its manifest."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import rich_click as click

from headend.cli.common import App, Day, json_option, pass_app, print_json
from headend.export import daily as dailies
from headend.export import formats, nem12
from headend.export.about import About
from headend.importing import verify as verifying
from headend.plans import CURVE
from headend.store import sheets
from headend.store.db import StoreError
from headend.store.tables import SOURCES
from protocols.reading import FREEZE_QUANTITIES, SLOT_QUANTITIES


@click.group(name="export")
def command() -> None:
    """Write readings to files."""


@command.command()
@click.argument("first", type=Day(), metavar="DAY|FROM")
@click.argument("last", type=Day(), metavar="[TO]", required=False)
@click.option(
    "--format",
    "name",
    type=click.Choice(list(formats.FORMATS)),
    default="csv-wide",
    show_default=True,
    help="What to write.",
)
@click.option(
    "--source",
    type=click.Choice(sheets.FILE_SOURCES),
    default="curve",
    show_default=True,
    help="Load curve (负荷曲线), day freezes (日冻结) or month freezes (月冻结).",
)
@click.option("--meters", help="Asset numbers, separated by commas; without it all meters installed then.")
@click.option(
    "--area",
    "areas",
    multiple=True,
    help="Only the meters of this transformer area (台区); may be given again.",
)
@click.option("--quantities", help="Codes separated by commas, or all: such as active_import,voltage_a.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("."),
    show_default="here",
    help="The folder to write into.",
)
@click.option(
    "--participants", default="HEADEND,RETAILER", show_default=True, help="NEM12's sender and receiver."
)
@json_option
@pass_app
def reads(
    app: App,
    first: dt.date,
    last: dt.date | None,
    name: str,
    source: str,
    meters: str | None,
    areas: tuple[str, ...],
    quantities: str | None,
    out: Path,
    participants: str,
    as_json: bool,
) -> None:
    """The readings of a local DAY, or of FROM to TO, as one file. A slot is named by its end; what is missing is left out.

    NEM12's days are days of standard time; where there is summer time they begin at 01:00 of local time.
    """  # fmt: skip
    last = last or first
    _folder(out)
    sender, _, receiver = participants.partition(",")
    if not sender or not receiver or not participants.replace(",", "", 1).isalnum():
        raise click.UsageError(f"{participants!r} is not two names such as HEADEND,RETAILER")
    if name == "nem12":
        if source != CURVE.name:
            raise StoreError("NEM12 holds interval energies: export the curve")
        span = nem12.standard_span(first, last, app.zone)
    else:
        span = sheets.local_span(source, first, last, app.zone)
    codes = _codes(source, name, quantities)
    sheets.check_codes(span.source, codes)
    who = sheets.roster(app.conn, span, assets=_names(meters), areas=areas)
    about = About(span, codes, app.zone, len(who), app.clock.now(), (sender, receiver))
    days = f"{first}" if last == first else f"{first}_{last}"
    path = out / f"{source}-{days}{formats.module(name).SUFFIX}"
    app.conn.rollback()
    app.conn.execute(
        "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"
    )  # one moment, however long it takes
    written = formats.write(path, name, sheets.sheets(app.conn, span, codes, who), about)
    app.conn.rollback()
    if as_json:
        print_json(
            {
                "file": str(path),
                "meters": len(who),
                "rows": written.rows,
                "bytes": written.bytes,
                "sha256": written.sha256,
            }
        )
        return
    click.echo(f"{written.rows} rows to {path}, sha256 {written.sha256}")


def _folder(out: Path) -> None:
    if not out.is_dir():
        raise StoreError(f"there is no folder {out}; make it first, or name another")


def _names(text: str | None) -> list[str]:
    return list(dict.fromkeys(part.strip() for part in (text or "").split(",") if part.strip()))


def _codes(source: str, name: str, chosen: str | None) -> tuple[str, ...]:
    """The quantities of a file: those named, all, or what is usual for the source and format."""
    every = tuple(code for table in SOURCES[source].tables for code in table.codes)
    if chosen and chosen != "all":
        return tuple(_names(chosen))
    if name in ("nem12", "espi"):
        return tuple(code for code in every if code in nem12.SUFFIXES)
    if chosen == "all":
        return every
    return SLOT_QUANTITIES if source == "curve" else FREEZE_QUANTITIES


@command.command()
@click.argument("day", type=Day())
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The folder to write into.")
@json_option
@pass_app
def daily(app: App, day: dt.date, out: Path, as_json: bool) -> None:
    """The daily file of DAY: curve and freezes (gzip), and a manifest with counts, control totals and hashes. Never overwrites."""
    _folder(out)
    done = dailies.write(app.conn, day, app.zone, out, app.clock.now())
    if as_json:
        print_json({"manifest": str(done.path), "written": done.written, **done.manifest})
        return
    told = ", ".join(f"{file['totals']['rows']} rows in {file['name']}" for file in done.manifest["files"])
    if not done.written:
        click.echo(f"nothing changed since {done.path}: {told}")
        return
    click.echo(f"{told}; {done.path}")
    for source, changed in done.manifest.get("replaces", {}).get("changed", {}).items():
        click.echo(
            f"since revision {done.manifest['revision'] - 1}, {source}: "
            + ", ".join(f"{n} {what}" for what, n in changed.items())
        )


@command.command()
@click.argument("manifest", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@json_option
def verify(manifest: Path, as_json: bool) -> None:
    """Check a daily file: hashes, row counts and control totals, from the files beside MANIFEST alone. Needs no database."""
    told = verifying.verify(manifest)
    if as_json:
        print_json(told)
        return
    rows = sum(file["totals"]["rows"] for file in told["files"])
    click.echo(f"{manifest} holds: {len(told['files'])} files, {rows} rows, hashes and totals as written")

"""`headend billing`: the nightly batch and what it produced."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import psycopg
import rich_click as click

from headend.cli.common import App, Day, json_option, pass_app, print_json, yuan
from headend.jobs import billing
from headend.jobs.billing import Batch, Gates
from headend.jobs.frame import Run
from headend.store import bills, openings
from headend.store.billed import TILE
from headend.store.db import StoreError


@click.group(name="billing")
def command() -> None:
    """Bills from day-freeze registers: right to the fen, identical when run again."""


@command.command(name="run")
@click.option(
    "--date", "last", type=Day(), default="yesterday", show_default=True, help="The (last) day to bill."
)
@click.option("--from", "first", type=Day(), help="First day (default: the same day).")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of the files (default HOME/export).",
)
@click.option(
    "--most-without",
    "most",
    type=click.FloatRange(0, 100),
    help="Accounts without a bill in per cent of all: with more nothing is released.",
)
@click.option(
    "--most-change",
    "change",
    type=click.FloatRange(0),
    help="How many per cent a bill may lie off the account's last one, by day; what lies further off is held back.",
)
@click.option(
    "--tile",
    type=click.IntRange(1),
    default=TILE,
    show_default=True,
    help="Accounts worked on at once: fewer take less memory, and less has to be done again after a kill.",
)
@json_option
@pass_app
def run_(
    app: App,
    last: dt.date,
    first: dt.date | None,
    out: Path | None,
    most: float | None,
    change: float | None,
    tile: int,
    as_json: bool,
) -> None:
    """Write lines, accounts, exceptions, corrections and a manifest with control totals and SHA-256. Exit code 1: not released.

    A run that broke off is run again by the same command and goes on at the tile where it was; a tile for which other readings have come is done
    anew. A reader goes by the manifest: it names one whole set, the old one or the new one."""
    first = first or last
    if last >= app.today():
        raise StoreError(f"{last} is not over yet: its closing register does not exist")
    if first > last:
        raise StoreError(f"--from {first} lies after --date {last}")
    batch = _batch(app, first, last, out, Gates(most, change), tile)
    m = batch.manifest
    if as_json:
        print_json(
            {
                **m,
                "folder": str(batch.folder),
                "bills_new_or_changed": batch.changed,
                "tiles": batch.tiles,
                "tiles_kept": batch.kept,
            }
        )
    else:
        click.echo(
            f"{m['billed']} of {m['accounts']} accounts billed, {m['total_energy_kwh']} kWh, {m['total_amount_yuan']} yuan; "
            f"{m['exceptions']} exceptions; {batch.changed} bills new or changed"
            + (f"; {batch.kept} of {batch.tiles} tiles were finished already" if batch.kept else "")
        )
        for file in m["files"]:
            click.echo(f"  {batch.folder / file['name']}  {file['rows']} rows  sha256 {file['sha256']}")
    if not batch.released:
        raise StoreError(
            f"not released: {m['without_bill']} of {m['accounts']} accounts have no bill, more than {most:g} %; "
            "look at the exceptions file, then run again or with another --most-without"
        )


def _batch(
    app: App, first: dt.date, last: dt.date, out: Path | None, gates: Gates, tile: int = TILE
) -> Batch:
    app.conn.rollback()
    folder = out or app.settings.home / "export"
    try:
        return billing.run_span(Run(app.conn, app.zone, app.clock.now()), first, last, folder, gates, tile)
    except psycopg.OperationalError as error:
        raise StoreError(
            f"the database broke off: {str(error).strip().splitlines()[0]}; `headend doctor` looks into it. Then run the same command again: "
            f"it goes on at the tile where it was, and the files in {folder} are the old ones until all are there"
        ) from None


@command.command()
@click.option("--since", type=Day(), help="Only spans that end on this day or later (default: 62 days ago).")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of the files (default HOME/export).",
)
@json_option
@pass_app
def correct(app: App, since: dt.date | None, out: Path | None, as_json: bool) -> None:
    """Bill every span again that was billed before: late and corrected readings become further revisions, and their differences a file."""
    spans = bills.batches(app.conn, since or app.today() - dt.timedelta(days=62))
    done = []
    for first, last, change in spans:
        batch = _batch(app, first, last, out, Gates(change=change))
        name = next(file["name"] for file in batch.manifest["files"] if "-corrections." in file["name"])
        done.append(
            {
                "first_day": first, "last_day": last, "changed": batch.changed, "corrections": batch.manifest["corrections"],
                "corrections_fen": batch.manifest["corrections_fen"], "file": str(batch.folder / name),
            }
        )  # fmt: skip
    if as_json:
        print_json(done)
        return
    app.show(
        "spans billed again",
        ("from", "to", ">changed now", ">corrections", ">yuan", "~file"),
        [(d["first_day"], d["last_day"], d["changed"], d["corrections"], yuan(d["corrections_fen"]), d["file"]) for d in done],
        note="" if done else "nothing was billed yet",
    )  # fmt: skip


@command.command()
@click.argument("path", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@pass_app
def opening(app: App, path: Path) -> None:
    """Take in what accounts had used in the calendar year before this system began: a CSV of customer,point,day,used_kwh.

    Yearly steps count from there. All or nothing."""
    app.conn.rollback()
    with app.conn.transaction():
        count = openings.load(app.conn, path)
    app.conn.commit()
    click.echo(f"{count} accounts begin their year with what {path.name} says")


@command.command()
@click.option("--customer", help="Only this 户号.")
@json_option
@pass_app
def show(app: App, customer: str | None, as_json: bool) -> None:
    """The newest bills."""
    rows = bills.listing(app.conn, customer=customer)
    if as_json:
        print_json(rows)
        return
    app.show(
        "bills",
        ("customer", "~name", "from", "to", ">rev", ">yuan"),
        [
            (r["customer"], r["name"], r["first_day"], r["last_day"], r["revision"], yuan(r["amount_fen"]))
            for r in rows
        ],
    )

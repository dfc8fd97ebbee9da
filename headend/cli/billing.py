"""`headend billing`: the nightly batch and what it produced."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import rich_click as click

from headend.cli.common import App, Day, json_option, pass_app, print_json, yuan
from headend.jobs import billing
from headend.jobs.frame import Run
from headend.store import bills
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
@json_option
@pass_app
def run_(app: App, last: dt.date, first: dt.date | None, out: Path | None, as_json: bool) -> None:
    """Write lines, accounts, exceptions and a manifest with control totals and SHA-256."""
    first = first or last
    if last >= app.today():
        raise StoreError(f"{last} is not over yet: its closing register does not exist")
    if first > last:
        raise StoreError(f"--from {first} lies after --date {last}")
    folder = out or app.settings.home / "export"
    app.conn.rollback()
    with app.conn.transaction():
        batch, changed = billing.run_span(Run(app.conn, app.zone, app.clock.now()), first, last, folder)
    app.conn.commit()
    if as_json:
        print_json({**batch.manifest, "folder": str(folder), "bills_new_or_changed": changed})
        return
    m = batch.manifest
    click.echo(
        f"{m['billed']} of {m['accounts']} accounts billed, {m['total_energy_kwh']} kWh, {m['total_amount_yuan']} yuan; "
        f"{m['exceptions']} exceptions; {changed} bills new or changed"
    )
    for file in m["files"]:
        click.echo(f"  {folder / file['name']}  {file['rows']} rows  sha256 {file['sha256']}")


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

"""`headend export`: readings of a day as a file."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import rich_click as click

from headend.cli.common import App, Day, pass_app
from headend.export import csv_wide
from headend.store import blocks
from headend.store.db import StoreError
from protocols.reading import SLOT_QUANTITIES


@click.group(name="export")
def command() -> None:
    """Write readings to files."""


@command.command()
@click.argument("day", type=Day())
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@pass_app
def reads(app: App, day: dt.date, file: Path) -> None:
    """The interval readings of DAY as one wide CSV: a row per meter and slot, empty cells where a value is missing."""
    if not file.parent.is_dir():
        raise StoreError(f"there is no folder {file.parent}; make it first, or name another")
    block = blocks.load(app.conn, day, app.zone, SLOT_QUANTITIES)
    assets = blocks.assets(app.conn, block.rows.meter)
    rows, digest = csv_wide.write(file, block, assets, app.zone)
    click.echo(f"{rows} rows to {file}, sha256 {digest}")

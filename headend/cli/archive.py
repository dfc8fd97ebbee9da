"""`headend archive`: what exists, where it hangs, whose it is."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import rich_click as click

from headend.cli.common import App, json_option, pass_app, print_json
from headend.store import archive
from headend.store.archive import ArchiveError
from tariffs import plan


@click.group(name="archive")
def command() -> None:
    """Import and look up the archive (档案): areas, terminals, meters, customers."""


@command.command(name="import")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--dry-run", is_flag=True, help="Check everything, change nothing.")
@json_option
@pass_app
def import_(app: App, folder: Path, dry_run: bool, as_json: bool) -> None:
    """Import areas.csv, terminals.csv, meters.csv and customers.csv from FOLDER: all or nothing."""
    try:
        summary = archive.load(app.conn, folder, zone=app.zone, tariffs=set(plan.shipped()), dry_run=dry_run)
    except ArchiveError as error:
        if as_json:
            print_json({"errors": [asdict(c) for c in error.complaints]})
        for complaint in error.complaints:
            click.echo(str(complaint), err=True)
        raise
    app.conn.commit()
    if as_json:
        print_json(
            {
                "dry_run": dry_run,
                "new": summary.new,
                "changed": summary.changed,
                "unchanged": summary.unchanged,
            }
        )
        return
    app.show(
        f"archive {'checked, nothing changed' if dry_run else 'imported'} from {folder}",
        ("", ">new", ">changed", ">unchanged"),
        [(kind, summary.new[kind], summary.changed[kind], summary.unchanged[kind]) for kind in summary.new],
    )


@command.command(name="list")
@click.argument("what", type=click.Choice(["terminals", "meters", "areas", "customers"]), default="terminals")
@json_option
@pass_app
def list_(app: App, what: str, as_json: bool) -> None:
    """List what is in the archive now."""
    rows = archive.listing(app.conn, what, app.clock.now())
    if as_json:
        print_json(rows)
        return
    columns = list(rows[0]) if rows else ["nothing yet"]
    app.show(
        f"{len(rows)} {what}",
        columns,
        [
            [app.local(v, "%Y-%m-%d %H:%M") if hasattr(v, "astimezone") else v for v in r.values()]
            for r in rows
        ],
    )

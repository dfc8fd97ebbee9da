"""`headend archive`: what exists, where it hangs, whose it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

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
    columns, row = VIEWS[what]
    app.show(f"{len(rows)} {what}", columns, [row(app, r) for r in rows])


def _terminal(app: App, r: dict[str, Any]) -> tuple[Any, ...]:
    heard = "now" if r["online"] else app.local(r["last_seen"], "%m-%d %H:%M")
    return r["terminal"], r["name"], r["protocol"], r["link"], r["address"], heard, r["meters"]


def _meter(app: App, r: dict[str, Any]) -> tuple[Any, ...]:
    since = app.local(r["since"], "%Y-%m-%d")
    accuracy = f"{float(r['accuracy']) * 100:g}"
    return (
        r["meter"],
        r["point"],
        r["terminal"],
        r["address"],
        r["phases"],
        f"{r['ct']}×{r['pt']}",
        accuracy,
        since,
    )


def _area(app: App, r: dict[str, Any]) -> tuple[Any, ...]:
    return r["area"], r["name"], f"{r['capacity_kva']:g}", r["supply"], r["receive"]


def _customer(app: App, r: dict[str, Any]) -> tuple[Any, ...]:
    return r["customer"], r["name"], r["point"], r["tariff"], r["prepaid"], r["protected"]


#: what -> columns and how a row fills them; --json has everything
VIEWS: dict[str, tuple[tuple[str, ...], Callable[[App, dict[str, Any]], tuple[Any, ...]]]] = {
    "terminals": (("terminal", "~name", "protocol", "link", "~address", "last heard", ">meters"), _terminal),
    "meters": (("meter", "point", "terminal", "address", ">ph", ">CT×PT", ">class", "since"), _meter),
    "areas": (("area", "~name", ">kVA", ">supply", ">receive"), _area),
    "customers": (("customer", "name", "point", "~tariff", "prepaid", "~protected"), _customer),
}

"""`headend archive`: what exists, where it hangs, whose it is."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import rich_click as click

from headend.cli.common import App, json_option, pass_app, print_json
from headend.store import archive, tariffs
from headend.store.archive import ArchiveError, Change, History, Summary
from protocols.localtime import instant

#: changes shown for people before the rest is only counted; --json has them all
MOST_CHANGES = 200
LISTED = [name for name in archive.KINDS if name != "ratios"]


class Instant(click.ParamType[np.datetime64]):
    """A moment: ISO date or date-time; civil time of the store without an offset."""

    name = "instant"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> np.datetime64:
        if isinstance(value, np.datetime64):
            return value
        app: App | None = ctx.find_object(App) if ctx else None
        try:
            moment = dt.datetime.fromisoformat(value)
        except ValueError:
            moment = None
        if moment is None or app is None or not 1980 <= moment.year < 2100:
            self.fail(f"{value!r} is not a moment such as 2026-03-11T10:00", param, ctx)
        return instant(moment if moment.tzinfo else moment.replace(tzinfo=app.zone))


@click.group(name="archive")
def command() -> None:
    """Import, look up and export the archive (档案): the network, terminals, meters, customers."""


@command.command(name="import")
@click.argument("path", type=click.Path(path_type=Path))
@click.option(
    "--from",
    "source",
    type=click.Choice(["marketing", "headend"]),
    help="Whose data these are: what the other system leads is left alone.",
)
@click.option("--dry-run", is_flag=True, help="Show what would change, change nothing.")
@json_option
@pass_app
def import_(app: App, path: Path, source: Any, dry_run: bool, as_json: bool) -> None:
    """Import an archive: all or nothing.

    PATH is a folder of CSV files, or one file. A workbook (.xlsx) has a sheet of each name, a .json a list. Any of them may be absent:
    organisations, substations, buses, lines, transformers, areas, terminals, sims, points, meters, ratios, roles, customers.

    The marketing system (营销系统) leads customers, points, CT/PT and tariff; the head-end leads terminals, SIMs, addresses, point numbers
    (测量点号) and passwords. Without --from all of it is taken.
    """
    try:
        summary = archive.load(
            app.conn, path, zone=app.zone, tariffs=set(tariffs.load(app.conn)), source=source, dry_run=dry_run
        )
    except ArchiveError as error:
        if as_json:
            print_json({"errors": [asdict(c) for c in error.complaints]})
        for complaint in error.complaints:
            click.echo(str(complaint), err=True)
        raise
    app.conn.commit()
    # what has been done needs no list; what was not done does
    told = [change for change in summary.changes if dry_run or change.what == "left alone"]
    if as_json:
        print_json(_said(summary, told, dry_run))
        return
    app.show(
        f"archive {'checked, nothing changed' if dry_run else 'imported'} from {path}",
        ("", ">new", ">changed", ">ended", ">unchanged", ">left alone"),
        [
            (kind, summary.new[kind], summary.changed[kind], summary.ended[kind], summary.unchanged[kind], summary.left_alone[kind])
            for kind in summary.new
        ],
    )  # fmt: skip
    if told:
        app.show(
            "what would change" if dry_run else "left alone",
            ("~what", "~code", "~was → is" if dry_run else "~kept → said"),
            [(f"{c.kind}: {c.what}", c.code, _cells(c)) for c in told[:MOST_CHANGES]],
            f"and {len(told) - MOST_CHANGES} more: --json has them all" if len(told) > MOST_CHANGES else "",
        )


def _said(summary: Summary, told: Iterable[Change], dry_run: bool) -> dict[str, Any]:
    counts = {name: getattr(summary, name) for name in ("new", "changed", "ended", "unchanged", "left_alone")}
    changes = [
        {
            "kind": c.kind, "code": c.code, "what": c.what, "file": c.spot.file, "at": str(c.spot), "why": c.why,
            "cells": {name: list(pair) for name, pair in c.shown().items()},
        }
        for c in told
    ]  # fmt: skip
    return {"dry_run": dry_run, **counts, "changes": changes}


def _cells(change: Change) -> str:
    if change.why:
        return change.why
    shown = change.shown().items()
    if change.what == "new":
        return ", ".join(f"{name} {new}" for name, (_, new) in shown if new)
    return ", ".join(f"{name} {old or '–'} → {new or '–'}" for name, (old, new) in shown)


@command.command(name="list")
@click.argument("what", type=click.Choice(LISTED), default="terminals")
@click.option(
    "--at", type=Instant(), help="As it was (or will be) then, such as 2026-03-11T10:00; now if not given."
)
@json_option
@pass_app
def list_(app: App, what: str, at: np.datetime64 | None, as_json: bool) -> None:
    """List what is in the archive."""
    rows = archive.listing(app.conn, what, app.clock.now() if at is None else at)
    if as_json:
        print_json(rows)
        return
    columns, row = VIEWS[what] if what in VIEWS else _plain(what)
    app.show(f"{len(rows)} {what}", columns, [row(app, r) for r in rows])


@command.command()
@click.argument("code")
@json_option
@pass_app
def show(app: App, code: str, as_json: bool) -> None:
    """Show one thing with its past: what hung where from when to when. CODE is any code, asset or customer number."""
    found = archive.history(app.conn, code)
    if as_json:
        print_json([asdict(history) for history in found])
        return
    for history in found:
        _print_history(app, history)


def _print_history(app: App, history: History) -> None:
    facts = ", ".join(f"{name} {value}" for name, value in history.facts.items() if value)
    app.show(
        f"{history.kind}: {history.code}" + (f" ({facts})" if facts else ""),
        ("from", "to", "what", "~"),
        [
            (
                _day(app, entry.start), _day(app, entry.end), entry.what,
                ", ".join(f"{name} {value}" for name, value in entry.cells.items()),
            )
            for entry in history.entries
        ],
    )  # fmt: skip


def _day(app: App, when: dt.datetime | None) -> str:
    if when is not None and when.astimezone(app.zone).year <= 1980:
        return "ever"  # what the import puts where no date was given
    return app.local(when, "%Y-%m-%d %H:%M")


@command.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--at", type=Instant(), help="As it was then; now if not given.")
@click.option("--reveal", is_flag=True, help="With the meters' passwords.")
@json_option
@pass_app
def export(app: App, path: Path, at: np.datetime64 | None, reveal: bool, as_json: bool) -> None:
    """Write what is there to PATH: a .xlsx, a .json or a folder of CSV files, which import again and change nothing."""
    now = app.clock.now() if at is None else at
    counts = archive.export(app.conn, path, now=now, zone=app.zone, reveal=reveal)
    app.conn.commit()
    if as_json:
        print_json({"path": str(path), "rows": counts})
        return
    app.show(f"archive exported to {path}", ("", ">rows"), list(counts.items()))


def _plain(what: str) -> tuple[tuple[str, ...], Callable[[App, dict[str, Any]], tuple[Any, ...]]]:
    """A kind shown as its file has it."""
    kind = archive.KINDS[what]
    names = [column.name for column in kind.columns]

    def row(app: App, r: dict[str, Any]) -> tuple[Any, ...]:
        return tuple(_day(app, r[n]) if n in ("from", "to") and r[n] else r[n] for n in names)

    return tuple(f"~{name}" for name in names), row


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

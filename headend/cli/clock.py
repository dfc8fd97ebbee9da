"""`headend clock`: how far the clocks of meters and terminals are off, how fast they gain, and whether they are set."""

from __future__ import annotations

from typing import Any

import rich_click as click

from headend import timesync
from headend.cli.common import App, json_option, pass_app, print_json
from headend.control.clock_policy import Rules
from headend.store import clocks
from headend.store.coverage import UnknownMeter
from protocols.localtime import as_datetime

#: headings of clocks.BANDS and what is beyond
_BANDS = (*(f"≤ {band:.0f} s" for band in clocks.BANDS), f"> {clocks.BANDS[-1]:.0f} s")


@click.group(name="clock")
def command() -> None:
    """Clocks as data (时钟): offsets, drift, and the policy by which they are set (校时)."""


@command.command()
@click.option(
    "--by", type=click.Choice(["all", "area", "terminal"]), default="all", help="One line for each of these."
)
@json_option
@pass_app
def fleet(app: App, by: str, as_json: bool) -> None:
    """How many meters are how far off."""
    rows = clocks.spread(app.conn, as_datetime(app.clock.now()), None if by == "all" else by)
    if as_json:
        print_json([{**row, "bands": list(clocks.BANDS)} for row in rows])
        return
    app.show(
        "meters by how far their clocks are off",
        (by, ">meters", *(f">{band}" for band in _BANDS), ">never read", ">median s", ">worst s", ">median s/day"),
        [
            (
                row["name"], row["meters"], *row["within"], row["never"], _seconds(row["median"]), _seconds(row["worst"]),
                _seconds(row["drift"], 2),
            )
            for row in rows
        ],
    )  # fmt: skip


@command.command(name="list")
@click.option("--terminal", help="Only meters behind this one.")
@click.option("--limit", type=click.IntRange(1, clocks.PAGE), default=50, show_default=True, help="How many.")
@json_option
@pass_app
def list_(app: App, terminal: str | None, limit: int, as_json: bool) -> None:
    """Meters, those furthest off first."""
    rows = clocks.meters(app.conn, as_datetime(app.clock.now()), terminal=terminal, limit=limit)
    if as_json:
        print_json(rows)
        return
    app.show(
        "clocks of meters",
        ("meter", "terminal", "area", *_HEAD),
        [(row["asset"], row["terminal"], row["area"] or "–", *_cells(app, row)) for row in rows],
    )


@command.command()
@json_option
@pass_app
def terminals(app: App, as_json: bool) -> None:
    """Terminals that have a clock of their own, those furthest off first."""
    rows = clocks.terminals(app.conn)
    if as_json:
        print_json(rows)
        return
    app.show("clocks of terminals", ("terminal", *_HEAD), [(r["terminal"], *_cells(app, r)) for r in rows])


@command.command()
@click.argument("meter")
@json_option
@pass_app
def show(app: App, meter: str, as_json: bool) -> None:
    """METER's clock: its offsets since it was set last."""
    row = clocks.meter(app.conn, meter, as_datetime(app.clock.now()))
    if row is None:
        raise UnknownMeter(meter)
    if as_json:
        print_json(row)
        return
    app.show(
        f"clock of meter {meter}",
        ("terminal", "area", *_HEAD),
        [(row["terminal"], row["area"] or "–", *_cells(app, row))],
    )
    app.show(
        "read since it was set last",
        ("when", ">ahead s"),
        [
            (app.local(at), _seconds(ahead))
            for at, ahead in zip(row["ats"] or (), row["aheads"] or (), strict=True)
        ],
    )


@command.command()
@click.argument("changes", nargs=-1, metavar="[NAME=VALUE]...")
@json_option
@pass_app
def rules(app: App, changes: tuple[str, ...], as_json: bool) -> None:
    """Show by which rules clocks are set, or change some: enabled=on meter_from=60 quiet=300.

    Off by default: look at `headend clock fleet` and at this machine's own clock first."""
    if changes:
        clocks.set_rules(app.conn, dict(_pair(change) for change in changes))
        app.conn.commit()
    current: Rules = clocks.rules(app.conn)
    told = {name: getattr(current, name) for name in Rules.__slots__}
    ours = timesync.master(app.clock)
    if as_json:
        print_json(
            {**told, "master": {"synchronised": ours.synchronised, "error": ours.error, "why": ours.why}}
        )
        return
    state = {True: "synchronised", False: "NOT synchronised", None: "nobody can say"}[ours.synchronised]
    app.show(
        "rules for setting clocks",
        ("rule", "value"),
        list(told.items()),
        note=f"this machine's clock: {state}: {ours.why}",
    )


def _pair(change: str) -> tuple[str, str]:
    name, sign, value = change.partition("=")
    if not sign:
        raise click.UsageError(f"{change!r} is not NAME=VALUE")
    return name, value


_HEAD = (">ahead s", ">± s", ">s/day", "read", "set")


def _cells(app: App, row: dict[str, Any]) -> tuple[str, ...]:
    return (
        _seconds(row["ahead"]), _seconds(row["uncertainty"]), _seconds(row["drift"], 2), app.local(row["read_at"]), app.local(row["set_at"])
    )  # fmt: skip


def _seconds(value: float | None, digits: int = 1) -> str:
    return "–" if value is None else f"{value:.{digits}f}"

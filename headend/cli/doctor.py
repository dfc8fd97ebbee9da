"""`headend doctor`: is everything as it should be, and what to do where it is not."""

from __future__ import annotations

import datetime as dt
import os
import platform
import shutil
from collections.abc import Callable

import rich_click as click
from click.exceptions import Exit
from rich.text import Text

from headend import __version__
from headend.cli.common import App, json_option, pass_app, print_json
from headend.clock import SystemClock
from headend.store import calendar, fleet
from headend.store.db import StoreError
from headend.store.migrate import detect


@click.command(name="doctor")
@json_option
@pass_app
def command(app: App, as_json: bool) -> None:
    """Check the database, the schema, the calendar, the clock, the disk and the collectors. Exit code 1 if something is wrong."""
    checks: list[tuple[str, str, str]] = [
        ("ok", "program", f"headend {__version__}, Python {platform.python_version()}")
    ]
    for name, look in (
        ("database", _database),
        ("collectors", _collectors),
        ("calendar", _calendar),
        ("clock", _clock),
        ("disk", _disk),
    ):
        checks.append(_checked(app, name, look))
        if checks[-1][:2] == ("wrong", "database"):
            break  # the others ask it
    bad = any(state == "wrong" for state, _, _ in checks)
    if as_json:
        print_json([{"state": s, "what": w, "detail": d} for s, w, d in checks])
    else:
        app.show("doctor", ("", "what", "~finding"), [(_mark(s), w, d) for s, w, d in checks])
    if bad:
        raise Exit(1)


def _mark(state: str) -> Text:
    return Text(state, {"ok": "green", "note": "yellow", "wrong": "red"}[state])


def _checked(app: App, name: str, look: Callable[[App], tuple[str, str]]) -> tuple[str, str, str]:
    try:
        state, detail = look(app)
    except StoreError as error:
        state, detail = "wrong", str(error)
    return state, name, detail


def _database(app: App) -> tuple[str, str]:
    server = detect(app.conn)
    where = "HEADEND_DSN" if app.settings.dsn else f"embedded in {app.settings.home.resolve()}"
    scale = (
        f"TimescaleDB {server.timescaledb} ({server.licence})"
        if server.timescaledb
        else "without TimescaleDB: native partitions"
    )
    return "ok", f"PostgreSQL {server.postgres}, {scale}; {where}"


def _collectors(app: App) -> tuple[str, str]:
    rows = fleet.owners(app.conn)
    if not rows:
        return "note", "no collector holds a terminal; `headend collect` starts one"
    return "ok", "; ".join(f"{r['owner']} holds {r['terminals']} terminals" for r in rows)


def _calendar(app: App) -> tuple[str, str]:
    last = calendar.last(app.conn)
    if last is None:
        return "wrong", "empty: every trip is refused; `headend init` fills it"
    today = app.today()
    if last < today:
        return "wrong", f"ends {last}: every trip is refused since; update the calendar"
    if (today.month, today.day) >= (11, 1) and last < dt.date(today.year + 1, 12, 31):
        return "note", f"ends {last}; next year is missing: trips will be refused from then on"
    return "ok", f"known until {last}"


def _clock(app: App) -> tuple[str, str]:
    if isinstance(app.clock, SystemClock):
        return "ok", f"system time, {app.local_now():%Y-%m-%d %H:%M:%S} {app.zone}"
    return "note", f"not system time: {app.settings.clock}, now {app.local_now():%Y-%m-%d %H:%M:%S}"


def _disk(app: App) -> tuple[str, str]:
    home = app.settings.home.resolve()
    place = home if home.exists() else home.parent
    free = shutil.disk_usage(place).free / 2**30
    return ("ok" if free > 5 else "wrong"), f"{free:.0f} GiB free at {place}" + (
        "" if os.access(place, os.W_OK) else ", not writable"
    )

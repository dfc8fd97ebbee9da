"""`headend terminal`: how far terminals are commissioned, what they hold, and writing to them: approved, capped, read back."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rich_click as click
from click.exceptions import Exit

from headend.cli import orders as shown
from headend.cli.common import App, json_option, pass_app, person_option, print_json
from headend.cli.orders import finish, moved
from headend.collector import wanted
from headend.collector.books import Item, items_of
from headend.control.commissioning import ZH
from headend.store import archive as archives
from headend.store import callers, orders, stations
from headend.store.db import StoreError
from headend.store.orders import Writing
from protocols.gdw376.spelling import plain
from terminals.drivers.entry import COMPARED, Change, Difference, Entry, erasing
from terminals.drivers.settings376 import changed, told

#: seconds that a write waits for its second person, and then for its terminal
VALID = np.timedelta64(8, "h")
#: differences or callers shown for people before the rest is only counted; --json has them all
MOST = 200

yes_option = click.option("--yes", is_flag=True, help="Ask for it. Without: show what would be written.")
reason_option = click.option(
    "--reason", default="", help="Why; kept with the order for ever. Needed with --yes."
)


@click.group(name="terminal")
def command() -> None:
    """Commission terminals (终端投运): parameters, archive, tasks, first data. What is written needs a second person, and is read back."""


@command.command(name="list")
@json_option
@pass_app
def list_(app: App, as_json: bool) -> None:
    """Terminals, and how far each is on its way to data."""
    rows = stations.listing(app.conn, app.clock.now())
    if as_json:
        print_json(rows)
        return
    app.show(
        f"{len(rows)} terminals",
        ("terminal", "~name", "protocol", "stage", ">meters", ">with data", "archive written", "last heard"),
        [
            (
                r["code"], r["name"], r["protocol"], _stage(r), r["meters"], r["bringing"], app.local(r["archive"], "%Y-%m-%d %H:%M"),
                "now" if r["online"] else app.local(r["last_seen"], "%m-%d %H:%M"),
            )
            for r in rows
        ],
    )  # fmt: skip


@command.command(name="callers")
@json_option
@pass_app
def callers_(app: App, as_json: bool) -> None:
    """Who dials in and is not served: nobody has put it into the archive, or it speaks otherwise than the archive says.

    To serve one, import a terminal with link dial-in and its identity as login."""
    rows = callers.listing(app.conn)
    if as_json:
        print_json(rows)
        return
    app.show(
        f"{len(rows)} callers that are not served" + (f", the latest {MOST}" if len(rows) > MOST else ""),
        ("identity", "speaks", "~why", "from", "first", "last", ">attempts"),
        [
            (
                r["identity"], r["kind"] or "–", r["why"], r["peer"], app.local(r["first_seen"], "%m-%d %H:%M"),
                app.local(r["last_seen"], "%m-%d %H:%M"), r["attempts"],
            )
            for r in rows[:MOST]
        ],
    )  # fmt: skip


def _stage(row: dict[str, Any]) -> str:
    return f"{row['stage']} {ZH[row['stage']]}"


@command.command()
@click.argument("code")
@json_option
@pass_app
def show(app: App, code: str, as_json: bool) -> None:
    """One terminal: its stage, what was written and read back when, and its newest orders."""
    (row,) = stations.listing(app.conn, app.clock.now(), code)
    recent = orders.listing(app.conn, limit=10, terminal=code)
    if as_json:
        print_json({**row, "orders": recent})
        return
    app.show(
        f"terminal {code}: {_stage(row)}",
        ("", "~"),
        [
            ("name", row["name"]), ("protocol", row["protocol"]), ("address", row["login"] or "–"),
            ("last heard", "now" if row["online"] else app.local(row["last_seen"])),
            *((f"{name} written", app.local(row[name], "%Y-%m-%d %H:%M")) for name in ("parameters", "archive", "tasks")),
            ("meters with data", f"{row['bringing']} of {row['meters']}"),
            ("newest data", app.local(row["newest"], "%Y-%m-%d %H:%M")),
        ],
    )  # fmt: skip
    if recent:
        app.show(
            "its newest orders",
            (">order", "what", "state", "~by", "~outcome"),
            [
                (r["order_id"], f"{r['kind']} {r['action']}", r["state"], r["requested_by"], r["outcome"] or r["reason"])
                for r in recent
            ],
        )  # fmt: skip


# --- archive -----------------------------------------------------------------------------------------------


@command.group(name="archive")
def archive() -> None:
    """The meters that a terminal knows (终端档案), compared with ours."""


@archive.command(name="compare")
@click.argument("code")
@person_option
@shown.wait_option
@json_option
@pass_app
def compare(app: App, code: str, person: str, wait: float, as_json: bool) -> None:
    """Read the archive that terminal CODE holds, and compare it with ours. Exit code 1 if they differ."""
    found, denied = _difference(app, code, person, wait)
    _tell(app, code, found, denied, as_json)
    if found.changes or found.superfluous or found.unplaced:
        raise Exit(1)


@archive.command(name="write")
@click.argument("code")
@click.option(
    "--erase",
    multiple=True,
    type=int,
    metavar="NUMBER",
    help="Also take out this superfluous entry; may be given again.",
)
@yes_option
@reason_option
@person_option
@shown.wait_option
@json_option
@pass_app
def write(
    app: App,
    code: str,
    erase: tuple[int, ...],
    yes: bool,
    reason: str,
    person: str,
    wait: float,
    as_json: bool,
) -> None:
    """Make the archive that terminal CODE holds ours: what is missing and what differs. Without --yes nothing is asked for.

    Nothing is erased but the entries named by --erase. The order waits for another person's `headend terminal approve`; if the terminal
    then holds anything else than what is shown here, nothing is written.
    """
    found, denied = _difference(app, code, person, wait)
    try:
        changes = (*erasing(found.superfluous, erase), *found.changes)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    if not yes:
        _tell(app, code, found, denied, as_json, erase)
        return
    if not changes:
        raise StoreError(f"terminal {code} holds what our archive wants: there is nothing to write")
    replaced = sum(change.was is not None for change in changes)
    writing = Writing(_request(items_of(changes)), len(changes) - replaced, replaced)
    _ask(app, code, "archive", writing, reason, person, as_json)


def follow(app: App, code: str, meter: str, reason: str, person: str, wait: float) -> None:
    """Ask that the terminal's own archive follows ours for one meter; said on standard error where it cannot be asked now."""
    try:
        found, _ = _difference(app, code, person, wait)
        changes = [change for change in found.changes if change.meter == meter]
        if not changes:
            click.echo(f"terminal {code} knows meter {meter} already", err=True)
            return
        replaced = sum(change.was is not None for change in changes)
        writing = Writing(_request(items_of(changes)), len(changes) - replaced, replaced)
        now = app.clock.now()
        order_id = orders.request(
            app.conn, kind="archive", action="write", terminal=code, reason=reason, who=person, now=now, expires=now + VALID,
            writing=writing,
        )  # fmt: skip
    except StoreError as error:
        click.echo(
            f"the exchange is recorded; terminal {code} is not told yet: {error}; then `headend terminal archive write {code}`",
            err=True,
        )
        return
    click.echo(
        f"order {order_id} tells terminal {code}; it waits for another person's `headend terminal approve {order_id}`",
        err=True,
    )


def _difference(app: App, code: str, person: str, wait: float) -> tuple[Difference, list[list[int]]]:
    (row,) = stations.listing(app.conn, app.clock.now(), code)
    order = _read(app, code, "archive", {}, person, wait)
    installed = archives.installed(app.conn, app.clock.now(), [row["terminal_id"]])
    return wanted.compare(row["protocol"], order["result"]["held"], installed), order["result"]["denied"]


def _tell(
    app: App, code: str, found: Difference, denied: list[list[int]], as_json: bool, erase: Sequence[int] = ()
) -> None:
    if as_json:
        print_json(
            {
                "terminal": code, "same": found.same, "denied": denied,
                "missing": [_said(change) for change in found.missing], "different": [_said(change) for change in found.different],
                "superfluous": [entry.document() for entry in found.superfluous], "erase": list(erase),
                "unplaced": [wish.meter for wish in found.unplaced],
            }
        )  # fmt: skip
        return
    rows = [
        *(("different", c.number, c.meter, _cells(c)) for c in found.different),
        *(("missing", c.number, c.meter, _row(c.becomes)) for c in found.missing),
        *(
            ("erase" if e.number in erase else "superfluous", e.number, "–", _row(e))
            for e in found.superfluous
        ),
        *(("no point number", "–", wish.meter, "give it a pn in the archive") for wish in found.unplaced),
    ]
    note = f"and {len(rows) - MOST} more: --json has them all" if len(rows) > MOST else ""
    if denied:
        spans = ", ".join(f"{first}–{last}" for first, last in denied[:5])
        note += f"{'; ' if note else ''}entries {spans}{' …' if len(denied) > 5 else ''} were denied: taken for empty"
    app.show(
        f"terminal {code}: {found.same} entries as they should be, {len(rows)} not",
        ("", ">entry", "meter", "~terminal has → ours"),
        rows[:MOST],
        note,
    )


def _said(change: Change) -> dict[str, Any]:
    return {
        "number": change.number, "meter": change.meter, "was": change.was.document() if change.was else None,
        "becomes": change.becomes.document() if change.becomes else None,
    }  # fmt: skip


def _cells(change: Change) -> str:
    return ", ".join(f"{name} {was} → {new}" for name, (was, new) in change.cells.items())


def _row(entry: Entry | None) -> str:
    names = ("point", *COMPARED)
    return ", ".join(f"{name} {getattr(entry, name)}" for name in names) if entry else ""


# --- parameters and tasks ------------------------------------------------------------------------------------


@command.command()
@click.argument("code")
@click.argument("file", required=False, type=click.Path(path_type=Path, dir_okay=False, exists=True))
@yes_option
@reason_option
@person_option
@shown.wait_option
@json_option
@pass_app
def parameters(
    app: App, code: str, file: Path | None, yes: bool, reason: str, person: str, wait: float, as_json: bool
) -> None:
    """Read the parameters of a Q/GDW 376.1 terminal; with FILE, a TOML of what they shall be, show or write what differs.

    [F3] "main address" = "10.1.2.3" changes one field and leaves the others; values = […] says all fields in order, where the terminal has
    none yet. F1 communication, F3 master address, F9 events, F33 reading; F65.n to F68.n are tasks.
    """
    _settings(app, code, "parameters", file, yes, reason, person, wait, as_json)


@command.command()
@click.argument("code")
@click.argument("file", required=False, type=click.Path(path_type=Path, dir_okay=False, exists=True))
@click.option(
    "--replace",
    is_flag=True,
    help="Also overwrite schemes and tasks of these numbers that say something else.",
)
@yes_option
@reason_option
@person_option
@shown.wait_option
@json_option
@pass_app
def tasks(
    app: App, code: str, file: Path | None, replace: bool, yes: bool, reason: str, person: str, wait: float, as_json: bool
) -> None:  # fmt: skip
    """Compare a terminal's tasks with what the head-end reads, and write what is missing.

    A DL/T 698.45 terminal collects nothing without: schemes (6014) and tasks (6012) for quarter-hours, days and months. A Q/GDW 376.1
    terminal needs none; its reporting tasks are read, and written from FILE as of `parameters`.
    """
    _settings(app, code, "tasks", file, yes, reason, person, wait, as_json, replace=replace)


def _settings(
    app: App,
    code: str,
    kind: str,
    file: Path | None,
    yes: bool,
    reason: str,
    person: str,
    wait: float,
    as_json: bool,
    *,
    replace: bool = True,
) -> None:
    (row,) = stations.listing(app.conn, app.clock.now(), code)
    modern = row["protocol"] == "dlt698"
    if modern and (kind == "parameters" or file is not None):
        raise click.UsageError(
            "a DL/T 698.45 terminal has no such parameters here, and its tasks follow from what is read"
        )
    said = _file(file) if file else {}
    request = {"keys": list(said)} if said else {}
    held = _read(app, code, kind, request, person, wait)["result"]["held"]
    items = wanted.tasks(held, app.local_now().replace(tzinfo=None)) if modern else _changed(said, held)
    if not yes:
        _tell_settings(app, code, held, items, as_json)
        return
    if not items:
        raise StoreError(f"terminal {code} has it so already: there is nothing to write")
    other = [item.key for item in items if item.was is not None]
    if modern and other and not replace:
        raise StoreError(
            f"{', '.join(other)} of terminal {code} say something else already; --replace overwrites them"
        )
    replaced = len(other)
    _ask(app, code, kind, Writing(_request(items), len(items) - replaced, replaced), reason, person, as_json)


def _file(path: Path) -> dict[str, Any]:
    """Settings by name, each a table of fields. StoreError: it is no such file."""
    try:
        said = tomllib.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise StoreError(f"{path}: {error}") from None
    loose = [name for name, fields in said.items() if not isinstance(fields, dict)]
    if loose:
        raise StoreError(f"{path}: {loose[0]!r} stands in no table; a setting is [F3] with its fields below")
    return said


def _changed(said: dict[str, Any], held: dict[str, str]) -> list[Item]:
    items = []
    for name, fields in said.items():
        was = held.get(name)
        becomes = changed(name, None if was is None else bytes.fromhex(was), fields).hex()
        if becomes != was:
            items.append(Item(name, was, becomes))
    return items


def _tell_settings(app: App, code: str, held: dict[str, str], items: Sequence[Item], as_json: bool) -> None:
    if as_json:
        print_json({"terminal": code, "held": held, "items": [item.document() for item in items]})
        return
    new = {item.key: item.becomes for item in items}
    rows = [
        (name, _spelled(name, held.get(name)), _spelled(name, new.get(name)))
        for name in sorted(held.keys() | new)
    ]
    app.show(f"terminal {code}: {len(items)} settings would be written", ("setting", "~is", "~becomes"), rows)


def _spelled(name: str, raw: str | None) -> str:
    if raw is None:
        return "–"
    if not name.startswith("F"):
        return raw
    return ", ".join(f"{value.name} {plain(value)}" for value in told(name, bytes.fromhex(raw)))


# --- orders ----------------------------------------------------------------------------------------------------


command.add_command(shown.approve)
command.add_command(shown.cancel)
command.add_command(shown.one, "order")


def _read(
    app: App, code: str, kind: str, request: dict[str, Any], person: str, wait: float
) -> dict[str, Any]:
    """Order a read of what the terminal holds and wait for it: the verified order."""
    now = app.clock.now()
    order_id = orders.request(
        app.conn, kind=kind, action="read", terminal=code, reason="read at the command line", who=person, now=now,
        expires=now + np.timedelta64(600, "s"), priority=3, writing=Writing(request),
    )  # fmt: skip
    order = shown.wait_for(app, order_id, wait)
    if order["state"] == "verified":
        return order
    if order["is_open"]:
        raise StoreError(
            f"no answer within {wait:.0f} s: order {order_id} is {order['state']}; is a collector running, and is the terminal online? "
            f"`headend terminal show {code}`"
        )
    raise StoreError(f"order {order_id} {order['state']}: {order['outcome']}")


def _request(items: Sequence[Item]) -> dict[str, Any]:
    return {"items": [item.document() for item in items]}


def _ask(app: App, code: str, kind: str, writing: Writing, reason: str, person: str, as_json: bool) -> None:
    if not reason:
        raise click.UsageError("--yes needs --reason: it is kept with the order")
    now = app.clock.now()
    order_id = moved(
        lambda: orders.request(
            app.conn, kind=kind, action="write", terminal=code, reason=reason, who=person, now=now, expires=now + VALID,
            writing=writing,
        ),
        f"write of {kind} to terminal {code}",
    )  # fmt: skip
    finish(app, orders.get(app.conn, order_id), as_json)

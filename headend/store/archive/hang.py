"""A meter on its point behind its terminal: hung, exchanged (换表), moved, another CT or PT (互感器更换), taken off."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable
from typing import Any

from headend.store.archive import roles, things
from headend.store.archive.cells import OWED
from headend.store.archive.changes import Cells, differences
from headend.store.archive.complaint import Spot
from headend.store.archive.desk import Desk
from headend.store.archive.kinds import KINDS
from headend.store.archive.rows import Row
from headend.store.archive.spans import Span, TooEarly, step
from headend.store.archive.stored import Thing

METERS = KINDS["meters"]
#: the columns of an installation
PLACE = tuple(
    METERS.column(name) for name in ("point", "terminal", "address", "pn", "ct", "pt", "password", "plans")
)

#: points of a terminal (Q/GDW 376.1: DA1 DA2)
LAST_POINT = 2040


def _dlt645(text: str) -> str:
    return "" if re.fullmatch(r"[0-9]{12}", text) else "is not 12 digits (DL/T 645)"


_ADDRESSES: dict[str, Callable[[str], str]] = {
    "dlt645": _dlt645,
    "dlt645-1997": _dlt645,
    # the terminal knows the meter by number or by address; relay and clock commands go through it to the meter's own address
    "gdw376": _dlt645,
    "dlt698": _dlt645,
    "dlms": lambda text: (
        ""
        if re.fullmatch(r"[0-9]{1,5}", text) and 0 < int(text) < 65536
        else "is not a wrapper port from 1 to 65535 (DLMS)"
    ),
    "dlms-hdlc": lambda text: (
        ""
        if re.fullmatch(r"[0-9]{1,5}(/[0-9]{1,5})?", text)
        else "is not LOGICAL or LOGICAL/PHYSICAL, such as 1/17 (DLMS over HDLC)"
    ),
    "modbus-tcp": lambda text: _modbus(text, 255),
    "modbus-rtu": lambda text: _modbus(text, 247),
    # a level of a topic, without the wildcards (MQTT 5.0, clause 4.7)
    "mqtt": lambda text: (
        "" if re.fullmatch(r"[^/+#\s]{1,80}", text) else "is no level of a topic: no / + # or blanks (MQTT)"
    ),
}


def _modbus(text: str, last: int) -> str:
    """UNIT@MODEL, and UNIT:COIL where a coil switches the supply; which models there are, the driver says: a map may be added without
    touching the archive."""
    found = re.fullmatch(r"([0-9]{1,3})@[a-z0-9-]{1,40}(?:\+([0-9]{1,3}):([0-9]{1,5})(?:/trips)?)?", text)
    if (
        found
        and all(1 <= int(unit) <= last for unit in found.group(1, 2) if unit)
        and int(found[3] or 0) <= 0xFFFF
    ):
        return ""
    return f"is not UNIT@MODEL, nor UNIT@MODEL+UNIT:COIL[/trips] with a contactor; units 1 to {last} (Modbus)"


def meters(desk: Desk, rows: list[Row]) -> None:
    """meters.csv: the meter, its point, the point's role in its area, and where the meter hangs."""
    points: dict[str, Spot] = {}
    said = {row.cells["meter"]: row for row in rows}
    # those that are taken off come first: others may be hung in their places
    for row in sorted(rows, key=lambda row: row.cells.get("to") is None):
        point, leaves = row.cells.get("point"), row.cells.get("to") is not None
        if point is not None and not leaves and points.setdefault(point, row.spot) != row.spot:
            desk.complaints.add(row.spot, "point", f"{point!r} has a meter in {points[point]} already")
            continue
        _meter(desk, row)
    _tell_ended(desk, said)


def _meter(desk: Desk, row: Row) -> None:
    settled = things.settle(desk, METERS, row)
    if settled is None:
        return
    meter, cells, left = settled
    if desk.leads("marketing"):
        _point(desk, row)
    role, alone = roles.in_area(desk, row)
    placed, more = _place(desk, meter.code, row)
    desk.tally.row(
        "meters", meter.code, row.spot, new=meter.new, cells=cells | role | placed, left=left | alone | more
    )


def _point(desk: Desk, row: Row) -> None:
    """A point comes into being with its first meter."""
    code = row.cells["point"]
    if code not in desk.stored.things["point"]:
        blank = {column.name: column.blank for column in KINDS["points"].plain}
        desk.stored.things["point"][code] = Thing(code, blank, new=True)
    desk.stored.known["point"].add(code)
    # so that nobody asks when an account there begins because this row is refused
    desk.stored.begun.setdefault(code, row.cells["from"])


def _place(desk: Desk, asset: str, row: Row) -> tuple[Cells, Cells]:
    """Where the meter hangs from now on: (what changes, what is left alone)."""
    latest = desk.stored.hung.get(asset)
    end = row.cells.get("to")
    # a stay that is over is compared with what it was
    held = latest.values if latest is not None and (latest.open or latest.end == end) else None
    values, left = desk.judge(PLACE, held, row)
    if held is None:
        values["password"], values["plans"] = values["password"] or {}, values["plans"] or OWED
        missing = [
            c.name
            for c in PLACE
            if c.name in ("point", "terminal", "address", "ct", "pt") and values[c.name] is None
        ]
        for name in missing:
            desk.complaints.add(row.spot, name, "is missing; a meter that is hung needs it")
        if missing:
            return {}, left
    if not _route_fits(desk, row, values):
        return {}, left
    if end is not None and latest is not None and latest.open and not desk.leads("marketing"):
        end, left["to"] = None, (None, end)
    try:
        todo = step(latest, values, None, row.cells["from"], end, desk.ever)
        if todo.begin is not None:
            _hang(desk, Span(asset, values, todo.begin, end), latest)
    except TooEarly as error:
        there = desk.stored.on.get(values["point"])
        stands = max([error.held, *_against(row.cells["from"], there)], key=lambda span: span.start)
        desk.too_early(row, f"meter {stands.of} is installed at {stands.values['point']}", stands)
        return {}, left
    if todo.begin is None and todo.end_at is not None and latest is not None:
        desk.end("installation", latest, todo.end_at)
        return {"to": (None, todo.end_at)}, left
    changed = differences(held or {}, values, [column.name for column in PLACE]) if todo.begin else {}
    return changed, left


def _hang(desk: Desk, span: Span, latest: Span | None) -> None:
    """What hung there ends. TooEarly if another meter's stay on the point stands against it."""
    there = desk.stored.on.get(span.values["point"])
    against = _against(span.start, latest, there)
    if against:
        raise TooEarly(max(against, key=lambda held: held.start))
    for held in (latest, there):
        if held is not None and held.open:
            desk.end("installation", held, span.start)
    desk.begin("installation", span)
    desk.stored.hung[span.of] = desk.stored.on[span.values["point"]] = span
    begun = desk.stored.begun.get(span.values["point"])
    desk.stored.begun[span.values["point"]] = min(span.start, begun) if begun else span.start


def _against(start: dt.datetime, *spans: Span | None) -> list[Span]:
    """Those that hold at `start` since then or later, or until later: a span from `start` on would rewrite them."""
    return [
        span
        for span in spans
        if span is not None and (start <= span.start or (span.end is not None and start < span.end))
    ]


def _route_fits(desk: Desk, row: Row, values: dict[str, Any]) -> bool:
    """The terminal is there, speaks the meter's protocol and can reach its address. Only what the row brings is looked at."""
    terminal, address = values["terminal"], values["address"]
    if terminal != row.cells.get("terminal") and address != row.cells.get("address"):
        return True
    protocols = desk.stored.protocols
    if terminal not in protocols:
        return terminal != row.cells.get("terminal") or desk.exists("terminal", terminal, row, "terminal")
    speaks = protocols[terminal]
    means = row.cells.get("protocol", speaks)
    if means != speaks:
        reason = f"{means} behind terminal {terminal}, which speaks {speaks}"
        desk.complaints.add(row.spot, "protocol", reason)
        return False
    why = _ADDRESSES[means](address)
    if why:
        desk.complaints.add(row.spot, "address", f"{address!r} {why}")
    lacks = means == "gdw376" and not 0 < (values["pn"] or 0) <= LAST_POINT
    if lacks:
        desk.complaints.add(
            row.spot, "pn", f"must be from 1 to {LAST_POINT}: a Q/GDW 376.1 terminal knows its meters by it"
        )
    return not why and not lacks


def _tell_ended(desk: Desk, said: dict[str, Row]) -> None:
    """Meters of which no row speaks, and whose places others have taken."""
    for held in desk.ended.get("installation", []):
        if held.end is not None and held.of not in said:
            by = desk.stored.on[held.values["point"]].of
            desk.tally.ended("meters", held.of, said[by].spot, held.end)


def ratios(desk: Desk, rows: list[Row]) -> None:
    """ratios.csv: another CT or PT before the same meter. The installation ends and goes on with them."""
    kind = KINDS["ratios"]
    columns = (kind.column("ct"), kind.column("pt"))
    for row in rows:
        point = row.cells["point"]
        if not desk.exists("point", point, row, "point"):
            continue
        latest = desk.stored.on.get(point)
        if latest is None or not latest.open:
            desk.complaints.add(
                row.spot, "point", f"no meter hangs at {point!r} whose CT and PT these could be"
            )
            continue
        wanted, left = desk.judge(columns, {"ct": latest.values["ct"], "pt": latest.values["pt"]}, row)
        values = latest.values | wanted
        cells = differences(latest.values, values, ("ct", "pt"))
        if cells:
            try:
                _hang(desk, Span(latest.of, values, row.cells["from"]), latest)
            except TooEarly as error:
                desk.too_early(row, f"meter {error.held.of} is installed at {point}", error.held)
                continue
        desk.tally.row("ratios", point, row.spot, new=False, cells=cells, left=left)


def coil(address: str | None) -> str | None:
    """The coil that a Modbus address names, however it is written."""
    found = re.search(r"@.*\+([0-9]+):([0-9]+)", address or "")
    return f"coil {int(found[1])}:{int(found[2])}" if found else None


def crossed(
    desk: Desk,
    taken: dict[tuple[str, Any], str],
    rows: list[Row],
    column: str,
    what: Callable[[Any], Any] = lambda value: value,
) -> None:
    """Two meters that answer to one address (or have one number) behind one terminal would be read as each other; `what`: two that have this of it in
    common.

    `taken`: (terminal, address) -> meter that has it in the store and keeps it."""
    said: dict[tuple[str, Any], Spot] = {}
    for row in rows:
        span = desk.stored.hung.get(row.cells["meter"])
        if span is None or not span.open or what(span.values[column]) is None:
            continue
        terminal, value = key = (span.values["terminal"], what(span.values[column]))
        if said.setdefault(key, row.spot) != row.spot:
            desk.complaints.add(
                row.spot, column, f"{value!r} behind {terminal} stands in {said[key]} already"
            )
        elif taken.get(key, span.of) != span.of:
            desk.complaints.add(
                row.spot, column, f"{value!r} behind {terminal} belongs to meter {taken[key]} in the store"
            )

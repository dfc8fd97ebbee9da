"""What a metering point is to a loss object (线损对象): supply, receive or auxiliary, from when to when."""

from __future__ import annotations

from headend.store.archive.changes import Cells
from headend.store.archive.desk import Desk
from headend.store.archive.rows import Row
from headend.store.archive.spans import Span, TooEarly, step
from headend.store.archive.stored import Object


def all_of(desk: Desk, rows: list[Row]) -> None:
    """roles.csv."""
    for row in rows:
        if _object_fits(desk, row):
            _role(desk, row)


def _object_fits(desk: Desk, row: Row) -> bool:
    kind, code, voltage = row.cells["kind"], row.cells["object"], row.cells.get("voltage_kv")
    fits = True
    if (kind == "voltage") != (voltage is not None):
        desk.complaints.add(row.spot, "voltage_kv", "is needed for a voltage level, and only there")
        fits = False
    table = "organisation" if kind == "voltage" else kind
    there = desk.exists(table, code, row, "object")
    return desk.exists("point", row.cells["point"], row, "point") and there and fits


def _role(desk: Desk, row: Row) -> None:
    point, role = row.cells["point"], row.cells["role"]
    key: Object = (row.cells["kind"], row.cells["object"], row.cells.get("voltage_kv"))
    name = f"{point} {key[0]} {key[1]}" + (f" {key[2]} kV" if key[2] is not None else "")
    held = desk.stored.roles.setdefault(point, {})
    latest = held.get(key)
    before = latest.values["role"] if latest is not None and latest.open else None
    if not desk.leads("marketing"):
        left: Cells = {"role": (before, role)} if before != role and not row.cells.get("to") else {}
        if before is None:
            desk.tally.refused("roles", name, row.spot, "not in the store; the marketing system leads")
        else:
            desk.tally.row("roles", name, row.spot, new=False, cells={}, left=left)
        return
    try:
        todo = step(latest, {"role": role}, None, row.cells["from"], row.cells.get("to"), desk.ever)
    except TooEarly as error:
        desk.too_early(row, f"point {point} is {error.held.values['role']} of {key[0]} {key[1]}", error.held)
        return
    cells: Cells = {}
    if todo.end_at is not None and latest is not None:
        desk.end("loss_role", latest, todo.end_at)
        cells = {"to": (None, todo.end_at)}
    if todo.begin is not None:
        _give(desk, point, key, Span(point, {"role": role}, todo.begin, row.cells.get("to")))
        cells = {"role": (before, role)}
    desk.tally.row("roles", name, row.spot, new=latest is None and bool(cells), cells=cells, left={})


def _give(desk: Desk, point: str, key: Object, span: Span) -> None:
    span.of = (point, *key)
    desk.begin("loss_role", span)
    desk.stored.roles.setdefault(point, {})[key] = span


def in_area(desk: Desk, row: Row) -> tuple[Cells, Cells]:
    """The point's own area and its role there, as meters.csv says them: (what changes, what is left alone).

    What the point was to another area before ends."""
    point, area, role = (row.cells.get(name) for name in ("point", "area", "role"))
    if (area is None) != (role is None):
        desk.complaints.add(
            row.spot, "role" if role is None else "area", "is empty; area and role go together"
        )
    if point is None or area is None or role is None:
        return {}, {}
    held = desk.stored.roles.setdefault(point, {})
    now = {key: span for key, span in held.items() if key[0] == "area" and span.open}
    key: Object = ("area", area, None)
    ending = [key] if key in now else list(now)
    was = (ending[0][1], now[ending[0]].values["role"]) if ending else (None, None)
    cells = {
        name: (old, new) for name, old, new in (("area", was[0], area), ("role", was[1], role)) if old != new
    }
    if not desk.leads("marketing"):
        return {}, cells
    if not cells or not desk.exists("area", area, row, "area"):
        return {}, {}
    if len(ending) > 1:
        areas = ", ".join(sorted(code for _, code, _ in now))
        reason = f"point {point} has roles in several areas ({areas}); say it in roles.csv"
        desk.complaints.add(row.spot, "area", reason)
        return {}, {}
    return (cells if _move(desk, row, key, [now[k] for k in ending]) else {}), {}


def _move(desk: Desk, row: Row, key: Object, ending: list[Span]) -> bool:
    """The point's role is another one from the row's `from` on; False, and a complaint, if a span stands against it."""
    point, start = row.cells["point"], row.cells["from"]
    before = desk.stored.roles[point].get(key)
    against = [
        span
        for span in (before, *ending)
        if span is not None and (start <= span.start or (span.end is not None and start < span.end))
    ]
    if against:
        desk.too_early(row, f"point {point} has another area or role", against[-1])
        return False
    for span in ending:
        desk.end("loss_role", span, start)
    _give(desk, point, key, Span(point, {"role": row.cells["role"]}, start))
    return True

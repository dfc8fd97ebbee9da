"""Things with a code of their own: what they are is corrected in place, where they hang goes by date."""

from __future__ import annotations

import re
from typing import Any

from headend.store.archive.changes import Cells, differences
from headend.store.archive.desk import Desk
from headend.store.archive.kinds import RANKS, Kind
from headend.store.archive.rows import Row
from headend.store.archive.spans import Span, TooEarly, step
from headend.store.archive.stored import Thing


def all_of(desk: Desk, kind: Kind, rows: list[Row]) -> None:
    """One kind of things, row by row."""
    checked = CHECKS.get(kind.name)
    for row in rows:
        settled = settle(desk, kind, row)
        if settled is None:
            continue
        thing, cells, left = settled
        desk.tally.row(kind.name, thing.code, row.spot, new=thing.new, cells=cells, left=left)
        if checked is not None:
            checked(desk, thing, row)
    if kind.name == "organisations":
        _check_tree(desk, rows)


def settle(desk: Desk, kind: Kind, row: Row) -> tuple[Thing, Cells, Cells] | None:
    """(the thing as it shall be, what changes, what is left alone); None: the source may not bring it into being."""
    things = desk.stored.things[kind.table]
    code = row.cells[kind.key]
    thing = things.get(code)
    if thing is None and not desk.leads(kind.leader):
        desk.refuse(kind, row)
        return None
    values, left = desk.judge(kind.plain, thing.values if thing else None, row)
    before: dict[str, Any] = thing.values if thing else {}
    cells = differences(before, values, [column.name for column in kind.plain])
    if thing is None:
        thing = things[code] = Thing(code, values, new=True)
        desk.stored.known.setdefault(kind.table, set()).add(code)
    elif cells and not thing.new:
        thing.touched = True
    thing.values = values
    if kind.dated:
        dated, more = _hang(desk, kind, thing, row)
        cells, left = cells | dated, left | more
    for column in kind.plain:
        if column.refers:
            desk.known(column, row, thing.values)
    return thing, cells, left


def _hang(desk: Desk, kind: Kind, thing: Thing, row: Row) -> tuple[Cells, Cells]:
    latest = thing.span
    nothing = {column.name: column.blank for column in kind.dated}
    held = latest.values if latest is not None and latest.open else nothing
    values, left = desk.judge(kind.dated, None if thing.new else held, row)
    for column in kind.dated:
        if column.refers:
            desk.known(column, row, values)
    try:
        todo = step(latest, values, nothing, row.cells.get("from"), None, desk.ever)
    except TooEarly as error:
        desk.too_early(row, f"{kind.noun or kind.table} {thing.code} is as it was", error.held)
        return {}, left
    if todo.end_at is not None and latest is not None:
        desk.end(f"{kind.table}_span", latest, todo.end_at)
    if todo.begin is not None:
        thing.span = Span(thing.code, values, todo.begin)
        desk.begin(f"{kind.table}_span", thing.span)
    return differences(held, values, nothing), left


def _check_tree(desk: Desk, rows: list[Row]) -> None:
    """A parent is of a higher kind than its child, so that the tree has no circle."""
    things, ranks = desk.stored.things["organisation"], desk.stored.ranks
    ranks |= {thing.code: thing.values["kind"] for thing in things.values()}
    for row in rows:
        thing = things.get(row.cells["organisation"])
        if thing is None:
            continue
        parent = thing.span.values["parent"] if thing.span is not None and thing.span.open else None
        if parent in ranks and RANKS[ranks[parent]] >= RANKS[ranks[thing.code]]:
            desk.complaints.add(
                row.spot,
                "parent",
                f"{parent!r} is a {ranks[parent]}, which is not above a {ranks[thing.code]}",
            )
        for child in sorted(desk.stored.children.get(thing.code, ())):
            if child not in things and RANKS[ranks[child]] <= RANKS[ranks[thing.code]]:
                desk.complaints.add(
                    row.spot, "kind", f"{ranks[thing.code]!r} is not above {child}, a {ranks[child]} below it in the store"
                )  # fmt: skip


#: protocols that address the terminal itself: its address is its login, however it is reached
_ADDRESSED = {
    "gdw376": (re.compile(r"[0-9A-F]{8}"), "the terminal's address A1 A2 in eight hex digits (Q/GDW 376.1)"),
    "dlt698": (
        re.compile(r"([0-9]{2}){1,16}"),
        "the terminal's address, an even number of digits (DL/T 698.45)",
    ),
}


def _check_terminal(desk: Desk, thing: Thing, row: Row) -> None:
    said = thing.values

    def complain(column: str, reason: str) -> None:
        desk.complaints.add(row.spot, column, reason)

    desk.stored.protocols[thing.code] = said["protocol"]
    login, endpoint, link = said["login"], said["endpoint"], said["link"]
    comes = link in (
        "dial-in",
        "mqtt",
    )  # who comes by himself says who he is: in his login, or as the terminal's name in the topic
    if said["protocol"] in _ADDRESSED:
        form, means = _ADDRESSED[said["protocol"]]
        if not form.fullmatch(login or ""):
            complain("login", f"{login or ''!r} is not {means}")
    elif comes != bool(login):
        complain("login", "is needed for dial-in and mqtt, and only there")
    if comes == bool(endpoint):
        complain("endpoint", "is needed for dial-out and serial, and only there")
    elif link == "dial-out" and not _is_host_port(endpoint.removeprefix("tcp://").removeprefix("tls://")):
        complain("endpoint", f"{endpoint!r} is not host:port or tls://host:port")
    elif link == "serial" and not endpoint.startswith("serial://"):
        complain("endpoint", f"{endpoint!r} is not serial:///dev/…?baud=…")
    if (link == "mqtt") != (said["protocol"] == "mqtt"):
        complain("protocol", "mqtt is what is spoken over the link mqtt, and only there")
    if not login:
        return
    owner = desk.stored.logins.setdefault(login, thing.code)
    if owner == thing.code:
        desk.stored.logins_said.setdefault(login, row.spot)
    elif login in desk.stored.logins_said:
        complain("login", f"{login!r} stands in {desk.stored.logins_said[login]} already")
    else:
        complain("login", f"{login!r} belongs to terminal {owner!r} in the store")


def _is_host_port(text: str) -> bool:
    host, _, port = text.rpartition(":")
    return (
        bool(host)
        and "/" not in host
        and re.fullmatch(r"[0-9]{1,5}", port) is not None
        and 0 < int(port) < 65536
    )


CHECKS = {"terminals": _check_terminal}

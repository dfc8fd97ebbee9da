"""The archive (档案): CSV in, all or nothing, every complaint with file, line and column; lookups out.

A folder of areas.csv, terminals.csv, meters.csv and customers.csv; any of them may be absent. Importing the same folder twice changes
nothing. A meter that appears with a later `from` moves there; a new meter on a point ends the old one's installation (换表).
"""

from __future__ import annotations

import csv
import datetime as dt
import io
import json
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from headend.store.db import Connection, StoreError
from protocols.localtime import as_datetime

#: complaints shown before the rest is only counted
MOST_COMPLAINTS = 200


@dataclass(frozen=True, slots=True)
class Complaint:
    """One thing wrong with one cell."""

    file: str
    line: int
    column: str
    reason: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.column}: {self.reason}"


class ArchiveError(StoreError):
    """The archive was refused; nothing was imported."""

    def __init__(self, complaints: list[Complaint], total: int) -> None:
        self.complaints = complaints
        self.total = total
        super().__init__(f"{total} error{'s' if total != 1 else ''} in the archive; nothing was imported")


class NotAnArchive(StoreError):
    """The folder cannot be read as an archive at all."""


@dataclass(frozen=True, slots=True)
class Summary:
    """Rows by kind: new, changed, unchanged."""

    new: Mapping[str, int]
    changed: Mapping[str, int]
    unchanged: Mapping[str, int]


def _text(value: str) -> str:
    if not value:
        raise ValueError("is empty")
    if len(value) > 200:
        raise ValueError(f"has {len(value)} characters, at most 200 fit")
    return _any(value)


def _any(value: str) -> str:
    if any(unicodedata.category(char) == "Cc" for char in value):
        raise ValueError(f"{value!r} holds a control character")
    return value


def _choice(*choices: str) -> Callable[[str], str]:
    def parse(value: str) -> str:
        if value not in choices:
            raise ValueError(f"{value!r} is not one of {', '.join(choices)}")
        return value

    return parse


def _positive(most: int) -> Callable[[str], int]:
    def parse(value: str) -> int:
        if not value.isascii() or not value.isdigit() or not 0 < int(value) <= most:
            raise ValueError(f"{value!r} is not a whole number from 1 to {most}")
        return int(value)

    return parse


def _decimal(low: str, high: str, places: int) -> Callable[[str], Decimal]:
    """Between `low` and `high`, with as many decimals as the store keeps: more would differ at every import."""

    def parse(value: str) -> Decimal:
        try:
            number = Decimal(value)
        except InvalidOperation:
            raise ValueError(f"{value!r} is not a number") from None
        if not number.is_finite() or not Decimal(low) <= number <= Decimal(high):
            raise ValueError(f"{value!r} is not between {low} and {high}")
        if round(number, places) != number:
            raise ValueError(f"{value!r} has more than {places} decimal place{'s' if places > 1 else ''}")
        return number

    return parse


def _yes_no(value: str) -> bool:
    if value not in ("yes", "no"):
        raise ValueError(f"{value!r} is not yes or no")
    return value == "yes"


def _moment(value: str) -> dt.datetime:
    try:
        moment = dt.datetime.fromisoformat(value)
    except ValueError:
        raise ValueError(f"{value!r} is not an ISO date-time such as 2026-03-10T23:00") from None
    if (
        not 1980 <= moment.year < 2100
    ):  # what people type for "always" leaves the calendar when a zone is applied
        raise ValueError(f"{value!r} is not between the years 1980 and 2100")
    return moment


_FILES: dict[str, dict[str, Callable[[str], Any]]] = {
    "areas.csv": {"area": _text, "name": _text, "capacity_kva": _decimal("0.1", "100000", 1)},
    "terminals.csv": {
        "terminal": _text, "name": _text, "protocol": _choice("dlt645", "dlms"),
        "link": _choice("dial-out", "dial-in", "serial"), "endpoint": _any, "login": _any,
    },
    "meters.csv": {
        "meter": _text, "point": _text, "area": _text, "role": _choice("supply", "receive", "auxiliary"),
        "terminal": _text, "protocol": _choice("dlt645", "dlms"), "address": _text, "phases": _choice("1", "3"),
        "ct": _positive(10_000), "pt": _positive(10_000), "accuracy": _decimal("0.0005", "0.05", 4), "from": _moment,
        "password": _any,
    },
    "customers.csv": {
        "customer": _text, "name": _text, "phone": _any, "point": _text, "tariff": _text, "prepaid": _yes_no,
        "protected": _any,
    },
}  # fmt: skip
_KEY = {"areas.csv": "area", "terminals.csv": "terminal", "meters.csv": "meter", "customers.csv": "customer"}


@dataclass(slots=True)
class _Complaints:
    kept: list[Complaint] = field(default_factory=list)
    total: int = 0

    def add(self, file: str, line: int, column: str, reason: str) -> None:
        self.total += 1
        if len(self.kept) < MOST_COMPLAINTS:
            self.kept.append(Complaint(file, line, column, reason))


Rows = list[tuple[int, dict[str, Any]]]


def _read(folder: Path, complaints: _Complaints) -> dict[str, Rows]:
    """Parse every file cell by cell; a row with a complaint is left out of the result."""
    found = {name: _read_file(folder / name, complaints) for name in _FILES if (folder / name).is_file()}
    if not found:
        raise NotAnArchive(f"{folder} holds none of {', '.join(_FILES)}")
    return found


def _read_file(path: Path, complaints: _Complaints) -> Rows:
    parsers = _FILES[path.name]
    rows: Rows = []
    seen: dict[Any, int] = {}
    raw = path.read_bytes()
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        complaints.add(path.name, line, "file", f"is not UTF-8 (byte {error.start}); save it as UTF-8")
        return rows
    reader = csv.DictReader(io.StringIO(text, newline=""))
    try:
        absent = [name for name in parsers if name not in (reader.fieldnames or [])]
        if absent:
            complaints.add(path.name, 1, absent[0], f"column missing; the header needs {','.join(parsers)}")
            return rows
        for record in reader:
            line = reader.line_num
            if None in record or any(value is None for value in record.values()):
                complaints.add(path.name, line, "row", f"does not have {len(reader.fieldnames or [])} cells")
                continue
            row = dict(_cells(path.name, line, record, parsers, complaints))
            if len(row) != len(parsers):
                continue
            key = row[_KEY[path.name]]
            if key in seen:
                complaints.add(
                    path.name, line, _KEY[path.name], f"{key!r} stands in line {seen[key]} already"
                )
                continue
            seen[key] = line
            rows.append((line, row))
    except csv.Error as error:
        complaints.add(path.name, reader.line_num + 1, "row", f"is not CSV: {error}")
    return rows


def _cells(
    file: str,
    line: int,
    record: Mapping[str, str],
    parsers: Mapping[str, Callable[[str], Any]],
    complaints: _Complaints,
) -> Iterator[tuple[str, Any]]:
    for name, parse in parsers.items():
        try:
            yield name, parse(record[name].strip())
        except ValueError as error:
            complaints.add(file, line, name, str(error))


def _check_references(
    conn: Connection, files: dict[str, Rows], tariffs: set[str] | None, complaints: _Complaints
) -> None:
    """What one row says of another: every code it names exists, here or in the store, and nothing is there twice."""

    def known(table: str, file: str, key: str) -> set[str]:
        stored = {row["code"] for row in conn.execute(f"SELECT code FROM {table}")}
        return stored | {row[key] for _, row in files.get(file, [])}

    protocols = {row["code"]: row["protocol"] for row in conn.execute("SELECT code, protocol FROM terminal")}
    protocols |= {row["terminal"]: row["protocol"] for _, row in files.get("terminals.csv", [])}
    logins = {
        row["login"]: row["code"]
        for row in conn.execute("SELECT login, code FROM terminal WHERE login IS NOT NULL")
    }
    _check_terminals(files.get("terminals.csv", []), logins, complaints)
    _check_meters(files.get("meters.csv", []), known("area", "areas.csv", "area"), protocols, complaints)
    points = known("point", "meters.csv", "point")
    for line, row in files.get("customers.csv", []):
        if row["point"] not in points:
            complaints.add(
                "customers.csv",
                line,
                "point",
                f"no metering point {row['point']!r} in meters.csv or the store",
            )
        if tariffs is not None and row["tariff"] not in tariffs:
            there = ", ".join(sorted(tariffs))
            complaints.add("customers.csv", line, "tariff", f"no tariff {row['tariff']!r}; there are {there}")


def _check_terminals(rows: Rows, stored: Mapping[str, str], complaints: _Complaints) -> None:
    logins: dict[str, int] = {}
    for line, row in rows:

        def complain(column: str, reason: str, line: int = line) -> None:
            complaints.add("terminals.csv", line, column, reason)

        if (row["link"] == "dial-in") != bool(row["login"]):
            complain("login", "is needed for dial-in, and only there")
        if (row["link"] == "dial-in") == bool(row["endpoint"]):
            complain("endpoint", "is needed for dial-out and serial, and only there")
        elif row["link"] == "dial-out" and not _is_host_port(row["endpoint"]):
            complain("endpoint", f"{row['endpoint']!r} is not host:port")
        elif row["link"] == "serial" and not row["endpoint"].startswith("serial://"):
            complain("endpoint", f"{row['endpoint']!r} is not serial:///dev/…?baud=…")
        if row["login"] and logins.setdefault(row["login"], line) != line:
            complain("login", f"{row['login']!r} stands in line {logins[row['login']]} already")
        elif stored.get(row["login"], row["terminal"]) != row["terminal"]:
            complain("login", f"{row['login']!r} belongs to terminal {stored[row['login']]!r} in the store")


def _check_meters(rows: Rows, areas: set[str], protocols: Mapping[str, str], complaints: _Complaints) -> None:
    routes: dict[tuple[str, str], int] = {}
    points: dict[str, int] = {}
    for line, row in rows:

        def complain(column: str, reason: str, line: int = line) -> None:
            complaints.add("meters.csv", line, column, reason)

        terminal, address = row["terminal"], row["address"]
        if row["area"] not in areas:
            complain("area", f"no area {row['area']!r} in areas.csv or the store")
        if terminal not in protocols:
            complain("terminal", f"no terminal {terminal!r} in terminals.csv or the store")
        elif protocols[terminal] != row["protocol"]:
            complain(
                "protocol",
                f"{row['protocol']} behind terminal {terminal}, which speaks {protocols[terminal]}",
            )
        why = _ADDRESSES[row["protocol"]](address)
        if why:
            complain("address", f"{address!r} {why}")
        if routes.setdefault((terminal, address), line) != line:
            complain(
                "address", f"{address!r} behind {terminal} stands in line {routes[terminal, address]} already"
            )
        if points.setdefault(row["point"], line) != line:
            complain("point", f"{row['point']!r} has a meter in line {points[row['point']]} already")


_ADDRESSES: dict[str, Callable[[str], str]] = {
    "dlt645": lambda text: "" if re.fullmatch(r"[0-9]{12}", text) else "is not 12 digits (DL/T 645)",
    "dlms": lambda text: (
        ""
        if re.fullmatch(r"[0-9]{1,5}", text) and 0 < int(text) < 65536
        else "is not a wrapper port from 1 to 65535 (DLMS)"
    ),
}


def _is_host_port(text: str) -> bool:
    host, _, port = text.rpartition(":")
    return bool(host) and re.fullmatch(r"[0-9]{1,5}", port) is not None and 0 < int(port) < 65536


def load(
    conn: Connection, folder: Path, *, zone: ZoneInfo, tariffs: set[str] | None = None, dry_run: bool = False
) -> Summary:
    """Import a folder within one transaction. ArchiveError lists the complaints and nothing is imported; `dry_run` rolls back.

    Local times in `from` without an offset are in `zone`."""
    if not folder.is_dir():
        raise NotAnArchive(f"no folder {folder}")
    complaints = _Complaints()
    files = _read(folder, complaints)
    with conn.transaction(force_rollback=dry_run):
        _check_references(conn, files, tariffs, complaints)
        if complaints.total:
            raise ArchiveError(complaints.kept, complaints.total)
        counts: dict[str, list[int]] = {}
        for _, row in files.get("areas.csv", []):
            _count(
                counts,
                "areas",
                _upsert(
                    conn, "area", "code", row["area"], name=row["name"], capacity_kva=row["capacity_kva"]
                ),
            )
        for _, row in files.get("terminals.csv", []):
            _count(
                counts, "terminals",
                _upsert(
                    conn, "terminal", "code", row["terminal"], name=row["name"], protocol=row["protocol"], link=row["link"],
                    endpoint=row["endpoint"] or None, login=row["login"] or None,
                ),
            )  # fmt: skip
        for line, row in files.get("meters.csv", []):
            try:
                _count(counts, "meters", _install(conn, row, zone))
            except _TooEarly as error:
                complaints.add("meters.csv", line, "from", str(error))
        _check_routes(conn, files.get("meters.csv", []), complaints)
        if complaints.total:
            raise ArchiveError(complaints.kept, complaints.total)
        for line, row in files.get("customers.csv", []):
            try:
                _count(counts, "customers", _open_account(conn, row))
            except ValueError as error:
                raise ArchiveError([Complaint("customers.csv", line, "point", str(error))], 1) from None
    return Summary(*({kind: tally[k] for kind, tally in counts.items()} for k in range(3)))


def _count(counts: dict[str, list[int]], kind: str, what: int) -> None:
    counts.setdefault(kind, [0, 0, 0])[what] += 1


_NEW, _CHANGED, _UNCHANGED = range(3)


def _upsert(conn: Connection, table: str, key: str, value: str, **columns: Any) -> int:
    names = list(columns)
    before = conn.execute(f"SELECT {', '.join(names)} FROM {table} WHERE {key} = %s", (value,)).fetchone()
    if before is None:
        conn.execute(
            f"INSERT INTO {table} ({key}, {', '.join(names)}) VALUES ({', '.join(['%s'] * (len(names) + 1))})",
            (value, *columns.values()),
        )
        return _NEW
    if before == columns:
        return _UNCHANGED
    conn.execute(
        f"UPDATE {table} SET {', '.join(f'{name} = %s' for name in names)} WHERE {key} = %s",
        (*columns.values(), value),
    )
    return _CHANGED


class _TooEarly(Exception):
    """A change that would rewrite what was so before."""


def _check_routes(conn: Connection, rows: Rows, complaints: _Complaints) -> None:
    """Two meters that answer to one address behind one terminal would be read as each other."""
    others = {
        row["asset"]: row["others"]
        for row in conn.execute(
            "SELECT m.asset, string_agg(n.asset, ', ' ORDER BY n.asset) AS others FROM installation i JOIN meter m USING (meter_id) "
            "JOIN installation j ON (j.terminal_id, j.address) = (i.terminal_id, i.address) AND j.valid_to = 'infinity' "
            "JOIN meter n ON n.meter_id = j.meter_id AND n.meter_id <> m.meter_id "
            "WHERE i.valid_to = 'infinity' AND m.asset = ANY(%s) GROUP BY 1",
            ([row["meter"] for _, row in rows],),
        )
    }
    for line, row in rows:
        if row["meter"] in others:
            complaints.add(
                "meters.csv", line, "address",
                f"{row['address']!r} behind {row['terminal']} belongs to meter {others[row['meter']]} in the store",
            )  # fmt: skip


def _install(conn: Connection, row: dict[str, Any], zone: ZoneInfo) -> int:
    start: dt.datetime = row["from"] if row["from"].tzinfo else row["from"].replace(tzinfo=zone)
    what = _upsert(
        conn, "meter", "asset", row["meter"], phases=int(row["phases"]), accuracy=float(row["accuracy"])
    )
    meter = _one(conn, "SELECT meter_id AS id FROM meter WHERE asset = %s", (row["meter"],))
    point = _one(
        conn,
        "INSERT INTO point (code) VALUES (%s) ON CONFLICT (code) DO UPDATE SET code = excluded.code RETURNING point_id AS id",
        (row["point"],),
    )
    terminal = _one(conn, "SELECT terminal_id AS id FROM terminal WHERE code = %s", (row["terminal"],))
    secrets = {"password": row["password"]} if row["password"] else {}
    now = (point, terminal, row["address"], row["ct"], row["pt"], secrets)
    current = conn.execute(
        "SELECT point_id, terminal_id, address, ct, pt, secrets FROM installation WHERE meter_id = %s AND valid_to = 'infinity'",
        (meter,),
    ).fetchone()
    changed = _give_role(conn, point, row, start, zone)
    if current is None or tuple(current.values()) != now:
        _hang(conn, meter, now, row, start, zone)
        changed = True
    return _CHANGED if changed and what == _UNCHANGED else what


def _hang(
    conn: Connection,
    meter: int,
    place: tuple[Any, ...],
    row: dict[str, Any],
    start: dt.datetime,
    zone: ZoneInfo,
) -> None:
    """A new meter on the point, or this meter moving, ends what was there. _TooEarly if that was not yet so at `start`."""
    later = conn.execute(
        "SELECT m.asset, p.code, i.valid_from, nullif(i.valid_to, 'infinity') AS valid_to FROM installation i "
        "JOIN meter m USING (meter_id) JOIN point p USING (point_id) "
        "WHERE (i.meter_id = %(meter)s OR i.point_id = %(point)s) "
        "AND (i.valid_from >= %(start)s OR (i.valid_to > %(start)s AND i.valid_to <> 'infinity')) ORDER BY i.valid_from DESC LIMIT 1",
        {"meter": meter, "point": place[0], "start": start},
    ).fetchone()
    if later is not None:
        until = f" until {later['valid_to'].astimezone(zone).isoformat()}" if later["valid_to"] else ""
        raise _TooEarly(
            f"meter {later['asset']} is installed at {later['code']} since {later['valid_from'].astimezone(zone).isoformat()}{until}; "
            "a change needs a later `from`"
        )
    conn.execute(
        "UPDATE installation SET valid_to = %s WHERE (point_id = %s OR meter_id = %s) AND valid_to = 'infinity'",
        (start, place[0], meter),
    )
    conn.execute(
        "INSERT INTO installation (point_id, terminal_id, address, ct, pt, secrets, meter_id, valid_from) "
        "VALUES (%s, %s, %s, %s, %s, %s, %s, %s)",
        (*place[:5], json.dumps(place[5]), meter, start),
    )


def _give_role(conn: Connection, point: int, row: dict[str, Any], start: dt.datetime, zone: ZoneInfo) -> bool:
    """The point's area and role from `start` on; what it was before ends. False if it is so already."""
    area = _one(conn, "SELECT area_id AS id FROM area WHERE code = %s", (row["area"],))
    open_roles = conn.execute(
        "SELECT area_id, role, valid_from FROM point_role WHERE point_id = %s AND valid_to = 'infinity' ORDER BY valid_from",
        (point,),
    ).fetchall()
    if [(held["area_id"], held["role"]) for held in open_roles] == [(area, row["role"])]:
        return False
    if open_roles and start <= open_roles[-1]["valid_from"]:
        raise _TooEarly(
            f"point {row['point']} has another area or role since {open_roles[-1]['valid_from'].astimezone(zone).isoformat()}; "
            "a change needs a later `from`"
        )
    conn.execute(
        "UPDATE point_role SET valid_to = %s WHERE point_id = %s AND valid_to = 'infinity'", (start, point)
    )
    conn.execute(
        "INSERT INTO point_role (point_id, area_id, role, valid_from) VALUES (%s, %s, %s, %s)",
        (point, area, row["role"], start),
    )
    return True


def _open_account(conn: Connection, row: dict[str, Any]) -> int:
    before = _upsert(conn, "customer", "number", row["customer"], name=row["name"], phone=row["phone"])
    customer = _one(conn, "SELECT customer_id AS id FROM customer WHERE number = %s", (row["customer"],))
    point = conn.execute(
        "SELECT p.point_id, min(i.valid_from) AS start FROM point p JOIN installation i USING (point_id) WHERE p.code = %s GROUP BY 1",
        (row["point"],),
    ).fetchone()
    assert point is not None
    account = conn.execute(
        "SELECT account_id, tariff, prepaid, protected FROM account WHERE customer_id = %s AND point_id = %s AND valid_to = 'infinity'",
        (customer, point["point_id"]),
    ).fetchone()
    if account is None:
        other = conn.execute(
            "SELECT number FROM account JOIN customer USING (customer_id) WHERE point_id = %s AND valid_to = 'infinity'",
            (point["point_id"],),
        ).fetchone()
        if other is not None:
            raise ValueError(
                f"{row['point']!r} has an open account of customer {other['number']}; a second one would be charged for the same energy"
            )
        # what was used before is the account's that was closed
        conn.execute(
            "INSERT INTO account (customer_id, point_id, tariff, prepaid, protected, valid_from) "
            "SELECT %(customer)s, %(point)s, %(tariff)s, %(prepaid)s, %(protected)s, greatest(%(start)s, max(valid_to)) "
            "FROM account WHERE point_id = %(point)s",
            {
                "customer": customer, "point": point["point_id"], "tariff": row["tariff"], "prepaid": row["prepaid"],
                "protected": row["protected"], "start": point["start"],
            },
        )  # fmt: skip
        return _NEW
    if (account["tariff"], account["prepaid"], account["protected"]) == (
        row["tariff"],
        row["prepaid"],
        row["protected"],
    ):
        return before
    conn.execute(
        "UPDATE account SET tariff = %s, prepaid = %s, protected = %s WHERE account_id = %s",
        (row["tariff"], row["prepaid"], row["protected"], account["account_id"]),
    )
    return _CHANGED


def _one(conn: Connection, sql: str, parameters: tuple[Any, ...]) -> int:
    row = conn.execute(sql, parameters).fetchone()
    assert row is not None
    return int(row["id"])


@dataclass(frozen=True, slots=True)
class Terminal:
    terminal_id: int
    code: str
    protocol: str
    link: str
    endpoint: str | None
    login: str | None


@dataclass(frozen=True, slots=True)
class Installed:
    """A meter as the collector needs it: its route and protocol address at an instant."""

    meter_id: int
    asset: str
    terminal_id: int
    protocol: str
    address: str
    phases: int
    secrets: Mapping[str, str] = field(repr=False)


def terminals(conn: Connection) -> list[Terminal]:
    """Every terminal, by code."""
    rows = conn.execute(
        "SELECT terminal_id, code, protocol, link, endpoint, login FROM terminal ORDER BY code"
    )
    return [Terminal(**row) for row in rows]


def installed(conn: Connection, now: Any, terminal_ids: list[int] | None = None) -> list[Installed]:
    """Meters installed at `now` (datetime64 UTC), behind the given terminals or all, by meter_id."""
    rows = conn.execute(
        "SELECT m.meter_id, m.asset, i.terminal_id, t.protocol, i.address, m.phases, i.secrets "
        "FROM installation i JOIN meter m USING (meter_id) JOIN terminal t USING (terminal_id) "
        "WHERE i.valid_from <= %(now)s AND i.valid_to > %(now)s AND (%(ids)s::int[] IS NULL OR i.terminal_id = ANY(%(ids)s)) "
        "ORDER BY m.meter_id",
        {"now": as_datetime(now), "ids": terminal_ids},
    )
    return [Installed(**row) for row in rows]


def seen(conn: Connection, online: Mapping[int, bool], last_seen: Mapping[int, dt.datetime]) -> None:
    """Note which terminals are on line and when each was last heard."""
    ids = sorted(online)
    conn.execute(
        "UPDATE terminal t SET online = u.o, last_seen = greatest(t.last_seen, u.s) "
        "FROM unnest(%s::int[], %s::boolean[], %s::timestamptz[]) AS u(id, o, s) WHERE t.terminal_id = u.id",
        (ids, [online[k] for k in ids], [last_seen.get(k) for k in ids]),
    )


_LISTINGS = {
    "terminals": (
        "SELECT t.code AS terminal, t.name, t.protocol, t.link, coalesce(t.endpoint, t.login) AS address, t.online, t.last_seen, "
        "count(i.meter_id) AS meters FROM terminal t LEFT JOIN installation i "
        "ON i.terminal_id = t.terminal_id AND i.valid_from <= %(now)s AND i.valid_to > %(now)s GROUP BY t.terminal_id ORDER BY t.code"
    ),
    "meters": (
        "SELECT m.asset AS meter, p.code AS point, t.code AS terminal, t.protocol, i.address, m.phases, i.ct, i.pt, "
        "m.accuracy::text AS accuracy, i.valid_from AS since FROM installation i JOIN meter m USING (meter_id) JOIN point p USING (point_id) "
        "JOIN terminal t USING (terminal_id) WHERE i.valid_from <= %(now)s AND i.valid_to > %(now)s ORDER BY m.asset"
    ),
    "areas": (
        "SELECT a.code AS area, a.name, a.capacity_kva, count(*) FILTER (WHERE r.role = 'supply') AS supply, "
        "count(*) FILTER (WHERE r.role = 'receive') AS receive FROM area a LEFT JOIN point_role r "
        "ON r.area_id = a.area_id AND r.valid_from <= %(now)s AND r.valid_to > %(now)s GROUP BY a.area_id ORDER BY a.code"
    ),
    "customers": (
        "SELECT c.number AS customer, c.name, c.phone, p.code AS point, a.tariff, a.prepaid, a.protected FROM account a "
        "JOIN customer c USING (customer_id) JOIN point p USING (point_id) "
        "WHERE a.valid_from <= %(now)s AND a.valid_to > %(now)s ORDER BY c.number"
    ),
}


def listing(conn: Connection, what: str, now: Any) -> list[dict[str, Any]]:
    """What there is at `now`: 'terminals', 'meters', 'areas' or 'customers', for people."""
    return conn.execute(_LISTINGS[what], {"now": as_datetime(now)}).fetchall()


def capacities(conn: Connection) -> dict[int, float]:
    """area_id -> transformer capacity [kVA]."""
    return {
        row["area_id"]: float(row["capacity_kva"])
        for row in conn.execute("SELECT area_id, capacity_kva FROM area")
    }

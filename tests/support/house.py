"""Small archives and readings for the tests of the store and of what works on it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
from psycopg.rows import tuple_row

from headend.store import intake, reads
from headend.store.db import Connection
from headend.store.intake import Delivery
from headend.store.reads import Note
from headend.store.tables import DAY_FREEZES, Source, Table
from protocols.localtime import as_datetime, instant
from protocols.reading import Reads, Times, empty_column

SHANGHAI = ZoneInfo("Asia/Shanghai")
MADRID = ZoneInfo("Europe/Madrid")
#: long before every day of the tests
LONG_AGO = "2026-01-01 00:00"


def at(text: str, zone: ZoneInfo = SHANGHAI) -> np.datetime64:
    """A local civil time as an instant."""
    return instant(dt.datetime.fromisoformat(text).replace(tzinfo=zone))


def moment(text: str, zone: ZoneInfo = SHANGHAI) -> dt.datetime:
    """The same as an aware datetime."""
    return as_datetime(at(text, zone))


@dataclass(frozen=True, slots=True)
class Place:
    """One meter at its point."""

    asset: str
    meter: int
    point: int
    terminal: int
    area: int
    account: int | None


def place(
    conn: Connection,
    asset: str,
    *,
    terminal: str = "T1",
    area: str = "A1",
    role: str = "receive",
    point: str | None = None,
    address: str | None = None,
    ct: int = 1,
    pt: int = 1,
    phases: int = 1,
    accuracy: float = 0.01,
    since: str = LONG_AGO,
    until: str | None = None,
    zone: ZoneInfo = SHANGHAI,
    customer: str | None = None,
    tariff: str = "zhejiang-residential-peak-valley",
    prepaid: bool = True,
    protected: str = "",
    link: str = "dial-out",
    endpoint: str = "127.0.0.1:1",
    protocol: str = "dlt645",
    password: str = "",
    pn: int | None = None,
    switch: Sequence[str] = (),
    login: str | None = None,
) -> Place:
    """Install a meter; areas, terminals and points appear when first named. Commits."""
    begin, end = moment(since, zone), "infinity" if until is None else moment(until, zone)
    area_id = _id(conn, "area", "code", area, name=area, capacity_kva=400)
    comes = link in ("dial-in", "mqtt")
    login = terminal if comes else login
    terminal_id = _id(
        conn, "terminal", "code", terminal, name=terminal, protocol=protocol, link=link,
        endpoint=None if comes else endpoint, login=login,
    )  # fmt: skip
    meter_id = _id(conn, "meter", "asset", asset, phases=phases, accuracy=accuracy)
    point_id = _id(conn, "point", "code", point or f"P{asset}")
    conn.execute(
        "INSERT INTO installation (meter_id, point_id, terminal_id, address, ct, pt, secrets, pn, switch, valid_from, valid_to) "
        "VALUES (%s, %s, %s, %s, %s, %s, %s::jsonb, %s, %s, %s, %s)",
        (
            meter_id, point_id, terminal_id, address or asset.zfill(12), ct, pt,
            f'{{"password": "{password}"}}' if password else "{}", pn, list(switch), begin, end,
        ),
    )  # fmt: skip
    conn.execute(
        "INSERT INTO area_role (point_id, area_id, role, valid_from) SELECT %s, %s, %s, %s "
        "WHERE NOT EXISTS (SELECT FROM area_role WHERE point_id = %s)",
        (point_id, area_id, role, begin, point_id),
    )
    account = None
    if customer is not None:
        customer_id = _id(conn, "customer", "number", customer, name=f"客户{customer}")
        row = conn.execute(
            "INSERT INTO account (customer_id, point_id, tariff, prepaid, protected, valid_from) VALUES (%s, %s, %s, %s, %s, %s) "
            "RETURNING account_id",
            (customer_id, point_id, tariff, prepaid, protected, begin),
        ).fetchone()
        assert row is not None
        account = row["account_id"]
    conn.commit()
    return Place(asset, meter_id, point_id, terminal_id, area_id, account)


def _id(conn: Connection, table: str, key: str, value: str, **columns: Any) -> int:
    row = conn.execute(f"SELECT {table}_id AS id FROM {table} WHERE {key} = %s", (value,)).fetchone()
    if row is None:
        names = [key, *columns]
        row = conn.execute(
            f"INSERT INTO {table} ({', '.join(names)}) VALUES ({', '.join(['%s'] * len(names))}) RETURNING {table}_id AS id",
            (value, *columns.values()),
        ).fetchone()
    assert row is not None
    return int(row["id"])


def rows(meters: Sequence[int], times: Sequence[np.datetime64] | Times, **columns: Sequence[Any]) -> Reads:
    """Reads of those meters at those times; None in a column is a value that was not delivered."""
    made = {}
    for code, values in columns.items():
        made[code] = empty_column(code, len(meters))
        for k, value in enumerate(values):
            if value is not None:
                made[code][k] = value
    return Reads(np.array(meters, dtype=np.int64), np.array(times, dtype="datetime64[us]"), made)


def write(conn: Connection, table: Table, given: Reads, now: np.datetime64 | None = None) -> reads.Written:
    """Write rows of one table, and nothing else, and commit."""
    with conn.transaction():
        note = Note(given.time.max() if now is None else now, "read again", "test")
        reads.ensure_partitions(conn, table.name, given.time)
        written = reads.write(conn, table, given, note).written
    conn.commit()
    return written


def deliver(
    conn: Connection,
    source: Source,
    given: Reads,
    now: np.datetime64 | None = None,
    zone: ZoneInfo = SHANGHAI,
    **more: Any,
) -> reads.Written:
    """Bring readings in by the door, ledger and feed with them, and commit. `more`: attempts, exchange."""
    at = (
        now
        if now is not None
        else given.time.max()
        if len(given)
        else np.datetime64("2026-03-11T00:00", "us")
    )
    written = intake.save(conn, [Delivery(source, at, given, **more)], zone, who="test", reason="read again")
    conn.commit()
    return written


def freeze(
    conn: Connection,
    meter: int,
    midnight: str,
    registers: Mapping[str, int | None] | int,
    zone: ZoneInfo = SHANGHAI,
) -> None:
    """One day freeze at a local midnight: the total alone, or by code. Commits."""
    given = {"active_import": registers} if isinstance(registers, int) else registers
    write(
        conn,
        DAY_FREEZES,
        rows([meter], [at(midnight, zone)], **{code: [value] for code, value in given.items()}),
    )


def one(conn: Connection, sql: str, *parameters: Any) -> Any:
    """The only value of the only row; leaves no transaction open."""
    found = conn.execute(sql, parameters).fetchall()
    conn.commit()
    assert len(found) == 1, found
    (value,) = found[0].values()
    return value


def table(conn: Connection, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
    """Rows as tuples; leaves no transaction open."""
    with conn.cursor(row_factory=tuple_row) as cursor:
        found = cursor.execute(sql, parameters).fetchall()
    conn.commit()
    return found

"""Arrays out: `[meter, slot]` blocks of one local day, read with binary COPY, one row of the block per installed meter."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from headend.plans import CURVE, points
from headend.store.db import Connection
from headend.store.pgcopy import HEADER, PG_EPOCH
from headend.store.tables import DAY_FREEZE
from protocols.localtime import Times, as_datetime, instant, midnight
from protocols.quantity import quantities
from protocols.reading import MISSING, REGISTER_QUANTITIES

I64 = NDArray[np.int64]

ROLES = ("supply", "receive", "auxiliary")


@dataclass(frozen=True, slots=True)
class Rows:
    """Who the rows of a block are, for one local day. All arrays are [meter].

    `whole`: installed for the whole day at this place; a meter that came or went in the day is not, and its day's energy is not known
    from its registers alone. `multiplier` is CT × PT. `area` and `role` are -1 where the point belongs to no transformer area.
    """

    meter: I64
    point: I64
    terminal: I64
    area: I64
    role: I64
    multiplier: I64
    accuracy: NDArray[np.float64]
    phases: I64
    whole: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Block:
    """One local day. `times` [slot+1]: the day's opening midnight, then the end of each slot.

    `registers`: code -> int64 [meter, slot+1], 1e-4 kWh secondary side, MISSING where not known
    `instants`: code -> float32 [meter, slot], NaN where not known
    `freezes`: code -> int64 [meter, 2], the day-freeze registers at the opening and the closing midnight
    """

    day: dt.date
    times: Times
    rows: Rows
    registers: dict[str, I64]
    instants: dict[str, NDArray[np.float32]]
    freezes: dict[str, I64]


def rows(conn: Connection, day: dt.date, zone: ZoneInfo) -> Rows:
    """The meters installed in a local day, by meter_id."""
    begin, end = as_datetime(midnight(day, zone)), as_datetime(midnight(day + dt.timedelta(days=1), zone))
    found = conn.execute(
        """
        SELECT i.meter_id, i.point_id, i.terminal_id, coalesce(r.area_id, -1) AS area,
               coalesce(array_position(%(roles)s::text[], r.role), 0) - 1 AS role, i.ct * i.pt AS multiplier, m.accuracy, m.phases,
               i.valid_from <= %(begin)s AND i.valid_to >= %(end)s AS whole
        FROM installation i JOIN meter m USING (meter_id)
        LEFT JOIN point_role r ON r.point_id = i.point_id AND r.valid_from < %(end)s AND r.valid_to > %(begin)s
        WHERE i.valid_from < %(end)s AND i.valid_to > %(begin)s
        ORDER BY i.meter_id, i.valid_from, r.valid_from
        """,
        {"begin": begin, "end": end, "roles": list(ROLES)},
    ).fetchall()

    def integers(name: str) -> I64:
        return np.array([row[name] for row in found], dtype=np.int64)

    return Rows(
        meter=integers("meter_id"),
        point=integers("point_id"),
        terminal=integers("terminal_id"),
        area=integers("area"),
        role=integers("role"),
        multiplier=integers("multiplier"),
        accuracy=np.array([row["accuracy"] for row in found], dtype=np.float64),
        phases=integers("phases"),
        whole=np.array([row["whole"] for row in found], dtype=np.bool_),
    )


def load(
    conn: Connection,
    day: dt.date,
    zone: ZoneInfo,
    codes: Sequence[str],
    *,
    until: np.datetime64 | None = None,
) -> Block:
    """The block of a local day with the given slot quantities; registers carry the opening midnight too.

    `until` leaves out what ended later (a job's view at an instant). Revisions lie over the first readings."""
    who = rows(conn, day, zone)
    begin = midnight(day, zone)
    times = np.concatenate([np.array([begin]), points(CURVE, day, zone)])
    last = times[-1] if until is None else min(times[-1], until)
    table = _copy(conn, "slot_read", codes, begin, last, "")
    meter = np.unique(who.meter)
    at_meter = np.searchsorted(meter, table["meter_id"])
    keep = (at_meter < len(meter)) & (np.searchsorted(times, table["ts"]) < len(times))
    known = meter[np.minimum(at_meter, len(meter) - 1)] == table["meter_id"] if len(meter) else keep
    table, at_meter = table[keep & known], at_meter[keep & known]
    at_time = np.searchsorted(times, table["ts"])
    on_grid = times[at_time] == table["ts"]
    table, at_meter, at_time = table[on_grid], at_meter[on_grid], at_time[on_grid]
    spread = np.searchsorted(meter, who.meter)
    registers: dict[str, I64] = {}
    instants: dict[str, NDArray[np.float32]] = {}
    for code in codes:
        if quantities()[code].kind == "register":
            grid = np.full((len(meter), len(times)), MISSING, dtype=np.int64)
            grid[at_meter, at_time] = table[code]
            registers[code] = grid
        else:
            cells = np.full((len(meter), len(times)), np.nan, dtype=np.float32)
            cells[at_meter, at_time] = table[code]
            instants[code] = cells
    _lay_revisions(conn, "slot", meter, times, registers, instants, last)
    freezes = _freezes(conn, meter, times[[0, -1]], last)
    return Block(
        day,
        times,
        who,
        {code: grid[spread] for code, grid in registers.items()},
        {code: cells[spread, 1:] for code, cells in instants.items()},
        {code: ends[spread] for code, ends in freezes.items()},
    )


def _freezes(conn: Connection, meter: I64, times: Times, last: np.datetime64) -> dict[str, I64]:
    table = _copy(conn, "register_read", REGISTER_QUANTITIES, times[0], last, f"AND kind = {DAY_FREEZE}")
    place = np.searchsorted(meter, table["meter_id"])
    ok = place < len(meter)
    table, place = table[ok], place[ok]
    ok = (meter[place] == table["meter_id"]) & np.isin(table["ts"], times)
    table, place = table[ok], place[ok]
    column = (table["ts"] == times[1]).astype(np.int64)
    freezes = {code: np.full((len(meter), 2), MISSING, dtype=np.int64) for code in REGISTER_QUANTITIES}
    for code, grid in freezes.items():
        grid[place, column] = table[code]
    _lay_revisions(conn, "day", meter, times, freezes, {}, last)
    return freezes


def _lay_revisions(
    conn: Connection,
    source: str,
    meter: I64,
    times: Times,
    registers: dict[str, I64],
    instants: dict[str, NDArray[np.float32]],
    last: np.datetime64,
) -> None:
    """The newest revision of a value lies over the first reading, for instants up to `last`."""
    for row in conn.execute(
        "SELECT DISTINCT ON (meter_id, ts, quantity) meter_id, ts, quantity, value FROM revision "
        "WHERE source = %s AND ts BETWEEN %s AND %s ORDER BY meter_id, ts, quantity, version DESC",
        (source, as_datetime(times[0]), as_datetime(last)),
    ):
        m, t = int(np.searchsorted(meter, row["meter_id"])), int(np.searchsorted(times, instant(row["ts"])))
        if (
            m < len(meter)
            and meter[m] == row["meter_id"]
            and t < len(times)
            and times[t] == instant(row["ts"])
        ):
            if row["quantity"] in registers:
                registers[row["quantity"]][m, t] = int(row["value"])
            elif row["quantity"] in instants:
                instants[row["quantity"]][m, t] = float(row["value"])


def _copy(
    conn: Connection, table: str, codes: Sequence[str], begin: np.datetime64, end: np.datetime64, extra: str
) -> NDArray[np.void]:
    """Rows of a read table within [begin, end] as a structured array: meter_id, ts (datetime64[us]) and the codes.

    NULLs are turned into MISSING or NaN by the server, so that every row has one byte layout and numpy can read it whole."""
    select, layout, native = (
        [],
        [("n", ">i2"), ("l0", ">i4"), ("meter_id", ">i4"), ("l1", ">i4"), ("ts", ">i8")],
        [],
    )
    for k, code in enumerate(codes):
        register = quantities()[code].kind == "register"
        select.append(f"coalesce({code}, {MISSING})" if register else f"coalesce({code}, 'NaN'::real)")
        layout += [(f"m{k}", ">i4"), (code, ">i8" if register else ">f4")]
        native.append((code, "i8" if register else "f4"))
    sql = (
        f"COPY (SELECT meter_id, ts, {', '.join(select)} FROM {table} "
        f"WHERE ts BETWEEN '{as_datetime(begin).isoformat()}' AND '{as_datetime(end).isoformat()}' {extra}) TO STDOUT (FORMAT BINARY)"
    )
    with conn.cursor() as cursor, cursor.copy(sql) as copy:
        payload = b"".join(copy)
    body = np.frombuffer(
        payload,
        dtype=np.dtype(layout),
        offset=len(HEADER),
        count=(len(payload) - len(HEADER) - 2) // np.dtype(layout).itemsize,
    )
    out = np.empty(len(body), dtype=np.dtype([("meter_id", "i8"), ("ts", "M8[us]"), *native]))
    out["meter_id"] = body["meter_id"]
    out["ts"] = PG_EPOCH + body["ts"].astype("i8").astype("m8[us]")
    for code in codes:
        out[code] = body[code]
    return out


def assets(conn: Connection, meters: I64) -> list[str]:
    """Asset numbers of meter_ids, in the given order."""
    found = {
        row["meter_id"]: row["asset"]
        for row in conn.execute(
            "SELECT meter_id, asset FROM meter WHERE meter_id = ANY(%s)", (np.unique(meters).tolist(),)
        )
    }
    return [found[meter] for meter in meters.tolist()]

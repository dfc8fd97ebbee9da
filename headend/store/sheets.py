"""What files are written from: the readings of some meters over some points of time as `[meter, slot]` arrays, each cell with its quality.

The one place that turns rows into what the formats of headend/export see. A store of a million meters comes sheet by sheet: the memory is
bounded by the cells of one sheet, not by the store.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray
from psycopg.rows import tuple_row

from headend.plans import CURVE, DAY, MONTH, points
from headend.store.coverage import UnknownMeter
from headend.store.db import Connection, StoreError
from headend.store.revisions import WITHDRAWN
from headend.store.rows import fetch
from headend.store.tables import CURVES, DAYS, MONTHS, SOURCES, Source, Table
from lineloss.registers import advance
from protocols.localtime import Times, as_datetime, instant, midnight
from protocols.quantity import quantities
from protocols.reading import MISSING

I64 = NDArray[np.int64]
Bits = NDArray[np.bool_]
#: energies [meter, slot] and the quality of each
Energy = tuple[I64, NDArray[np.int8]]

#: a cell's quality, in the order of how far it is from what the meter said first
QUALITIES: Final = ("missing", "measured", "revised", "edited", "estimated")
GONE, MEASURED, REVISED, EDITED, ESTIMATED = range(5)
#: revision.method -> quality; any other method is an estimate
_METHODS: Final = {"read": REVISED, "edit": EDITED}
#: cells of a sheet: 2,000 meters of a day with ten quantities, which is 16 MB a copy, and a handful of copies are made on the way
MOST_CELLS: Final = 2_000_000
#: a sheet holds a meter's whole span, so the span is bounded: a leap year of quarter-hours
MOST_DAYS: Final = 366
#: what a file may be made of
FILE_SOURCES: Final = (CURVES.name, DAYS.name, MONTHS.name)
FOREVER: Final = np.datetime64("9999-01-01T00:00:00", "us")


class BadSelection(StoreError):
    """What was asked for cannot be put in a file."""


@dataclass(frozen=True, slots=True)
class Span:
    """The points of a file. `times` [slot]: the instants that name them; `opening`: where the first slot begins."""

    source: Source
    opening: np.datetime64
    times: Times

    @property
    def minutes(self) -> int:
        """Length of a slot; 0 where the points are midnights."""
        return CURVE.minutes if self.source is CURVES else 0

    @property
    def starts(self) -> Times:
        """datetime64[us][slot]: where each slot begins."""
        return np.concatenate([np.array([self.opening], dtype="datetime64[us]"), self.times[:-1]])


def local_span(source: str, first: dt.date, last: dt.date, zone: ZoneInfo) -> Span:
    """The points of local days first..last, both included. BadSelection if there are none, or too many days."""
    days = (last - first).days + 1
    if not 1 <= days <= MOST_DAYS:
        raise BadSelection(f"{first} to {last} is {days} days; a file holds 1 to {MOST_DAYS}")
    chosen = SOURCES[source]
    plan = {CURVES: CURVE, DAYS: DAY, MONTHS: MONTH}[chosen]
    times = np.concatenate([points(plan, first + dt.timedelta(days=k), zone) for k in range(days)])
    if not len(times):
        raise BadSelection(
            f"no month ends in {first} to {last}; name a span with the last day of a month in it"
        )
    begin = first if plan is not MONTH else first.replace(day=1)
    return Span(chosen, midnight(begin, zone), times)


@dataclass(frozen=True, slots=True)
class Roster:
    """Who goes into a file, in order of asset number (by bytes, so that the order is the same in every store). Both [meter]."""

    ids: I64
    assets: list[str]

    def __len__(self) -> int:
        return len(self.ids)


def roster(conn: Connection, span: Span, *, assets: Sequence[str] = (), areas: Sequence[str] = ()) -> Roster:
    """The meters installed within the span: all, those named, or those of the areas. UnknownMeter, BadSelection for a name that is none."""
    with conn.cursor(row_factory=tuple_row) as cursor:
        if assets:
            known = {a for (a,) in cursor.execute("SELECT asset FROM meter WHERE asset = ANY(%s)", (list(assets),))}  # fmt: skip
            for asset in assets:
                if asset not in known:
                    raise UnknownMeter(asset)
        if areas:
            known = {
                a for (a,) in cursor.execute("SELECT code FROM area WHERE code = ANY(%s)", (list(areas),))
            }
            for area in areas:
                if area not in known:
                    raise BadSelection(
                        f"no area {area!r} in the archive; `headend archive list areas` shows what is there"
                    )
        found = cursor.execute(
            """
            SELECT DISTINCT m.meter_id, m.asset FROM installation i JOIN meter m USING (meter_id)
            WHERE i.valid_from < %(end)s AND i.valid_to > %(begin)s AND (%(assets)s::text[] = '{}' OR m.asset = ANY(%(assets)s::text[]))
              AND (%(areas)s::text[] = '{}' OR EXISTS (
                SELECT FROM area_role r JOIN area a USING (area_id)
                WHERE r.point_id = i.point_id AND a.code = ANY(%(areas)s::text[]) AND r.valid_from < %(end)s AND r.valid_to > %(begin)s))
            """,
            {
                "begin": as_datetime(span.opening), "end": as_datetime(span.times[-1]),
                "assets": list(assets), "areas": list(areas),
            },
        ).fetchall()  # fmt: skip
    found.sort(key=lambda row: row[1].encode())
    return Roster(np.array([row[0] for row in found], dtype=np.int64), [row[1] for row in found])


@dataclass(frozen=True, slots=True)
class Place:
    """A meter on a point: slots begin..end-1 of the sheet lie wholly in its installation. `multiplier` is CT × PT."""

    meter: int  # row of the sheet
    point: str
    multiplier: int
    begin: int
    end: int


@dataclass(frozen=True, slots=True)
class Sheet:
    """Some meters' readings over a span.

    assets      [meter], ascending by bytes; digits int64[meter] of whole kWh that its registers show
    columns     code -> [meter, slot]: registers int64 (1e-4 of the unit, secondary side) with MISSING; instants float32, demands float64 with
                NaN; moments int64 us since 1970 with MISSING
    quality     code -> int8[meter, slot], an index into QUALITIES
    opening     register code -> int64[meter] at span.opening, and its quality
    notes       (code, meter, slot) -> (method, reason) of every cell that is not the meter's first word; slot -1 is the opening
    expected    bool[meter, slot]: the points that the meter owes by its installations
    """

    span: Span
    assets: list[str]
    digits: I64
    columns: Mapping[str, NDArray[Any]]
    quality: Mapping[str, NDArray[np.int8]]
    opening: Mapping[str, I64]
    opening_quality: Mapping[str, NDArray[np.int8]]
    notes: Mapping[tuple[str, int, int], tuple[str, str]]
    places: list[Place]
    expected: Bits

    def there(self) -> Bits:
        """bool[meter, slot]: where any quantity has a value."""
        return np.asarray(
            np.logical_or.reduce([quality != GONE for quality in self.quality.values()]), dtype=np.bool_
        )

    def worst(self) -> NDArray[np.int8]:
        """int8[meter, slot]: the quality farthest from the meter's first word among the quantities."""
        return np.asarray(np.maximum.reduce(list(self.quality.values())), dtype=np.int8)

    def energy(self, code: str) -> Energy:
        """(energy of each slot [meter, slot] in 1e-4 of the unit, secondary side, MISSING where not known; the worse quality of its ends)."""
        closing = self.columns[code]
        ends = np.concatenate([self.opening[code][:, None], closing], axis=1)
        energy = np.full(closing.shape, MISSING, dtype=np.int64)
        for digits in np.unique(self.digits).tolist():
            mine = self.digits == digits
            energy[mine] = advance(ends[mine, :-1], ends[mine, 1:], 10 ** (digits + 4))
        quality = np.concatenate([self.opening_quality[code][:, None], self.quality[code]], axis=1)
        worse = np.maximum(quality[:, :-1], quality[:, 1:])
        return energy, np.where(energy == MISSING, GONE, worse).astype(np.int8)


def sheets(
    conn: Connection, span: Span, codes: Sequence[str], who: Roster, cells: int = MOST_CELLS
) -> Iterator[Sheet]:
    """The readings of these meters, some meters at a time. BadSelection for a quantity that the source has no column for."""
    check_codes(span.source, codes)
    at_once = max(1, cells // (len(span.times) * max(1, len(codes))))
    for begin in range(0, len(who), at_once):
        part = slice(begin, begin + at_once)
        yield _sheet(conn, span, codes, who.ids[part], who.assets[part])


def check_codes(source: Source, codes: Sequence[str]) -> None:
    known = [code for table in source.tables for code in table.codes]
    for code in codes:
        if code not in known:
            raise BadSelection(f"{source.name} readings have no {code!r}; choose from {', '.join(known)}")


def _sheet(conn: Connection, span: Span, codes: Sequence[str], ids: I64, assets: list[str]) -> Sheet:
    times = np.concatenate([np.array([span.opening], dtype="datetime64[us]"), span.times])
    order = np.argsort(ids)
    grid = _Grid(ids[order], order, times)
    columns: dict[str, NDArray[Any]] = {}
    quality: dict[str, NDArray[np.int8]] = {}
    notes: dict[tuple[str, int, int], tuple[str, str]] = {}
    for table in span.source.tables:
        mine = [code for code in codes if code in table.codes]
        if mine:
            grid.lay(conn, table, mine, columns, quality, notes)
    registers = [code for code in codes if quantities()[code].kind == "register"]
    digits, places, expected = _installed(conn, span, ids)
    return Sheet(
        span, assets, digits,
        {code: columns[code][:, 1:] for code in codes}, {code: quality[code][:, 1:] for code in codes},
        {code: columns[code][:, 0] for code in registers}, {code: quality[code][:, 0] for code in registers},
        {(code, m, t - 1): note for (code, m, t), note in notes.items()}, places, expected,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Grid:
    """Where a row goes: meters ascending by id, the row of the sheet of each, and the times with the opening first."""

    ids: I64
    row: I64
    times: Times

    def lay(
        self,
        conn: Connection,
        table: Table,
        codes: Sequence[str],
        columns: dict[str, NDArray[Any]],
        quality: dict[str, NDArray[np.int8]],
        notes: dict[tuple[str, int, int], tuple[str, str]],
    ) -> None:
        """One table's first readings, and the newest version of each cell over them."""
        found = fetch(
            conn, table, codes, first=self.times[0], last=self.times[-1], meters=self.ids
        )  # by meter and time: both keys' index
        m, t, on = self.place(found["meter_id"], found["ts"])
        for code in codes:
            values = found[code][on]
            missing: Any = MISSING if values.dtype == np.int64 else np.nan
            cells = np.full((len(self.ids), len(self.times)), missing, dtype=values.dtype)
            cells[m, t] = values
            columns[code] = cells
            there = cells != MISSING if values.dtype == np.int64 else ~np.isnan(cells)
            quality[code] = np.where(there, MEASURED, GONE).astype(np.int8)
        self._revise(conn, table, codes, columns, quality, notes)

    def place(self, meters: I64, times: Times) -> tuple[I64, I64, Bits]:
        """(row, column, which are on the grid) of instants; rows and columns of those on it alone."""
        t = np.minimum(np.searchsorted(self.times, times), len(self.times) - 1)
        on = np.asarray(self.times[t] == times, dtype=np.bool_)
        return self.row[np.searchsorted(self.ids, meters[on])], t[on], on

    def _revise(
        self,
        conn: Connection,
        table: Table,
        codes: Sequence[str],
        columns: dict[str, NDArray[Any]],
        quality: dict[str, NDArray[np.int8]],
        notes: dict[tuple[str, int, int], tuple[str, str]],
    ) -> None:
        with conn.cursor(row_factory=tuple_row) as cursor:
            found = cursor.execute(
                "SELECT * FROM (SELECT DISTINCT ON (meter_id, ts, quantity) quantity, meter_id, (extract(epoch FROM ts) * 1000000)::bigint, "
                "value, method, reason FROM revision WHERE source = %s AND meter_id = ANY(%s) AND ts BETWEEN %s AND %s AND quantity = ANY(%s) "
                "ORDER BY meter_id, ts, quantity, version DESC) newest WHERE method <> %s",
                (
                    table.source, self.ids.tolist(), as_datetime(self.times[0]), as_datetime(self.times[-1]), list(codes),
                    WITHDRAWN,
                ),
            ).fetchall()  # fmt: skip
        for code in dict.fromkeys(row[0] for row in found):
            mine = [row for row in found if row[0] == code]
            m, t, on = self.place(
                np.array([row[1] for row in mine], dtype=np.int64),
                np.array([row[2] for row in mine], dtype=np.int64).astype("datetime64[us]"),
            )
            mine = [row for row, is_on in zip(mine, on.tolist(), strict=True) if is_on]
            exact = columns[code].dtype == np.int64
            columns[code][m, t] = [int(row[3]) if exact else float(row[3]) for row in mine]
            quality[code][m, t] = [_METHODS.get(row[4], ESTIMATED) for row in mine]
            cells = zip(m.tolist(), t.tolist(), mine, strict=True)
            notes.update({(code, i, j): (row[4], row[5]) for i, j, row in cells})


def _installed(conn: Connection, span: Span, ids: I64) -> tuple[I64, list[Place], Bits]:
    """(digits [meter], places, expected [meter, slot])."""
    row = {meter: k for k, meter in enumerate(ids.tolist())}
    digits = np.zeros(len(ids), dtype=np.int64)
    expected = np.zeros((len(ids), len(span.times)), dtype=np.bool_)
    places = []
    for meter, point, multiplier, since, until, shown in installations(
        conn, ids, span.opening, span.times[-1]
    ):
        k = row[meter]
        digits[k] = shown
        expected[k] |= (span.times > since) & (span.times <= until)
        # a slot within which the meter came or went belongs to no place: its energy is not known from this meter alone
        begin = int(np.searchsorted(span.starts, since))
        end = int(np.searchsorted(span.times, until, side="right"))
        if begin < end:
            places.append(Place(k, point, multiplier, begin, end))
    places.sort(key=lambda place: (place.meter, place.begin))
    return digits, places, expected


def installations(
    conn: Connection, ids: I64, first: np.datetime64, last: np.datetime64
) -> Iterator[tuple[int, str, int, np.datetime64, np.datetime64, int]]:
    """(meter_id, point's code, CT × PT, since, until, digits) within (first, last), by meter and time."""
    with conn.cursor(row_factory=tuple_row) as cursor:
        found = cursor.execute(
            "SELECT i.meter_id, p.code, i.ct * i.pt, i.valid_from, nullif(i.valid_to, 'infinity'), m.digits "
            "FROM installation i JOIN point p USING (point_id) JOIN meter m USING (meter_id) "
            "WHERE i.meter_id = ANY(%s) AND i.valid_from < %s AND i.valid_to > %s ORDER BY i.meter_id, i.valid_from",
            (ids.tolist(), as_datetime(last), as_datetime(first)),
        ).fetchall()
    for meter, point, multiplier, since, until, digits in found:
        yield meter, point, multiplier, instant(since), FOREVER if until is None else instant(until), digits


def meter_ids(conn: Connection, assets: Sequence[str]) -> dict[str, int]:
    """Asset number -> meter_id, of those that the archive has."""
    found = conn.execute("SELECT asset, meter_id FROM meter WHERE asset = ANY(%s)", (list(assets),))
    return {row["asset"]: row["meter_id"] for row in found}


def meter_at(conn: Connection, point: str, when: np.datetime64) -> int | None:
    """The meter that measured a point just after an instant; None if none did."""
    row = conn.execute(
        "SELECT i.meter_id FROM installation i JOIN point p USING (point_id) "
        "WHERE p.code = %(point)s AND i.valid_from <= %(at)s AND i.valid_to > %(at)s",
        {"point": point, "at": as_datetime(when)},
    ).fetchone()
    return None if row is None else int(row["meter_id"])


def register_at(conn: Connection, meter: int, code: str, when: np.datetime64) -> int | None:
    """A register at an instant, newest version: of the curve, else of a day freeze; None if neither has it."""
    for table in (*CURVES.tables, *DAYS.tables):
        if code not in table.codes:
            continue
        kind = "" if table.kind is None else f"AND kind = {table.kind}"
        row = conn.execute(
            f"""
            SELECT coalesce(
                (SELECT nullif(value, 'NaN') FROM revision WHERE (meter_id, ts, source, quantity) = (%(m)s, %(t)s, %(source)s, %(code)s)
                 ORDER BY version DESC LIMIT 1),
                (SELECT {code} FROM {table.name} WHERE meter_id = %(m)s AND ts = %(t)s {kind})) AS value
            """,
            {"m": meter, "t": as_datetime(when), "source": table.source, "code": code},
        ).fetchone()
        if row is not None and row["value"] is not None:
            return int(row["value"])
    return None


def own_value(conn: Connection, table: Table, code: str, meters: I64, times: Times) -> Bits:
    """bool[n]: where the newest that is known of a cell is the meter's own value or a person's, no estimate."""
    mine = np.zeros(len(meters), dtype=np.bool_)
    if not len(meters):
        return mine
    kind = "" if table.kind is None else f"AND r.kind = {table.kind}"
    with conn.cursor(row_factory=tuple_row) as cursor:
        found = cursor.execute(
            f"""
            SELECT u.k FROM unnest(%(m)s::int[], %(t)s::timestamptz[]) WITH ORDINALITY AS u (m, t, k)
            LEFT JOIN {table.name} r ON r.meter_id = u.m AND r.ts = u.t AND r.ts BETWEEN %(lo)s AND %(hi)s {kind}
            LEFT JOIN LATERAL (
                SELECT nullif(method, %(withdrawn)s) AS method FROM revision v
                WHERE (v.meter_id, v.ts, v.source, v.quantity) = (u.m, u.t, %(source)s, %(code)s) ORDER BY version DESC LIMIT 1
            ) v ON true
            WHERE coalesce(v.method IN ('read', 'edit'), r.{code} IS NOT NULL)
            """,
            {
                "m": meters.tolist(), "t": [as_datetime(when) for when in times], "source": table.source, "code": code,
                "lo": as_datetime(times.min()), "hi": as_datetime(times.max()), "withdrawn": WITHDRAWN,
            },
        ).fetchall()  # fmt: skip
    mine[[k - 1 for (k,) in found]] = True
    return mine


def asset(conn: Connection, meter: int) -> str:
    """A meter's asset number."""
    row = conn.execute("SELECT asset FROM meter WHERE meter_id = %s", (meter,)).fetchone()
    assert row is not None
    return str(row["asset"])

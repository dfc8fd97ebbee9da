"""A small network in the store: a county with a station, its bus, two lines, three areas, and what each of their meters says."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

import numpy as np

from headend.plans import CURVE, points
from headend.store.db import Connection
from headend.store.tables import CURVES, DAYS
from protocols.localtime import midnight
from tests.support.house import SHANGHAI, Place, at, deliver, moment, place, rows

DAY = dt.date(2026, 3, 10)
NIGHT = "2026-03-11 00:40"
MONTH = dt.date(2026, 3, 1)
TIMES = np.concatenate([[midnight(DAY, SHANGHAI)], points(CURVE, DAY, SHANGHAI)])
KWH = 10_000


def insert(conn: Connection, into: str, **columns: Any) -> int:
    """Its id, the first column."""
    names, values = ", ".join(columns), ", ".join(["%s"] * len(columns))
    key = "loss_role_id" if into == "loss_role" else f"{into.removesuffix('_span')}_id"
    row = conn.execute(
        f"INSERT INTO {into} ({names}) VALUES ({values}) RETURNING {key}", tuple(columns.values())
    ).fetchone()
    assert row is not None
    return int(row[key])


def hang(conn: Connection, thing: str, id: int, since: str = "2026-01-01 00:00", **on: Any) -> None:
    insert(conn, f"{thing}_span", **{f"{thing}_id": id}, valid_from=moment(since), **on)


def role(conn: Connection, here: Place, what: str, **of: Any) -> None:
    insert(conn, "loss_role", point_id=here.point, role=what, valid_from=moment("2026-01-01 00:00"), **of)


class Net:
    """A county with a station's bus that two lines hang on. Line 1 feeds areas A1 and A2, line 2 area A3; each area has two customers."""

    def __init__(self, conn: Connection) -> None:
        self.conn = conn
        self.county = insert(conn, "organisation", code="GX", name="某县", kind="county")
        hang(conn, "organisation", self.county)
        station = insert(conn, "substation", code="S1", name="城东变")
        hang(conn, "substation", station, organisation_id=self.county)
        self.bus = insert(conn, "bus", code="B1", name="10kV I母", substation_id=station, voltage_kv=10)
        self.lines = [insert(conn, "line", code=f"L{k}", name=f"线路{k}", voltage_kv=10) for k in (1, 2)]
        for line in self.lines:
            hang(conn, "line", line, bus_id=self.bus, organisation_id=self.county)
        self.transformer = insert(
            conn, "transformer", code="T1", name="公变1", owner="public", capacity_kva=400, p0_kw=0.57, pk_kw=4.3, i0_percent=1, uk_percent=4
        )  # fmt: skip
        hang(conn, "transformer", self.transformer, line_id=self.lines[0])
        self.main = [
            place(conn, f"1{k}", area=f"A{k}", role="supply", phases=3, terminal=f"T{k}") for k in (1, 2, 3)
        ]
        self.homes = [
            [place(conn, f"2{k}{n}", area=f"A{k}", terminal=f"T{k}") for n in (1, 2)] for k in (1, 2, 3)
        ]
        for k, (here, line) in enumerate(
            zip(self.main, (self.lines[0], self.lines[0], self.lines[1]), strict=True)
        ):
            hang(
                conn,
                "area",
                here.area,
                line_id=line,
                organisation_id=self.county,
                transformer_id=self.transformer if k == 0 else None,
            )
        self.heads = [self._only(f"3{k}", "supply", line_id=line) for k, line in enumerate(self.lines, 1)]
        self.incoming = self._only("40", "supply", bus_id=self.bus)
        self.gate = self._only("50", "supply", organisation_id=self.county)
        conn.commit()

    def _only(self, asset: str, what: str, **of: Any) -> Place:
        """A meter with a role in no area."""
        here = place(self.conn, asset, terminal="TS", area="A1", role="auxiliary", phases=3)
        self.conn.execute("DELETE FROM loss_role WHERE point_id = %s", (here.point,))
        role(self.conn, here, what, **of)
        return here

    @property
    def everybody(self) -> list[Place]:
        return [
            *self.main,
            *(home for homes in self.homes for home in homes),
            *self.heads,
            self.incoming,
            self.gate,
        ]

    def bring(
        self, here: Place, kwh: float, *, first: dt.date = DAY, days: int = 1, without: Sequence[int] = ()
    ) -> None:
        """So much a day, evenly, by day freezes; of one day by quarter-hours as well. `without`: midnights that are missing."""
        step = round(kwh * KWH)
        midnights = [midnight(first + dt.timedelta(days=k), SHANGHAI) for k in range(days + 1)]
        have = [k for k in range(days + 1) if k not in without]
        offset = (first - dt.date(2026, 1, 1)).days
        freezes = rows(
            [here.meter] * len(have), [midnights[k] for k in have], active_import=[step * (offset + k) for k in have],
            active_export=[0] * len(have),
        )  # fmt: skip
        deliver(self.conn, DAYS, freezes)

    def curve(self, here: Place, kwh: float, **more: list[int]) -> None:
        energy = np.rint(kwh * KWH * (68 + np.arange(97) / 96)).astype(int).tolist()
        given = rows([here.meter] * 97, TIMES, active_import=energy, active_export=[0] * 97, **more)
        deliver(self.conn, CURVES, given, at(NIGHT))

    def day(self, **over: Any) -> None:
        """Homes 40 and 50 in each area; mains 96, 96, 92; heads 196 and 94; incoming 293; gate 300 [kWh]."""
        for main, kwh in zip(self.main, (96, 96, 92), strict=True):
            self.bring(main, kwh, **over)
        for homes in self.homes:
            for home, kwh in zip(homes, (40, 50), strict=True):
                self.bring(home, kwh, **over)
        for head, kwh in zip(self.heads, (196, 94), strict=True):
            self.bring(head, kwh, **over)
        self.bring(self.incoming, 293, **over)
        self.bring(self.gate, 300, **over)

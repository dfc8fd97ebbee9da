"""A household's registers by quarter-hour, and what they cost by a few plain integers."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal

import numpy as np

from headend.jobs.frame import Run
from headend.plans import CURVE, points
from headend.store.db import Connection
from headend.store.tables import DAY_FREEZES, SLOTS, SPOTS, Table
from protocols.localtime import as_datetime
from tests.support.house import SHANGHAI, at, rows, write

#: the shipped tariff, as its notice prints it: 1e-4 yuan per kWh
PEAK, VALLEY = 5680, 2880


def run(conn: Connection, now: str) -> Run:
    return Run(conn, SHANGHAI, at(now))


def fen(amount: int) -> int:
    """1e-8 yuan -> fen, half away from zero."""
    return int((Decimal(amount) / 1_000_000).to_integral_value(ROUND_HALF_UP))


def is_peak(slot_end: np.datetime64) -> bool:
    """By the clock on the wall: 8 to 22 o'clock."""
    return 8 <= (as_datetime(slot_end, SHANGHAI) - dt.timedelta(minutes=15)).hour < 22


@dataclass(frozen=True, slots=True)
class Home:
    """Registers [1e-4 kWh] at every quarter-hour from a day's first midnight on."""

    meter: int
    times: Sequence[np.datetime64]
    total: Sequence[int]
    valley: Sequence[int]

    def cost(self, begin: str, end: str, multiplier: int = 1) -> int:
        """[1e-8 yuan] between two instants."""
        a, b = (list(self.times).index(at(when)) for when in (begin, end))
        energy, cheap = self.total[b] - self.total[a], self.valley[b] - self.valley[a]
        return ((energy - cheap) * PEAK + cheap * VALLEY) * multiplier

    def bring(self, conn: Connection, begin: str, end: str, *, without: Sequence[int] = ()) -> None:
        """Write the curve of (begin, end], without the slots at some places of it; the register at `begin` too."""
        a, b = (list(self.times).index(at(when)) for when in (begin, end))
        chosen = [k for k in range(a, b + 1) if k - a not in without]
        write(
            conn,
            SLOTS,
            rows(
                [self.meter] * len(chosen),
                [self.times[k] for k in chosen],
                active_import=[self.total[k] for k in chosen],
            ),
        )

    def freeze(self, conn: Connection, *days: str, add: int = 0) -> None:
        """Write the day freezes taken at these midnights, `add` to the total."""
        for day in days:
            self._registers(conn, DAY_FREEZES, f"{day} 00:00", add)

    def spot(self, conn: Connection, when: str) -> None:
        """Write the registers as somebody read them at that instant."""
        self._registers(conn, SPOTS, when)

    def _registers(self, conn: Connection, table: Table, when: str, add: int = 0) -> None:
        k = list(self.times).index(at(when))
        total, valley = self.total[k] + add, self.valley[k]
        write(
            conn, table,
            rows([self.meter], [self.times[k]], active_import=[total], active_import_t2=[total - valley], active_import_t4=[valley]),
        )  # fmt: skip


def home(meter: int, first: dt.date, days: int, *, seed: int = 1, steady: int | None = None) -> Home:
    """Random consumption, or `steady` [1e-4 kWh] in every slot."""
    slots = np.concatenate([points(CURVE, first + dt.timedelta(days=k), SHANGHAI) for k in range(days)])
    used = (
        np.random.default_rng([seed, meter]).integers(0, 5000, len(slots))
        if steady is None
        else np.full(len(slots), steady)
    )
    cheap = np.where([is_peak(end) for end in slots], 0, used)
    times = [slots[0] - np.timedelta64(15, "m"), *slots]
    opening = 1_234_500 + meter
    return Home(
        meter, times, (opening + np.concatenate([[0], np.cumsum(used)])).tolist(), (opening // 2 + np.concatenate([[0], np.cumsum(cheap)])).tolist()
    )  # fmt: skip

"""The losses of a day or month as a report: ranked, judged by their limits, compared with before; for the table, the workbook and the page."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any, Final
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from headend.store import loss_curve, splits
from headend.store.db import Connection
from headend.store.loss_curve import Curve, Object
from lineloss.norms import Norm, norms
from lineloss.ranking import changed, ranked

#: The worst of a report, whose history and quarter-hours are shown: as many as a person looks into in a morning.
WORST: Final = 10
#: days, or months, of a history
BACK: Final = {"day": 31, "month": 13}
#: 220 kV and above have a limit of their own
HIGH_KV: Final = 220.0

KINDS_ZH: Final = {
    "area": "分台区", "line": "分线", "bus": "母线", "transformer": "变压器", "substation": "变电站", "region": "分区", "voltage": "分压",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Entry:
    """One object. Fractions of what was supplied; NaN where not known.

    rank       1 for the worst, who has limits alone at the lower one; 0: nothing is known of it
    uncertain  its bounds reach into those of the next one
    judged     'over', 'under': certainly beyond its limits; 'perhaps': the figure is, the bounds are not; '': within, or without limits
    before     rate of the day or month before;  week: of the same day of the week before
    moved      the bounds of now and before lie apart: it is another one indeed
    """

    row: dict[str, Any]
    rank: int
    uncertain: bool
    rate: float
    low: float
    high: float
    judged: str
    before: float
    week: float
    moved: bool

    @property
    def object(self) -> Object:
        return self.row["object_id"], self.row["level_v"]

    @property
    def name(self) -> str:
        """Its code; of a voltage level with the kV."""
        return f"{self.row['code']}@{self.row['kv']:g}" if self.row["level_v"] else str(self.row["code"])


@dataclass(frozen=True, slots=True)
class Report:
    """`entries`: the worst first, those that are not known last. `histories`, `curves`: of the worst; curves of a day alone."""

    kind: str
    period: str
    first: dt.date
    entries: list[Entry]
    histories: dict[Object, list[dict[str, Any]]]
    curves: dict[Object, Curve]

    @property
    def worst(self) -> list[Entry]:
        return [entry for entry in self.entries if entry.rank][:WORST]

    @property
    def title(self) -> str:
        when = f"{self.first:%Y-%m}" if self.period == "month" else self.first.isoformat()
        return f"line loss by {self.kind} {when}"


def build(conn: Connection, kind: str, period: str, first: dt.date, zone: ZoneInfo) -> Report:
    """The report of a local day, or of the month that begins on `first`."""
    rows = splits.losses(conn, kind, period, first)
    before = _rates(splits.losses(conn, kind, period, _before(first, period)))
    week = _rates(splits.losses(conn, kind, period, first - dt.timedelta(days=7))) if period == "day" else {}
    keys = [(row["object_id"], row["level_v"]) for row in rows]
    now = _table(_rates(rows), keys)
    then, last_week = _table(before, keys), _table(week, keys)
    value, low, high = (_size(now) if kind == "bus" else now).T
    order = ranked(value, low, high)
    _, moved = changed(*now.T, *then.T)
    rank, unsure = np.zeros(len(rows), dtype=np.int64), np.zeros(len(rows), dtype=np.bool_)
    rank[order.row], unsure[order.row] = np.arange(1, len(order.row) + 1), order.uncertain
    entries = []
    for k, row in enumerate(rows):
        rate, least, most = now[k].tolist()
        judged = judge(_limits(kind, row["kv"]), rate, least, most)
        earlier, ago = float(then[k, 0]), float(last_week[k, 0])
        entries.append(
            Entry(row, int(rank[k]), bool(unsure[k]), rate, least, most, judged, earlier, ago, bool(moved[k]))
        )
    entries.sort(key=lambda entry: (entry.rank == 0, entry.rank, entry.name))
    worst = [entry.object for entry in entries if entry.rank][:WORST]
    histories = {key: splits.history(conn, kind, period, *key, first, BACK[period]) for key in worst}
    curves = loss_curve.curves(conn, kind, worst, first, zone) if period == "day" and worst else {}
    return Report(kind, period, first, entries, histories, curves)


def _before(first: dt.date, period: str) -> dt.date:
    day = first - dt.timedelta(days=1)
    return day.replace(day=1) if period == "month" else day


def _rates(rows: list[dict[str, Any]]) -> dict[Object, tuple[float, float, float]]:
    return {(row["object_id"], row["level_v"]): shares(row) for row in rows}


def shares(row: dict[str, Any]) -> tuple[float, float, float]:
    """(rate, least, greatest) as fractions of what was supplied; NaN where not known. A bounded loss has no rate, and limits all the same."""
    if not row["supplied"] or row["supplied"] < 0:
        return (np.nan,) * 3
    rate, low, high = (
        np.nan if row[name] is None else row[name] / row["supplied"]
        for name in ("loss", "loss_low", "loss_high")
    )
    return rate, low, high


def _table(rates: dict[Object, tuple[float, float, float]], keys: list[Object]) -> NDArray[np.float64]:
    return np.array([rates.get(key, (np.nan,) * 3) for key in keys], dtype=np.float64).reshape(-1, 3)


def _size(rates: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of buses it counts how far the unbalance is from nothing, either way."""
    size = np.abs(rates)
    through = (rates[:, 1] < 0) & (rates[:, 2] > 0)
    least = np.where(through, 0.0, np.minimum(size[:, 1], size[:, 2]))
    return np.stack([size[:, 0], least, np.maximum(size[:, 1], size[:, 2])], axis=1)


def _limits(kind: str, kv: float | None) -> tuple[float, float]:
    if kind == "bus" and kv is not None:
        norm: Norm = norms()["bus_unbalance_220" if kv >= HIGH_KV else "bus_unbalance"]
        return norm.low, norm.high
    if kind == "area":
        return norms()["area_negative_loss_rate"].low, norms()["area_loss_rate"].high
    return -np.inf, np.inf


def judge(limits: tuple[float, float], rate: float, low: float, high: float) -> str:
    """'over' or 'under' where the bounds are beyond a limit as a whole, 'perhaps' where the figure alone is, else ''."""
    if low > limits[1]:
        return "over"
    if high < limits[0]:
        return "under"
    return "perhaps" if rate > limits[1] or rate < limits[0] else ""

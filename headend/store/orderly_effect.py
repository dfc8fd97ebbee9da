"""What a day of a plan of orderly use has brought: of each participant and of all together, by the baseline of like days
(lineloss/statistics/response.py).

    asked     what the plan promised of him, over the hours of the day that were carried out [kWh]
    reduced   baseline less what was taken, with its limits 19 times in 20
    above     slots in which he took more than his setpoint and TOLERANCE; the first of each period is not counted, for a terminal warns first

Who has a hole in the day, estimates within the periods among them, or too few like days is not told: `why` says what is missing, and he is
not among those whose sum is told.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any, Final
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from headend.control.orderly import Plan
from headend.plans import CURVE, points
from headend.store import response
from headend.store.db import Connection
from headend.store.orderly import UnknownPlan, read
from headend.store.orderly_candidates import called_days, slots
from lineloss.statistics.response import LEAST, Effect, effect, whole
from protocols.localtime import Times, as_datetime, instant

Floats = NDArray[np.float64]

#: a load so much above the setpoint is above it: a meter's class, and a clock that is off by seconds. A default.
TOLERANCE: Final = 0.05
SLOT: Final = np.timedelta64(15 * 60, "s")
_HOURLY: Final = 4


@dataclass(frozen=True, slots=True)
class Window:
    """(first, last) of the stretches that were carried out, among the slots that end at `times`."""

    times: Times
    spans: tuple[tuple[int, int], ...]

    @property
    def hours(self) -> float:
        return sum(last - first + 1 for first, last in self.spans) / _HOURLY

    @property
    def mask(self) -> NDArray[np.bool_]:
        """bool[slot]: within the periods."""
        found = np.zeros(len(self.times), dtype=np.bool_)
        for first, last in self.spans:
            found[first : last + 1] = True
        return found

    @property
    def counted(self) -> NDArray[np.bool_]:
        """The same without the first slot of each."""
        found = self.mask
        found[[first for first, _ in self.spans]] = False
        return found


def window(plan: Plan, day: dt.date, zone: ZoneInfo, since: np.datetime64, until: np.datetime64) -> Window:
    """What of a day lay within its periods and between two instants, whole slots alone."""
    times = points(CURVE, day, zone)
    begun = int(np.searchsorted(times, since + SLOT))
    over = int(np.searchsorted(times, until, side="right")) - 1
    cut = [(max(first, begun), min(last, over)) for first, last in slots(plan.periods, day, times, zone)]
    return Window(times, tuple((first, last) for first, last in cut if first <= last))


def carried_out(row: dict[str, Any], now: np.datetime64) -> tuple[np.datetime64, np.datetime64] | None:
    """Between which instants the plan's controls were on; None: they never were."""
    if row["started_at"] is None:
        return None
    return instant(row["started_at"]), now if row["over_at"] is None else instant(row["over_at"])


def measure(conn: Connection, number: int, day: dt.date, zone: ZoneInfo, *, now: np.datetime64) -> bool:
    """Measure a day that is over, once more if it was measured before, in the caller's transaction. False: nothing of it was carried out.
    UnknownPlan."""
    row = conn.execute("SELECT * FROM orderly_plan WHERE plan_id = %s", (number,)).fetchone()
    if row is None:
        raise UnknownPlan(number)
    plan, span = read(row["document"]), carried_out(row, now)
    if span is None or not plan.first_day <= day <= plan.last_day:
        return False
    when = window(plan, day, zone, *span)
    if not when.spans:
        return False
    participants = conn.execute(
        "SELECT terminal_id, points, setpoint_w, reduce_kw FROM orderly_participant WHERE plan_id = %s ORDER BY rank",
        (number,),
    ).fetchall()
    curves = _curves(conn, participants, day, zone, when)
    told = [_one(curves[:, k], when, row["setpoint_w"]) for k, row in enumerate(participants)]
    known = np.array([found is not None for found, _, _ in told], dtype=np.bool_)
    conn.execute("DELETE FROM orderly_day WHERE plan_id = %s AND day = %s", (number, day))
    together, counted = _together(curves, known, when)
    asked = [row["reduce_kw"] * when.hours for row in participants]
    followed = sum(above == 0 for _, above, _ in told)
    conn.execute(
        "INSERT INTO orderly_day (plan_id, day, measured_at, participants, known, followed, asked_kwh, baseline_kwh, taken_kwh, reduced_kwh, "
        "low_kwh, high_kwh) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
        (
            number, day, as_datetime(now), len(participants), int(counted.sum()), followed,
            sum(kwh for kwh, one in zip(asked, counted.tolist(), strict=True) if one), *_figures(together, when),
        ),
    )  # fmt: skip
    for row, kwh, (found, above, why) in zip(participants, asked, told, strict=True):
        conn.execute(
            "INSERT INTO orderly_effect (plan_id, day, terminal_id, asked_kwh, baseline_kwh, taken_kwh, reduced_kwh, low_kwh, high_kwh, slots, "
            "above, why) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
            (
                number,
                day,
                row["terminal_id"],
                kwh,
                *_figures(found, when),
                int(when.counted.sum()),
                above,
                why,
            ),
        )
    return True


def effects(conn: Connection, number: int) -> list[dict[str, Any]]:
    """The days that were measured, oldest first, each with its participants in their order. `share`: of what was asked of those who are known;
    `told`: whether his terminal was told, or may have been. UnknownPlan."""
    if conn.execute("SELECT FROM orderly_plan WHERE plan_id = %s", (number,)).fetchone() is None:
        raise UnknownPlan(number)
    days = conn.execute("SELECT * FROM orderly_day WHERE plan_id = %s ORDER BY day", (number,)).fetchall()
    of: dict[dt.date, list[dict[str, Any]]] = {row["day"]: [] for row in days}
    for row in conn.execute(
        "SELECT e.day, c.number AS customer, c.name, t.code AS terminal, q.setpoint_w, e.asked_kwh, e.baseline_kwh, e.taken_kwh, e.reduced_kwh, "
        "e.low_kwh, e.high_kwh, e.slots, e.above, e.why, s.touched AS told FROM orderly_effect e "
        "JOIN orderly_participant q USING (plan_id, terminal_id) JOIN orderly_standing s USING (plan_id, terminal_id) "
        "JOIN customer c USING (customer_id) JOIN terminal t USING (terminal_id) WHERE e.plan_id = %s ORDER BY e.day, q.rank",
        (number,),
    ):
        of[row.pop("day")].append(
            {**row, "followed": None if row["above"] is None else row["above"] == 0, **_share(row)}
        )
    return [{**row, **_share(row), "participants_list": of[row["day"]]} for row in days]


def _share(row: dict[str, Any]) -> dict[str, Any]:
    told = row["reduced_kwh"] is not None and row["asked_kwh"] > 0
    return {"share": row["reduced_kwh"] / row["asked_kwh"] if told else None}


def _curves(
    conn: Connection, participants: list[dict[str, Any]], day: dt.date, zone: ZoneInfo, when: Window
) -> Floats:
    """float64[day, participant, slot] [kWh]: the day itself, then like days before it, the newest first; NaN where not known."""
    ids = np.unique(np.array([point for row in participants for point in row["points"]], dtype=np.int64))
    without = called_days(conn, [row["terminal_id"] for row in participants])
    like = response.like_days(conn, day, day, zone, without)
    found = np.full((1 + len(like), len(participants), len(when.times)), np.nan)
    for n, one in enumerate((day, *like)):
        curve = response.curve(conn, one, zone, ids, measured=when.mask if n == 0 else None)
        for k, row in enumerate(participants):
            found[n, k] = curve[np.searchsorted(ids, np.array(row["points"]))].sum(axis=0)
    return found


def _one(curves: Floats, when: Window, setpoint_w: int) -> tuple[Effect | None, int | None, str]:
    """Of one participant's float64[day, slot]: (effect, slots above the setpoint, what is missing)."""
    (first, last), *more = when.spans
    taken, like = curves[0], curves[1:]
    counted = taken[when.counted] * _HOURLY * 1000
    above = (
        None
        if not len(counted) or np.isnan(counted).any()
        else int((counted > setpoint_w * (1 + TOLERANCE)).sum())
    )
    found = effect(taken, like, first, last, more=more)
    if found is not None:
        return found, above, ""
    holes, within = int(np.isnan(taken).sum()), int(np.isnan(taken[when.mask]).sum())
    if holes:
        return None, above, f"quarter-hours that are not known: {holes}, {within} of them in its periods"
    return None, above, f"{len(whole(like))} like days are known, {LEAST} at least are needed"


def _together(
    curves: Floats, known: NDArray[np.bool_], when: Window
) -> tuple[Effect | None, NDArray[np.bool_]]:
    """The effect of all who are known on the same days, and who they are. A like day of which hardly any of them is known would leave hardly any."""
    there = np.logical_and.reduce(~np.isnan(curves), axis=2)
    most = (there & known).sum(axis=1)
    kept = most >= 0.9 * known.sum()
    kept[0] = True
    counted = known & there[kept].all(axis=0)
    if not counted.any():
        return None, counted
    sums = curves[kept][:, counted].sum(axis=1)
    (first, last), *more = when.spans
    found = effect(sums[0], sums[1:], first, last, more=more)
    return found, counted if found is not None else np.zeros_like(counted)


def _figures(found: Effect | None, when: Window) -> tuple[float | None, ...]:
    """baseline, taken, reduced, low, high [kWh] within the periods."""
    if found is None:
        return (None,) * 5
    mask = when.mask
    return (
        float(found.baseline[mask].sum()),
        float(found.taken[mask].sum()),
        found.reduced,
        found.low,
        found.high,
    )

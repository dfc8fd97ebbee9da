"""A plan's hours and prices as a meter keeps them, and the hours that a meter's tables mean. Pure.

A meter has its tables twice, the present set and the spare (备用套), and a time for each at which the two change places. What it holds
is a document, the same for every protocol; what is spare has "spare " before its key:

    zones        年时区表   [[month, day, day table], ...]   from that date on; the last one goes on over the new year
    day 1 … 8    日时段表   [[hour, minute, tariff], ...]    from that time on; the last one goes on over midnight
    prices       费率电价   [price of tariff 1, ...]         [1e-4 yuan/kWh]
    steps        阶梯       {"limits": [1e-2 kWh], "prices": [1e-4 yuan/kWh], "dates": [[month, day, hour], ...]}
    switch zones, switch days, switch prices, switch steps   两套切换时间   "2026-04-01T00:00" local; None: never
    holidays     公共假日   [[year, month, day, day table], ...], and rest 周休日 [word, day table]: there is one of each, for both sets
    counts       how many zones, days, slots, tariffs, holidays and steps it is set to

What a meter does not have is None. Zones and days change places by times of their own, so a write that broke off between the two would
leave hours that nobody meant. Hence a new day set keeps the tables that the present zones name, under their numbers, and new ones get
numbers that nothing names: whichever of the two times is there alone, the hours stay as they were until the zones change.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tariffs.days import NO_DAYS, Days
from tariffs.periods import DAY, PERIODS, REGISTERS, STEP
from tariffs.plan import Version

Document = Mapping[str, Any]
SPARE: Final = "spare "
#: What is written, in this order: the zones' time last, because by it alone the new hours begin.
ORDER: Final = (
    *(f"{SPARE}day {number}" for number in range(1, 9)), f"{SPARE}zones", f"{SPARE}prices", f"{SPARE}steps",
    "switch days", "switch prices", "switch steps", "holidays", "switch zones",
)  # fmt: skip
#: 尖 峰 平 谷 are tariffs 1 to 4 by custom, so of several registers that a plan lets count a period its own is taken
_NATURAL: Final = {"sharp": 1, "peak": 2, "flat": 3, "valley": 4}
#: weekday of datetime, Monday 0, -> bit of the rest word: Sunday is bit 0, and a day whose bit is 0 is one of rest. No public text says
#: this; it is how the word is told of.
_REST_BIT: Final = (1, 2, 3, 4, 5, 6, 0)
_KWH_CENT: Final = 100
#: numbers of tariffs that a meter can have (DL/T 645-2007: 63), and 0
TARIFFS: Final = 64
_ONE_DAY: Final = dt.timedelta(days=1)


class CannotHold(ValueError):
    """The meter cannot keep the plan: which plan, which version, what there is not enough of."""

    def __init__(self, plan: str, version: Version, why: str) -> None:
        super().__init__(f"tariff {plan}, version of {version.valid_from}: {why}")


class NoHours(LookupError):
    """What the meter tells of its tables means no hours: what is wrong with them."""


class Clash(NamedTuple):
    """The meter counts otherwise than the plan bills: from `begin` to `end` (minutes of the day) by tariff `tariff`, where the plan has
    `period`. `day`: the first of `days` such days."""

    day: dt.date
    days: int
    begin: int
    end: int
    tariff: int
    period: str


# --- what the meter's tables mean ---


def counted(version: Version) -> NDArray[np.int8]:
    """int8[TARIFFS]: the period that tariff number n counts for the plan. What no register counts is the remainder's, as in a bill."""
    found = np.full(TARIFFS, version.remainder, dtype=np.int8)
    for k, period in enumerate(version.registers, start=1):
        if period is not None:
            found[k] = period
    return found


def table_of(held: Document, day: dt.date, side: str = "") -> int:
    """The number of the day table that rules on a local day: a holiday's, else a day of rest's, else the zone's. NoHours."""
    for holiday, number in _holidays(held):
        if holiday == day:
            return number
    rest = held.get("rest")
    if rest and not rest[0] >> _REST_BIT[day.weekday()] & 1:
        return int(rest[1])
    zones = sorted(held.get(f"{side}zones") or ())
    if not zones:
        raise NoHours("the meter tells of no zone table (年时区表)")
    before = [number for month, of, number in zones if (month, of) <= (day.month, day.day)]
    return int(before[-1] if before else zones[-1][2])


def _holidays(held: Document) -> list[tuple[dt.date, int]]:
    """Public holidays and their day tables. NoHours: one is no day of one year."""
    found = []
    for year, month, day, number in held.get("holidays") or ():
        try:
            found.append((dt.date(year, month, day), int(number)))
        except ValueError:
            raise NoHours(
                f"a public holiday (公共假日) of the meter, {year}-{month:02d}-{day:02d}, is no day"
            ) from None
    return found


def minutes(slots: Sequence[Sequence[int]]) -> NDArray[np.int8]:
    """int8[1440]: the tariff of each minute of a day with that table. NoHours."""
    starts = sorted((hour * 60 + minute, tariff) for hour, minute, tariff in slots)
    if wrong := [tariff for _, tariff in starts if not 0 <= tariff < TARIFFS]:
        raise NoHours(f"a day table (日时段表) of the meter names tariff {wrong[0]}; there are {TARIFFS - 1}")
    day = np.full(DAY, starts[-1][1], dtype=np.int8)
    for start, tariff in starts:
        day[start:] = tariff
    return day


def hours(held: Document, first: dt.date, last: dt.date, side: str = "") -> NDArray[np.int8]:
    """int8[day, 1440]: the tariff of each minute of the local days first to last; 0 where a table is missing."""
    known: dict[int, NDArray[np.int8]] = {}
    rows = []
    for n in range((last - first).days + 1):
        number = table_of(held, first + n * _ONE_DAY, side)
        if number not in known:
            slots = held.get(f"{side}day {number}")
            known[number] = minutes(slots) if slots else np.zeros(DAY, dtype=np.int8)
        rows.append(known[number])
    return np.stack(rows)


def clashes(
    plan: str,
    version: Version,
    held: Document,
    first: dt.date,
    last: dt.date,
    days: Days = NO_DAYS,
    side: str = "",
) -> list[Clash]:
    """Where the meter's present hours (or those of `side`) are not the plan's, over the local days first to last. CalendarError: the plan
    tells kinds of day apart and one has none."""
    span = np.arange(np.datetime64(first), np.datetime64(last) + 1)
    kind = days.on(span, plan) if version.by_kind else np.zeros(len(span), dtype=np.int8)
    month = span.astype("datetime64[M]").astype(np.int64) % 12
    wanted = np.repeat(version.schedule_array[month, kind], STEP, axis=1)
    tariff = hours(held, first, last, side)
    wrong = (counted(version)[tariff] != wanted) | (tariff == 0)
    found: dict[tuple[int, int, int, int], list[int]] = {}
    for day in np.flatnonzero(wrong.any(axis=1)).tolist():
        edges = (np.diff(wrong[day]) | (np.diff(tariff[day]) != 0) | (np.diff(wanted[day]) != 0)).nonzero()[
            0
        ] + 1
        for begin, end in zip([0, *edges.tolist()], [*edges.tolist(), DAY], strict=True):
            if wrong[day, begin]:
                key = (begin, end, int(tariff[day, begin]), int(wanted[day, begin]))
                found.setdefault(key, []).append(day)
    return [
        Clash(first + at[0] * _ONE_DAY, len(at), begin, end, number, PERIODS[period])
        for (begin, end, number, period), at in sorted(found.items(), key=lambda row: row[1][0])
    ]


def switched(held: Document, at: dt.date) -> dict[str, Any]:
    """The document once that midnight has passed: what has it for its time has changed places, and nothing else."""
    after = dict(held)
    of = {
        "zones": ["zones"],
        "days": [f"day {n}" for n in range(1, 9)],
        "prices": ["prices"],
        "steps": ["steps"],
    }
    for what, keys in of.items():
        if held.get(f"switch {what}") == _midnight(at):
            for key in keys:
                after[key], after[SPARE + key] = held.get(SPARE + key), held.get(key)
    return after


# --- what the plan wants there ---


def wanted(
    plan: str,
    version: Version,
    held: Document,
    at: dt.date,
    today: dt.date,
    days: Days = NO_DAYS,
    ratio: int = 1,
) -> dict[str, Any]:
    """What shall stand in the meter so that the plan's version is in force from `at` 00:00 on: keys of ORDER; empty: it is so already.

    days   kinds of the local days from `at` to the end of its year, where the plan tells them apart
    ratio  CT × PT; a meter behind transformers cannot count money

    CannotHold, CalendarError."""
    return _Fit(plan, version, held, at, today).hours(days) | money(plan, version, held, at, ratio)


def money(plan: str, version: Version, held: Document, at: dt.date, ratio: int = 1) -> dict[str, Any]:
    """The part of `wanted` that is prices and steps: of meters that have such, because they count money by themselves."""
    if held.get("prices") is None:
        return {}
    fit = _Fit(plan, version, held, at, at)
    if ratio != 1:
        raise fit.error(
            f"the meter has prices and stands behind transformers ({ratio}): it would count a part of the money"
        )
    for part in ("basic", "power_factor", "transformer_loss"):
        if getattr(version, part) is not None:
            raise fit.error(f"the meter counts money by itself, and cannot count {part}")
    found: dict[str, Any] = {}
    prices = _prices(version, len(held["prices"]))
    if prices != list(held["prices"]):
        found |= {f"{SPARE}prices": prices, "switch prices": _midnight(at)}
    steps = fit.steps()
    present = held.get("steps")
    if present is not None and any(steps[name] != present[name] for name in ("limits", "prices")):
        found |= {f"{SPARE}steps": steps, "switch steps": _midnight(at)}
    return found


def difference(want: Document, held: Document) -> list[tuple[str, Any, Any]]:
    """(key, what is there, what shall be) of what differs, in the order in which it must be written."""
    return [(key, held.get(key), want[key]) for key in ORDER if key in want and held.get(key) != want[key]]


def _midnight(day: dt.date) -> str:
    return f"{day.isoformat()}T00:00"


def _prices(version: Version, tariffs: int) -> list[int]:
    """[1e-4 yuan/kWh] of tariffs 1 … `tariffs`, with what is charged by the kWh beside the price."""
    beside = sum(part.price for part in version.surcharges if not part.included)
    return [int(version.price_array[period]) + beside for period in counted(version)[1 : tariffs + 1]]


class _Fit:
    """One version laid into one meter."""

    def __init__(self, plan: str, version: Version, held: Document, at: dt.date, today: dt.date) -> None:
        self._plan, self._version, self._held, self._at, self._today = plan, version, held, at, today
        self._counts: Mapping[str, int] = held.get("counts") or {}

    def error(self, why: str) -> CannotHold:
        return CannotHold(self._plan, self._version, why)

    def hours(self, days: Days) -> dict[str, Any]:
        """Zones, day tables and holidays, with the times at which zones and day tables change places."""
        held = self._held
        if not held.get("zones") or not held.get(f"{SPARE}zones"):
            raise self.error(
                "the meter tells of no two zone tables (年时区表): it counts by no hours that can be told to it"
            )
        by_kind = [[self._table(day) for day in month] for month in self._version.schedule]
        used = self._named()
        number = self._numbers([table for month in by_kind for table in month], used)
        zones = self._zones([number[month[0]] for month in by_kind])
        found: dict[str, Any] = {}
        fresh = {n: table for table, n in number.items() if _there(held, n) != [list(slot) for slot in table]}
        if fresh:
            keep = used | set(number.values()) - set(fresh)
            found |= {f"{SPARE}day {n}": there for n in sorted(keep) if (there := _there(held, n))}
            found |= {f"{SPARE}day {n}": [list(slot) for slot in table] for n, table in sorted(fresh.items())}
            found["switch days"] = _midnight(self._at)
        if fresh or zones != [list(zone) for zone in held["zones"]]:
            found |= {f"{SPARE}zones": zones, "switch zones": _midnight(self._at)}
        holidays = self._holidays(
            days, {**held, "zones": zones}, [[number[table] for table in month] for month in by_kind]
        )
        if holidays != self._since(self._today):
            found["holidays"] = holidays
        return found

    def steps(self) -> dict[str, Any]:
        steps = self._version.steps
        if self._held.get("steps") is None:
            if steps is not None:
                raise self.error("the meter counts money by itself and has no steps (阶梯); the plan has")
            return {}
        if steps is None:
            return {"limits": [], "prices": [0], "dates": []}
        if len(set(steps.limits)) > 1:
            raise self.error("its steps are others in other months; a meter keeps one list")
        most = self._counts.get("steps", 0)
        if len(steps.adders) > most:
            raise self.error(f"it has {len(steps.adders)} steps; the meter is set to {most} (阶梯数)")
        # without a yearly settlement date a meter counts by its months: as meters are told of, no public text says so
        dates = [[1, 1, 0]] if steps.basis == "year" else []
        limits = [limit // _KWH_CENT for limit in steps.limits[0]]
        return {"limits": limits, "prices": list(steps.adders), "dates": dates}

    def _table(self, day: bytes) -> tuple[tuple[int, int, int], ...]:
        """A day's periods as slots of tariff numbers."""
        numbers = [self._tariff(period) for period in day]
        starts = [k for k in range(len(numbers)) if k == 0 or numbers[k] != numbers[k - 1]]
        most = self._counts.get("slots", 0)
        if len(starts) > most and numbers[0] == numbers[-1]:
            starts = starts[1:]  # the last slot goes on over midnight
        if len(starts) > most:
            raise self.error(f"a day has {len(starts)} slots; the meter is set to {most} (日时段数)")
        return tuple((k * STEP // 60, k * STEP % 60, numbers[k]) for k in starts)

    def _tariff(self, period: int) -> int:
        """The tariff number whose register counts the period."""
        means = counted(self._version)
        able = [n for n in range(1, len(REGISTERS) + 1) if means[n] == period]
        if not able:
            raise self.error(f"no register is left that counts {PERIODS[period]}")
        natural = _NATURAL.get(PERIODS[period])
        number = natural if natural in able else able[0]
        assert number is not None
        most = self._counts.get("tariffs", 0)
        if number > most:
            raise self.error(
                f"{PERIODS[period]} is tariff {number}; the meter is set to {most} tariffs (费率数)"
            )
        return number

    def _named(self) -> set[int]:
        """Numbers of day tables that what now rules names, or will before the switch."""
        used = {number for _, _, number in self._held["zones"]}
        rest = self._held.get("rest")
        if rest and rest[0] & 0x7F != 0x7F:
            used.add(rest[1])
        return used | {number for *_, number in self._since(self._today)}

    def _since(self, day: dt.date) -> list[list[int]]:
        """Holidays of the meter from then on; those that are over mean nothing any more."""
        return [[of.year, of.month, of.day, number] for of, number in _holidays(self._held) if of >= day]

    def _coming(self) -> list[list[int]]:
        """Public holidays before the switch."""
        return [row for row in self._since(self._today) if dt.date(*row[:3]) < self._at]

    def _numbers(
        self, tables: Sequence[tuple[tuple[int, int, int], ...]], used: set[int]
    ) -> dict[tuple[tuple[int, int, int], ...], int]:
        """Each day table's number: that of the same one of the present set, else one that nothing names."""
        most = self._counts.get("days", 0)
        there = {tuple(tuple(slot) for slot in _there(self._held, n)): n for n in range(most, 0, -1)}
        number = {table: there[table] for table in tables if table in there}
        free = iter(n for n in range(1, most + 1) if n not in used and n not in number.values())
        for table in tables:
            n = number.get(table) or next(free, None)
            if n is None:
                raise self.error(
                    f"it needs {len(set(tables))} day tables beside the {len(used)} in use until the switch; the meter is set to {most} (日时段表数)"
                )
            number[table] = n
        return number

    def _zones(self, months: Sequence[int]) -> list[list[int]]:
        zones = [[k + 1, 1, n] for k, n in enumerate(months) if k == 0 or n != months[k - 1]]
        most = self._counts.get("zones", 0)
        if len(zones) > most and months[0] == months[-1]:
            zones = zones[1:]  # the last zone goes on over the new year
        if len(zones) > most:
            raise self.error(f"it has {len(zones)} seasons; the meter is set to {most} year zones (年时区数)")
        return zones

    def _holidays(self, days: Days, ruled: Document, number: Sequence[Sequence[int]]) -> list[list[int]]:
        """Days from the switch to the end of its year on which zones and rest days name another table than the plan wants; those before it
        stay."""
        end = dt.date(self._at.year, 12, 31)
        bare = {**ruled, "holidays": []}
        span = np.arange(np.datetime64(self._at), np.datetime64(end) + 1)
        kinds = (
            days.on(span, self._plan) if self._version.by_kind else np.zeros(len(span), dtype=np.int8)
        ).tolist()
        coming = [self._at + n * _ONE_DAY for n in range(len(span))]
        rows = self._coming() + [
            [day.year, day.month, day.day, number[day.month - 1][kind]]
            for day, kind in zip(coming, kinds, strict=True)
            if table_of(bare, day) != number[day.month - 1][kind]
        ]
        most = self._counts.get("holidays", 0) if self._held.get("holidays") is not None else 0
        if len(rows) > most:
            raise self.error(
                f"{len(rows)} days until {end} go by another table than their zone; the meter is set to {most} public holidays (公共假日数)"
            )
        return rows


def _there(held: Document, number: int) -> list[list[int]]:
    return [list(slot) for slot in held.get(f"day {number}") or ()]

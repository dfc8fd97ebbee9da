"""Voltages, currents and the angles between them, as far as a meter tells them. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

#: Degrees by which two ways of knowing an angle may differ: both are rounded, and the load moves between two reads.
NEAR: Final = 15.0
#: A current below this share of the largest is no direction: its angle is that of noise.
FAINT: Final = 0.005


class Source(Enum):
    """How an angle is known."""

    METER = "meter"  # the meter tells it
    POWERS = "P and Q"  # atan2(Q, P)
    FACTOR = "power factor"  # its cosine alone: lagging is assumed
    NONE = "unknown"


@dataclass(frozen=True, slots=True)
class Phase:
    """One phase; NaN where the meter tells nothing.

    voltage V, current A (magnitude), power kW, reactive kvar (positive: lagging import), factor
    angle   degrees by which the current lags its own voltage, over -180 up to 180; beyond 90 either way energy flows backwards
    doubt   the meter's angle fits neither reading of its own P and Q
    """

    name: str
    voltage: float = math.nan
    current: float = math.nan
    power: float = math.nan
    reactive: float = math.nan
    factor: float = math.nan
    angle: float = math.nan
    source: Source = Source.NONE
    doubt: bool = False


@dataclass(frozen=True, slots=True)
class Phasors:
    """One moment.

    phases    those of which anything is known, A first
    star      degrees by which each phase's voltage lags that of phase A
    measured  the meter tells the angles between its voltages; else they are those of a regular system, A B C
    """

    phases: tuple[Phase, ...]
    star: tuple[float, ...]
    measured: bool = False


#: The seam for the judgement of the wiring: what is wrong with it, in words (en, zh), or None where nothing can be said.
Judge = Callable[[Phasors], tuple[str, str] | None]

_REGULAR: Final = {"A": 0.0, "B": 120.0, "C": 240.0}


def phasors_of(values: Mapping[str, float], star: Mapping[str, float] | None = None) -> Phasors | None:
    """From quantities by code (voltage_a, phase_angle_b, ...). None: neither a voltage nor a current among them.

    star  degrees by which each voltage lags that of phase A, where the meter tells them
    """
    there = [name for name in "ABC" if _given(values, "voltage", name) or _given(values, "current", name)]
    if not there:
        return None
    if len(there) == 1:  # a single-phase meter's totals are its phase's
        values = _with_totals(values, there[0])
    phases = tuple(_phase(values, name) for name in there)
    measured = star is not None and all(name in star for name in there)
    known = star if measured and star is not None else _REGULAR
    return Phasors(phases, tuple(known[name] for name in there), measured)


def turned(degrees: float) -> float:
    """The same direction over -180 up to 180."""
    return round(180.0 - (180.0 - degrees) % 360.0, 9)


def weak(phase: Phase, phasors: Phasors) -> bool:
    """Whether the current is too small to have a direction."""
    largest = max((p.current for p in phasors.phases if not math.isnan(p.current)), default=math.nan)
    return not phase.current > FAINT * largest


def _given(values: Mapping[str, float], what: str, name: str) -> bool:
    return not math.isnan(values.get(f"{what}_{name.lower()}", math.nan))


def _with_totals(values: Mapping[str, float], name: str) -> Mapping[str, float]:
    low = name.lower()
    totals = {
        f"{code}_{low}": values[code]
        for code in ("active_power", "reactive_power", "power_factor")
        if code in values
    }
    return totals | dict(values)


def _phase(values: Mapping[str, float], name: str) -> Phase:
    def of(what: str) -> float:
        return float(values.get(f"{what}_{name.lower()}", math.nan))

    power, reactive, factor, told = (
        of("active_power"),
        of("reactive_power"),
        of("power_factor"),
        of("phase_angle"),
    )
    if (
        math.isnan(factor)
        and not math.isnan(power)
        and not math.isnan(reactive)
        and math.hypot(power, reactive)
    ):
        factor = power / math.hypot(power, reactive)
    angle, source, doubt = _angle(power, reactive, factor, told)
    return Phase(name, of("voltage"), abs(of("current")), power, reactive, factor, angle, source, doubt)


def _angle(power: float, reactive: float, factor: float, told: float) -> tuple[float, Source, bool]:
    flows = not math.isnan(power) and not math.isnan(reactive) and math.hypot(power, reactive) > 0
    worked_out = math.degrees(math.atan2(reactive, power)) if flows else math.nan
    if not math.isnan(told):
        return *_told(told, worked_out), False if math.isnan(worked_out) else not _fits(told, worked_out)
    if flows:
        return worked_out, Source.POWERS, False
    if not math.isnan(factor) and abs(factor) <= 1:
        return math.degrees(math.acos(factor)), Source.FACTOR, False
    return math.nan, Source.NONE, False


def _told(told: float, worked_out: float) -> tuple[float, Source]:
    """Meters count 0 to 360 degrees. Which way is said by no public source: lagging, unless the meter's own P and Q say the other."""
    if not math.isnan(worked_out) and _near(-told, worked_out) and not _near(told, worked_out):
        return turned(-told), Source.METER
    return turned(told), Source.METER


def _fits(told: float, worked_out: float) -> bool:
    return _near(told, worked_out) or _near(-told, worked_out)


def _near(one: float, other: float) -> bool:
    return abs(turned(one - other)) <= NEAR

"""What customers owe, in plain integers: the simulator's own arithmetic, so that the head-end's can be
checked against it.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from protocols.localtime import instant
from terminals.simulator.area import Area
from terminals.simulator.faults import Faults, Spot
from terminals.simulator.layout import AreaPlan
from terminals.simulator.scenario import ZONE, Scenario, Tariff, stream

#: Registers count 1e-4 kWh and prices 1e-4 yuan; a fen is 1e-2 yuan.
_UNITS_PER_FEN = 1_000_000


@dataclass(frozen=True, slots=True)
class Payment:
    """An opening payment: fen, paid at a local civil time."""

    spot: Spot
    fen: int
    at: dt.datetime


def charge(tariff: Tariff, before: Sequence[int], after: Sequence[int]) -> int:
    """Fen for what went through a meter between two readings (total, sharp, peak, flat, valley; 1e-4 kWh).

    The flat energy is what the other tariffs leave of the total, so nothing is lost to the cutting of the
    registers. Rounded once, half up.
    """
    total, sharp, peak, _, valley = (int(b) - int(a) for a, b in zip(before, after, strict=True))
    energies = (sharp, peak, total - sharp - peak - valley, valley)
    units = sum(energy * price for energy, price in zip(energies, tariff.prices, strict=True))
    return (units + _UNITS_PER_FEN // 2) // _UNITS_PER_FEN


def charged(tariff: Tariff, area: Area, meter: int, begin: np.datetime64, end: np.datetime64) -> int:
    """Fen for what a meter registered between two instants (UTC)."""
    before, after = area.registers(begin), area.registers(end)
    if before is None or after is None:
        raise ValueError("one of the instants is outside what the area still holds")
    return charge(tariff, before[:, meter].tolist(), after[:, meter].tolist())


def local(when: dt.datetime) -> np.datetime64:
    """A local civil time of the fleet as an instant."""
    return instant(when.replace(tzinfo=ZONE))


def opening_payments(scenario: Scenario, faults: Faults, plans: Sequence[AreaPlan]) -> list[Payment]:
    """What the prepaid customers paid before the demonstration.

    Three of them paid so little that it is used up half way between `broke_from` and `broke_until`; the
    others' money lasts for weeks.
    """
    rng = stream(scenario.seed, "payments")
    begin = local(scenario.commissioned)
    middle = local(scenario.broke_from + (scenario.broke_until - scenario.broke_from) / 2)
    payments = []
    areas: dict[int, Area] = {}
    for spot in sorted((*faults.prepaid, *faults.empty_handed)):
        if spot.area not in areas:
            areas[spot.area] = Area(scenario, plans[spot.area])
        area, meter = areas[spot.area], spot.customer + 1
        if spot in faults.empty_handed:
            fen = charged(scenario.tariff, area, meter, begin, middle)
        else:
            a_day = charged(scenario.tariff, area, meter, begin, begin + np.timedelta64(1, "D"))
            fen = 5_000 * (2 + (15 * a_day) // 5_000 + int(rng.integers(0, 5)))
        ago = dt.timedelta(minutes=int(rng.integers(30, 600)))
        payments.append(Payment(spot, fen, scenario.commissioned - ago))
    return payments

"""What the customers of a grid draw: published profiles, scaled, moved by whole weeks so that not all households are one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tests.support.truth.flow import TURN, Flow, solve
from tests.support.truth.grid import Complex, Floats, Grid

SLOTS = 96
#: kvar per kW where the profile's reactive part is 1: simbench's loads are rated at a power factor of 0.93.
RATED_TANGENT = 0.395


@dataclass(frozen=True, slots=True)
class Weather:
    """What differs from case to case.

    first    int    day of the year
    days     int
    scale    float  of every load
    length   float  of every line
    spread   bool   each customer takes his profile from another week (up to six away, so the season stays); False: as published, where many
                    customers have one and the same
    solar    float  share of customers with photovoltaics of twice their rated load
    empty    float  share of customers who are away and draw nothing
    """

    first: int
    days: int
    scale: float = 1.0
    length: float = 1.0
    spread: bool = True
    solar: float = 0.0
    empty: float = 0.0


@dataclass(frozen=True, slots=True)
class Day:
    """What truly happened: power complex128[customer, slot] [VA] drawn, negative fed in;
    source complex128[3, slot] [V] behind the transformer;  the flow; and the weather it was."""

    grid: Grid
    weather: Weather
    power: Complex
    source: Complex
    flow: Flow


def happen(
    grid: Grid,
    profiles: dict[str, Complex],
    sun: Floats,
    weather: Weather,
    random: np.random.Generator,
    wave: Floats | None = None,
) -> Day:
    """The power flow of some days.

    wave  float64[slot]: medium voltage per unit, of a neighbour's area that hangs on the same line; None: of its own
    """
    slots = weather.days * SLOTS
    at = weather.first * SLOTS + np.arange(slots)
    customers = len(grid.home)
    power = np.empty((customers, slots), dtype=np.complex128)
    for k in range(customers):
        weeks = int(random.integers(-6, 7)) if weather.spread else 0
        published = profiles[grid.profile[k]]
        power[k] = published[(at + weeks * 7 * SLOTS) % len(published)] * grid.power[k] * 1000 * weather.scale
    power = power.real + 1j * RATED_TANGENT * power.imag
    roofs = random.random(customers) < weather.solar
    power[roofs] -= 2 * grid.power[roofs, None] * 1000 * sun[at % len(sun)]
    if weather.empty:
        power[random.random(customers) < weather.empty] = 0
    loads = np.zeros((len(grid), 3, slots), dtype=np.complex128)
    for k, (node, phase) in enumerate(zip(grid.home.tolist(), grid.phases.tolist(), strict=True)):
        if phase < 0:
            loads[node] += power[k] / 3
        else:
            loads[node, phase] += power[k]
    wave = medium_voltage(slots, random) if wave is None else wave
    lengthened = grid.lengthened(weather.length)
    source = grid.volts * wave * TURN[:, None]
    return Day(lengthened, weather, power, source, solve(lengthened, loads, source))


def medium_voltage(slots: int, random: np.random.Generator) -> Floats:
    """Per unit: a daily swing of a per cent and a wander of some tenths, as tap changers leave it. Our own assumption."""
    steps = random.normal(0, 0.0006, slots)
    wander = np.convolve(steps, 0.995 ** np.arange(slots))[:slots]
    swing = 0.008 * np.sin(2 * np.pi * (np.arange(slots) / SLOTS + random.random()))
    return np.asarray(1.02 + swing + wander)

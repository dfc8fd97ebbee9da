"""What real meters deliver of what happened, and what may be wrong with them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lineloss.topology import Role, Topology
from protocols.reading import MISSING
from tests.support.truth.grid import Floats
from tests.support.truth.homes import Day

Registers = NDArray[np.int64]
#: Standard primary currents are these times powers of ten; over 5 A.
RATIOS = np.array(
    [1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 25, 30, 40, 50, 60, 80, 100, 120, 150, 200, 250, 300, 400]
)
#: Customers whose peak is more than this per phase have current transformers [A].
DIRECT = 60.0
#: The smallest current transformers that are used: 30/5.
SMALLEST = 6


@dataclass(frozen=True, slots=True)
class Faults:
    """What is wrong in one area. Customers are numbers from 0; None: nobody.

    bypass   (customer, share of his current that passes by his meter)
    stuck    (customer, slot from which his register stands still)
    ratio    (customer, places in RATIOS by which the multiplier in the archive is above the true one): he has current transformers
    turned   customer of three phases one of whose current transformers is turned round
    late     (customer, minutes that his clock is behind)
    missing  share of registers and instants that were not delivered, point by point
    silent   share of meters that deliver nothing for a whole day, each day anew
    """

    bypass: tuple[int, float] | None = None
    stuck: tuple[int, int] | None = None
    ratio: tuple[int, int] | None = None
    turned: int | None = None
    late: tuple[int, float] | None = None
    missing: float = 0.0
    silent: float = 0.0


@dataclass(frozen=True, slots=True)
class Readings:
    """What the pure functions are given, row 0 the supply meter's, and what is true.

    voltage, current  float64[meter, 3, slot] [V], [A]
    phase             int64[meter, 3]: on which phase of the transformer each leg hangs, -1: none
    through           float64[meter, slot] [kWh]: what truly flowed, the supply's first; negative: fed in
    ratio             int64[meter]: true multiplier
    """

    topology: Topology
    imports: Registers
    exports: Registers
    voltage: Floats
    current: Floats
    phase: NDArray[np.int64]
    through: Floats
    ratio: NDArray[np.int64]

    @property
    def loss(self) -> Floats:
        """float64[slot] [kWh]: what the network lost."""
        return np.asarray(self.through[0] - self.through[1:].sum(axis=0))


def read(
    day: Day,
    random: np.random.Generator,
    faults: Faults | None = None,
    *,
    main_class: float = 0.005,
    area: int = 0,
) -> Readings:
    """Class 1 customers' meters and a supply meter of `main_class`: each with an error of its own, even within its class, and a tenth of that as
    noise; registers of 0.01 kWh, 0.1 V, 0.001 A; voltmeters and ammeters off by up to half a per cent.
    """
    faults = faults or Faults()
    grid, flow = day.grid, day.flow
    customers, slots = day.power.shape
    rows = customers + 1
    volts = np.full((rows, 3, slots), np.nan)
    amps = np.full((rows, 3, slots), np.nan)
    watts = np.zeros((rows, 3, slots))
    phase = np.full((rows, 3), -1)
    volts[0], amps[0] = np.abs(flow.volts[0]), np.abs(flow.current[0])
    watts[0] = np.real(flow.volts[0] * np.conj(flow.current[0]))
    phase[0] = range(3)
    for k, (node, hangs) in enumerate(zip(grid.home.tolist(), grid.phases.tolist(), strict=True)):
        legs = range(3) if hangs < 0 else [hangs]
        for leg, p in enumerate(legs):
            each = day.power[k] / len(legs)
            volts[k + 1, leg] = np.abs(flow.volts[node, p])
            amps[k + 1, leg] = np.abs(each / flow.volts[node, p])
            watts[k + 1, leg] = each.real
            phase[k + 1, leg] = p
    through = watts.sum(axis=1) / 4000

    if faults.bypass is not None:
        who, share = faults.bypass
        amps[who + 1] *= 1 - share
        watts[who + 1] *= 1 - share
    if faults.turned is not None:
        watts[faults.turned + 1, int(random.integers(3))] *= -1
    peak = np.nanmax(np.where(np.isnan(amps), 0.0, amps), axis=(1, 2))
    large = (peak > DIRECT) | (np.arange(rows) == 0)
    for who in [faults.ratio[0]] if faults.ratio else []:
        large[who + 1] = True
    size = np.searchsorted(RATIOS, np.maximum(np.ceil(peak / 5), SMALLEST))
    ratio = np.where(large, RATIOS[size], 1)
    archived = ratio.copy()
    if faults.ratio is not None:
        who, places = faults.ratio
        archived[who + 1] = RATIOS[size[who + 1] + places]

    classes = np.where(np.arange(rows) == 0, main_class, 0.01)
    gain = random.uniform(-1, 1, (rows, 1)) * classes[:, None]
    noise = random.normal(0, 0.1, (rows, slots)) * classes[:, None]
    energy = watts.sum(axis=1) / 4000 / ratio[:, None] * (1 + gain + noise)
    volts *= 1 + random.uniform(-0.005, 0.005, (rows, 3, 1))
    amps *= (1 + random.uniform(-0.005, 0.005, (rows, 3, 1))) / ratio[:, None, None]
    into, out = (_registers(part, random) for part in (np.maximum(energy, 0), np.maximum(-energy, 0)))
    if faults.late is not None:
        who, minutes = faults.late
        for table in (into, out):
            table[who + 1] = _behind(table[who + 1], minutes / 15)
        for values in (volts[who + 1], amps[who + 1]):
            values[:, 1:] += (values[:, :-1] - values[:, 1:]) * minutes / 15
    if faults.stuck is not None:
        who, since = faults.stuck
        into[who + 1, since:] = into[who + 1, since]
    imports, exports = (np.floor(table * 100).astype(np.int64) * 100 for table in (into, out))
    feeds = (out[:, -1] > out[:, 0]) & (grid_feeds(day) | (np.arange(rows) == 0))
    volts, amps = volts.round(1), amps.round(3)
    gone = random.random(imports.shape) < faults.missing
    silent = np.repeat(
        random.random((rows, day.weather.days)) < faults.silent, slots // day.weather.days, axis=1
    )
    gone[:, 1:] |= silent
    imports[gone] = exports[gone] = MISSING
    lost = (random.random((rows, slots)) < faults.missing) | silent
    volts[np.broadcast_to(lost[:, None], volts.shape)] = np.nan
    amps[np.broadcast_to(lost[:, None], amps.shape)] = np.nan
    topology = Topology(
        meter=np.arange(rows) + 1000 * (area + 1),
        point=np.arange(rows) + 1000 * (area + 1),
        area=np.full(rows, area),
        role=np.where(np.arange(rows) == 0, Role.SUPPLY, Role.RECEIVE).astype(np.int8),
        multiplier=archived.astype(np.int64),
        accuracy=classes,
        phases=(phase >= 0).sum(axis=1).astype(np.int8),
        exports=feeds,
        area_id=np.arange(area + 1),
    )
    return Readings(topology, imports, exports, volts, amps, phase, through, ratio)


def grid_feeds(day: Day) -> NDArray[np.bool_]:
    """bool[meter]: who truly feeds in; the supply meter if the area does."""
    return np.r_[(day.flow.supply < 0).any(), (day.power.real < 0).any(axis=1)]


def _registers(energy: Floats, random: np.random.Generator) -> Floats:
    start = random.uniform(0, 5000, (len(energy), 1))
    return np.concatenate([start, start + energy.cumsum(axis=1)], axis=1)


def _behind(register: Floats, share: float) -> Floats:
    """What a clock that is late by `share` of a slot shows: the register of a moment later than its label says."""
    later = np.r_[register[1:], 2 * register[-1] - register[-2]]
    return np.asarray(register + share * (later - register))


def together(areas: list[Readings], strangers: list[tuple[int, int, int]] | None = None) -> Readings:
    """Several areas as one block; strangers (area, customer, other): archived in the other area."""
    rows = np.cumsum([0, *[len(a.topology) for a in areas]])
    belongs = np.repeat(np.arange(len(areas)), np.diff(rows))
    for area, customer, other in strangers or []:
        belongs[rows[area] + 1 + customer] = other

    def joined(name: str) -> NDArray[np.generic]:
        return np.concatenate([getattr(a.topology, name) for a in areas])

    topology = replace(
        areas[0].topology,
        **{n: joined(n) for n in ("meter", "point", "role", "multiplier", "accuracy", "phases", "exports")},
        area=belongs,
        area_id=np.arange(len(areas)),
    )
    columns = ("imports", "exports", "voltage", "current", "phase", "through", "ratio")
    return Readings(topology, *(np.concatenate([getattr(a, c) for a in areas]) for c in columns))

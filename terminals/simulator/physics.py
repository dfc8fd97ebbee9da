"""One area on one day: from what customers want to what every meter shows.

Per phase the current flows from the transformer's terminals through a main and each customer's service, and
back through a neutral. All wires are resistances; a customer takes constant power, so the currents are
found by fixed-point iteration. What is consumed is then *defined* as the product of the voltage and current
found, and by Kirchhoff's laws the supply equals consumption plus I²R exactly, however far the iteration
got.

Within a segment, a quarter-hour or a part of one before or after a relay acts, everything is constant. So a
register is defined at any instant: linear within its segment.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from terminals.simulator.grid import Grid
from terminals.simulator.layout import (
    HOME,
    KIOSK,
    KIOSK_SHARE,
    NOMINAL,
    SHOP,
    WORKSHOP,
    WORKSHOP_SHARE,
    AreaPlan,
    Floats,
    Ints,
)
from terminals.simulator.scenario import SLOTS, Scenario, stream

SLOT_US: Final = 900_000_000
DAY_US: Final = SLOTS * SLOT_US
#: One step of a register's display, 0.01 kWh, in the accumulators' unit of 1e-9 kWh, and in 1e-4 kWh.
STEP: Final = 10_000_000
STEP_SHOWN: Final = 100
#: A shown value that a single-phase meter does not have.
NOT_SHOWN: Final = int(np.iinfo(np.int32).min)

#: The rows of `SolvedDay.shown` and what one unit of each is worth [V, A, kW, kvar].
SHOWN: Final = ("va", "vb", "vc", "ia", "ib", "ic", "p", "pa", "pb", "pc", "q", "qa", "qb", "qc")
SHOWN_PER_UNIT: Final = (10,) * 3 + (1_000,) * 3 + (10_000,) * 8

#: A step of the fixed point leaves a few percent of the error, a fifth behind the bad service: after eight of them a
#: thousandth of a volt.
_ITERATIONS: Final = 8
#: A phasor of phase p seen from the common neutral.
_ROTATION: Final = (1.0 + 0.0j, complex(-0.5, -(3**0.5) / 2), complex(-0.5, 3**0.5 / 2))


@dataclass(frozen=True, slots=True)
class Switch:
    """A relay that acts: `us` microseconds after the day's local midnight."""

    us: int
    customer: int
    closed: bool


@dataclass(frozen=True, slots=True, eq=False)
class SolvedDay:
    """What happened in an area on one day, in segments: 96, and one more for every relay act inside a slot.

    Kept small, for a large fleet keeps many: `energy` and `shown` are made when somebody asks for them.

    bounds    int[segment+1]            microseconds since local midnight, 0 .. 86.4e9
    slot_end  int[96]                   the bound at which each slot ends
    tariff    int[segment]              1..4: the register that counts
    opening   int[4, meter]             registers by tariff at midnight [1e-9 kWh, secondary side]
    closing   int[4, meter]             and at the midnight that ends the day
    step      int[meter, segment]       what is added in each segment [1e-9 kWh]
    present   bool[14, meter]           the rows of SHOWN that a meter has
    values    int32[present, segment]   what the meters display during a segment, row by row of `present`
    flows     float[4, segment]         the truth: supplied, consumed, technical loss, stolen [kWh, primary]
    closed    bool[customer]            relays at the day's end
    """

    bounds: Ints
    slot_end: Ints
    tariff: Ints
    opening: Ints
    closing: Ints
    step: Ints
    present: NDArray[np.bool_]
    values: NDArray[np.int32]
    flows: Floats
    closed: NDArray[np.bool_]

    @property
    def nbytes(self) -> int:
        """Bytes that are this day's own."""
        return 2 * self.opening.nbytes + self.step.nbytes + self.values.nbytes + self.flows.nbytes

    @property
    def energy(self) -> Ints:
        """int[4, meter, segment+1]: registers by tariff at each bound [1e-9 kWh, secondary side]."""
        return _registers(self.opening, self.step, self.tariff)

    @property
    def shown(self) -> NDArray[np.int32]:
        """int32[14, meter, segment]: what is displayed during a segment, rows of SHOWN."""
        return self._spread(slice(None))

    def registers(self, us: int) -> Ints:
        """int[5, meter], 1e-4 kWh as displayed: total and four tariffs, `us` after midnight."""
        return display(self._energy_at(us))

    def shown_in(self, segment: int) -> NDArray[np.int32]:
        """int32[14, meter]: what is displayed during a segment."""
        return self._spread(segment)

    def shown_at(self, us: int) -> NDArray[np.int32]:
        """int32[14, meter]: what is displayed `us` after midnight."""
        return self._spread(self.segment(us))

    def segment(self, us: int) -> int:
        """The segment in which `us` lies; at a bound, the one that begins there (at midnight the last)."""
        k = int(np.searchsorted(self.bounds, us, side="right")) - 1
        return min(max(k, 0), len(self.bounds) - 2)

    def slot_registers(self) -> Ints:
        """int[5, meter, 96], 1e-4 kWh as displayed at the end of each slot."""
        return display(self.energy[:, :, self.slot_end])

    def slot_shown(self) -> NDArray[np.int32]:
        """int32[14, meter, 96]: what is displayed at the end of each slot."""
        return self._spread(self.slot_end - 1)

    def meter_registers(self, meter: int) -> Ints:
        """int[5, 96]: `slot_registers` of one meter."""
        own = slice(meter, meter + 1)
        energy = _registers(self.opening[:, own], self.step[own], self.tariff)
        return display(energy[:, 0, self.slot_end])

    def meter_shown(self, meter: int) -> NDArray[np.int32]:
        """int32[14, 96]: `slot_shown` of one meter."""
        own = self.present[:, meter]
        rows = np.cumsum(self.present.ravel()).reshape(self.present.shape)[own, meter] - 1
        shown = np.full((len(SHOWN), SLOTS), NOT_SHOWN, dtype=np.int32)
        shown[own] = self.values[rows][:, self.slot_end - 1]
        return shown

    def slot_totals(self, slot: int) -> Ints:
        """int[meter], 1e-4 kWh as displayed: the total registers at the end of a slot."""
        total = self.opening.sum(axis=0) + self.step[:, : self.slot_end[slot]].sum(axis=1)
        return np.asarray(total // STEP * STEP_SHOWN)

    def slot_flows(self) -> Floats:
        """float[4, 96], kWh: supplied, consumed, technical loss, stolen in each slot."""
        begins = np.concatenate([[0], self.slot_end[:-1]])
        return np.asarray(np.add.reduceat(self.flows, begins, axis=1))

    def _spread(self, segments: Any) -> NDArray[np.int32]:
        values = self.values[:, segments]
        shown = np.full((*self.present.shape, *values.shape[1:]), NOT_SHOWN, dtype=np.int32)
        shown[self.present] = values
        return shown

    def _energy_at(self, us: int) -> Ints:
        k = self.segment(us)
        if us >= self.bounds[k + 1]:
            return self._bound(k + 1)
        before = self._bound(k)
        # In milliseconds, so that the product stays far inside 63 bits.
        part, whole = (us - int(self.bounds[k])) // 1_000, int(self.bounds[k + 1] - self.bounds[k]) // 1_000
        if whole:
            before[self.tariff[k] - 1] += self.step[:, k] * part // whole
        return before

    def _bound(self, k: int) -> Ints:
        """int[4, meter]: the registers at the k-th bound."""
        sums = [self.step[:, :k][:, self.tariff[:k] == t + 1].sum(axis=1) for t in range(4)]
        return np.asarray(self.opening + np.stack(sums))


def _registers(opening: Ints, step: Ints, tariff: Ints) -> Ints:
    """int[4, meter], int[meter, segment], int[segment] -> int[4, meter, segment+1]."""
    energy = np.empty((4, step.shape[0], step.shape[1] + 1), dtype=np.int64)
    energy[:, :, 0] = opening
    for k in range(4):
        np.cumsum(np.where(tariff == k + 1, step, 0), axis=1, out=energy[k, :, 1:])
        energy[k, :, 1:] += opening[k][:, None]
    return energy


def display(energy: Ints) -> Ints:
    """int[4, ...] 1e-9 kWh -> int[5, ...] 1e-4 kWh: total and tariffs, each cut to 0.01 kWh.

    Every register is cut by itself, as in a real meter: the tariffs may add up to 0.03 kWh less than the
    total.
    """
    return np.asarray(np.concatenate([energy.sum(axis=0, keepdims=True), energy]) // STEP * STEP_SHOWN)


# --- what is wanted and what is offered ---


def demand(scenario: Scenario, grid: Grid, day: int) -> Floats:
    """float[customer, 96], kW: what the customers want on the day-th day, relays aside."""
    drawn = [_Draws.of(scenario, plan, day) for plan in grid.plans]
    date = scenario.first_day + dt.timedelta(days=day)
    shape = _shapes(grid, weekend=date.weekday() >= 5)
    noise = _noise(np.concatenate([draws.steps for draws in drawn]), grid)
    weather = np.array([draws.weather for draws in drawn])[grid.area_of_customer, None]
    share = grid.weight * grid.ordinary
    shares = (share / np.add.reduceat(share, grid.first_customer)[grid.area_of_customer])[:, None]
    level = grid.level[grid.area_of_customer, None]
    kw = level * shares * np.clip(shape * noise * weather, 0.08, 2.8)
    legs = np.where(grid.phase == 3, 3, 1)[:, None]
    steady = level * shape * (1.0 + np.concatenate([draws.steady for draws in drawn]))
    kw = np.where((grid.kind == WORKSHOP)[:, None], WORKSHOP_SHARE * steady * legs, kw)
    kw = np.where((grid.kind == KIOSK)[:, None], KIOSK_SHARE * steady, kw)
    return _balance(grid, kw, np.concatenate([draws.ragged for draws in drawn]))


@dataclass(frozen=True, slots=True, eq=False)
class _Draws:
    """An area's luck on one day, always drawn in this order."""

    steps: Floats  # [customer, 96]
    weather: float
    steady: Floats  # [customer, 96]
    ragged: Floats  # [3, 96]

    @staticmethod
    def of(scenario: Scenario, plan: AreaPlan, day: int) -> _Draws:
        rng = stream(scenario.seed, "demand", plan.area, day)
        n = plan.customers
        steps = rng.normal(0.0, 0.26, (n, SLOTS))
        weather = float(np.exp(rng.normal(0.0, 0.05)))
        return _Draws(steps, weather, rng.normal(0.0, 0.01, (n, SLOTS)), rng.normal(0.0, 0.012, (3, SLOTS)))


def _shapes(grid: Grid, weekend: bool) -> Floats:
    """float[customer, 96]: the day's course, about 1 on average for homes and shops, 1 at full load for the
    others.
    """
    hour = (np.arange(SLOTS) + 0.5) / 4
    own = hour[None, :] - grid.hour_shift[:, None]
    kind = grid.kind

    def bump(at: Floats, centre: float, width: float) -> Floats:
        return np.asarray(np.exp(-0.5 * ((at - centre) / width) ** 2))

    def open_hours(begin: float, end: float, at: Floats) -> Floats:
        return np.asarray(1.0 / (1.0 + np.exp(-(at - begin) * 4)) / (1.0 + np.exp((at - end) * 4)))

    noon = 0.75 if weekend else 0.45
    home, shop = own[kind == HOME], own[kind == SHOP]
    shape = np.empty_like(own)
    shape[kind == HOME] = (
        0.50 + 0.55 * bump(home, 7.3, 1.1) + noon * bump(home, 12.3, 1.6) + 1.15 * bump(home, 19.6, 2.3)
    )
    shape[kind == SHOP] = 0.30 + 1.30 * open_hours(8.5, 21.0, shop)
    shape[kind == WORKSHOP] = 0.12 + 0.88 * open_hours(13.0, 16.5, hour)
    shape[kind == KIOSK] = 0.06 + 0.94 * open_hours(8.0, 20.5, hour)
    return shape


def _noise(steps: Floats, grid: Grid) -> Floats:
    """float[customer, 96], mean about 1: what people do, remembered for about an hour."""
    course = np.ascontiguousarray(steps.T)  # slots in rows, for the loop
    for slot in range(1, SLOTS):
        course[slot] += 0.7 * course[slot - 1]
    course = np.ascontiguousarray(course.T)
    variance = np.array([course[begin:end].var() for begin, end in grid.spans])
    return np.asarray(np.exp(course - variance[grid.area_of_customer, None] / 2))


def _balance(grid: Grid, kw: Floats, ragged: Floats) -> Floats:
    """Bring the single-phase demand to each area's shares per phase.

    A utility moves services between phases until they balance; here the demand of the ordinary customers is
    moved instead, which leaves their courses ragged and the phases within a few percent of their shares.
    """

    def by_area(mask: NDArray[np.bool_]) -> Floats:
        return np.asarray(np.add.reduceat(np.where(mask[:, None], kw, 0.0), grid.first_customer, axis=0))

    total = by_area(grid.phase < 3)
    out = kw.copy()
    for p in range(3):
        ours = grid.phase == p
        fixed, movable = by_area(ours & ~grid.ordinary), by_area(ours & grid.ordinary)
        factor = (grid.shares[:, p, None] * total - fixed) / np.where(movable > 0, movable, 1.0)
        factor = np.clip(factor, 0.1, 10.0) * (1.0 + ragged[p::3])
        moved = ours & grid.ordinary
        out[moved] *= factor[grid.area_of_customer[moved]]
    return out


def source(scenario: Scenario, grid: Grid, day: int) -> Floats:
    """float[node, 96], V: the transformers' terminals, three of each."""
    hour = (np.arange(SLOTS) + 0.5) / 4
    course = 0.9 * np.cos((hour - 3.0) / 24 * 2 * np.pi)
    volts = np.empty((3 * len(grid.plans), SLOTS))
    for number, plan in enumerate(grid.plans):
        rng = stream(scenario.seed, "source", plan.area, day)
        noise = rng.normal(0.0, 0.25, (3, SLOTS))
        level = NOMINAL + rng.normal(0.0, 0.3) + rng.uniform(-0.4, 0.4, (3, 1))
        volts[3 * number : 3 * number + 3] = level + (course + noise)
    return volts


# --- what flows ---


@dataclass(frozen=True, slots=True, eq=False)
class _Flow:
    """Complex phasors, each in its own phase's frame, and powers [VA]. [node or branch, segment]"""

    bus: NDArray[np.complex128]
    outlet: NDArray[np.complex128]
    neutral: NDArray[np.complex128]  # [area, segment]
    voltage: NDArray[np.complex128]
    current: NDArray[np.complex128]

    @property
    def supplied(self) -> NDArray[np.complex128]:
        return np.asarray(self.bus * np.conj(self.outlet))

    @property
    def taken(self) -> NDArray[np.complex128]:
        return np.asarray(self.voltage * np.conj(self.current))


def _flow(grid: Grid, bus: Floats, power: NDArray[np.complex128]) -> _Flow:
    """Solve the areas: float[node, segment] bus voltages, complex[branch, segment] wanted powers [VA]."""
    areas = len(grid.plans)
    rotation = np.tile(np.array(_ROTATION), areas)[:, None]
    back = grid.neutral.repeat(3)[:, None] * np.conj(rotation)
    main = grid.main.repeat(3)[:, None]
    service = grid.service[:, None]
    voltage = bus[grid.node].astype(np.complex128)
    current = np.empty_like(voltage)
    for _ in range(_ITERATIONS):
        np.divide(power, voltage, out=current)
        np.conj(current, out=current)
        outlet = np.add.reduceat(current[grid.by_node], grid.first_of_node, axis=0)
        neutral = (rotation * outlet).reshape(areas, 3, -1).sum(axis=1)
        node = bus - main * outlet - back * neutral.repeat(3, axis=0)
        np.subtract(node[grid.node], np.multiply(service, current, out=voltage), out=voltage)
    return _Flow(bus.astype(np.complex128), outlet, neutral, voltage, current)


def _complex_power(grid: Grid, kw: Floats) -> NDArray[np.complex128]:
    """complex[branch, segment], VA: demand by branch; shops have a worse power factor than homes."""
    legs = np.where(grid.phase == 3, 3, 1)[:, None]
    tangent = np.where(grid.kind == HOME, 0.25, 0.38)[:, None]
    va = kw / legs * 1e3 * (1.0 + 1.0j * tangent)
    return np.asarray(va[grid.customer])


def solve_day(
    scenario: Scenario,
    plan: AreaPlan,
    day: int,
    *,
    opening: Ints,
    closed: NDArray[np.bool_],
    switches: Sequence[Switch] = (),
) -> SolvedDay:
    """The day-th day: int[4, meter] registers and bool[customer] relays at its beginning, and the relays'
    acts.
    """
    return solve_days(scenario, Grid.of([plan]), day, opening=opening, closed=closed, switches=switches)[0]


def solve_days(
    scenario: Scenario,
    grid: Grid,
    day: int,
    *,
    opening: Ints,
    closed: NDArray[np.bool_],
    switches: Sequence[Switch] = (),
) -> list[SolvedDay]:
    """The day-th day of several areas at once: numpy is quick with many and slow with few.

    int[4, meter] and bool[customer] run over all of them; `switches` cut the day of all of them into segments.
    """
    bounds, slot_end = _segments(switches)
    slot = np.searchsorted(bounds[slot_end], bounds[:-1], side="right")
    relay = _relays(closed, switches, bounds)
    kw = demand(scenario, grid, day)[:, slot] * relay
    flow = _flow(grid, source(scenario, grid, day)[:, slot], _complex_power(grid, kw))
    tariff = np.array(scenario.tariff.hours)[slot // 4]
    step = _steps(grid, flow, bounds)
    closing = opening + np.stack([step[:, tariff == t + 1].sum(axis=1) for t in range(4)])
    shown, present = _shown(grid, flow)
    flows = _flows(grid, flow, np.diff(bounds) / 3.6e9)
    end = _at_end(closed, switches)
    days = []
    for number, (begin, past) in enumerate(grid.spans):
        meters = slice(begin + number, past + number + 1)
        there = present[:, meters]
        days.append(
            SolvedDay(
                bounds=bounds,
                slot_end=slot_end,
                tariff=tariff,
                opening=opening[:, meters].copy(),
                closing=closing[:, meters].copy(),
                step=step[meters].copy(),
                present=there,
                values=shown[:, meters][there],
                flows=flows[:, number].copy(),
                closed=end[begin:past].copy(),
            )
        )
    return days


def _segments(switches: Sequence[Switch]) -> tuple[Ints, Ints]:
    """The bounds of the day's segments [us], and which of them end a slot."""
    grid = np.arange(SLOTS + 1, dtype=np.int64) * SLOT_US
    extra = np.array([s.us for s in switches], dtype=np.int64)
    bounds = np.unique(np.concatenate([grid, extra]))
    return bounds, np.searchsorted(bounds, grid[1:])


def _relays(closed: NDArray[np.bool_], switches: Sequence[Switch], bounds: Ints) -> NDArray[np.bool_]:
    """bool[customer, segment]: where current can flow."""
    relay = np.repeat(closed[:, None], len(bounds) - 1, axis=1)
    for switch in sorted(switches, key=lambda s: s.us):
        relay[switch.customer, np.searchsorted(bounds, switch.us) :] = switch.closed
    return np.asarray(relay)


def _at_end(closed: NDArray[np.bool_], switches: Sequence[Switch]) -> NDArray[np.bool_]:
    state = closed.copy()
    for switch in sorted(switches, key=lambda s: s.us):
        state[switch.customer] = switch.closed
    return state


def _by_customer(grid: Grid, branch: NDArray[Any]) -> NDArray[Any]:
    """[customer, segment]: branches of one customer added."""
    return np.asarray(np.add.reduceat(branch, grid.first_branch, axis=0))


def _by_area(nodes: NDArray[Any]) -> NDArray[Any]:
    """[node, segment] -> [area, segment]."""
    return np.asarray(nodes.reshape(-1, 3, nodes.shape[-1]).sum(axis=1))


def _steps(grid: Grid, flow: _Flow, bounds: Ints) -> Ints:
    """int[meter, segment], 1e-9 kWh: integers, so that registers never lose a step, however long they run."""
    kw = np.empty((grid.meters, len(bounds) - 1))
    kw[grid.supply] = _by_area(flow.supplied.real) / 1e3 / grid.ct[:, None]
    kw[~grid.supply] = _by_customer(grid, flow.taken.real) / 1e3 * (1.0 - grid.bypass)[:, None]
    kw *= (1.0 + grid.error)[:, None]
    return np.rint(kw * (np.diff(bounds) / 3.6)).astype(np.int64)


def _flows(grid: Grid, flow: _Flow, hours: Floats) -> Floats:
    """float[4, area, segment], kWh: supplied, consumed, technical loss, stolen."""
    taken = _by_customer(grid, flow.taken.real)
    first = grid.first_customer
    service = _by_customer(grid, grid.service[:, None] * np.abs(flow.current) ** 2)
    lost = (
        np.add.reduceat(service, first, axis=0)
        + grid.main[:, None] * _by_area(np.abs(flow.outlet) ** 2)
        + grid.neutral[:, None] * np.abs(flow.neutral) ** 2
    )
    stolen = np.add.reduceat(taken * grid.bypass[:, None], first, axis=0)
    used = np.add.reduceat(taken, first, axis=0)
    watts = np.stack([_by_area(flow.supplied.real), used, lost, stolen])
    return np.asarray(watts / 1e3 * hours)


def _shown(grid: Grid, flow: _Flow) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """int32[14, meter, segment]: voltages, currents and powers with each meter's own small errors; and bool[14, meter]: what there is."""
    segments = flow.bus.shape[1]
    shown = np.zeros((14, grid.meters, segments))
    present = np.zeros((14, grid.meters), dtype=np.bool_)
    volts, amperes, power, reactive = shown[0:3], shown[3:6], shown[7:10], shown[11:14]
    supply, ct = np.flatnonzero(grid.supply), np.repeat(grid.ct, 3)[:, None]

    def of_supply(nodes: Floats) -> Floats:  # [node, segment] -> [phase, area, segment]
        return np.asarray(nodes.reshape(-1, 3, segments).swapaxes(0, 1))

    volts[:, supply], amperes[:, supply] = (
        of_supply(np.abs(flow.bus)),
        of_supply(np.abs(flow.outlet) / ct),
    )
    power[:, supply] = of_supply(flow.supplied.real / 1e3 / ct)
    reactive[:, supply] = of_supply(flow.supplied.imag / 1e3 / ct)
    seen = (1.0 - grid.bypass)[grid.customer][:, None]
    row, meter = grid.row, grid.meter_of_customer[grid.customer]
    volts[row, meter], amperes[row, meter] = np.abs(flow.voltage), np.abs(flow.current) * seen
    power[row, meter], reactive[row, meter] = flow.taken.real / 1e3 * seen, flow.taken.imag / 1e3 * seen
    power *= (1.0 + grid.error)[:, None]
    reactive *= (1.0 + grid.error)[:, None]
    amperes *= (1.0 + 0.5 * grid.error)[:, None]
    volts *= (1.0 + 0.3 * grid.error)[:, None]
    shown[6], shown[10] = power.sum(axis=0), reactive.sum(axis=0)
    shown *= np.array(SHOWN_PER_UNIT)[:, None, None]
    scaled = np.rint(shown, out=shown)
    # DLMS meters show whole watts.
    scaled[6:, grid.whole_watts] = np.rint(scaled[6:, grid.whole_watts] / 10) * 10
    for rows in (slice(0, 3), slice(3, 6), slice(7, 10), slice(11, 14)):
        there = present[rows]
        there[:, supply] = True
        there[row, meter] = True
    present[6] = present[10] = True
    return scaled.astype(np.int32), present


def size_wires(scenario: Scenario, plans: Sequence[AreaPlan]) -> list[AreaPlan]:
    """The same areas with their wires scaled so that they lose a chosen 2 to 3.8 % of the supply.

    A bad service is a fault and keeps its resistance. Losses are proportional to the resistances but for
    the small change of voltage, so three corrections are plenty.
    """
    grid = Grid.of(plans)
    aim = np.array([stream(scenario.seed, "losses", plan.area).uniform(0.022, 0.036) for plan in plans])
    bad = grid.kind[grid.customer] == WORKSHOP
    # One quarter of every hour is enough to know a mean loss by.
    wanted = _complex_power(grid, demand(scenario, grid, 1)[:, 1::4])
    bus = source(scenario, grid, 1)[:, 1::4]
    for _ in range(3):
        flow = _flow(grid, bus, wanted)
        supplied = flow.supplied.real.sum(axis=1).reshape(-1, 3).sum(axis=1)
        wasted = np.where(bad, grid.service * (np.abs(flow.current) ** 2).sum(axis=1), 0.0)
        fault = _per_area(grid, wasted) / supplied
        loss = 1.0 - _per_area(grid, flow.taken.real.sum(axis=1)) / supplied - fault
        scale = np.maximum(aim - fault, 0.012) / loss
        grid = replace(
            grid,
            service=np.where(bad, grid.service, grid.service * scale[grid.area_of_customer[grid.customer]]),
            main=grid.main * scale,
            neutral=grid.neutral * scale,
        )
    bounds = [*grid.first_branch[grid.first_customer], len(grid.node)]
    return [
        replace(
            plan,
            service=grid.service[bounds[k] : bounds[k + 1]].copy(),
            main=float(grid.main[k]),
            neutral=float(grid.neutral[k]),
        )
        for k, plan in enumerate(plans)
    ]


def _per_area(grid: Grid, branch: Floats) -> Floats:
    """float[branch] -> float[area]: added."""
    return np.asarray(np.add.reduceat(branch, grid.first_branch[grid.first_customer]))

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
from typing import Final

import numpy as np
from numpy.typing import NDArray

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

_ITERATIONS: Final = 12
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

    bounds    int[segment+1]            microseconds since local midnight, 0 .. 86.4e9
    slot_end  int[96]                   the bound at which each slot ends
    energy    int[4, meter, segment+1]  registers by tariff at each bound [1e-9 kWh, secondary side]
    shown     int32[14, meter, segment] what the meter displays during a segment: rows of SHOWN
    flows     float[4, segment]         the truth: supplied, consumed, technical loss, stolen [kWh, primary]
    closed    bool[customer]            relays at the day's end
    """

    bounds: Ints
    slot_end: Ints
    energy: Ints
    shown: NDArray[np.int32]
    flows: Floats
    closed: NDArray[np.bool_]

    def registers(self, us: int) -> Ints:
        """int[5, meter], 1e-4 kWh as displayed: total and four tariffs, `us` after midnight."""
        return display(self._energy_at(us))

    def segment(self, us: int) -> int:
        """The segment in which `us` lies; at a bound, the one that begins there (at midnight the last)."""
        k = int(np.searchsorted(self.bounds, us, side="right")) - 1
        return min(max(k, 0), len(self.bounds) - 2)

    def slot_registers(self) -> Ints:
        """int[5, meter, 96], 1e-4 kWh as displayed at the end of each slot."""
        return display(self.energy[:, :, self.slot_end])

    def slot_shown(self) -> NDArray[np.int32]:
        """int32[14, meter, 96]: what is displayed at the end of each slot."""
        return np.asarray(self.shown[:, :, self.slot_end - 1])

    def slot_flows(self) -> Floats:
        """float[4, 96], kWh: supplied, consumed, technical loss, stolen in each slot."""
        begins = np.concatenate([[0], self.slot_end[:-1]])
        return np.asarray(np.add.reduceat(self.flows, begins, axis=1))

    def _energy_at(self, us: int) -> Ints:
        k = self.segment(us)
        before, after = self.energy[:, :, k], self.energy[:, :, k + 1]
        # In milliseconds, so that the product stays far inside 63 bits.
        part, whole = (us - int(self.bounds[k])) // 1_000, int(self.bounds[k + 1] - self.bounds[k]) // 1_000
        if whole == 0 or us >= self.bounds[k + 1]:
            return np.asarray(after if us >= self.bounds[k + 1] else before)
        return np.asarray(before + (after - before) * part // whole)


def display(energy: Ints) -> Ints:
    """int[4, ...] 1e-9 kWh -> int[5, ...] 1e-4 kWh: total and tariffs, each cut to 0.01 kWh.

    Every register is cut by itself, as in a real meter: the tariffs may add up to 0.03 kWh less than the
    total.
    """
    return np.asarray(np.concatenate([energy.sum(axis=0, keepdims=True), energy]) // STEP * STEP_SHOWN)


def demand(scenario: Scenario, plan: AreaPlan, day: int) -> Floats:
    """float[customer, 96], kW: what the customers want on the day-th day, relays aside."""
    rng = stream(scenario.seed, "demand", plan.area, day)
    date = scenario.first_day + dt.timedelta(days=day)
    shape = _shapes(plan, weekend=date.weekday() >= 5)
    noise = _noise(rng, plan.customers)
    weather = float(np.exp(rng.normal(0.0, 0.05)))
    ordinary = (plan.kind == HOME) | (plan.kind == SHOP)
    share = plan.weight * ordinary
    kw = plan.level * (share / share.sum())[:, None] * np.clip(shape * noise * weather, 0.08, 2.8)
    legs = np.where(plan.phase == 3, 3, 1)[:, None]
    steady = plan.level * shape * (1.0 + rng.normal(0.0, 0.01, kw.shape))
    kw = np.where((plan.kind == WORKSHOP)[:, None], WORKSHOP_SHARE * steady * legs, kw)
    kw = np.where((plan.kind == KIOSK)[:, None], KIOSK_SHARE * steady, kw)
    return _spread(rng, plan, kw, ordinary)


def _shapes(plan: AreaPlan, weekend: bool) -> Floats:
    """float[customer, 96]: the day's course, about 1 on average for homes and shops, 1 at full load for the
    others.
    """
    hour = (np.arange(SLOTS) + 0.5) / 4
    own = hour[None, :] - plan.hour_shift[:, None]

    def bump(centre: float, width: float) -> Floats:
        return np.asarray(np.exp(-0.5 * ((own - centre) / width) ** 2))

    def open_hours(begin: float, end: float, at: Floats) -> Floats:
        return np.asarray(1.0 / (1.0 + np.exp(-(at - begin) * 4)) / (1.0 + np.exp((at - end) * 4)))

    noon = 0.75 if weekend else 0.45
    home = 0.50 + 0.55 * bump(7.3, 1.1) + noon * bump(12.3, 1.6) + 1.15 * bump(19.6, 2.3)
    shop = 0.30 + 1.30 * open_hours(8.5, 21.0, own)
    workshop = 0.12 + 0.88 * open_hours(13.0, 16.5, hour)
    kiosk = 0.06 + 0.94 * open_hours(8.0, 20.5, hour)
    kind = plan.kind[:, None]
    return np.select(
        [kind == HOME, kind == SHOP, kind == WORKSHOP], [home, shop, workshop[None, :]], kiosk[None, :]
    )


def _noise(rng: np.random.Generator, customers: int) -> Floats:
    """float[customer, 96], mean about 1: what people do, remembered for about an hour."""
    steps = rng.normal(0.0, 0.26, (customers, SLOTS))
    course = np.empty_like(steps)
    course[:, 0] = steps[:, 0]
    for slot in range(1, SLOTS):
        course[:, slot] = 0.7 * course[:, slot - 1] + steps[:, slot]
    return np.asarray(np.exp(course - course.var() / 2))


def _spread(rng: np.random.Generator, plan: AreaPlan, kw: Floats, ordinary: NDArray[np.bool_]) -> Floats:
    """Bring the single-phase demand to the area's shares per phase.

    A utility moves services between phases until they balance; here the demand of the ordinary customers is
    moved instead, which leaves their courses ragged and the phases within a few percent of their shares.
    """
    single = plan.phase < 3
    total = kw[single].sum(axis=0)
    out = kw.copy()
    for p in range(3):
        ours = plan.phase == p
        fixed = kw[ours & ~ordinary].sum(axis=0)
        movable = kw[ours & ordinary].sum(axis=0)
        if not (ours & ordinary).any():
            continue
        factor = np.clip((plan.shares[p] * total - fixed) / movable, 0.1, 10.0)
        out[ours & ordinary] *= factor * (1.0 + rng.normal(0.0, 0.012, SLOTS))
    return out


def source(scenario: Scenario, plan: AreaPlan, day: int) -> Floats:
    """float[3, 96], V: the transformer's terminals."""
    rng = stream(scenario.seed, "source", plan.area, day)
    hour = (np.arange(SLOTS) + 0.5) / 4
    course = 0.9 * np.cos((hour - 3.0) / 24 * 2 * np.pi) + rng.normal(0.0, 0.25, (3, SLOTS))
    return np.asarray(NOMINAL + rng.normal(0.0, 0.3) + rng.uniform(-0.4, 0.4, (3, 1)) + course)


@dataclass(frozen=True, slots=True, eq=False)
class _Flow:
    """Complex phasors, each in its own phase's frame, and powers [VA]. [phase or branch, segment]"""

    bus: NDArray[np.complex128]
    outlet: NDArray[np.complex128]
    voltage: NDArray[np.complex128]
    current: NDArray[np.complex128]

    @property
    def supplied(self) -> NDArray[np.complex128]:
        return np.asarray(self.bus * np.conj(self.outlet))

    @property
    def taken(self) -> NDArray[np.complex128]:
        return np.asarray(self.voltage * np.conj(self.current))


def _flow(plan: AreaPlan, bus: Floats, power: NDArray[np.complex128]) -> _Flow:
    """Solve an area: float[3, segment] bus voltages, complex[branch, segment] wanted powers [VA]."""
    phase = plan.branch_phase
    rotation = np.array(_ROTATION)[:, None]
    members = (phase[None, :] == np.arange(3)[:, None]).astype(np.float64)
    service = plan.service[:, None]
    voltage = bus[phase].astype(np.complex128)
    for _ in range(_ITERATIONS):
        current = np.conj(power / voltage)
        outlet = members @ current
        neutral = (rotation * outlet).sum(axis=0)
        node = bus - plan.main * outlet - plan.neutral * neutral * np.conj(rotation)
        voltage = node[phase] - service * current
    return _Flow(bus.astype(np.complex128), outlet, voltage, current)


def _complex_power(plan: AreaPlan, kw: Floats) -> NDArray[np.complex128]:
    """complex[branch, segment], VA: demand by branch; shops have a worse power factor than homes."""
    legs = np.where(plan.phase == 3, 3, 1)[:, None]
    tangent = np.where(plan.kind == HOME, 0.25, 0.38)[:, None]
    va = kw / legs * 1e3 * (1.0 + 1.0j * tangent)
    return np.asarray(va[plan.branch_customer])


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
    bounds, slot_end = _segments(switches)
    slot = np.searchsorted(bounds[slot_end], bounds[:-1], side="right")
    relay = _relays(plan, closed, switches, bounds)
    kw = demand(scenario, plan, day)[:, slot] * relay
    flow = _flow(plan, source(scenario, plan, day)[:, slot], _complex_power(plan, kw))
    hours = np.diff(bounds) / 3.6e9
    return SolvedDay(
        bounds=bounds,
        slot_end=slot_end,
        energy=_accumulate(scenario, plan, flow, opening=opening, bounds=bounds, slot=slot),
        shown=_shown(plan, flow),
        flows=_flows(plan, flow, hours),
        closed=_at_end(closed, switches),
    )


def _segments(switches: Sequence[Switch]) -> tuple[Ints, Ints]:
    """The bounds of the day's segments [us], and which of them end a slot."""
    grid = np.arange(SLOTS + 1, dtype=np.int64) * SLOT_US
    extra = np.array([s.us for s in switches], dtype=np.int64)
    bounds = np.unique(np.concatenate([grid, extra]))
    return bounds, np.searchsorted(bounds, grid[1:])


def _relays(
    plan: AreaPlan, closed: NDArray[np.bool_], switches: Sequence[Switch], bounds: Ints
) -> NDArray[np.bool_]:
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


def _by_customer(plan: AreaPlan, branch: NDArray[np.complex128]) -> NDArray[np.complex128]:
    """complex[customer, segment]: branches of one customer added."""
    first = np.flatnonzero(np.diff(plan.branch_customer, prepend=-1))
    return np.asarray(np.add.reduceat(branch, first, axis=0))


def _accumulate(
    scenario: Scenario, plan: AreaPlan, flow: _Flow, *, opening: Ints, bounds: Ints, slot: Ints
) -> Ints:
    """int[4, meter, segment+1], 1e-9 kWh: integers, so that registers never lose a step, however long they
    run.
    """
    supply = flow.supplied.real.sum(axis=0, keepdims=True) / 1e3 / plan.ct
    taken = _by_customer(plan, flow.taken).real / 1e3 * (1.0 - plan.bypass)[:, None]
    kw = np.concatenate([supply, taken]) * (1.0 + plan.error)[:, None]
    step = np.rint(kw * (np.diff(bounds) / 3.6)).astype(np.int64)
    tariff = np.array(scenario.tariff.hours)[slot // 4]
    energy = np.empty((4, plan.meters, len(bounds)), dtype=np.int64)
    energy[:, :, 0] = opening
    for k in range(4):
        np.cumsum(np.where(tariff == k + 1, step, 0), axis=1, out=energy[k, :, 1:])
        energy[k, :, 1:] += opening[k][:, None]
    return energy


def _flows(plan: AreaPlan, flow: _Flow, hours: Floats) -> Floats:
    taken = _by_customer(plan, flow.taken).real
    neutral = (np.array(_ROTATION)[:, None] * flow.outlet).sum(axis=0)
    lost = (
        (plan.service[:, None] * np.abs(flow.current) ** 2).sum(axis=0)
        + plan.main * (np.abs(flow.outlet) ** 2).sum(axis=0)
        + plan.neutral * np.abs(neutral) ** 2
    )
    watts = np.stack(
        [flow.supplied.real.sum(axis=0), taken.sum(axis=0), lost, (taken * plan.bypass[:, None]).sum(axis=0)]
    )
    return np.asarray(watts / 1e3 * hours)


def _shown(plan: AreaPlan, flow: _Flow) -> NDArray[np.int32]:
    """int32[14, meter, segment]: voltages, currents and powers with each meter's own small errors."""
    segments = flow.bus.shape[1]
    shown = np.full((14, plan.meters, segments), np.nan)
    volts, amperes, power = shown[0:3], shown[3:6], shown[7:10]
    reactive = shown[11:14]
    volts[:, 0], amperes[:, 0] = np.abs(flow.bus), np.abs(flow.outlet) / plan.ct
    power[:, 0], reactive[:, 0] = flow.supplied.real / 1e3 / plan.ct, flow.supplied.imag / 1e3 / plan.ct
    seen = (1.0 - plan.bypass)[plan.branch_customer][:, None]
    # A single-phase meter calls its only phase A, whichever of the three it hangs on.
    row = np.where(plan.phase[plan.branch_customer] == 3, plan.branch_phase, 0)
    meter = plan.branch_customer + 1
    volts[row, meter], amperes[row, meter] = np.abs(flow.voltage), np.abs(flow.current) * seen
    power[row, meter], reactive[row, meter] = flow.taken.real / 1e3 * seen, flow.taken.imag / 1e3 * seen
    power *= (1.0 + plan.error)[:, None]
    reactive *= (1.0 + plan.error)[:, None]
    amperes *= (1.0 + 0.5 * plan.error)[:, None]
    volts *= (1.0 + 0.3 * plan.error)[:, None]
    shown[6], shown[10] = np.nansum(power, axis=0), np.nansum(reactive, axis=0)
    scaled = np.rint(shown * np.array(SHOWN_PER_UNIT)[:, None, None])
    if plan.protocol == "dlms":  # these meters show whole watts
        scaled[6:] = np.rint(scaled[6:] / 10) * 10
    return np.where(np.isnan(scaled), NOT_SHOWN, scaled).astype(np.int32)


def size_wires(scenario: Scenario, plan: AreaPlan) -> AreaPlan:
    """The same area with its wires scaled so that they lose a chosen 2 to 3.8 % of the supply.

    A bad service is a fault and keeps its resistance. Losses are proportional to the resistances but for
    the small change of voltage, so three corrections are plenty.
    """
    aim = float(stream(scenario.seed, "losses", plan.area).uniform(0.022, 0.036))
    bad = plan.kind[plan.branch_customer] == WORKSHOP
    wanted = _complex_power(plan, demand(scenario, plan, 1))
    bus = source(scenario, plan, 1)
    for _ in range(3):
        flow = _flow(plan, bus, wanted)
        supplied = flow.supplied.real.sum()
        fault = (plan.service[bad, None] * np.abs(flow.current[bad]) ** 2).sum() / supplied
        loss = 1.0 - flow.taken.real.sum() / supplied - fault
        scale = max(aim - fault, 0.012) / loss
        plan = replace(
            plan,
            service=np.where(bad, plan.service, plan.service * scale),
            main=plan.main * scale,
            neutral=plan.neutral * scale,
        )
    return plan

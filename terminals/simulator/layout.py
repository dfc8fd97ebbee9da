"""Who hangs where: every area's wires, customers and meters, drawn once from the seed and never changed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from terminals.simulator.codes import asset_code
from terminals.simulator.faults import Faults, Spot, choose, three_phase_count
from terminals.simulator.scenario import SLOTS, LinkName, ProtocolName, Scenario, stream

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

#: Phases -> the Modbus model that an area has. The B23 counts hundredths of a kWh in integers.
MODELS: Final = {1: "sdm120", 3: "abb-b23"}
#: the coil that works a Modbus meter's contactor
CONTACTOR: Final = 0
HOME: Final = 0
SHOP: Final = 1
WORKSHOP: Final = 2  # a steady afternoon load behind a bad service: the voltage excursion
KIOSK: Final = 3  # a small, steady shop: the customers whose balance runs out

#: The bus voltage that wires are designed with, and what is left behind the bad service at its full load.
NOMINAL: Final = 231.0
SAGGING: Final = 189.0
#: Rated capacity [kVA] -> ratio of the current transformers beside it, the next standard one above the rated
#: current (80 kVA: 115 A, 150/5 A). Larger ones would show a quarter-hour of such a load in a few digits.
RATIOS: Final = {30: 10, 50: 15, 63: 20, 80: 30, 100: 30, 125: 40}
WORKSHOP_SHARE: Final = 0.09
KIOSK_SHARE: Final = 0.028


@dataclass(frozen=True, slots=True, eq=False)
class AreaPlan:
    """One area: a transformer, its supply meter, its customers. Meter 0 is the supply meter, meter c+1 that
    of customer c.

    kind       int[customer]     HOME, SHOP, WORKSHOP, KIOSK
    phase      int[customer]     0, 1, 2; 3 for all three
    weight     float[customer]   relative size
    level      mean demand of the area [kW]
    hour_shift float[customer]   how much later than others this customer lives [h]
    shares     float[3]          how the single-phase demand is spread over the phases
    branch_customer, branch_phase  int[branch]: one branch per phase a customer is connected to
    service    float[branch]     loop resistance of the service [ohm]
    main, neutral                resistance of the main per phase and of its neutral [ohm]
    ct         ratio of the supply meter's current transformers
    error      float[meter]      relative error of each meter's energy
    bypass     float[customer]   share of the current that passes the meter by
    stuck      float[meter]      microseconds since history began at which the register stands still; inf: never
    swapped    bool[customer]    the current transformers of phases B and C are interchanged
    opening    int[4, meter]     registers by tariff when history begins [1e-9 kWh]
    recorded   day -> bool[meter, slot] where not all slots are recorded
    """

    area: int
    protocol: ProtocolName
    link: LinkName
    capacity_kva: int
    ct: int
    level: float
    kind: Ints
    phase: Ints
    weight: Floats
    hour_shift: Floats
    shares: Floats
    branch_customer: Ints
    branch_phase: Ints
    service: Floats
    main: float
    neutral: float
    error: Floats
    bypass: Floats
    stuck: Floats
    swapped: NDArray[np.bool_]
    opening: Ints
    recorded: dict[int, NDArray[np.bool_]]
    dead: frozenset[int]
    prepaid: frozenset[int]

    @property
    def customers(self) -> int:
        return len(self.kind)

    @property
    def meters(self) -> int:
        return len(self.kind) + 1

    def phases(self, meter: int) -> int:
        """1 or 3."""
        return 3 if meter == 0 or self.phase[meter - 1] == 3 else 1

    def asset(self, meter: int) -> str:
        """The 12-digit asset number; for DL/T 645, directly or behind a concentrator, also the address on the wire."""
        return asset_code(self.area, meter)

    def address(self, meter: int) -> str:
        """What the protocol calls this meter."""
        if self.protocol.startswith("modbus"):
            return f"{meter + 1}@{MODELS[self.phases(meter)]}"
        return str(17 + meter) if self.protocol == "dlms" else self.asset(meter)

    def switch(self, meter: int) -> str:
        """What cuts its supply off, as the archive has it; '': its own relay. The supply meter of an area has no contactor."""
        return f"coil {meter + 1}:{CONTACTOR}" if meter and self.protocol.startswith("modbus") else ""


def lay_out(scenario: Scenario) -> tuple[Faults, tuple[AreaPlan, ...]]:
    """The faults and the areas of a scenario. The wires are sized later, by `physics.size_wires`."""
    faults = choose(scenario)
    dead = _meters(faults.dead)
    prepaid = _meters((*faults.prepaid, *faults.empty_handed))
    nobody: frozenset[int] = frozenset()
    areas = [
        _area(scenario, faults, area, dead.get(area, nobody), prepaid.get(area, nobody))
        for area in range(scenario.areas)
    ]
    return faults, tuple(areas)


def _meters(spots: Iterable[Spot]) -> dict[int, frozenset[int]]:
    """area -> its meters among these customers'."""
    found: dict[int, set[int]] = {}
    for spot in spots:
        found.setdefault(spot.area, set()).add(spot.customer + 1)
    return {area: frozenset(meters) for area, meters in found.items()}


def _area(
    scenario: Scenario, faults: Faults, area: int, dead: frozenset[int], prepaid: frozenset[int]
) -> AreaPlan:
    rng = stream(scenario.seed, "layout", area)
    n = scenario.customers
    phase = np.arange(n) % 3
    phase[n - three_phase_count(n) :] = 3
    capacity = int(rng.choice([50, 63, 80, 100, 125] if n >= 12 else [30, 50]))
    level = capacity * float(rng.uniform(0.20, 0.26))
    kind = np.where(rng.random(n) < 0.2, SHOP, HOME)
    weight = np.clip(rng.lognormal(0.0, 0.35, n), 0.5, 1.9)
    weight[phase == 3] = rng.uniform(1.5, 2.1, int((phase == 3).sum()))
    _play_roles(faults, area, kind, weight)
    branch_customer, branch_phase = _branches(phase)
    service = _service(rng, kind, weight, level=level, customer=branch_customer, phase=phase)
    main = 0.02 * NOMINAL / (level * 1e3 / 3 / NOMINAL)
    protocol, link = scenario.kind(area)
    return AreaPlan(
        area=area,
        protocol=protocol,
        link=link,
        capacity_kva=capacity,
        ct=RATIOS[capacity],
        level=level,
        kind=kind,
        phase=phase,
        weight=weight,
        hour_shift=rng.normal(0.0, 0.7, n),
        shares=_shares(rng, area in faults.unbalanced),
        branch_customer=branch_customer,
        branch_phase=branch_phase,
        service=service,
        main=main,
        neutral=0.5 * main,
        error=np.concatenate([rng.uniform(-0.002, 0.002, 1), rng.uniform(-0.006, 0.006, n)]),
        bypass=np.array([faults.thief(Spot(area, c)) for c in range(n)]),
        stuck=_stuck(faults, area, n + 1),
        swapped=np.array([Spot(area, c) in faults.swapped for c in range(n)]),
        opening=_opening(rng, n + 1),
        recorded=_recorded(faults, area, n + 1),
        dead=dead,
        prepaid=prepaid,
    )


def _play_roles(faults: Faults, area: int, kind: Ints, weight: Floats) -> None:
    for theft in faults.thieves:
        if theft.spot.area == area:
            kind[theft.spot.customer] = HOME
            weight[theft.spot.customer] = 0.22 * weight.sum()
    for spot in faults.excursions:
        if spot.area == area:
            kind[spot.customer] = WORKSHOP
    for spot in faults.empty_handed:
        if spot.area == area:
            kind[spot.customer] = KIOSK


def _branches(phase: Ints) -> tuple[Ints, Ints]:
    """The branches of customers in order; a three-phase customer has three."""
    pairs = [(c, p) for c, where in enumerate(phase) for p in (range(3) if where == 3 else [int(where)])]
    array = np.array(pairs, dtype=np.int64)
    return array[:, 0], array[:, 1]


def _service(
    rng: np.random.Generator, kind: Ints, weight: Floats, *, level: float, customer: Ints, phase: Ints
) -> Floats:
    """float[branch], ohm: about 0.8 % of the voltage at the mean current, so large customers have thick
    cables.
    """
    legs = np.where(phase == 3, 3, 1)
    mean_kw = level * weight / weight.sum() / legs
    ohm = 0.008 * NOMINAL**2 / (mean_kw * 1e3) * rng.uniform(0.7, 1.3, len(kind))
    ohm = np.where(kind == KIOSK, 0.008 * NOMINAL**2 / (KIOSK_SHARE * level * 1e3), ohm)
    current = WORKSHOP_SHARE * level * 1e3 / SAGGING
    ohm = np.where(kind == WORKSHOP, (NOMINAL - 5.0 - SAGGING) / current, ohm)
    return np.asarray(ohm[customer])


def _stuck(faults: Faults, area: int, meters: int) -> Floats:
    since = np.full(meters, np.inf)
    for one in faults.stuck:
        if one.spot.area == area:
            since[one.spot.customer + 1] = (one.day * SLOTS + one.slot) * 900e6
    return since


def _shares(rng: np.random.Generator, unbalanced: bool) -> Floats:
    if not unbalanced:
        return np.full(3, 1 / 3)
    return np.asarray(rng.permutation([0.46, 0.30, 0.24]))


def _opening(rng: np.random.Generator, meters: int) -> Ints:
    """int[4, meter], 1e-9 kWh: meters that have been running for a while."""
    total = rng.uniform(300.0, 9_000.0, meters)
    split = rng.dirichlet([4.0, 12.0, 14.0, 10.0], meters).T
    return np.asarray(np.floor(total * split * 1e9), dtype=np.int64)


def _recorded(faults: Faults, area: int, meters: int) -> dict[int, NDArray[np.bool_]]:
    masks: dict[int, NDArray[Any]] = {}
    for gap in faults.missing:
        if gap.spot.area == area:
            mask = masks.setdefault(gap.day, np.ones((meters, 96), dtype=np.bool_))
            mask[gap.spot.customer + 1, gap.first : gap.first + gap.count] = False
    return masks

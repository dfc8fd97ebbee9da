"""What is wrong in the fleet, chosen by the seed: the findings a head-end has to come to, and no others."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from terminals.simulator.scenario import Scenario, stream


@dataclass(frozen=True, slots=True, order=True)
class Spot:
    """One customer of one area, both counted from 0."""

    area: int
    customer: int


@dataclass(frozen=True, slots=True)
class Gap:
    """`count` quarter-hours of day `day` (0 = the first) that the meter never recorded, from slot `first`
    on.
    """

    spot: Spot
    day: int
    first: int
    count: int


@dataclass(frozen=True, slots=True)
class Theft:
    """`bypass` is the share of the customer's current that passes the meter by."""

    spot: Spot
    bypass: float


@dataclass(frozen=True, slots=True)
class Stuck:
    """A register that stands still from the beginning of slot `slot` of day `day` on; what the meter displays else goes on."""

    spot: Spot
    day: int
    slot: int


@dataclass(frozen=True, slots=True)
class Faults:
    """Everything planted, and who pays in advance. `broke` never pays, `late` pays later, `protected` may
    not be cut.
    """

    dead: tuple[Spot, ...]
    missing: tuple[Gap, ...]
    thieves: tuple[Theft, ...]
    excursions: tuple[Spot, ...]
    unbalanced: tuple[int, ...]
    broke: Spot
    late: Spot
    protected: Spot
    prepaid: tuple[Spot, ...]
    stuck: tuple[Stuck, ...] = ()
    swapped: tuple[Spot, ...] = ()

    @property
    def empty_handed(self) -> tuple[Spot, Spot, Spot]:
        """The three whose balance runs out."""
        return self.broke, self.late, self.protected

    def thief(self, spot: Spot) -> float:
        """The share of this customer's consumption that no meter sees."""
        return next((theft.bypass for theft in self.thieves if theft.spot == spot), 0.0)


def three_phase_count(customers: int) -> int:
    """How many customers of an area have three phases: the last ones, so that the others divide by three."""
    return 1 + (customers - 1) % 3


def choose(scenario: Scenario) -> Faults:
    """The faults of this seed."""
    rng = stream(scenario.seed, "faults")
    plan = scenario.plan
    areas = iter([int(area) for area in rng.permutation(scenario.areas)])
    dead = tuple(_any(rng, scenario, area) for area in _take(areas, plan.dead))
    missing = tuple(
        Gap(_any(rng, scenario, area), day=1, first=int(rng.integers(45, 76)), count=int(rng.integers(5, 9)))
        for area in _take(areas, plan.missing)
    )
    thieves = tuple(
        Theft(_special(rng, scenario, area), bypass=round(float(rng.uniform(0.50, 0.65)), 3))
        for area in _take(areas, plan.thieves)
    )
    excursions = tuple(_special(rng, scenario, area) for area in _take(areas, plan.excursions))
    unbalanced = tuple(_take(areas, plan.unbalanced))
    stuck = tuple(
        Stuck(_any(rng, scenario, area), day=1, slot=int(rng.integers(20, 76)))
        for area in _take(areas, plan.stuck)
    )
    three = three_phase_count(scenario.customers)
    swapped = tuple(
        Spot(area, scenario.customers - 1 - int(rng.integers(three))) for area in _take(areas, plan.swapped)
    )
    # A small fleet has fewer areas than faults: there the broke customers live beside the thief and the
    # others, but never beside a dead meter, whose area nothing can be said about.
    homes = [
        *areas,
        *(s.area for s in excursions),
        *(g.spot.area for g in missing),
        *(t.spot.area for t in thieves),
        *(s.spot.area for s in stuck),
        *(s.area for s in swapped),
    ]
    taken = {*dead, *excursions, *(gap.spot for gap in missing), *(theft.spot for theft in thieves)}
    taken |= {*swapped, *(one.spot for one in stuck)}
    broke, late, protected = (_free(rng, scenario, homes[k % len(homes)], taken) for k in range(3))
    return Faults(
        dead,
        missing,
        thieves,
        excursions,
        unbalanced,
        broke,
        late,
        protected,
        _healthy(rng, scenario, homes, taken),
        stuck,
        swapped,
    )


def _take(areas: Iterator[int], count: int) -> list[int]:
    return [next(areas) for _ in range(count)]


def _any(rng: np.random.Generator, scenario: Scenario, area: int) -> Spot:
    return Spot(area, int(rng.integers(scenario.customers)))


def _special(rng: np.random.Generator, scenario: Scenario, area: int) -> Spot:
    """A customer who may stand out without upsetting the balance of the phases.

    Where a phase has few customers, one of them cannot be large, small or switched off without unbalancing
    the transformer, which would be a second finding: there the role falls to a three-phase customer.
    """
    three = three_phase_count(scenario.customers)
    singles = scenario.customers - three
    if singles >= 12:
        return Spot(area, int(rng.integers(singles)))
    return Spot(area, singles + int(rng.integers(three)))


def _free(rng: np.random.Generator, scenario: Scenario, area: int, taken: set[Spot]) -> Spot:
    for attempt in range(1_000):
        # A fleet of one or two small areas has too few who may stand out: better an unbalanced area than none to play the role.
        spot = _special(rng, scenario, area) if attempt < 500 else _any(rng, scenario, area)
        if spot not in taken:
            taken.add(spot)
            return spot
    raise ValueError("too few customers in an area for the roles to be played there")


def _healthy(
    rng: np.random.Generator, scenario: Scenario, homes: list[int], taken: set[Spot]
) -> tuple[Spot, ...]:
    """The customers who pay in advance and in time."""
    spots = [Spot(area, c) for area in sorted(set(homes)) for c in range(scenario.customers)]
    spots = [spot for spot in spots if spot not in taken]
    chosen = rng.choice(len(spots), size=min(scenario.plan.prepaid, len(spots)), replace=False)
    return tuple(sorted(spots[int(k)] for k in chosen))

"""A street of our own, for tests without pandapower: the same chain from loads by power flow and meters to readings, in milliseconds."""

from __future__ import annotations

import numpy as np

from tests.support.truth.grid import Complex, Floats, Grid, tree
from tests.support.truth.homes import SLOTS
from tests.support.truth.score import Stage

#: ohm per km: NAYY 4x150 along the street, NAYY 4x35 into the houses; the return path as in networks.py
MAIN, SERVICE = 0.206 + 0.080j, 0.868 + 0.086j
RETURN = 4.0 + 3.66j
#: a 400 kVA transformer of 4 %, seen from 400 V
TRANSFORMER = 0.0046 + 0.0153j
WEEKS = 13


def street(customers: int = 24, seed: int = 0, first: int = 0) -> Grid:
    """Two branches of a cable, a joint every 35 m, two customers at each on services of 10 to 60 m; every sixth customer has three phases.
    Their profiles are named from `first` on."""
    random = np.random.default_rng(seed)
    ends, impedances, buses = [], [], []
    for k in range(customers):
        branch, joint = k % 2, k // 4
        here = 1 + branch * 1000 + joint
        if k % 4 < 2:
            ends.append((0 if joint == 0 else here - 1, here))
            impedances.append(_pair(MAIN * 0.035))
        ends.append((here, 10_000 + k))
        impedances.append(_pair(SERVICE * random.uniform(0.010, 0.060)))
        buses.append(10_000 + k)
    phases = [-1 if k % 6 == 5 else k % 3 for k in range(customers)]
    power = [12.0 if p < 0 else float(random.uniform(2, 6)) for p in phases]
    names = [str(first + k) for k in range(customers)]
    return tree("street", 0, ends, impedances, (TRANSFORMER, TRANSFORMER), 230.0, buses, phases, power, names)


def _pair(one: complex) -> tuple[complex, complex]:
    return one, complex(one.real * RETURN.real, one.imag * RETURN.imag)


def habits(customers: int = 24, seed: int = 0) -> tuple[dict[str, Complex], Floats]:
    """Profiles like households': a base load, an evening, appliances that come and go; and a summer's sun."""
    random = np.random.default_rng(seed)
    slots = WEEKS * 7 * SLOTS
    hour = np.arange(slots) % SLOTS / 4
    found = {}
    for k in range(customers):
        evening = np.exp(-((hour - random.normal(19.5, 1.5)) ** 2) / random.uniform(2, 12))
        appliances = (random.random(slots) < 0.04) * random.uniform(0.2, 0.7, slots)
        lasting = np.convolve(appliances, [1.0, 0.8, 0.3])[:slots]
        each = (
            random.uniform(0.03, 0.08)
            + random.uniform(0.1, 0.3) * evening * random.gamma(4, 0.25, slots)
            + lasting
        )
        found[str(k)] = each * (1 + 1j)
    sun = np.maximum(np.sin((hour - 6) / 12 * np.pi), 0.0) * (hour > 6) * (hour < 18)
    return found, sun


def stage(seed: int = 0, customers: int = 24) -> Stage:
    """A street and its neighbour, each with habits of its own: of two transformers that carry the same nobody could say whose a meter is."""
    profiles, sun = habits(2 * customers, seed)
    return Stage(street(customers, seed), street(customers, seed + 1, customers), profiles, sun)

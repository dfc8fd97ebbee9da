"""Synthetic transformer areas with a known truth: profiles, class 1 meters, registers cut at 0.01 kWh,
technical loss.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from lineloss.topology import Role, Topology

Areas = tuple[Topology, NDArray[np.int64], NDArray[np.int64]]


@pytest.fixture
def fleet() -> Callable[..., Areas]:
    return areas


def areas(
    count: int,
    customers: int,
    multiplier: int,
    seed: int,
    *,
    bypass: tuple[float, float] | None = None,
    days: int = 1,
) -> Areas:
    """(topology, registers int64[meter, slots + 1], row of the thief int64[area], -1: none).

    A thief is one of the larger half of the customers: who uses next to nothing can steal next to nothing.
    """
    random = np.random.default_rng(seed)
    hour = np.arange(96 * days) % 96 / 4
    shape = (count, customers)
    base = random.uniform(0.03, 0.15, shape)[..., None]
    evening = np.exp(
        -((hour - random.normal(20, 1, shape)[..., None]) ** 2) / (2 * random.uniform(1, 6, shape)[..., None])
    )
    morning = np.exp(-((hour - random.normal(7.5, 1, shape)[..., None]) ** 2) / 3)
    power = (
        base
        + evening * random.uniform(0.2, 1.2, (*shape, 1))
        + morning * random.uniform(0.1, 0.6, (*shape, 1))
    )
    true = power * random.gamma(4, 0.25, power.shape) / 4

    passed_by = np.zeros(shape)
    thief = np.full(count, -1)
    if bypass is not None:
        large = np.argsort(-true.sum(axis=2), axis=1)[:, : customers // 2]
        who = large[np.arange(count), random.integers(0, customers // 2, count)]
        passed_by[np.arange(count), who] = random.uniform(*bypass, count)
        thief = np.arange(count) * (customers + 1) + 1 + who
    metered = true * (1 - passed_by[..., None]) * (1 + random.uniform(-0.01, 0.01, (*shape, 1)))
    total = true.sum(axis=1)
    mean = total.mean(axis=1, keepdims=True)
    supply = total + random.uniform(0.005, 0.05, (count, 1)) * total**2 / mean
    supply = supply * (1 + random.uniform(-0.01, 0.01, (count, 1))) / multiplier

    energy = np.concatenate([supply[:, None, :], metered], axis=1).reshape(count * (customers + 1), -1)
    start = random.uniform(0, 5000, (len(energy), 1))
    shown = np.concatenate([start, start + energy.cumsum(axis=1)], axis=1)
    registers = (np.floor(shown * 100) * 100).astype(np.int64)
    rows = len(energy)
    topology = Topology(
        meter=np.arange(rows) + 10_000,
        point=np.arange(rows),
        area=np.repeat(np.arange(count), customers + 1),
        role=np.tile(np.array([Role.SUPPLY, *[Role.RECEIVE] * customers], dtype=np.int8), count),
        multiplier=np.tile(np.array([multiplier, *[1] * customers]), count),
        accuracy=np.full(rows, 0.01),
        phases=np.ones(rows, dtype=np.int8),
        exports=np.zeros(rows, dtype=np.bool_),
        area_id=np.arange(count),
    )
    return topology, registers, thief

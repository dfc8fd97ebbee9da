"""What is lost between the transformer and each customer, as the voltages show it (接户线损耗).

A wire of resistance R drops R I volts and loses R I^2 watts. Both ends are metered, so R is the slope of the
voltage drop over the customer's own current,

    R = cov(V_supply - V, I) / var(I)        loss = R I^2

The slope and not the drop itself: a drop that stays when the current goes is an error of the meters, or a
tampered voltage circuit, and no wire loses energy by it. What a customer's slope contains of the main that he
shares with others is lost as well. A bypass passes the current by, not the voltage: it makes R look larger
and I smaller, and the loss comes out too small rather than too large.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from lineloss.topology import Role, Topology

Floats = NDArray[np.float64]

#: Below this share of the supply's voltage a phase is lost or behind another transformer: nothing to compare.
_COMPARABLE: Final = 0.6
#: Fewer common samples than this give no slope [slot].
_SAMPLES: Final = 12


def service_loss(topology: Topology, voltage: Floats, current: Floats, *, interval: int = 15) -> Floats:
    """Energy lost in each customer's service, float64[meter, slot] [kWh], primary side; NaN where not measured.

    voltage   float64[meter, 3, slot] [V], NaN where not delivered or the meter has no such phase
    current   float64[meter, 3, slot] [A] at the meter, likewise; the sign (direction) is ignored
    interval  minutes one slot stands for

    V_supply is the mean of the supply meter's phases, because nobody knows which phase a single-phase
    customer hangs on; what a phase differs from the mean all day drops out with the slope's intercept.
    """
    source = _source(topology, voltage)
    drop = source[:, None, :] - voltage
    size = np.abs(current)
    customer = (topology.role == Role.RECEIVE) & (topology.area >= 0)
    with np.errstate(invalid="ignore"):
        there = customer[:, None, None] & (voltage > _COMPARABLE * source[:, None, :]) & ~np.isnan(size)
    resistance = _slope(np.where(there, size, 0.0), np.where(there, drop, 0.0), there)
    watts = np.where(there, resistance[:, :, None] * np.where(there, size, 0.0) ** 2, 0.0).sum(axis=1)
    kwh = watts / 1000 * (interval / 60) * topology.multiplier[:, None]
    return np.where(there.any(axis=1), kwh, np.nan)


def _source(topology: Topology, voltage: Floats) -> Floats:
    """float64[meter, slot]: the voltage at the supply of the meter's area, NaN where not measured."""
    supply = (topology.role == Role.SUPPLY)[:, None, None] & ~np.isnan(voltage)
    total = topology.sum_by_area(np.where(supply, voltage, 0.0).sum(axis=1))
    count = topology.sum_by_area(supply.sum(axis=1))
    mean = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    return np.asarray(np.where((topology.area >= 0)[:, None], mean[topology.area], np.nan))


def _slope(x: Floats, y: Floats, there: NDArray[np.bool_]) -> Floats:
    """float64[meter, phase]: slope of y over x where there is one, never negative; arguments [meter, phase, slot]."""
    count = there.sum(axis=2)
    n = np.maximum(count, 1)
    dx = np.where(there, x - (x.sum(axis=2) / n)[:, :, None], 0.0)
    dy = np.where(there, y - (y.sum(axis=2) / n)[:, :, None], 0.0)
    spread = (dx**2).sum(axis=2)
    known = (count >= _SAMPLES) & (spread > 0)
    return np.where(known, np.maximum((dx * dy).sum(axis=2), 0.0) / np.where(known, spread, 1.0), 0.0)

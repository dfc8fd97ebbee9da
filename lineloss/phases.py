"""On which phase of the transformer a meter hangs (相别识别), told from voltages and currents alone.

Two signs. What the customers of a phase draw adds up to that phase's current at the supply (Kirchhoff): a customer's current is found again in
one of the three, with coefficient one. And the current of his own phase lowers a customer's voltage, that of the others returns by the neutral and
rather raises it: of the three, his own phase's takes most of his voltage. The supply's three voltages say less: they differ by the
transformer's own drop, which is the same currents again. Customers of the same habits have the first sign in common, and one at the
transformer's very door has not got the second.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from lineloss.drops import SAMPLES, Floats, Ints, Ports, Source, fit, gapless, persistence

#: Lead in log-likelihood over the next phase that makes an identification certain: the odds of exp(7) are a thousand to one.
CERTAIN: Final = 7.0


@dataclass(frozen=True, slots=True)
class Hangs:
    """phase int64[port]: the likeliest phase;  lead float64[port]: its log-likelihood above the next one's."""

    phase: Ints
    lead: Floats


@dataclass(frozen=True, slots=True)
class Phases:
    """By meter and leg: phase int64[meter, 3], -1 where there is none or nothing could be told;  lead float64[meter, 3], NaN likewise."""

    phase: Ints
    lead: Floats

    @classmethod
    def unknown(cls, meters: int) -> Phases:
        return cls(np.full((meters, 3), -1), np.full((meters, 3), np.nan))

    def note(self, where: Ports, hangs: Hangs) -> None:
        """Writes what was told of one area's ports."""
        self.phase[where.row, where.leg] = hangs.phase
        self.lead[where.row, where.leg] = hangs.lead

    @property
    def certain(self) -> NDArray[np.bool_]:
        """bool[meter, 3]"""
        return np.asarray(np.nan_to_num(self.lead, nan=0.0) >= CERTAIN, dtype=np.bool_)

    def swapped(self, archived: Ints) -> NDArray[np.bool_]:
        """bool[meter, 3]: legs that certainly hang on another phase than the archive says; archived int64[meter, 3], -1: it does not say."""
        return np.asarray(self.certain & (archived >= 0) & (archived != self.phase), dtype=np.bool_)


def identify(supply: Source, where: Ports) -> Hangs:
    """The phase of each port. Phases of the supply that are not measured are never chosen."""
    measured = ~np.isnan(supply.volts).all(axis=1) & ~np.isnan(supply.amps).all(axis=1)
    score = np.where(measured, _of_voltage(supply, where) + _of_current(supply, where), -np.inf)
    order = np.sort(score, axis=1)
    told = measured.sum() > 1
    return Hangs(score.argmax(axis=1), order[:, 2] - order[:, 1] if told else np.zeros(len(where)))


def _of_voltage(supply: Source, where: Ports) -> Floats:
    """float64[port, 3]: what a phase loses in log-likelihood because another one's current takes more of the voltage."""
    taken = fit(supply, where, None)
    more = taken.shared[:, None, :] - taken.shared[:, :, None]  # [port, phase, other]
    error = np.hypot(taken.spread[:, None, :], taken.spread[:, :, None])
    z = np.where(error > 0, np.maximum(more, 0.0) / np.where(error > 0, error, 1.0), 0.0)
    said = -0.5 * np.max(z**2, axis=2)
    return np.where((taken.count >= SAMPLES)[:, None], said, 0.0)


def _of_current(supply: Source, where: Ports) -> Floats:
    """float64[port, 3]: log-likelihood that the port's current is in that phase and in no other.

    Coefficients are a priori normal around a third with a standard deviation of one: currents that are always proportional
    share what they have in common and are not told apart.
    """
    current, total = gapless(where.amps), gapless(supply.amps)
    x = current - current.mean(axis=1, keepdims=True)
    said = np.zeros((len(where), 3))
    gram = x @ x.T
    slots = x.shape[1]
    if slots < 2 * len(where):
        return said  # more unknowns than samples bear
    squares = []
    for phase in range(3):
        y = total[phase] - total[phase].mean()
        if np.isnan(y).any():
            continue
        right = x @ y
        plain = np.linalg.lstsq(gram, right, rcond=1e-8)[0]
        left = y - plain @ x
        variance = max(float(left @ left) / (slots - len(where)), 1e-12) * persistence(left[None])[0]
        inverse = np.linalg.inv(gram / variance + np.eye(len(where)))
        coefficient = inverse @ (right / variance + 1 / 3)
        squares.append((phase, coefficient, np.diagonal(inverse)))
    for phase, coefficient, spread in squares:
        here = -0.5 * (coefficient - 1) ** 2 / spread
        elsewhere = -0.5 * coefficient**2 / spread
        said += np.where(np.arange(3) == phase, here[:, None], elsewhere[:, None])
    return said

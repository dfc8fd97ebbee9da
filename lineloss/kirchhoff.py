"""On which phase, and at which hours, a current flows that no meter measures.

What goes in on a phase comes out on it (Kirchhoff's first law), so

    I_supply[phase] - sum of the metered currents on it = c + sum over its meters of (error_i I_i) + hidden[s] + noise[s]

A customer whose current passes by his meter is missing on his own phase and on no other, which a loss curve in kilowatt-hours does not show; and
currents are delivered to a thousandth of an ampere, where a register's digit is worth a sixth of one over a quarter of an hour. Errors of
ammeters are a priori as large as their class, so that the largest customers of a phase are not suspected for being large. Noise is what is left when
every meter of the phase may err by whatever fits best: instants that are no means, angles that differ.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from lineloss.drops import SAMPLES, Floats, Ints, gapless, persistence

Bools = NDArray[np.bool_]

#: What an ammeter gets wrong, standard deviation as a fraction: 1 % evenly spread, as for the energy of a household's meter. A default.
_CLASS: Final = 0.01 / 3**0.5
#: A current is looked at in its least holed half of the slots at the least.
_HALF: Final = 0.5
#: What a coefficient from the loss curve may differ from that of the currents, as a fraction, beside its error: instants are samples of a slot.
_SAMPLED: Final = 0.1
#: What the last shown digit of a current is worth [A], before current transformers (XXX.XXX, DL/T 645-2007 table A.1).
_DIGIT: Final = 0.001


@dataclass(frozen=True, slots=True)
class Phase:
    """What is missing on one phase of an area.

    use      int64[n]            slots that are looked at
    missing  float64[n] [A]
    free     float64[term, n]    what explains it at no cost: a constant, meters whose phase is not certain, who has no ammeter
    meters   float64[port, n]    currents of the phase's meters
    noise    float64 [A^2]       variance, the noise's persistence counted
    """

    use: Ints
    missing: Floats
    free: Floats
    meters: Floats
    noise: float

    def ask(self, waves: Floats) -> tuple[Floats, Floats]:
        """(right, size) float64[wave]: inner products of each wave [wave, slot] with what is missing, and with itself, weighed by the inverse
        covariance, what is free projected out.
        """
        terms = np.concatenate([self.free, waves[:, self.use], self.missing[None]])
        f = len(self.free)
        inner = self.meters @ self.meters.T + self.noise / _CLASS**2 * np.eye(len(self.meters))
        cross = self.meters @ terms.T
        gram = (terms @ terms.T - cross.T @ np.linalg.solve(inner, cross)) / self.noise
        rest = gram[f:, f:] - gram[f:, :f] @ np.linalg.pinv(gram[:f, :f], hermitian=True) @ gram[:f, f:]
        return rest[:-1, -1], np.maximum(np.diagonal(rest)[:-1], 0.0)


def phases(total: Floats, current: Floats, phase: Ints, certain: Bools, others: Floats) -> list[Phase | None]:
    """The three phases; None where the supply's current is not measured, or too little is.

    total    float64[3, slot] [A]       at the supply, NaN where not delivered
    current  float64[port, slot] [A]    metered, likewise;  phase, certain  [port]: where it hangs, and whether that is certain
    others   float64[n, slot] [A]       what customers without an ammeter draw, by their energy, on phases that nobody knows
    """
    gaps = np.isnan(current)
    bridged = np.nan_to_num(gapless(current), nan=0.0)
    unknown = np.concatenate([bridged[~certain], np.nan_to_num(others, nan=0.0)])
    return [_phase(total[p], bridged, gaps, (phase == p) & certain, unknown) for p in range(3)]


def _phase(total: Floats, bridged: Floats, gaps: Bools, here: Bools, unknown: Floats) -> Phase | None:
    holes = gaps[here].sum(axis=0) + np.where(np.isnan(total), np.inf, 0.0)
    most = np.sort(holes)[int(len(holes) * _HALF)] if len(holes) else np.inf
    use = np.flatnonzero((holes <= most) & np.isfinite(holes))
    meters, free = bridged[here][:, use], np.concatenate([np.ones((1, len(use))), unknown[:, use]])
    freedom = len(use) - len(meters) - len(free)
    if freedom < SAMPLES or not len(meters):
        return None
    missing = total[use] - meters.sum(axis=0)
    everything = np.concatenate([free, meters])
    left = missing - np.linalg.lstsq(everything.T, missing, rcond=1e-8)[0] @ everything
    noise = float((left**2).sum()) / freedom * float(persistence(left[None])[0])
    return Phase(use, missing, free, meters, max(noise, len(meters) * _DIGIT**2 / 12))


def likelihood(right: float, size: float, coefficient: float, error: float) -> float:
    """Log-likelihood, above nobody, that a wave flows unmetered `coefficient` times, give or take `error`; what `Phase.ask` says of it, summed over
    the phases it flows on.
    """
    variance = error**2 + (_SAMPLED * coefficient) ** 2
    best = (right + coefficient / variance) ** 2 / (size + 1 / variance)
    return 0.5 * (best - coefficient**2 / variance) - 0.5 * float(np.log1p(size * variance))

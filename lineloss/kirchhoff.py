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

#: How far a meter's current may be from its share of its phase's, standard deviation as a fraction: an ammeter of 1 %, evenly spread, a default;
#: and its angle, power factors of 0.9 to 1 being a quarter of a radian around the phase's own, which takes 0 to 3 % off the sum.
CLASS: Final = float(np.hypot(0.01, 0.03 / 2) / 3**0.5)
#: Below these odds a meter does not hang on a phase.
_NEVER: Final = 1e-3
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
    missing  float64[n] [A]      what the supply measures and no meter, each counted with its share
    free     float64[term, n]    what explains it at no cost: a constant, a share of all, who has no ammeter
    ports    int64[m]            meters that may hang here; their currents float64[m, n], shares float64[m] (odds that they hang here), and how
                                 wrong these may be, standard deviation float64[m]
    noise    float64 [A^2]       variance, the noise's persistence counted
    """

    use: Ints
    missing: Floats
    free: Floats
    ports: Ints
    meters: Floats
    share: Floats
    spread: Floats
    noise: float

    def ask(self, wave: Floats, port: int = -1) -> tuple[float, float]:
        """(right, size): inner products of a wave [slot] with what is missing, and with itself, weighed by the inverse covariance, what is free
        projected out. `port`: a meter that is not counted, because it is asked whether it hangs here.
        """
        kept = self.ports != port
        missing = self.missing + self.share[~kept] @ self.meters[~kept]
        meters = self.meters[kept]
        terms = np.concatenate([self.free, wave[None, self.use], missing[None]])
        inner = meters @ meters.T + np.diag(self.noise / self.spread[kept] ** 2)
        cross = meters @ terms.T
        gram = (terms @ terms.T - cross.T @ np.linalg.solve(inner, cross)) / self.noise
        f = len(self.free)
        rest = gram[f:, f:] - gram[f:, :f] @ np.linalg.pinv(gram[:f, :f], hermitian=True) @ gram[:f, f:]
        return float(rest[0, 1]), max(float(rest[0, 0]), 0.0)


def phases(total: Floats, current: Floats, share: Floats, others: Floats) -> list[Phase | None]:
    """The three phases; None where the supply's current is not measured, or too little is.

    total    float64[3, slot] [A]      at the supply, NaN where not delivered
    current  float64[port, slot] [A]   metered, likewise
    share    float64[port, 3]          odds that a meter hangs on each phase
    others   float64[n, slot] [A]      what customers without an ammeter draw, by their energy, on phases that nobody knows
    """
    # Magnitudes add up where all angles are much alike. Who feeds in may still draw reactive current, and these slots are left out.
    back = np.asarray((np.nan_to_num(current, nan=0.0) < 0).any(axis=0) | (total < 0).any(axis=0))
    total = np.where(back, np.nan, total)
    gaps = np.isnan(current)
    bridged = np.nan_to_num(gapless(current), nan=0.0)
    free = np.concatenate([np.ones((1, current.shape[1])), np.nan_to_num(others, nan=0.0)])
    return [_phase(total[p], bridged, gaps, share[:, p], free) for p in range(3)]


def _phase(total: Floats, bridged: Floats, gaps: Bools, share: Floats, free: Floats) -> Phase | None:
    ports = np.flatnonzero(share > _NEVER)
    holes = gaps[ports].sum(axis=0) + np.where(np.isnan(total), np.inf, 0.0)
    most = np.sort(holes)[int(len(holes) * _HALF)] if len(holes) else np.inf
    use = np.flatnonzero((holes <= most) & np.isfinite(holes))
    meters, share = bridged[ports][:, use], share[ports]
    # the supply's own ammeter, and what the angles take on the mean
    free = np.concatenate([free[:, use], share[None] @ meters])
    freedom = len(use) - len(meters) - len(free)
    if freedom < SAMPLES:
        return None
    missing = total[use] - share @ meters
    everything = np.concatenate([free, meters])
    left = missing - np.linalg.lstsq(everything.T, missing, rcond=1e-8)[0] @ everything
    noise = float((left**2).sum()) / freedom * float(persistence(left[None])[0])
    noise = max(noise, (len(meters) + 1) * _DIGIT**2 / 12)
    return Phase(
        use, missing, free, ports, meters, share, np.sqrt(CLASS**2 * share + share * (1 - share)), noise
    )


def likelihood(right: float, size: float, coefficient: float, error: float) -> float:
    """Log-likelihood, above nobody, that a wave flows unmetered `coefficient` times, give or take `error`; what `Phase.ask` says of it, summed over
    the phases it flows on.
    """
    variance = error**2 + (_SAMPLED * coefficient) ** 2
    best = (right + coefficient / variance) / (size + 1 / variance)
    # a current that is missing half or twice as much is another's: the tail of the odds explains nothing
    best = min(max(best, 0.5 * coefficient), 2.0 * coefficient)
    said = right * best - 0.5 * size * best**2 - 0.5 * (best - coefficient) ** 2 / variance
    return said - 0.5 * float(np.log1p(size * variance))

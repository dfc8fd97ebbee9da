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

from lineloss.drops import SAMPLES, Floats, Ints, Ports, Source, gapless, persistence

#: Lead in log-likelihood over the next phase that makes an identification certain: the odds of exp(7) are a thousand to one.
CERTAIN: Final = 7.0
#: What the last shown digit of a current is worth [A] (XXX.XXX, DL/T 645-2007 table A.1), before current transformers.
_DIGIT: Final = 0.001


@dataclass(frozen=True, slots=True)
class Hangs:
    """phase int64[port]: the likeliest phase;  lead float64[port]: its log-likelihood above the next one's;  odds float64[port, 3] of each."""

    phase: Ints
    lead: Floats
    odds: Floats


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
    gone = np.isnan(supply.volts).all(axis=1) | np.isnan(supply.amps).all(axis=1)
    measured = np.asarray(~gone, dtype=np.bool_)
    # slots in which the supply was measured; a customer's gaps in them are bridged, and what that adds of error is counted
    use = np.flatnonzero(supply.measured)
    slots = len(use)
    score = np.where(measured, np.zeros((len(where), 3)), -np.inf)
    if measured.sum() > 1 and slots >= SAMPLES:
        bridged = gapless(where.amps)
        current = _centred(bridged[:, use])
        total = _centred(np.where(measured[:, None], supply.amps, 0.0)[:, use])
        drop = _centred(gapless(supply.mean[None] - where.volts)[:, use])
        blur = _blur(bridged, np.isnan(where.amps)) * slots
        score = score + _of_voltage(drop, current, total, blur)
        if slots >= 2 * len(where):  # else there are more unknowns than samples bear
            score = score + _of_current(current, total, blur)
    order = np.sort(score, axis=1)
    lead = order[:, 2] - order[:, 1]
    weight = np.exp(score - order[:, 2:])
    odds = weight / weight.sum(axis=1, keepdims=True)
    return Hangs(score.argmax(axis=1), np.where(np.isfinite(lead), lead, 0.0), odds)


def _blur(current: Floats, gap: NDArray[np.bool_]) -> Floats:
    """float64[port] [A^2]: mean square error of the currents: their last digit, and what a bridge over a gap misses."""
    step = np.mean(np.diff(current, axis=1) ** 2, axis=1) / 2
    return np.asarray(_DIGIT**2 / 12 + gap.mean(axis=1) * step)


def _of_voltage(drop: Floats, current: Floats, total: Floats, blur: Floats) -> Floats:
    """float64[port, 3]: what a phase loses in log-likelihood because another one's current takes more of the voltage.

    A voltage is what each current takes of it: what the currents of a phase take on the mean, which is sought, and what each takes more or less
    than that, which depends on where it flows. That is a priori normal around nothing and as large as the mean itself: from nothing, for a
    customer on another branch, to twice the mean at the end of his own.
    """
    ports = len(drop)
    terms = np.concatenate([current, total])
    gram, right = terms @ terms.T, terms @ drop.T
    left = drop - np.linalg.lstsq(gram, right, rcond=1e-8)[0].T @ terms
    freedom = max(drop.shape[1] - len(terms), drop.shape[1] // 2)
    noise = np.maximum((left**2).sum(axis=1) / freedom * persistence(left), 1e-9)
    size = np.maximum((drop**2).sum(axis=1) / max(float((total**2).sum()) / 3, 1e-9), 1e-9)
    # What of a total no customer's current makes up (angles, errors of the meters) must not be used to explain a voltage.
    strange = total - np.linalg.lstsq(current.T, total.T, rcond=1e-6)[0].T @ current
    gram, clear = _trusted(gram, np.r_[blur, (strange**2).sum(axis=1)])
    # One decomposition for all: the ports differ in how noisy they are and how large their terms, not in what the terms are.
    value, basis = np.linalg.eigh(gram)
    weight = 1 / (value / noise[:, None] + 1 / size[:, None])
    phase = basis[ports:]
    mean = (phase @ (weight.T * (basis.T @ (clear @ right)) / noise)).T
    inverse = np.einsum(
        "jk,pk,mk->pjm", phase, weight, phase, optimize=True
    )  # of the totals alone, [port, 3, 3]
    spread = np.diagonal(inverse, axis1=1, axis2=2)
    more = mean[:, None, :] - mean[:, :, None]  # [port, phase, other]
    variance = spread[:, :, None] + spread[:, None, :] - 2 * inverse
    z = np.maximum(more, 0.0) / np.sqrt(np.maximum(variance, 1e-12))
    return np.asarray(-0.5 * np.max(z**2, axis=2))


def _of_current(current: Floats, total: Floats, blur: Floats) -> Floats:
    """float64[port, 3]: log-likelihood that the port's current is in that phase and in no other.

    Coefficients are a priori normal around a third with a standard deviation of one: currents that are always proportional
    share what they have in common and are not told apart.
    """
    ports, slots = current.shape
    plain = current @ current.T
    gram, clear = _trusted(plain, blur)
    said = np.zeros((ports, 3))
    for phase, y in enumerate(total):
        right = current @ y
        left = y - np.linalg.lstsq(plain, right, rcond=1e-8)[0] @ current
        variance = max(float(left @ left) / (slots - ports) * float(persistence(left[None])[0]), 1e-9)
        inverse = np.linalg.inv(gram / variance + np.eye(ports))
        coefficient, spread = inverse @ (clear @ right / variance + 1 / 3), np.diagonal(inverse)
        here, elsewhere = -0.5 * (coefficient - 1) ** 2 / spread, -0.5 * coefficient**2 / spread
        said += np.where(np.arange(3) == phase, here[:, None], elsewhere[:, None])
    return said


def _trusted(gram: Floats, blur: Floats) -> tuple[Floats, Floats]:
    """(gram [term, term] without what errors of the terms themselves add to it, what takes right-hand sides to the same directions).

    blur  float64[term]: sum of each term's squared errors. A direction in which the terms differ by less than twice those says nothing.
    """
    root = np.sqrt(np.maximum(blur, 1e-9))
    value, basis = np.linalg.eigh(gram / root[:, None] / root)
    keep = value > 2
    out, back = root[:, None] * basis, (basis / root[:, None]).T
    return (out * np.where(keep, value - 1, 0.0)) @ out.T, (out * keep) @ back


def _centred(values: Floats) -> Floats:
    return np.asarray(values - values.mean(axis=1, keepdims=True))

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
    left = _beyond(drop, terms, 1e-8)
    freedom = max(drop.shape[1] - len(terms), drop.shape[1] // 2)
    noise = np.maximum((left**2).sum(axis=1) / freedom * persistence(left), 1e-9)
    size = np.maximum((drop**2).sum(axis=1) / max(float((total**2).sum()) / 3, 1e-9), 1e-9)
    # What of a total no customer's current makes up (angles, errors of the meters) must not be used to explain a voltage.
    strange = _beyond(total, current, 1e-12)
    loading, axes = _trusted(terms, np.r_[blur, (strange**2).sum(axis=1)])
    # One decomposition for all: the ports differ in how noisy they are and how large their terms, not in what the terms are.
    value, turn = np.linalg.eigh(loading.T @ loading)
    phase = loading[ports:] @ turn
    weight = 1 / (value + (noise / size)[:, None])
    mean = (weight * (drop @ (axes.T @ turn))) @ phase.T
    # of the totals alone, [port, 3, 3]
    known = (weight @ (phase[:, None] * phase).reshape(9, -1).T).reshape(-1, 3, 3)
    inverse = size[:, None, None] * (np.eye(3) - known)
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
    loading, axes = _trusted(current, blur)
    gram, rest = loading @ loading.T, _beyond(total, current, 1e-8)
    said = np.zeros((ports, 3))
    for phase, (y, left) in enumerate(zip(total, rest, strict=True)):
        variance = max(float(left @ left) / (slots - ports) * float(persistence(left[None])[0]), 1e-9)
        inverse = np.linalg.inv(gram / variance + np.eye(ports))
        coefficient, spread = inverse @ (loading @ (axes @ y) / variance + 1 / 3), np.diagonal(inverse)
        here, elsewhere = -0.5 * (coefficient - 1) ** 2 / spread, -0.5 * coefficient**2 / spread
        said += np.where(np.arange(3) == phase, here[:, None], elsewhere[:, None])
    return said


def _trusted(terms: Floats, blur: Floats) -> tuple[Floats, Floats]:
    """(loading float64[term, axis], axes float64[axis, slot]) of the terms without what their errors add: loading @ loading.T is what
    terms @ terms.T would be, loading @ axes what the terms would.

    blur  float64[term]: sum of each term's squared errors. A direction in which the terms differ by less than twice those says nothing.
    """
    root = np.sqrt(np.maximum(blur, 1e-9))
    value, axes = _axes(terms / root[:, None])
    value, axes = value[value > 2], axes[value > 2]
    share = np.sqrt(1 - 1 / value)
    return terms @ axes.T * share, axes / share[:, None]


def _beyond(values: Floats, terms: Floats, least: float) -> Floats:
    """float64[row, slot]: what of the values [row, slot] is no sum of the terms [term, slot]. Directions of the terms with less than `least`
    of the square of all together are rounding, and explain next to nothing. By slots or by terms, whichever are fewer.
    """
    short = terms.T @ terms if len(terms) > terms.shape[1] else terms @ terms.T
    ridge = max(least * float(np.trace(short)), 1e-300)
    short[np.diag_indices(len(short))] += ridge
    if len(terms) > terms.shape[1]:
        return np.asarray(ridge * np.linalg.solve(short, values.T).T)
    return np.asarray(values - np.linalg.solve(short, terms @ values.T).T @ terms)


def _axes(terms: Floats) -> tuple[Floats, Floats]:
    """(square of the size float64[axis], ascending; unit vectors float64[axis, slot] at right angles) of what the terms [term, slot] are
    made of; by slots or by terms, whichever are fewer: it takes their number's third power.
    """
    if len(terms) > terms.shape[1]:
        value, basis = np.linalg.eigh(terms.T @ terms)
        return value, basis.T
    value, basis = np.linalg.eigh(terms @ terms.T)
    return value, basis.T @ terms / np.sqrt(np.maximum(value, 1e-300))[:, None]


def _centred(values: Floats) -> Floats:
    return np.asarray(values - values.mean(axis=1, keepdims=True))

"""An area's loss curve against its customers' profiles: generalised least squares with noise of which the shape is known.

    loss[s] = c + a through[s] + t through[s]^2 + sum over customers of (service_i[s] + k_i profile_i[s]) + noise[s]
    cov = q (2, -1 tridiagonal) + w (white) + v (smooth, two hours) + class errors of the customers
          + errors of the services' losses + variances of filled slots

in blocks of a day, which are independent of each other. What the terms mean: suspects.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from lineloss.filling import fill
from lineloss.registers import Registers, RollOver
from lineloss.topology import Role, Topology

Floats = NDArray[np.float64]

#: Unknown noise variances tried, as shares of the loss curve's own variance: white x smooth.
_GRID: Final = np.array([1e-4, 1e-3, 1e-2, 1e-1, 1.0])
#: Correlation length of the smooth noise [slots]: two hours of quarters, the time scale of a household's
#: load curve.
_SMOOTH: Final = 8.0
#: Standard error of a service's loss, as a fraction: samples stand for means, power factors are not all one,
#: and a part of the drop belongs to the main that others share.
_SERVICE: Final = 0.3
#: A bridge passes no constant share by: contacts change with current and temperature. Standard deviation from slot to slot as a fraction, a
#: default. However much is lost, two customers of one habit are not told apart by what hardly differs.
_UNSTEADY: Final = 0.05
#: Times that a coefficient and the errors it brings along are made to agree: the second changes neither by more than its error.
_ROUNDS: Final = 2
#: Slots after which habits repeat, and errors are taken as independent: a day of quarters of an hour.
_DAY: Final = 96
_KWH: Final = 1e-4
#: Covariance of slots by a register's last digit, its worth being one. A digit cut off is evenly spread: variance 1/12. Two slots that share a
#: register share its digit, with opposite signs.
_CUT: Final = (2 * np.eye(_DAY) - np.eye(_DAY, k=1) - np.eye(_DAY, k=-1)) / 12


@dataclass(frozen=True, slots=True)
class Energies:
    """Float64[meter, slot] [kWh], primary side: forward and reverse energy, NaN where unknown; variance of what was filled [kWh^2]."""

    forward: Floats
    reverse: Floats
    variance: Floats


@dataclass(frozen=True, slots=True)
class Curves:
    """One area, all kWh, [day, slot of the day, ...], 0 where `there` is False: loss without the services', nuisance terms (1 to 3), profiles
    (customer); the known part of the covariance [day, slot, slot] and the shape of its smooth part [slot, slot]; the most that can have
    been lost at all.
    """

    there: NDArray[np.bool_]
    loss: Floats
    nuisance: Floats
    profiles: Floats
    known: Floats
    smooth: Floats
    most: float


@dataclass(frozen=True, slots=True)
class Grams:
    """Everything least squares needs, once per area: inner products under each covariance of the grid.

    table        float64[grid, term, term]: Z' cov^-1 Z, terms being nuisance, customers, loss
    determinant  float64[grid]: log determinant of cov
    white, smooth  float64[grid] [kWh^2]: the two unknown variances of each
    """

    table: Floats
    determinant: Floats
    white: Floats
    smooth: Floats

    def without(self, inside: list[int]) -> Floats:
        """float64[grid, term, term]: the same after projecting the terms `inside` out of all the others."""
        part = self.table[:, inside, :]
        return self.table - np.swapaxes(part, 1, 2) @ np.linalg.solve(part[:, :, inside], part)

    def fit(self, at: int, terms: list[int], slots: int) -> tuple[Floats, Floats]:
        """(coefficients, standard errors) float64[term] under covariance `at`."""
        gram = self.table[at]
        inverse = np.linalg.inv(gram[np.ix_(terms, terms)])
        coefficient = inverse @ gram[terms, -1]
        left = float(gram[-1, -1] - gram[terms, -1] @ coefficient)
        # A covariance that does not cover the residuals widens the errors; one that more than covers them
        # narrows nothing.
        spread = max(1.0, left / max(slots - len(terms), 1))
        return coefficient, np.sqrt(np.diagonal(inverse) * spread)


def energies(
    topology: Topology, imports: Registers, exports: Registers | None, roll_over: RollOver
) -> Energies:
    forward = fill(imports, roll_over=roll_over, day=_DAY)
    factor = (topology.multiplier * _KWH)[:, None]
    if exports is None:
        reverse = np.where(topology.exports[:, None], np.nan, np.zeros(forward.energy.shape))
        return Energies(forward.energy * factor, reverse, forward.variance * factor**2)
    back = fill(exports, roll_over=roll_over, day=_DAY)
    # a reverse register that is not there, or stands still, is nothing where nobody feeds in
    reverse = np.where(np.isnan(back.energy) & ~topology.exports[:, None], 0.0, back.energy)
    return Energies(forward.energy * factor, reverse * factor, (forward.variance + back.variance) * factor**2)


def losses(
    topology: Topology, counted: NDArray[np.int64], energies: Energies
) -> tuple[Floats, Floats, Floats]:
    """(supplied, loss, variance of what was filled) float64[slot] [kWh] of the area whose rows are `counted`; NaN where one is unknown."""
    supply = (topology.role[counted] == Role.SUPPLY)[:, None]
    if not supply.any() or supply.all():
        nothing = np.full(energies.forward.shape[1], np.nan)
        return nothing, nothing, nothing
    forward, reverse = energies.forward[counted], energies.reverse[counted]
    supplied = np.where(supply, forward, reverse).sum(axis=0)
    return (
        supplied,
        supplied - np.where(supply, reverse, forward).sum(axis=0),
        energies.variance[counted].sum(axis=0),
    )


def explained(profiles: Floats, service: Floats | None) -> Floats:
    """What the services lose, [customer, slot] [kWh]; a gap is filled with the customer's own share."""
    if service is None:
        return np.zeros_like(profiles)
    measured = ~np.isnan(service) & ~np.isnan(profiles)
    lost = np.where(measured, service, 0.0)
    used = np.where(measured, profiles, 0.0).sum(axis=1)
    share = lost.sum(axis=1) / np.where(used > 0, used, np.inf)
    return np.where(measured, lost, share[:, None] * np.nan_to_num(profiles, nan=0.0))


def _by_day(values: Floats) -> Floats:
    """[slot, ...] -> [day, slot of the day, ...], 0 where there is no slot or no value."""
    days = -(-len(values) // _DAY)
    whole = np.zeros((days * _DAY, *values.shape[1:]))
    whole[: len(values)] = np.nan_to_num(values, nan=0.0)
    return whole.reshape(days, _DAY, *values.shape[1:])


def curves(
    loss: Floats,
    supply: Floats,
    filled: Floats,
    profiles: Floats,
    explained: Floats,
    accuracy: Floats,
    usable: NDArray[np.bool_],
    digits: Floats,
) -> Curves:
    """The regression of one area: loss, supply and variance of what was filled [slot], profiles and the services' losses [customer, slot]
    [kWh], which customers have a profile, worth of each register's last digit [kWh].
    """
    here = ~np.isnan(loss)
    at = np.flatnonzero(here)
    # What was sold and, over some hours, lost; not what was supplied: the loss holds the supply meter's digits, and a term that holds them as well
    # explains them, with the profile of whoever uses most for a counterweight. A mean over slots hardly has digits.
    level = (supply - loss)[at] + _mean(loss[at])
    level /= max(float(np.abs(level).max()), 1e-9)
    # An orthogonal basis, because coarse registers can make it two-valued and its square the same term again.
    basis, spread, _ = np.linalg.svd(
        np.stack([np.ones(len(at)), level, level**2], axis=1), full_matrices=False
    )
    basis = basis[:, spread > 1e-6 * spread[0]]
    nuisance = np.full((len(loss), basis.shape[1]), np.nan)
    nuisance[at] = basis
    profiles, explained = (np.where(here, part, 0.0) for part in (profiles, explained))
    there = _by_day(here.astype(np.float64)) > 0
    slot = np.arange(_DAY)
    distance = np.abs(slot[:, None] - slot[None, :])
    cut = _CUT * float(np.sum(digits**2))
    # Errors within a class are taken as evenly spread too, so their standard deviation is class / sqrt(3).
    honest = _by_day((profiles * (accuracy[:, None] / np.sqrt(3.0))).T)
    guessed = _by_day((_SERVICE * explained).T)
    known = cut + honest @ np.swapaxes(honest, 1, 2) + guessed @ np.swapaxes(guessed, 1, 2)
    known += _by_day(np.where(here, filled, 0.0))[:, :, None] * np.eye(_DAY)
    # Whoever explains the loss cannot explain more than was lost, with all meters erring his way.
    net = np.where(here, loss - explained.sum(axis=0), np.nan)
    metered = float(supply[at].sum()) * float(accuracy.max()) + float((profiles.sum(axis=1) * accuracy).sum())
    return Curves(
        there=there,
        loss=_by_day(net),
        nuisance=_by_day(nuisance),
        profiles=_by_day(profiles[usable].T),
        known=known,
        smooth=np.exp(-distance / _SMOOTH),
        most=float(net[at].sum()) + metered + float(digits.sum()),
    )


def _mean(values: Floats) -> Floats:
    """[slot]: of the slots around each, as many as smooth noise resembles itself over."""
    width = np.ones(int(_SMOOTH) + 1)
    return np.asarray(np.convolve(values, width, "same") / np.convolve(np.ones(len(values)), width, "same"))


def grams(curves: Curves) -> Grams:
    """Tries every covariance of the grid; the scale is what the nuisance terms leave of the loss."""
    there = curves.there
    nuisance, loss = curves.nuisance[there], curves.loss[there]
    left = loss - nuisance @ np.linalg.lstsq(nuisance, loss, rcond=None)[0]
    scale = max(float(left.var()), 1e-12) * _GRID
    white, smooth = (grid.ravel() for grid in np.meshgrid(scale, np.concatenate([[0.0], scale])))
    terms = np.concatenate([curves.nuisance, curves.profiles, curves.loss[:, :, None]], axis=2)
    terms = np.where(there[:, :, None], terms, 0.0)
    tried = [
        _products(terms, _covariance(curves, w, v))
        for w, v in zip(white.tolist(), smooth.tolist(), strict=True)
    ]
    return Grams(np.array([t for t, _ in tried]), np.array([d for _, d in tried]), white, smooth)


def _covariance(curves: Curves, white: float, smooth: float) -> Floats:
    """[day, slot, slot] [kWh^2]. A slot that is not there is independent of the others, of variance one, and all its terms are zero: it says
    nothing.
    """
    there = curves.there
    both = there[:, :, None] & there[:, None, :]
    alone = np.where(there, white, 1.0)[:, :, None] * np.eye(_DAY)
    return np.asarray(np.where(both, curves.known + smooth * curves.smooth, 0.0) + alone)


def _products(terms: Floats, covariance: Floats) -> tuple[Floats, float]:
    """(Z' cov^-1 Z [term, term], log determinant of cov); terms [day, slot, term]."""
    weighed = np.linalg.solve(covariance, terms)
    lower = np.linalg.cholesky(covariance)
    determinant = 2 * float(np.log(np.diagonal(lower, axis1=1, axis2=2)).sum())
    return np.tensordot(terms, weighed, axes=((0, 1), (0, 1))), determinant


def best(grams: Grams, inside: list[int], *, either: bool = False) -> tuple[int, Floats, Floats] | None:
    """(covariance, log-likelihood of each term above none of them, its coefficient) under the covariance that makes the loss likeliest
    when one customer is added to the terms `inside`; float64[term], -inf for who cannot explain anything. None: nobody can.

    either  a customer may also be metered too high: negative coefficients explain as well
    """
    rest = grams.without(inside)
    size = np.diagonal(rest, axis1=1, axis2=2)
    # what the terms inside already span leaves rounding noise, not a profile
    alive = size > 1e-9 * np.diagonal(grams.table, axis1=1, axis2=2)
    alive[:, [*inside, -1]] = False
    alive &= either | (rest[:, :, -1] > 0)
    gain = np.where(alive, rest[:, :, -1] ** 2 / np.where(alive, size, 1.0), -np.inf)
    likelihood = 0.5 * (gain - size[:, -1:] - grams.determinant[:, None])
    at, term = np.unravel_index(int(np.argmax(likelihood)), likelihood.shape)
    if not np.isfinite(likelihood[at, term]):
        return None
    coefficient = rest[at, :, -1] / np.where(alive[at], size[at], 1.0)
    return int(at), np.where(alive[at], 0.5 * gain[at], -np.inf), np.where(alive[at], coefficient, 0.0)


@dataclass(frozen=True, slots=True)
class Weighed:
    """float64[term] each: log-evidence that this customer explains the loss, above nobody does, -inf for who was not asked; his coefficient;
    its standard error.
    """

    evidence: Floats
    coefficient: Floats
    error: Floats


def weigh(
    curves: Curves,
    grams: Grams,
    at: int,
    inside: list[int],
    asked: dict[int, float],
    digits: Floats,
    filled: Floats,
) -> Weighed:
    """Each customer of `asked` (term -> first guess of his coefficient) under covariance `at`, beside the terms `inside`, with what his own profile
    gets wrong.

    digits  float64[customer] [kWh]          worth of the last digit of each profile's register
    filled  float64[customer, slot] [kWh^2]  variance of what was filled of each profile

    A profile that is multiplied by k brings its own errors k times into the fit, and a meter that nine tenths pass by shows little but digits. With
    that left out, an honest neighbour of the same habits, whose profile is cleaner, would explain the loss better than who causes it. What the
    loss misses of a meter's energy its profile lacks as well, so it is (1 + k)^2 of that variance, of which one is in the covariance already.

    The evidence is the likelihood over all coefficients, a priori evenly spread over the share s = k / (1 + k) that passes by.
    """
    there = curves.there
    base = _covariance(curves, float(grams.white[at]), float(grams.smooth[at]))
    nuisance = curves.nuisance.shape[2]
    fixed = np.concatenate(
        [curves.nuisance, curves.profiles[:, :, [t - nuisance for t in inside if t >= nuisance]]], axis=2
    )
    fixed, loss = (np.where(there[:, :, None], part, 0.0) for part in (fixed, curves.loss[:, :, None]))
    nobody = _left(np.concatenate([fixed, loss], axis=2), base, fixed.shape[2])
    start = -0.5 * (float(nobody[0][0, 0]) + nobody[1])
    shape = len(grams.table[at])
    evidence, coefficient, error = np.full(shape, -np.inf), np.zeros(shape), np.full(shape, np.inf)
    both = there[:, :, None] & there[:, None, :]
    for term, guess in asked.items():
        who = term - nuisance
        own = _CUT * float(digits[who]) ** 2 + _by_day(filled[who])[:, :, None] * np.eye(_DAY)
        own = np.where(both, own, 0.0)
        terms = np.concatenate(
            [fixed, np.where(there, curves.profiles[:, :, who], 0.0)[:, :, None], loss], axis=2
        )
        k = guess
        for _ in range(_ROUNDS):
            unsteady = (_UNSTEADY * k * terms[:, :, -2:-1]) ** 2 * np.eye(_DAY)
            rest, determinant = _left(terms, base + ((1 + k) ** 2 - 1) * own + unsteady, fixed.shape[2])
            size, right = float(rest[0, 0]), float(rest[0, 1])
            k = right / size if size > 0 else 0.0
            if k <= 0:
                break
        if k > 0:
            likelihood = -0.5 * (float(rest[1, 1]) - right * k + determinant) - start
            coefficient[term], error[term] = k, size**-0.5
            evidence[term] = likelihood - 2 * np.log1p(k) + np.log(error[term] * np.sqrt(2 * np.pi))
    return Weighed(evidence, coefficient, error)


def _left(terms: Floats, covariance: Floats, fixed: int) -> tuple[Floats, float]:
    """(inner products of the terms after the first `fixed`, these projected out; log determinant of cov)."""
    table, determinant = _products(terms, covariance)
    inside, beside = table[:fixed, :fixed], table[:fixed, fixed:]
    return table[fixed:, fixed:] - beside.T @ np.linalg.solve(inside, beside), determinant

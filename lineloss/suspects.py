"""Who explains the loss: the area's loss curve against its customers' profiles.

A customer who passes a share of his use by the meter loses the area k kWh for every kWh he is metered, at
the very hours he uses it. So, over the slots s in which every meter of the area has both ends,

    loss[s] = c + a supply[s] + t supply[s]^2 + sum over customers of (service_i[s] + k_i profile_i[s]) + noise[s]

where service_i is what the voltages say is lost on the way to customer i (service.py): a corroded joint loses
energy in step with its customer's use, as a thief does, but the voltage shows it, so it is deducted before
anybody is blamed. t supply^2 is the technical loss (copper loss goes with the square of the load), a stands for a wrong
multiplier or gain of the supply meter, and c for a constant burden. An honest k is the meter's class error;
a bypass of 40 % is 0.67.

Plain least squares would drown in the registers' last digits: one digit of a supply meter behind 200/5 A
transformers is 0.4 kWh, a customer's quarter of an hour 0.1 kWh. But a digit cut off in one slot comes back
in the next, so the noise of neighbouring slots is anticorrelated and its size is known: generalised least
squares with

    cov = q (2, -1 tridiagonal) + w (white) + v (smooth, two hours) + class errors of the customers
          + errors of the services' losses

uses that. w and v are unknown (estimated by maximum likelihood on a grid): v keeps a street lamp or any
other smooth unmetered load from being blamed on the customer who happens to resemble it most.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist
from typing import Final

import numpy as np
from numpy.typing import NDArray

from lineloss.balance import SlotBalance, slot_balance, slot_energy
from lineloss.registers import RESOLUTION, ROLL_OVER, Registers, RollOver
from lineloss.topology import Role, Topology

Floats = NDArray[np.float64]

#: Unknown noise variances tried, as shares of the loss curve's own variance: white x smooth.
_GRID: Final = np.array([1e-4, 1e-3, 1e-2, 1e-1, 1.0])
#: Correlation length of the smooth noise [slots]: two hours of quarters, the time scale of a household's
#: load curve.
_SMOOTH: Final = 8.0
#: A rival customer must leave the suspect's coefficient above zero by this many standard errors.
_RIVAL: Final = 2.0
#: Standard error of a service's loss, as a fraction: samples stand for means, power factors are not all one,
#: and a part of the drop belongs to the main that others share.
_SERVICE: Final = 0.3
_KWH: Final = 1e-4


@dataclass(frozen=True, slots=True)
class Settings:
    """What it takes to be named. Every number can be defended before the customer.

    threshold       a coefficient below this is within what meters and archives get wrong anyway
    z               standard errors the coefficient must stay above the threshold; raised with the number of
                    customers
    area_error      accepted chance of naming an honest customer, per area (Bonferroni over its customers)
    slots           fewer complete slots than this say nothing [slot]
    energy          a suspect explains at least this much over the whole block [kWh]
    most            suspects per area: more than this is an archive error, not theft
    """

    threshold: float = 0.10
    z: float = 3.5
    area_error: float = 2e-3
    slots: int = 48
    energy: float = 0.5
    most: int = 5


@dataclass(frozen=True, slots=True)
class Suspects:
    """One row per customer who explains loss; and which areas could be examined at all.

    area         int64[suspect]    index into Topology.area_id
    meter        int64[suspect]    the meter's id
    row          int64[suspect]    row of the topology
    coefficient  float64[suspect]  unmetered energy per metered energy
    error        float64[suspect]  its standard error
    energy       float64[suspect]  unmetered energy over the block [kWh], primary side
    share        float64[suspect]  of the area's loss over the slots used, as a fraction
    service      float64[suspect]  deducted beforehand: loss in the service per metered energy; 0 where no
                                   voltages were given
    slots        int64[area]       complete slots, of which the regression used all or none
    examined     bool[area]        False: too few slots or nothing to regress on; absence of suspects proves
                                   nothing
    """

    area: NDArray[np.int64]
    meter: NDArray[np.int64]
    row: NDArray[np.int64]
    coefficient: Floats
    error: Floats
    energy: Floats
    share: Floats
    service: Floats
    slots: NDArray[np.int64]
    examined: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.meter)


@dataclass(frozen=True, slots=True)
class _Curves:
    """One area, all kWh: loss [slot] without the services', nuisance terms [slot, 1 to 3], profiles [slot, customer]; the known
    part of the covariance and the shape of its smooth part [slot, slot]; the most that can have been lost at
    all.
    """

    loss: Floats
    nuisance: Floats
    profiles: Floats
    known: Floats
    smooth: Floats
    most: float


@dataclass(frozen=True, slots=True)
class _Grams:
    """Everything least squares needs, once per area: inner products under each covariance of the grid.

    table        float64[grid, term, term]: Z' cov^-1 Z, terms being nuisance, customers, loss
    determinant  float64[grid]: log determinant of cov
    """

    table: Floats
    determinant: Floats

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


def find_suspects(
    topology: Topology,
    imports: Registers,
    exports: Registers | None = None,
    *,
    service: Floats | None = None,
    resolution: int | NDArray[np.int64] = RESOLUTION,
    roll_over: RollOver = ROLL_OVER,
    settings: Settings | None = None,
    only: NDArray[np.bool_] | None = None,
) -> Suspects:
    """The customers of every area whose profile explains its loss.

    imports, exports  int64[meter, slots + 1] [1e-4 kWh], secondary side, as for balance.day_balance
    service           float64[meter, slot] [kWh], primary side: service_loss() of the same slots, NaN where not
                      measured: there a customer's mean share stands in
    resolution        worth of a register's last digit [1e-4 kWh], scalar or [meter]
    only              bool[area]: areas to examine; all by default

    A customer who is not metered at all (100 % bypass) has no profile and cannot be found here.
    """
    settings = settings or Settings()
    slots = slot_balance(topology, imports, exports, roll_over=roll_over)
    forward, _ = slot_energy(topology, imports, exports, roll_over=roll_over)
    digit = (
        np.broadcast_to(np.asarray(resolution, dtype=np.float64), (len(topology),))
        * topology.multiplier
        * _KWH
    )
    rows, start = topology.rows_by_area()
    complete = slots.known.sum(axis=1)
    examined = complete >= settings.slots
    if only is not None:
        examined &= only

    found: list[tuple[int, int, float, float, float, float, float]] = []
    for area in np.flatnonzero(examined).tolist():
        members = rows[start[area] : start[area + 1]]
        customers = members[topology.role[members] == Role.RECEIVE]
        at = np.flatnonzero(slots.known[area])
        energy = forward[np.ix_(customers, at)]
        primary = energy * topology.multiplier[customers, None] * _KWH
        usable = (primary.std(axis=1) > 0) & (primary.sum(axis=1) > 0)
        if not usable.any() or not np.any(slots.supplied[area][slots.known[area]] > 0):
            examined[area] = False
            continue
        customers, primary = customers[usable], primary[usable]
        counted = members[topology.role[members] != Role.AUXILIARY]
        explained = _explained(primary, None if service is None else service[np.ix_(customers, at)])
        curves = _curves(slots, area, primary, explained, topology.accuracy[customers], digit[counted])
        whole = float(slots.loss[area, at].sum()) * _KWH
        for column, coefficient, error in _explain(curves, settings):
            energy_lost = coefficient * float(primary[column].sum())
            share = energy_lost / whole if whole > 0 else np.nan
            deducted = float(explained[column].sum() / primary[column].sum())
            found.append((area, int(customers[column]), coefficient, error, energy_lost, share, deducted))

    table = np.array(found, dtype=np.float64).reshape(-1, 7)
    who = table[:, 1].astype(np.int64)
    return Suspects(
        area=table[:, 0].astype(np.int64),
        meter=topology.meter[who],
        row=who,
        coefficient=table[:, 2],
        error=table[:, 3],
        energy=table[:, 4],
        share=table[:, 5],
        service=table[:, 6],
        slots=complete.astype(np.int64),
        examined=examined,
    )


def _explained(profiles: Floats, service: Floats | None) -> Floats:
    """What the services lose, [customer, slot] [kWh]; a gap is filled with the customer's own share."""
    if service is None:
        return np.zeros_like(profiles)
    measured = ~np.isnan(service)
    lost = np.where(measured, service, 0.0)
    used = np.where(measured, profiles, 0.0).sum(axis=1)
    share = lost.sum(axis=1) / np.where(used > 0, used, np.inf)
    return np.where(measured, lost, share[:, None] * profiles)


def _curves(
    slots: SlotBalance, area: int, profiles: Floats, explained: Floats, accuracy: Floats, digits: Floats
) -> _Curves:
    """The regression of one area: profiles and the services' losses [customer, slot] [kWh], worth of each
    register's last digit [kWh].
    """
    at = np.flatnonzero(slots.known[area])
    loss, supply = slots.loss[area, at] * _KWH - explained.sum(axis=0), slots.supplied[area, at] * _KWH
    level = supply / supply.mean()
    # An orthogonal basis, because coarse registers can make the supply two-valued and its square the same
    # term again.
    basis, spread, _ = np.linalg.svd(
        np.stack([np.ones(len(at)), level, level**2], axis=1), full_matrices=False
    )
    distance = np.abs(at[:, None] - at[None, :])
    # A digit cut off is evenly spread: variance 1/12. Two slots that share a register share its digit, with
    # opposite signs.
    cut = np.where(distance == 0, 2.0, np.where(distance == 1, -1.0, 0.0)) * float(np.sum(digits**2)) / 12
    # Errors within a class are taken as evenly spread too, so their standard deviation is class / sqrt(3).
    honest = profiles * (accuracy[:, None] / np.sqrt(3.0))
    guessed = _SERVICE * explained
    # Whoever explains the loss cannot explain more than was lost, with all meters erring his way.
    metered = float(supply.sum()) * float(accuracy.max()) + float((profiles.sum(axis=1) * accuracy).sum())
    return _Curves(
        loss=loss,
        nuisance=basis[:, spread > 1e-6 * spread[0]],
        profiles=profiles.T,
        known=cut + honest.T @ honest + guessed.T @ guessed,
        smooth=np.exp(-distance / _SMOOTH),
        most=float(loss.sum()) + metered + float(digits.sum()),
    )


def _grams(curves: _Curves) -> _Grams:
    """Tries every covariance of the grid; the scale is what the nuisance terms leave of the loss."""
    left = curves.loss - curves.nuisance @ np.linalg.lstsq(curves.nuisance, curves.loss, rcond=None)[0]
    scale = max(float(left.var()), 1e-12) * _GRID
    white, smooth = (grid.ravel() for grid in np.meshgrid(scale, np.concatenate([[0.0], scale])))
    terms = np.concatenate([curves.nuisance, curves.profiles, curves.loss[:, None]], axis=1)
    table, determinant = [], []
    for w, v in zip(white.tolist(), smooth.tolist(), strict=True):
        covariance = curves.known + w * np.eye(len(terms)) + v * curves.smooth
        table.append(terms.T @ np.linalg.solve(covariance, terms))
        determinant.append(2 * float(np.log(np.diagonal(np.linalg.cholesky(covariance))).sum()))
    return _Grams(np.array(table), np.array(determinant))


def _best(grams: _Grams, inside: list[int]) -> tuple[int, int] | None:
    """(covariance, term) of the customer who, added to the terms `inside`, makes the loss likeliest; None:
    nobody.
    """
    rest = grams.without(inside)
    size = np.diagonal(rest, axis1=1, axis2=2)
    # what the terms inside already span leaves rounding noise, not a profile
    alive = size > 1e-9 * np.diagonal(grams.table, axis1=1, axis2=2)
    alive[:, [*inside, -1]] = False
    gain = np.where(alive & (rest[:, :, -1] > 0), rest[:, :, -1] ** 2 / np.where(alive, size, 1.0), -np.inf)
    likelihood = 0.5 * (gain - size[:, -1:] - grams.determinant[:, None])
    at, term = np.unravel_index(int(np.argmax(likelihood)), likelihood.shape)
    return (int(at), int(term)) if np.isfinite(likelihood[at, term]) else None


def _survives_rivals(grams: _Grams, at: int, inside: list[int], term: int) -> bool:
    """No other single customer, set free beside this one, takes the loss away from him.

    A rival who would have to give energy away, a negative coefficient, takes nothing.
    """
    rest = grams.without(inside)[at]
    size = np.diagonal(rest)
    rivals = size > 1e-9 * np.diagonal(grams.table[at])
    rivals[[*inside, term, -1]] = False
    own, other, loss = rest[rivals, term], size[rivals], rest[rivals, -1]
    determinant = size[term] * other - own**2
    if np.any(determinant <= 1e-9 * size[term] * other):
        return False  # the same profile twice: nobody can say which of the two it is
    coefficient = (rest[term, -1] * other - loss * own) / determinant
    takes = loss * size[term] - rest[term, -1] * own > 0
    return bool(np.all(~takes | (coefficient > _RIVAL * np.sqrt(other / determinant))))


def _explain(curves: _Curves, settings: Settings) -> list[tuple[int, float, float]]:
    """(customer, coefficient, standard error) of each customer named, all fitted together."""
    nuisance, customers = curves.nuisance.shape[1], curves.profiles.shape[1]
    z = max(settings.z, NormalDist().inv_cdf(1 - settings.area_error / customers))
    used = curves.profiles.sum(axis=0)
    grams = _grams(curves)
    terms = list(range(nuisance))
    result: list[tuple[int, float, float]] = []
    while len(result) < settings.most:
        best = _best(grams, terms)
        if best is None:
            break
        at, term = best
        coefficient, error = (part[nuisance:] for part in grams.fit(at, [*terms, term], len(curves.loss)))
        named = np.array([*terms[nuisance:], term]) - nuisance
        energy = coefficient * used[named]
        # everybody named must still hold with the new one beside him
        significant = bool(np.all(coefficient - z * error > settings.threshold))
        possible = float(np.sum(energy - error * used[named])) <= curves.most
        if not (significant and possible and bool(np.all(energy >= settings.energy))):
            break
        if not _survives_rivals(grams, at, terms, term):
            break
        terms.append(term)
        result = list(zip(named.tolist(), coefficient.tolist(), error.tolist(), strict=True))
    return result

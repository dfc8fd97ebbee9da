"""Who explains the loss: the area's loss curve against its customers' profiles.

A customer who passes a share of his use by the meter loses the area k kWh for every kWh he is metered, at
the very hours he uses it. So, over the slots s in which every meter of the area has both ends,

    loss[s] = c + a supply[s] + t supply[s]^2 + sum over customers of k_i profile_i[s] + noise[s]

where t supply^2 is the technical loss (copper loss goes with the square of the load), a stands for a wrong
multiplier or gain of the supply meter, and c for a constant burden. An honest k is the meter's class error;
a bypass of 40 % is 0.67.

Plain least squares would drown in the registers' last digits: one digit of a supply meter behind 200/5 A
transformers is 0.4 kWh, a customer's quarter of an hour 0.1 kWh. But a digit cut off in one slot comes back
in the next, so the noise of neighbouring slots is anticorrelated and its size is known: generalised least
squares with

    cov = q (2, -1 tridiagonal) + w (white) + v (smooth, two hours) + class errors of the customers

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
from lineloss.registers import RESOLUTION, ROLL_OVER, Registers
from lineloss.topology import Role, Topology

Floats = NDArray[np.float64]

#: Unknown noise variances tried, as shares of the loss curve's own variance: white x smooth.
_GRID: Final = np.array([1e-4, 1e-3, 1e-2, 1e-1, 1.0])
#: Correlation length of the smooth noise [slots]: two hours of quarters, the time scale of a household's
#: load curve.
_SMOOTH: Final = 8.0
#: A rival customer must leave the suspect's coefficient above zero by this many standard errors.
_RIVAL: Final = 2.0
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
    slots: NDArray[np.int64]
    examined: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.meter)


@dataclass(frozen=True, slots=True)
class _Curves:
    """One area: loss [slot], nuisance terms [slot, 3], profiles [slot, customer], all kWh; cov terms [slot,
    slot].
    """

    loss: Floats
    nuisance: Floats
    profiles: Floats
    known: Floats
    smooth: Floats


@dataclass(frozen=True, slots=True)
class _Fit:
    """Least squares under the likeliest covariance: coefficients, their errors, log likelihood, the
    whitening.
    """

    coefficient: Floats
    error: Floats
    likelihood: float
    whiten: Floats


def find_suspects(
    topology: Topology,
    imports: Registers,
    exports: Registers | None = None,
    *,
    resolution: int | NDArray[np.int64] = RESOLUTION,
    roll_over: int = ROLL_OVER,
    settings: Settings | None = None,
    only: NDArray[np.bool_] | None = None,
) -> Suspects:
    """The customers of every area whose profile explains its loss.

    imports, exports  int64[meter, slots + 1] [1e-4 kWh], secondary side, as for balance.day_balance
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

    found: list[tuple[int, int, float, float, float, float]] = []
    for area in np.flatnonzero(examined).tolist():
        members = rows[start[area] : start[area + 1]]
        customers = members[topology.role[members] == Role.RECEIVE]
        energy = forward[np.ix_(customers, np.flatnonzero(slots.known[area]))]
        primary = energy * topology.multiplier[customers, None] * _KWH
        usable = (primary.std(axis=1) > 0) & (primary.sum(axis=1) > 0)
        if not usable.any() or not np.any(slots.supplied[area][slots.known[area]] > 0):
            examined[area] = False
            continue
        customers, primary = customers[usable], primary[usable]
        counted = members[topology.role[members] != Role.AUXILIARY]
        variance = float(np.sum(digit[counted] ** 2)) / 12
        curves = _curves(slots, area, primary, topology.accuracy[customers], variance)
        whole = float(curves.loss.sum())
        for column, coefficient, error in _explain(curves, settings):
            energy_lost = coefficient * float(primary[column].sum())
            share = energy_lost / whole if whole > 0 else np.nan
            found.append((area, int(customers[column]), coefficient, error, energy_lost, share))

    table = np.array(found, dtype=np.float64).reshape(-1, 6)
    who = table[:, 1].astype(np.int64)
    return Suspects(
        area=table[:, 0].astype(np.int64),
        meter=topology.meter[who],
        row=who,
        coefficient=table[:, 2],
        error=table[:, 3],
        energy=table[:, 4],
        share=table[:, 5],
        slots=complete.astype(np.int64),
        examined=examined,
    )


def _curves(
    slots: SlotBalance, area: int, profiles: Floats, accuracy: Floats, digit_variance: float
) -> _Curves:
    """The regression of one area; `digit_variance` [kWh^2] is that of all its registers' cut-off digits
    together.
    """
    at = np.flatnonzero(slots.known[area])
    supply = slots.supplied[area, at] * _KWH
    level = supply / supply.mean()
    distance = np.abs(at[:, None] - at[None, :])
    # Two slots that share a register share its cut-off digit, with opposite sign.
    digits = np.where(distance == 0, 2.0, np.where(distance == 1, -1.0, 0.0)) * digit_variance
    # Errors within a class are taken as evenly spread, so their standard deviation is class / sqrt(3).
    honest = profiles * (accuracy[:, None] / np.sqrt(3.0))
    return _Curves(
        loss=slots.loss[area, at] * _KWH,
        nuisance=np.stack([np.ones(len(at)), level, level**2], axis=1),
        profiles=profiles.T,
        known=digits + honest.T @ honest,
        smooth=np.exp(-distance / _SMOOTH),
    )


def _fit(curves: _Curves, columns: list[int]) -> _Fit:
    """Generalised least squares of the loss on the nuisance terms and the profiles of `columns`."""
    design = np.concatenate([curves.nuisance, curves.profiles[:, columns]], axis=1)
    ordinary = curves.loss - curves.nuisance @ np.linalg.lstsq(curves.nuisance, curves.loss, rcond=None)[0]
    scale = max(float(ordinary.var()), 1e-12) * _GRID
    white, smooth = (grid.ravel() for grid in np.meshgrid(scale, np.concatenate([[0.0], scale])))
    eye = np.eye(len(curves.loss))
    lower = np.linalg.cholesky(
        curves.known + white[:, None, None] * eye + smooth[:, None, None] * curves.smooth
    )
    both = np.linalg.solve(lower, np.concatenate([design, curves.loss[:, None]], axis=1)[None])
    x, y = both[:, :, :-1], both[:, :, -1:]
    information = np.swapaxes(x, 1, 2) @ x
    coefficient = np.linalg.solve(information, np.swapaxes(x, 1, 2) @ y)
    left = ((y - x @ coefficient) ** 2).sum(axis=(1, 2))
    likelihood = -0.5 * left - np.log(np.diagonal(lower, axis1=1, axis2=2)).sum(axis=1)
    best = int(np.argmax(likelihood))
    # A covariance that still does not cover the residuals widens the errors; one that more than covers them
    # narrows nothing.
    spread = max(1.0, float(left[best]) / max(len(curves.loss) - design.shape[1], 1))
    error = np.sqrt(np.diagonal(np.linalg.inv(information[best])) * spread)
    known = curves.nuisance.shape[1]
    return _Fit(
        coefficient[best, known:, 0], error[known:], float(likelihood[best]), np.linalg.inv(lower[best])
    )


def _without(curves: _Curves, columns: list[int], whiten: Floats) -> tuple[Floats, Floats]:
    """Whitened (profiles [slot, customer], loss [slot]) with the nuisance and the given columns projected
    out.
    """
    basis, _ = np.linalg.qr(whiten @ np.concatenate([curves.nuisance, curves.profiles[:, columns]], axis=1))
    profiles, loss = whiten @ curves.profiles, whiten @ curves.loss
    return profiles - basis @ (basis.T @ profiles), loss - basis @ (basis.T @ loss)


def _shortlist(curves: _Curves, columns: list[int], whiten: Floats, most: int = 3) -> list[int]:
    """The customers whose profile goes best with what is left of the loss."""
    profiles, loss = _without(curves, columns, whiten)
    size = np.sqrt((profiles**2).sum(axis=0))
    # what the named columns and the nuisance already span is rounding noise, not a profile
    alive = size > 1e-6 * np.sqrt(((whiten @ curves.profiles) ** 2).sum(axis=0))
    alive[columns] = False
    score = np.where(alive, (profiles.T @ loss) / np.where(alive, size, 1.0), -np.inf)
    order = np.argsort(-score)[:most]
    return [int(column) for column in order if score[column] > 1.0]


def _survives_rivals(curves: _Curves, columns: list[int], candidate: int, whiten: Floats) -> bool:
    """No other single customer, set free beside the candidate, takes the loss away from him."""
    profiles, loss = _without(curves, columns, whiten)
    own, with_loss = profiles.T @ profiles[:, candidate], profiles.T @ loss
    size = (profiles**2).sum(axis=0)
    rivals = np.ones(len(size), dtype=np.bool_)
    rivals[[*columns, candidate]] = False
    rivals &= size > 0
    determinant = size[candidate] * size[rivals] - own[rivals] ** 2
    twin = determinant <= 1e-9 * size[candidate] * size[rivals]
    if twin.any():
        return False  # the same profile twice: nobody can say which of the two it is
    coefficient = (with_loss[candidate] * size[rivals] - with_loss[rivals] * own[rivals]) / determinant
    error = np.sqrt(size[rivals] / determinant)
    return bool(np.all(coefficient > _RIVAL * error))


def _explain(curves: _Curves, settings: Settings) -> list[tuple[int, float, float]]:
    """(column, coefficient, standard error) of each customer named, all fitted together."""
    customers = curves.profiles.shape[1]
    z = max(settings.z, NormalDist().inv_cdf(1 - settings.area_error / customers))
    total = curves.profiles.sum(axis=0)
    named: list[int] = []
    result: list[tuple[int, float, float]] = []
    while len(named) < settings.most:
        null = _fit(curves, named)
        # A thief not yet named inflates the noise of the null fit, so he is also sought under the known
        # noise alone.
        floor = float(np.var(curves.loss)) * _GRID[0] + 1e-12
        bare = np.linalg.inv(np.linalg.cholesky(curves.known + floor * np.eye(len(curves.loss))))
        shortlist = dict.fromkeys([*_shortlist(curves, named, null.whiten), *_shortlist(curves, named, bare)])
        fits = [(column, _fit(curves, [*named, column])) for column in shortlist]
        if not fits:
            break
        column, fit = max(fits, key=lambda pair: pair[1].likelihood)
        enough = fit.coefficient - z * fit.error > settings.threshold
        heavy = fit.coefficient * total[[*named, column]] >= settings.energy
        # everybody named must still hold with the new one beside him
        if not (enough & heavy).all() or not _survives_rivals(curves, named, column, fit.whiten):
            break
        named.append(column)
        result = list(zip(named, fit.coefficient.tolist(), fit.error.tolist(), strict=True))
    return result

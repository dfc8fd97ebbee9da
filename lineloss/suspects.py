"""Who explains the loss: the area's loss curve against its customers' profiles.

A customer who passes a share of his use by the meter loses the area k kWh for every kWh he is metered, at
the very hours he uses it. So, over the slots s in which every meter of the area has both ends,

    loss[s] = c + a through[s] + t through[s]^2 + sum over customers of (service_i[s] + k_i profile_i[s]) + noise[s]

where service_i is what the voltages say is lost on the way to customer i (service.py): a corroded joint loses
energy in step with its customer's use, as a thief does, but the voltage shows it, so it is deducted before
anybody is blamed. `through` is what was sold and, over some hours, lost: t through^2 is the technical loss
(copper loss goes with the square of the load), a stands for a wrong multiplier or gain of the supply meter, and c
for a constant burden. An honest k is the meter's class error; a bypass of 40 % is 0.67.

Plain least squares would drown in the registers' last digits: one digit of a supply meter behind 200/5 A
transformers is 0.4 kWh, a customer's quarter of an hour 0.1 kWh. But a digit cut off in one slot comes back
in the next, so the noise of neighbouring slots is anticorrelated and its size is known: generalised least
squares with

    cov = q (2, -1 tridiagonal) + w (white) + v (smooth, two hours) + class errors of the customers
          + errors of the services' losses

uses that, day by day. w and v are unknown (estimated by maximum likelihood on a grid): v keeps a street lamp or any
other smooth unmetered load from being blamed on the customer who happens to resemble it most.

Two customers of the same habits explain a loss equally well: a profile tells when energy is lost and not where. Where voltages and
currents are given they are asked as well (reciprocity.py), and both are likelihoods of the same hypotheses, so they add up.

An accusation of somebody honest must be rare by construction. Somebody is named only if

* more was lost than the network and the classes of all meters account for, 98 times in 100 (bounds.py), or a current is missing on his phases, a
  thousand to one (kirchhoff.py): where nothing is missing nobody took it;
* his coefficient stands clear of what a meter may get wrong, for one honest area in five hundred by chance (Settings);
* his profile alone, its own errors counted, leaves nobody else, ten thousand to one, and no other customer beside him takes the loss away from him;
* currents and voltages do not speak for him (witness.py);
* nobody whose meter registers nothing may draw it in his stead: who has no profile may have his.

Else there is a ranking, and nobody is named.

How many days? One finds who takes some per cent of what the area is supplied with; the error of a coefficient falls with the root
of the number of days, so seven find a third of that.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import zip_longest
from statistics import NormalDist
from typing import Final

import numpy as np
from numpy.typing import NDArray

from lineloss import regression
from lineloss.bounds import half_width
from lineloss.phases import CERTAIN
from lineloss.registers import RESOLUTION, ROLL_OVER, Registers, RollOver
from lineloss.regression import Curves, Energies, Grams
from lineloss.sharpening import sharpen
from lineloss.technical import FORMULA
from lineloss.topology import Role, Topology
from lineloss.witness import Witness, listen

Floats = NDArray[np.float64]

#: A rival customer must leave the suspect's coefficient above zero by this many standard errors.
_RIVAL: Final = 2.0
#: Two customers whose profiles have so much of their variance in common are of one habit: which of them explains more is a matter of whose meter is
#: read more finely.
_TWIN: Final = 0.8
_KWH: Final = 1e-4
#: Hours of a slot.
_QUARTER: Final = 0.25


#: Odds against all others together at which a customer may be named.
SURE: Final = 0.9999
#: How many of the likeliest customers the ranking of an area holds.
RANKED: Final = 5
#: Log-likelihood from which a profile points at somebody at all (three standard errors): only then the voltages are asked.
_PROMISING: Final = 4.5
#: Customers whose profiles are weighed with their own errors, likeliest first: a few milliseconds each, and who comes after so many of his area
#: is in no ranking of five.
WEIGHED: Final = 40
#: A meter that registered less than so many of its last digits over the whole block shows no profile but that digit.
SILENT: Final = 10
#: Customers whose profile and currents make them less likely than the likeliest by this factor (its logarithm) are not raised by voltages: a sum over
#: a hundred of them does not reach the hundredth part that matters.
_ALIKE: Final = 10.0
#: Places of the ranking that belong to the two usual ways: a bridge at a meter that goes on counting, and one that stands.
_SHORT: Final = 3


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
    slots        int64[area]       slots of which every meter's energy is known, of which the regression used all or none
    examined     bool[area]        False: too few slots or nothing to regress on; absence of suspects proves
                                   nothing
    ranked       int64[area, RANKED]    rows of the customers likeliest to explain the loss, likeliest first, named or not; -1: none.
                                        Where to look first if the loss is too high, and no accusation
    odds         float64[area, RANKED]  how likely each is, of those who are suspected for the same reason, if it is one of them at all
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
    ranked: NDArray[np.int64]
    odds: Floats

    def __len__(self) -> int:
        return len(self.meter)


@dataclass(frozen=True, slots=True)
class _Area:
    """What is known of an area's customers beside their curves.

    usable   int64[profile]                 the customer (column) whose profile it is
    silent   int64[n]                       customers who registered next to nothing
    digits   float64[profile] [kWh]         worth of their registers' last digit, as sharpening.py leaves it
    filled   float64[profile, slot] [kWh^2] variance of what was filled, likewise
    certain  bool                           more was lost than the network itself and the meters' classes account for
    """

    usable: NDArray[np.int64]
    silent: NDArray[np.int64]
    digits: Floats
    filled: Floats
    certain: bool


def find_suspects(
    topology: Topology,
    imports: Registers,
    exports: Registers | None = None,
    *,
    service: Floats | None = None,
    voltage: Floats | None = None,
    current: Floats | None = None,
    resolution: int | NDArray[np.int64] = RESOLUTION,
    roll_over: RollOver = ROLL_OVER,
    settings: Settings | None = None,
    only: NDArray[np.bool_] | None = None,
    ranking: bool = False,
) -> Suspects:
    """The customers of every area whose profile explains its loss.

    imports, exports  int64[meter, slots + 1] [1e-4 kWh], secondary side, as for balance.day_balance; one day or, better, several
    service           float64[meter, slot] [kWh], primary side: service_loss() or technical_loss().lost of the same slots, NaN where not
                      measured: there a customer's mean share stands in
    voltage, current  float64[meter, 3, slot] [V], [A] at the meter, as for technical_loss(): who is where
    resolution        worth of a register's last digit [1e-4 kWh], scalar or [meter]
    only              bool[area]: areas to examine; all by default
    ranking           asks the voltages of every customer of every area, whether or not a profile points at somebody: a second or two an area, for
                      areas whose loss is known to be too high

    A customer who is not metered at all (100 % bypass) has no profile and cannot be named here; where voltages are given he is ranked.
    """
    settings = settings or Settings()
    energies = regression.energies(topology, imports, exports, roll_over)
    net = energies.forward - energies.reverse
    digit = (
        np.broadcast_to(np.asarray(resolution, dtype=np.float64), (len(topology),))
        * topology.multiplier
        * _KWH
    )
    rows, start = topology.rows_by_area()
    complete = np.zeros(topology.areas, dtype=np.int64)
    examined = np.zeros(topology.areas, dtype=np.bool_)
    ranked = np.full((topology.areas, RANKED), -1)
    odds = np.zeros(ranked.shape)

    found: list[tuple[int, int, float, float, float, float, float]] = []
    for area in range(topology.areas):
        members = rows[start[area] : start[area + 1]]
        counted = members[topology.role[members] != Role.AUXILIARY]
        supplied, loss, variance = regression.losses(topology, counted, energies)
        at = np.flatnonzero(~np.isnan(loss))
        complete[area] = len(at)
        if len(at) < settings.slots or (only is not None and not only[area]) or not np.any(supplied[at] > 0):
            continue
        customers = members[topology.role[members] == Role.RECEIVE]
        primary = energies.forward[customers]
        explained = regression.explained(primary, None if service is None else service[customers])
        total = primary[:, at].sum(axis=1)
        usable = (primary[:, at].std(axis=1) > 0) & (total > 0)
        if not usable.any():
            continue
        examined[area] = True
        witness = partial(_witness, topology, members, customers, voltage, current, net)
        sharp = sharpen(
            primary,
            energies.variance[customers],
            digit[customers],
            _apparent(topology, customers, voltage, current, primary),
        )
        curves = regression.curves(
            loss,
            supplied,
            variance,
            sharp.energy,
            explained,
            topology.accuracy[customers],
            usable,
            digit[counted],
        )
        whole = float(loss[at].sum())
        sure = service is None or _unexplained(topology, counted, energies, explained, at) > 0
        known = _Area(
            np.flatnonzero(usable),
            np.flatnonzero(total < SILENT * digit[customers]),
            sharp.digits[usable],
            sharp.variance[usable],
            sure,
        )
        named, order = _explain(curves, settings, known, witness, ranking)
        for place, (column, chance) in enumerate(order[:RANKED]):
            ranked[area, place], odds[area, place] = customers[column], chance
        for column, coefficient, error in named:
            energy_lost = coefficient * float(primary[column, at].sum())
            share = energy_lost / whole if whole > 0 else np.nan
            deducted = float(explained[column, at].sum() / primary[column, at].sum())
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
        slots=complete,
        examined=examined,
        ranked=ranked,
        odds=odds,
    )


def _apparent(
    topology: Topology,
    customers: NDArray[np.int64],
    voltage: Floats | None,
    current: Floats | None,
    like: Floats,
) -> Floats:
    """[customer, slot] [kVAh], primary side, by samples; NaN where not all of a customer's legs were delivered."""
    if voltage is None or current is None:
        return np.full_like(like, np.nan)
    watts = np.abs(voltage[customers] * current[customers])
    gap = np.asarray(np.isnan(watts))
    legs = np.asarray(~gap.all(axis=2))
    gone = np.asarray((gap & legs[:, :, None]).any(axis=1)) | np.asarray(~legs.any(axis=1))[:, None]
    hours = topology.multiplier[customers, None] * _QUARTER / 1000
    return np.where(gone, np.nan, np.nansum(watts, axis=1) * hours)


def _unexplained(
    topology: Topology,
    counted: NDArray[np.int64],
    energies: Energies,
    explained: Floats,
    at: NDArray[np.int64],
) -> float:
    """[kWh] that were lost over the slots `at` for certain, 98 times in 100, and not by the network: the lower of the limits that bounds.py gives."""
    through = (np.nan_to_num(energies.forward) + np.nan_to_num(energies.reverse))[np.ix_(counted, at)].sum(
        axis=1
    )
    limit = through * topology.accuracy[counted]
    _, loss, filled = regression.losses(topology, counted, energies)
    technical = float(explained[:, at].sum())
    largest = float(limit.max())
    spread = float((limit**2).sum() - largest**2) / 3 + float(filled[at].sum()) + (FORMULA * technical) ** 2
    wide = half_width(np.array([largest]), np.array([spread**0.5]))
    return float(loss[at].sum()) - technical - float(wide[0])


def _survives_rivals(grams: Grams, at: int, inside: list[int], term: int, behind: NDArray[np.bool_]) -> bool:
    """No other single customer, set free beside this one, takes the loss away from him.

    A rival who would have to give energy away, a negative coefficient, takes nothing; one for whom currents and voltages speak far less (`behind`)
    is none.
    """
    rest = grams.without(inside)[at]
    size = np.diagonal(rest)
    rivals = size > 1e-9 * np.diagonal(grams.table[at])
    rivals[[*inside, term, -1]] = False
    rivals &= ~behind
    own, other, loss = rest[rivals, term], size[rivals], rest[rivals, -1]
    determinant = size[term] * other - own**2
    if np.any(own**2 > _TWIN * size[term] * other):
        return False  # the same habits twice: nobody can say which of the two it is
    coefficient = (rest[term, -1] * other - loss * own) / determinant
    takes = loss * size[term] - rest[term, -1] * own > 0
    return bool(np.all(~takes | (coefficient > _RIVAL * np.sqrt(other / determinant))))


def _explain(
    curves: Curves, settings: Settings, area: _Area, ask: Callable[[], Witness | None], ranking: bool
) -> tuple[list[tuple[int, float, float]], list[tuple[int, float]]]:
    """((customer, coefficient, standard error) of each customer named, all fitted together; (customer, odds) by likelihood).

    ask  brings what the voltages say, called once at most
    """
    nuisance, customers = curves.nuisance.shape[2], curves.profiles.shape[2]
    usable = area.usable
    slots = int(curves.there.sum())
    z = max(settings.z, NormalDist().inv_cdf(1 - settings.area_error / customers))
    used = curves.profiles.sum(axis=(0, 1))
    grams = regression.grams(curves)
    terms = list(range(nuisance))
    result: list[tuple[int, float, float]] = []
    order: list[tuple[int, float]] = []
    while len(result) < settings.most:
        signs = _signs(curves, grams, terms, area, partial(_asked, ask, ranking, not result))
        if not result and (signs is not None or ranking):
            witness = signs.witness if signs is not None else ask()
            order = _ranking(signs, area, witness if ranking else None)
        if signs is None:
            break
        term = int(np.argmax(signs.likelihood))
        doubt = float(signs.weighed.coefficient[term]), float(signs.weighed.error[term])
        who = int(usable[term - nuisance])
        if signs.cleared(term) or not (result or _alone(signs.witness, who, *doubt, area.silent)):
            break
        coefficient, error = (part[nuisance:] for part in grams.fit(signs.at, [*terms, term], slots))
        error = np.append(error[:-1], max(error[-1], doubt[1]))
        named = np.array([*terms[nuisance:], term]) - nuisance
        energy = coefficient * used[named]
        # everybody named must still hold with the new one beside him
        significant = bool(np.all(coefficient - z * error > settings.threshold))
        missed = area.certain or signs.missed(term)
        possible = missed and float(np.sum(energy - error * used[named])) <= curves.most
        alone = signs.chance(term) >= SURE and _survives_rivals(
            grams, signs.at, terms, term, signs.behind(term)
        )
        if not (significant and possible and bool(np.all(energy >= settings.energy)) and alone):
            break
        terms.append(term)
        result = list(zip(usable[named].tolist(), coefficient.tolist(), error.tolist(), strict=True))
    return result, order


@dataclass(frozen=True, slots=True)
class _Signs:
    """What speaks for each customer beside those named already, float64[term] log-likelihoods above nobody.

    at       the covariance that suits best;  weighed  what his profile says, its own errors counted
    profile  his profile and the currents of his phases;  -inf: not asked
    flow     of that the currents' part, 0 where he has none
    place    the voltages, 0 where he has none
    """

    at: int
    weighed: regression.Weighed
    profile: Floats
    flow: Floats
    place: Floats
    witness: Witness | None

    @property
    def likelihood(self) -> Floats:
        """The voltages choose among those whom profile and currents point at alike, and raise nobody above these."""
        near = self.profile > self.profile.max() - _ALIKE
        return self.profile + np.where(near, self.place - self.place[near].max(), 0.0)

    def chance(self, term: int) -> float:
        """Odds against all others. The voltages may clear the one whom profile and currents point at; they do not convict one of several whom these
        point at alike.
        """
        return min(_chance(part, term) for part in (self.profile, self.likelihood))

    def cleared(self, term: int) -> bool:
        """With nobody hiding anything there currents and voltages are likelier than with him."""
        return bool(self.flow[term] + self.place[term] < 0)

    def behind(self, term: int) -> NDArray[np.bool_]:
        """bool[term]: for whom currents and voltages speak less than for this one, a thousand to one."""
        said = self.flow + self.place
        return np.asarray(said < said[term] - CERTAIN)

    def missed(self, term: int) -> bool:
        """What he is said to draw is missing on his phases, a thousand to one."""
        return bool(self.flow[term] > CERTAIN)


def _asked(
    ask: Callable[[], Witness | None], ranking: bool, first: bool, likelihood: float
) -> Witness | None:
    """The voltages and currents, where they are asked: they take a second, and tell of the first one only."""
    return ask() if first and (ranking or likelihood > _PROMISING) else None


def _signs(
    curves: Curves, grams: Grams, terms: list[int], area: _Area, ask: Callable[[float], Witness | None]
) -> _Signs | None:
    """None: nobody explains anything beside `terms`."""
    found = regression.best(grams, terms)
    if found is None:
        return None
    at, raw, alone = found
    guesses = {t: float(alone[t]) for t in np.argsort(-raw)[:WEIGHED].tolist() if np.isfinite(raw[t])}
    weighed = regression.weigh(curves, grams, at, terms, guesses, area.digits, area.filled)
    if not np.isfinite(weighed.evidence).any():
        return None
    place, flow = np.zeros(len(raw)), np.zeros(len(raw))
    witness = ask(float(raw.max()))
    if witness is not None:
        nuisance = curves.nuisance.shape[2]
        asked = np.flatnonzero(np.isfinite(weighed.evidence))
        who = area.usable[asked - nuisance].tolist()
        k, error = weighed.coefficient[asked].tolist(), weighed.error[asked].tolist()
        place[asked] = witness.places(list(zip(who, k, strict=True)))
        flow[asked] = [witness.flows(*each) for each in zip(who, k, error, strict=True)]
    return _Signs(at, weighed, _of_habits(grams, at, terms, weighed.evidence) + flow, flow, place, witness)


def _of_habits(grams: Grams, at: int, inside: list[int], evidence: Floats) -> Floats:
    """float64[term]: what speaks for each customer's habits, whoever of those that have them is read most finely."""
    rest = grams.without(inside)[at]
    asked = np.flatnonzero(np.isfinite(evidence))
    own = rest[np.ix_(asked, asked)]
    size = np.maximum(np.diagonal(own), 1e-300)
    twins = own**2 > _TWIN * size[:, None] * size
    result = evidence.copy()
    result[asked] = np.where(twins, evidence[asked], -np.inf).max(axis=1)
    return result


def _alone(
    witness: Witness | None, who: int, coefficient: float, error: float, silent: NDArray[np.int64]
) -> bool:
    """Nobody whose meter registers nothing can be who draws it instead.

    A meter that all current passes by has no profile, so its owner may draw at any hours, those of an honest neighbour of his habits as well. Only
    voltages and currents tell the two apart: what is drawn at these hours, is it drawn here or there?
    """
    silent = silent[silent != who]
    if not len(silent):
        return True
    if witness is None or not witness.has(np.append(silent, who)):
        return False
    here = float(witness.places([(who, coefficient)])[0]) + witness.flows(who, coefficient, error)
    there = witness.elsewhere(who, coefficient, error, silent)
    return len(there) == len(silent) and _chance(np.append(here, there), 0) >= SURE


def _ranking(signs: _Signs | None, area: _Area, witness: Witness | None) -> list[tuple[int, float]]:
    """(customer, odds), likeliest first, each of three lists with odds of its own: who passes a part of his use by the meter, by profile, currents
    and place; who registers nothing and draws all that no meter measures, by place; who draws all that beside a meter that works.

    The first two take turns. The third is what is left when neither fits: a circuit of its own before the meter needs more work than a bridge.
    """
    score = (
        np.full(len(area.usable), -np.inf) if signs is None else signs.likelihood[-1 - len(area.usable) : -1]
    )
    lists = [_odds(dict(zip(area.usable.tolist(), score.tolist(), strict=True)))]
    silent = area.silent
    if witness is None:
        lists.append([(c, 1 / len(silent)) for c in silent.tolist()])
        return _in_turns(lists)
    best = witness.taps()
    dark = set(silent.tolist())
    lists.append(
        _odds({c: v for c, v in best.items() if c in dark})
        + [(c, 0.0) for c in silent.tolist() if c not in best]
    )
    order = _in_turns(lists)
    return _in_turns([order[:_SHORT] + _in_turns([order[_SHORT:], _odds(best)])])


def _in_turns(lists: list[list[tuple[int, float]]]) -> list[tuple[int, float]]:
    """The first of each list, the second of each, and so on, everybody once."""
    order: dict[int, float] = {}
    for pair in zip_longest(*lists):
        for entry in pair:
            if entry is not None:
                order.setdefault(*entry)
    return list(order.items())


def _chance(likelihood: Floats, at: int) -> float:
    """Odds of one against all others together."""
    weight = np.exp(likelihood - likelihood.max())
    return float(weight[at] / weight.sum())


def _odds(score: dict[int, float]) -> list[tuple[int, float]]:
    """(customer, odds) by log-likelihood, likeliest first; who explains nothing is left out."""
    order = sorted(((c, v) for c, v in score.items() if np.isfinite(v)), key=lambda pair: -pair[1])
    weight = np.exp(np.array([v for _, v in order]) - order[0][1]) if order else np.zeros(0)
    return list(zip([c for c, _ in order], (weight / max(weight.sum(), 1.0)).tolist(), strict=True))


def _witness(
    topology: Topology,
    members: NDArray[np.int64],
    customers: NDArray[np.int64],
    voltage: Floats | None,
    current: Floats | None,
    net: Floats,
) -> Witness | None:
    if voltage is None or current is None:
        return None
    return listen(topology, members, customers, voltage, current, net)

"""What a transformer loses (变损), by its plate and what went through it.

    P = P0 + b^2 Pk        b = S / Sn                   Q = Q0 + b^2 Qk,  Q0 = I0% Sn / 100,  Qk = Uk% Sn / 100
    A = P0 T + (Wp^2 + Wq^2) / (Sn^2 T) Pk K            where there is no load curve: K is how much more a load that changes loses than an
                                                         even one, the square of its form factor

By quarter-hours where there is a curve, which needs no K; what quarter-hours lack goes by energies.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

#: kW of network loss for each kvar that a transformer takes (无功经济当量), where somebody wants it included: published values go from 0.05
#: to 0.15. Nothing of it is lost in the transformer, so that it is left out of its energy unless asked for.
REACTIVE_EQUIVALENT: Final = 0.1
#: K where nothing is said of a transformer. No public source gives a number that holds everywhere: a default, to be set by the utility.
LOAD_COEFFICIENT: Final = 1.05
#: P / S where nobody meters the reactive energy; limits of what it may be. Defaults: 0.9 is what customers of this size are asked to keep.
POWER_FACTOR: Final = 0.9
POWER_FACTORS: Final = (0.8, 1.0)


@dataclass(frozen=True, slots=True)
class Plates:
    """What plates say, float64[transformer]; NaN where they do not. sn [kVA], p0 and pk [kW], i0 and uk [%], k: load coefficient."""

    sn: Floats
    p0: Floats
    pk: Floats
    i0: Floats
    uk: Floats
    k: Floats


@dataclass(frozen=True, slots=True)
class Losses:
    """float64[transformer]; NaN where the plate or the load is not known.

    iron, copper  [kWh]: no-load loss (铁损) and load loss (铜损)
    low, high     [kWh]: limits of iron + copper, the plate taken as right
    reactive      [kvarh]: what it took of reactive energy, NaN where the plate lacks I0 or Uk
    load          mean of b = S / Sn over the time that is known
    by_curve      share of the hours that went by quarter-hours
    """

    iron: Floats
    copper: Floats
    low: Floats
    high: Floats
    reactive: Floats
    load: Floats
    by_curve: Floats


def power(plates: Plates, apparent: Floats, equivalent: float = 0.0) -> Floats:
    """[kW], [transformer, ...] for an apparent power [kVA] of that shape; `equivalent` kW are added for each kvar (REACTIVE_EQUIVALENT)."""
    shape = (-1, *(1,) * (apparent.ndim - 1))
    sn, p0, pk, i0, uk = (
        column.reshape(shape) for column in (plates.sn, plates.p0, plates.pk, plates.i0, plates.uk)
    )
    constant, load = p0, pk
    if equivalent:
        constant, load = p0 + equivalent * i0 * sn / 100, pk + equivalent * uk * sn / 100
    return np.asarray(constant + (apparent / sn) ** 2 * load)


def losses(
    plates: Plates,
    hours: float,
    active: Floats,
    reactive: Floats,
    active_slots: Floats,
    reactive_slots: Floats,
) -> Losses:
    """The losses of a period.

    hours             [h] of the period, in which the transformers were under voltage all the time
    active, reactive  float64[transformer] [kWh], [kvarh]: net energy of the period; NaN where not known
    active_slots, reactive_slots  float64[transformer, slot] of the same, NaN where not known; no slots at all: by energies alone
    """
    slots = active_slots.shape[1]
    each = hours / slots if slots else 0.0
    there = ~np.isnan(active_slots)
    seen = there.sum(axis=1) * each
    squared = np.where(there, active_slots, 0.0) ** 2
    # what no quarter-hour tells: the rest of the energy, as if it were even
    left = hours - seen
    open_ = left > 1e-9
    rest = np.where(open_, active - np.where(there, active_slots, 0.0).sum(axis=1), 0.0)
    evenly = np.where(open_, rest**2 / np.where(open_, left, 1.0), 0.0)
    curve = squared.sum(axis=1) / each if slots else np.zeros(len(active))

    q_there = there & ~np.isnan(reactive_slots)
    by_q = np.where(q_there, reactive_slots, 0.0) ** 2
    guess = squared * (1 / POWER_FACTOR**2 - 1)
    q_curve = np.where(q_there, by_q, guess).sum(axis=1) / each if slots else np.zeros(len(active))
    q_rest = reactive - np.where(q_there, reactive_slots, 0.0).sum(axis=1)
    q_known = ~np.isnan(q_rest) & (q_there.sum(axis=1) == there.sum(axis=1))
    q_even = np.where(
        q_known,
        np.where(open_, q_rest, 0.0) ** 2 / np.where(open_, left, 1.0),
        evenly * (1 / POWER_FACTOR**2 - 1),
    )

    k = np.where(np.isnan(plates.k), LOAD_COEFFICIENT, plates.k)
    per = plates.pk / plates.sn**2
    iron = plates.p0 * hours
    copper = per * (curve + q_curve + k * (evenly + q_even))
    measured = q_known | (q_there.sum(axis=1) == there.sum(axis=1)) & ~open_
    widest, least = (1 / factor**2 for factor in POWER_FACTORS)
    # an uneven load never loses less than an even one; how much more, K says, and twice as far it is not
    low = np.where(measured, per * (curve + q_curve + evenly + q_even), per * least * (curve + evenly))
    far = 2 * k - 1
    high = np.where(
        measured, per * (curve + q_curve + far * (evenly + q_even)), per * widest * (curve + far * evenly)
    )
    effective = (curve + q_curve + k * (evenly + q_even)) / hours
    taken = (
        plates.sn
        / 100
        * (plates.i0 * hours + plates.uk * (curve + q_curve + k * (evenly + q_even)) / plates.sn**2)
    )
    known = ~np.isnan(copper)
    return Losses(
        *(
            np.where(known, column, np.nan)
            for column in (
                iron,
                copper,
                iron + low,
                iron + high,
                taken,
                np.sqrt(effective) / plates.sn,
                seen / hours,
            )
        )
    )

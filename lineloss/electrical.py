"""What a meter registers against what its own voltages and currents say (电能量与电压电流比对): stuck registers, reversed current transformers.

Volts times amperes times hours is what flowed through the meter, up to the power factor. A register that stands still while current flows
is stuck. Of a three-phase meter with one of its current transformers reversed, one phase counts against the other two: with the three alike
it registers a third. No network and no neighbour is needed for this, and a day is enough.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from lineloss.balance import slot_energy
from lineloss.registers import ROLL_OVER, Registers, RollOver
from lineloss.topology import Role, Topology
from protocols.reading import MISSING

Floats = NDArray[np.float64]

#: Less than this through the meter proves nothing: a hundred digits of its register [kVAh].
LEAST: Final = 1.0
#: No customer's power factor is this low over a day: motors idle at 0.2 to 0.3, and nobody idles all day.
_STUCK: Final = 0.05
_LOW: Final = 0.45
#: Instants are samples of a slot: what they add up to differs from its energy by some per cent over a day. This is given on either side.
_FIT: Final = 0.075
#: Usual power factors: what a reversed phase is told from a wrong power factor by.
_USUAL: Final = (0.8, 1.0)


class Fault(IntEnum):
    """What is wrong between registers and instants."""

    NONE = 0
    STUCK = 1
    #: one phase of three counts backwards
    REVERSED_PHASE = 2
    #: everything is counted as export where nobody feeds in
    REVERSED = 3
    #: far less is registered than flows: a slow meter, a shunt behind the current's measurement
    SLOW = 4


@dataclass(frozen=True, slots=True)
class Electrical:
    """registered float64[meter] [kWh], apparent float64[meter] [kVAh], over the slots where both are known, secondary side;  ratio
    float64[meter], NaN below LEAST;  fault int8[meter]: Fault.
    """

    registered: Floats
    apparent: Floats
    ratio: Floats
    fault: NDArray[np.int8]


def compare(
    topology: Topology,
    voltage: Floats,
    current: Floats,
    imports: Registers,
    exports: Registers | None = None,
    *,
    roll_over: RollOver = ROLL_OVER,
    interval: int = 15,
) -> Electrical:
    """Every meter's registers against its instants; arguments as for technical_loss(). A point that may feed in is only judged as stuck."""
    forward, reverse = slot_energy(topology, imports, exports, roll_over=roll_over)
    volt_amperes = np.abs(voltage * current)
    gaps = np.isnan(volt_amperes)
    there = (forward != MISSING) & (reverse != MISSING) & ~gaps.all(axis=1)
    volt_amperes[gaps] = 0.0
    by_leg = np.einsum("mps,ms->mp", volt_amperes, there) / 1000 * interval / 60
    apparent = by_leg.sum(axis=1)
    into, out = (np.where(there, part, 0).sum(axis=1) * 1e-4 for part in (forward, reverse))
    enough = apparent >= LEAST
    safe = np.where(enough, apparent, 1.0)
    ratio = np.where(enough, (into - out) / safe, np.nan)

    judged = enough & (topology.role != Role.AUXILIARY)
    one_way = judged & ~topology.exports
    stuck = judged & ((into + out) / safe < _STUCK)
    backwards = one_way & (into < _STUCK * safe) & (out / safe > _LOW)
    turned = one_way & ~stuck & ~backwards & _one_turned(by_leg, safe, ratio)
    slow = one_way & ~stuck & ~backwards & ~turned & (ratio < _LOW)
    conditions = [stuck, backwards, turned, slow]
    faults = [Fault.STUCK, Fault.REVERSED, Fault.REVERSED_PHASE, Fault.SLOW]
    fault = np.select(conditions, [np.int8(f) for f in faults], default=np.int8(Fault.NONE))
    return Electrical(into - out, apparent, ratio, fault.astype(np.int8))


def _one_turned(by_leg: Floats, apparent: Floats, ratio: Floats) -> NDArray[np.bool_]:
    """bool[meter]: a usual power factor and one phase counted backwards give what was registered."""
    three = (by_leg > 0).sum(axis=1) == 3
    net = (
        1 - 2 * by_leg / apparent[:, None]
    )  # [meter, phase]: what is left of the whole when that phase is turned
    least, most = net * _USUAL[0], net * _USUAL[1]
    low, high = np.minimum(least, most) - _FIT, np.maximum(least, most) + _FIT
    fits = (ratio[:, None] >= low) & (ratio[:, None] <= high)
    # what a bad power factor explains as well is no proof
    return np.asarray(three & fits.any(axis=1) & (ratio < _LOW), dtype=np.bool_)

"""A contactor (接触器) that a Modbus coil works, on the meter's own unit or on a switching module beside it on the line.

A coil has no end of its command, no delay and no customer's key: what is written acts when it arrives. So a command's time is the sender's to
watch, closing cannot be left to the customer (permit is Refused), and what proves anything is the coil read back with the meter's power.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from protocols.errors import FrameError, Misuse, Refused
from protocols.modbus.requests import Bits, ReadBits, WriteCoil
from terminals.drivers.driver import RelayAction, RelayAnswer, Script

#: `code` of a Refused that the driver decides: the meter has no such thing.
NOT_POSSIBLE: Final = -1
_PLACE: Final = re.compile(r"coil ([0-9]{1,3}):([0-9]{1,5})(/trips)?")


@dataclass(frozen=True, slots=True)
class Coil:
    """unit, number   where it is; numbers begin at 0, as they are sent
    trips         energised it cuts the supply off; else it keeps the supply on"""

    unit: int
    number: int
    trips: bool = False

    def command(self, action: RelayAction) -> Script[RelayAnswer]:
        """One write, function 05. Refused: a coil has no such thing."""
        if action not in (RelayAction.TRIP, RelayAction.CLOSE):
            why = (
                "it has no key that the customer could press: a person orders close"
                if action is RelayAction.PERMIT
                else "it knows none"
            )
            raise Refused(f"{action.value} by a coil: {why}", code=NOT_POSSIBLE)
        yield WriteCoil(self.unit, self.number, on=(action is RelayAction.TRIP) == self.trips)
        return RelayAnswer(detail=f"coil {self.number} of unit {self.unit} written")

    def open(self) -> Script[bool]:
        """Whether the contactor is commanded open, function 01."""
        bits = yield ReadBits(self.unit, self.number, 1)
        if not isinstance(bits, Bits) or len(bits.on) != 1:
            raise FrameError(f"coil {self.number} of unit {self.unit}: one bit was asked for")
        return bits.on[0] == self.trips


def coil_of(switch: Sequence[str]) -> Coil | None:
    """One that is named there; None: no switch is. Misuse: it is no coil."""
    if not switch:
        return None
    found = _PLACE.fullmatch(switch[0])
    if len(switch) > 1 or not found or not 1 <= int(found[1]) <= 255 or int(found[2]) > 0xFFFF:
        raise Misuse(
            f"switch: {' + '.join(switch)!r} is no coil such as coil 9:0 (unit 9, coil 0, on: supply) or coil 9:0/trips (on: no supply)"
        )
    return Coil(int(found[1]), int(found[2]), found[3] is not None)

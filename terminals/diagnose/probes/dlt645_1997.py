"""DL/T 645-1997 meters: powers and factors by phase, the grid status word, and what the meter says of itself."""

from __future__ import annotations

from typing import Final

from protocols.dlt645.edition1997.exchange import Read, ReadAnswer
from protocols.dlt645.edition1997.values import decode, quantity_values
from protocols.dlt645.edition1997.words import GRID_BITS
from protocols.errors import FrameError, Refused
from terminals.diagnose.diagnosis import Flag, Trait, Words
from terminals.diagnose.probe import Power, Probe, Status, trait
from terminals.drivers.dlt645_1997 import read_or_none
from terminals.drivers.driver import Meter, Script

POWER: Final = (
    0xB630, 0xB631, 0xB632, 0xB633, 0xB640, 0xB641, 0xB642, 0xB643, 0xB650, 0xB651, 0xB652, 0xB653,
)  # fmt: skip
GRID: Final = 0xC021
IDENTITY: Final = {"number": 0xC032, "constant": 0xC030}
_GRID_ZH: Final = {
    0x01: "A相断电", 0x02: "B相断电", 0x04: "C相断电", 0x10: "A相过压", 0x20: "B相过压", 0x40: "C相过压",
}  # fmt: skip


class Dlt645Probe1997(Probe):
    """The edition has no angles, so they are worked out from the powers."""

    def identity(self, meter: Meter) -> Script[tuple[Trait, ...]]:
        found = []
        for key, di in IDENTITY.items():
            data = yield from read_or_none(meter, di)
            if data is not None:
                found.append(trait(key, decode(di, data).values[0].value))
        if not found:
            raise Refused("the meter says nothing of itself", code=-1)
        return tuple(found)

    def power(self, meter: Meter) -> Script[Power]:
        values: dict[str, float] = {}
        for di in POWER:
            data = yield from read_or_none(meter, di)
            if data is not None:
                values |= {code: float(value) for code, value in quantity_values(di, data).items()}
        return Power(values)

    def status(self, meter: Meter) -> Script[Status]:
        """C021; the meter status word C020 is laid out by no public source."""
        answer: ReadAnswer = yield Read(meter.address, GRID)
        word = decode(GRID, answer.data).values[0].value
        if not isinstance(word, int):
            raise FrameError("grid status word: the meter gives none")
        flags = tuple(
            Flag(1, bit.bit_length() - 1, Words(name, _GRID_ZH[bit]), "present", alarm=True)
            for bit, name in GRID_BITS.items()
            if word & bit
        )
        return Status({1: f"{word:02X}"}, flags)

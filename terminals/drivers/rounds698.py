"""Control rounds of a DL/T 698.45 terminal: object 8000, whose method 129 trips relays, 130 permits closing, and attribute 3 says which are out.

That bit 0 of attribute 3 is the first relay, and 1 means tripped, no public source confirms; what proves a trip is the meter's power, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from protocols.dlt698 import values
from protocols.dlt698.requests import Act, Get
from protocols.dlt698.values import Data
from protocols.errors import FrameError
from terminals.drivers.control import Term
from terminals.drivers.control698 import KEEP, KEPT, tag
from terminals.drivers.driver import Meter, RelayAction, RelayAnswer, RelayState, Script
from terminals.drivers.rounds import answer, kept, refusal, state

#: Methods of 8000, its relay outputs, and the relays themselves: round n is element n of F205.
TRIP, CLOSE, OUTPUTS, RELAYS = 0x80008100, 0x80008200, 0x80000300, 0xF2050200
KEEPS: Final = KEEP << 16 | KEPT << 8
#: 合闸允许 of method 130; 1 would close the relay itself.
PERMIT: Final = 0


def command(
    meter: Meter, mine: Sequence[int], action: RelayAction, until: Term | None, alarm: int
) -> Script[RelayAnswer]:
    """All rounds in one request, which its time tag voids after `until` (None: the terminal has no clock that could); without end, and nothing closes
    by itself. Refused: the terminal denies it, or is in keep-power."""
    if action not in (RelayAction.TRIP, RelayAction.PERMIT):
        raise refusal(action)
    trip = action is RelayAction.TRIP
    if trip:
        keeps: Data = yield Get(KEEPS)
        if keeps.tag != values.ENUM or keeps.value != 0:
            raise kept(meter)
    more = (
        (Data(values.UNSIGNED, alarm), Data(values.LONG_UNSIGNED, 0), Data(values.BOOL, False))
        if trip
        else (Data(values.ENUM, PERMIT),)
    )
    which = values.array(*(values.structure(Data(values.OAD, RELAYS | number), *more) for number in mine))
    yield Act(TRIP if trip else CLOSE, which, None if until is None else tag(meter, until))
    return answer(mine, action, alarm)


def seen(meter: Meter, mine: Sequence[int], load_kw: float) -> Script[RelayState]:
    """What was tripped by command. FrameError: the terminal does not say."""
    outputs: Data = yield Get(OUTPUTS)
    if outputs.tag != values.BIT_STRING:
        raise FrameError(f"8000: terminal {meter.terminal} says nothing of its relays")
    out = [number for number, bit in enumerate(outputs.value, start=1) if bit == "1"]
    return state(mine, out, load_kw)

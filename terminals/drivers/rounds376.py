"""Control rounds of a Q/GDW 376.1 terminal: AFN 05 F1 trips, F2 permits closing, AFN 0C F5 and F6 say what holds."""

from __future__ import annotations

from collections.abc import Sequence

from protocols.errors import FrameError
from protocols.gdw376.exchange import Order, Read, Reply
from protocols.gdw376.units import ident
from protocols.gdw376.values import encode
from terminals.drivers.control import Term, numbers
from terminals.drivers.control376 import stamped
from terminals.drivers.driver import Meter, RelayAction, RelayAnswer, RelayState, Script
from terminals.drivers.rounds import answer, kept, refusal, state
from terminals.drivers.station376 import Station376, password

TRIP, PERMIT = 1, 2
#: AFN 0C: whose first byte says keep-power in D0; whose first byte has a bit for each round that was tripped by command
SETTING, DOING = 5, 6


def command(
    station: Station376,
    meter: Meter,
    mine: Sequence[int],
    action: RelayAction,
    until: Term | None,
    alarm: int,
) -> Script[RelayAnswer]:
    """All rounds in one frame, which Tp voids after `until` (None: the terminal has no clock that could); the trip has no end of its own.

    Refused: the terminal denies it, or is in keep-power."""
    if action not in (RelayAction.TRIP, RelayAction.PERMIT):
        raise refusal(action)
    trip = action is RelayAction.TRIP
    if trip and (yield from _first(station, meter, SETTING)) & 1:
        raise kept(meter)
    function = TRIP if trip else PERMIT
    data = [encode(0x05, function, [alarm, 0] if trip else [], uplink=False) for _ in mine]
    parts = ((ident(mine, [function]), data),)
    stamp, delay = (None, 0) if until is None else stamped(meter, until)
    yield Order(station.address(meter), 0x05, parts, password(meter), stamp=stamp, delay=delay)
    return answer(mine, action, alarm)


def seen(station: Station376, meter: Meter, mine: Sequence[int], load_kw: float) -> Script[RelayState]:
    """What was tripped by command. FrameError: the terminal does not say."""
    tripped = yield from _first(station, meter, DOING)
    return state(mine, numbers(tripped), load_kw)


def _first(station: Station376, meter: Meter, function: int) -> Script[int]:
    reply: Reply = yield Read(station.address(meter), (0,), (function,))
    for unit in reply.units:
        first = unit.values[0].value if unit.function == function and unit.values else None
        if isinstance(first, int):
            return first
    raise FrameError(f"AFN 0C F{function}: terminal {meter.terminal} says nothing of its rounds")

"""Control rounds (轮次) of a terminal that cut a customer off: what both protocols of terminals have in common.

A round knows two commands, trip and permit; the customer's breaker is closed by hand. So nothing tells that a breaker is closed but the power
that flows, and a trip is proved only by all its rounds and by a meter that measures nothing.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Sequence
from typing import Final

import numpy as np

from protocols.errors import FrameError, Misuse, Refused
from terminals.drivers.control import Term
from terminals.drivers.driver import Meter, RelayAction, RelayAnswer, RelayState, Script
from terminals.drivers.through import NotReached

#: `code` of a Refused that the driver decides: a round has no such thing.
NOT_POSSIBLE: Final = -1
#: Minutes of warning by the terminal before a round trips: whoever works at a machine hears it. No source gives a number. At most 15.
ALARM_MINUTES: Final = 2
#: A warning up to this long is over when a round must have acted at the latest, as headend.control.readback waits for each relay.
SOON: Final = 5
#: kW that flow, where the breaker is closed; as headend.control.readback has it for one that is open. As the meter shows it, before its
#: transformers: where it hangs behind some, what only magnetises the customer's own transformer gives no supply back
FLOWS_KW: Final = 0.02
_ROUND: Final = re.compile(r"round ([1-8])")


def rounds_of(switch: Sequence[str]) -> tuple[int, ...]:
    """Numbers from 1 to 8; none: no round cuts the meter off. Misuse: something else does."""
    found = [_ROUND.fullmatch(part) for part in switch]
    numbers = tuple(int(match[1]) for match in found if match)
    if len(numbers) < len(switch):
        raise Misuse(
            f"switch: {'+'.join(switch)!r} is no round of a terminal, such as round 1 or round 1+round 2"
        )
    return numbers


def state(mine: Collection[int], tripped: Collection[int], load_kw: float) -> RelayState:
    """What is known of a supply that these rounds cut off. Where only some have tripped it is neither cut off nor given back. Keep-power is
    the terminal's, of which its own orders tell."""
    out = sorted(set(mine) & set(tripped))
    is_open = bool(out) or not abs(load_kw) > FLOWS_KW  # who feeds in has his breaker closed, too
    return RelayState(
        open=is_open, permitted=is_open and len(out) < len(mine), keep_power=None, load_kw=load_kw,
        detail=f"rounds tripped by command: {', '.join(map(str, out)) or 'none'} of {', '.join(map(str, mine))}",
    )  # fmt: skip


def answer(mine: Sequence[int], action: RelayAction, alarm: int) -> RelayAnswer:
    """What the terminal has taken."""
    rounds = f"round{'s' if len(mine) > 1 else ''} {', '.join(map(str, mine))}"
    if action is RelayAction.TRIP:
        return RelayAnswer(alarm > SOON, f"{rounds} told to trip after {alarm} minutes of warning")
    return RelayAnswer(detail=f"{rounds} released")


def kept(meter: Meter) -> Refused:
    """Of a trip: a terminal in keep-power may confirm it, and does nothing."""
    why = f"terminal {meter.terminal} is in keep-power; `headend control end-keep-power` ends it"
    return Refused(why, code=NOT_POSSIBLE)


def refusal(action: RelayAction) -> Refused:
    """Of what a round has not."""
    if action is RelayAction.CLOSE:
        return Refused(
            "close by a round: the customer's breaker is closed by hand; order permit", code=NOT_POSSIBLE
        )
    return Refused(
        f"{action.value} by a round: keep-power is the whole terminal's; `headend control` tells it",
        code=NOT_POSSIBLE,
    )


def term(clock: Script[np.datetime64], action: RelayAction, expires: np.datetime64) -> Script[Term | None]:
    """The life of a command by the terminal's clock; None where it has none, and supply is given back all the same."""
    try:
        now = yield from clock
    except (FrameError, Refused):
        if action is RelayAction.TRIP:
            raise
        return None
    return Term(now, expires)


def reached(power: Script[float]) -> Script[float]:
    """kW; NaN where the meter did not answer, as one that hangs behind the breaker does not: that proves nothing."""
    try:
        return (yield from power)
    except (Refused, NotReached):
        return math.nan

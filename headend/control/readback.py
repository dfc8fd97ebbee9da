"""What a relay's read-back says about the order: proved, not yet, or disproved. Nothing else counts as an outcome."""

from __future__ import annotations

import datetime as dt
import math
from dataclasses import dataclass
from typing import Final

from headend.control.order_state import Event

#: kW above which something flows although the relay says open; a meter's own resolution is 0.0001 kW, its creep far below. Behind transformers
#: that resolution is coarser than this: then any digit that the meter shows is a load
NO_LOAD_KW: Final = 0.02
#: how long after the command a relay may still be on its way (its trip delay is asked for in the answer; this is for slow drives)
SETTLE: Final = dt.timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Seen:
    """The relay as read back; `load_kw`, the customer's own, is NaN where the meter shows none, and `keep_power` None where
    nobody asked it: neither proves anything."""

    open: bool
    permitted: bool
    keep_power: bool | None
    load_kw: float


def judge(action: str, seen: Seen, age: dt.timedelta, pending: bool) -> tuple[Event, str]:
    """`age` since the command was sent; `pending`: the meter said that it acts later.

    Returns PROVE, HOLD or DISPROVE and the sentence to keep."""
    blind = math.isnan(seen.load_kw)
    load = "load not known" if blind else f"load {seen.load_kw:.4f} kW"
    waiting = pending or age < SETTLE
    if action == "trip":
        if seen.open and not seen.permitted:
            if abs(seen.load_kw) > NO_LOAD_KW:  # fed from behind the meter, too
                return Event.DISPROVE, f"relay open but {load}: bypassed or welded; send somebody"
            if not blind:
                return Event.PROVE, f"relay read back open, {load}"
            state = "open"
        else:
            state = "open with closing permitted" if seen.open else "closed"
        return (
            (Event.HOLD, f"relay still {state}, {load}")
            if waiting
            else (Event.DISPROVE, f"relay {state}, {load}")
        )
    if action == "permit":
        if not seen.open:
            return Event.PROVE, f"relay read back closed, {load}"
        if seen.permitted:
            return Event.HOLD, f"closing permitted, waiting for the customer's key; {load}"
        return (Event.HOLD, "relay still open, closing not permitted yet") if waiting else (
            Event.DISPROVE, "relay open and closing not permitted",
        )  # fmt: skip
    if action == "close":
        if not seen.open:
            return Event.PROVE, f"relay read back closed, {load}"
        return (Event.HOLD, "relay still open") if waiting else (Event.DISPROVE, "relay open")
    wanted = action == "keep-power"
    if seen.keep_power == wanted:
        return Event.PROVE, f"keep-power read back {'on' if wanted else 'off'}"
    return (
        (Event.HOLD, "keep-power not changed yet") if waiting else (Event.DISPROVE, "keep-power not changed")
    )

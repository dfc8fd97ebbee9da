"""Limits of a meter's wallet: what may be written there. A meter warns, opens and closes by them itself, so none may cut off whoever is not cut off
now.

alarm1, alarm2  what is left when the meter warns, and when it opens for the first time
overdraft       how far below zero it lets a customer go (透支)
hoarding        the most that it holds (囤积)
permit          what must be left before it lets close (合闸允许)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from headend.control.wallet import MOST_FEN, yuan

NAMES: Final = ("alarm1", "alarm2", "overdraft", "hoarding", "permit")


def _nonsense(wanted: Mapping[str, Any], held: Mapping[str, int]) -> str | None:
    """Why no meter with these limits can be told so; what is not wanted stays."""
    for name, fen in wanted.items():
        if name not in NAMES:
            return f"{name!r} is no limit of a wallet; there are {', '.join(NAMES)}"
        if not isinstance(fen, int) or isinstance(fen, bool) or not 0 <= fen <= MOST_FEN:
            return f"{name}: {fen!r} is no amount from 0 to {MOST_FEN} fen"
        if name not in held:
            return f"{name}: the meter has no such limit, or does not tell it"
    after = {**held, **wanted}
    if "alarm1" in after and "alarm2" in after and after["alarm2"] > after["alarm1"]:
        return f"alarm2 would be {yuan(after['alarm2'])}, above alarm1 {yuan(after['alarm1'])}: the meter would open before it has warned"
    return None


def against(
    wanted: Mapping[str, int], held: Mapping[str, int], left_fen: int, *, is_open: bool | None
) -> str | None:
    """Why they may not be written to a wallet in which so much is left (below zero: overdrawn): whoever has supply must not lose it by that, and
    whoever may close must be able to."""
    if nonsense := _nonsense(wanted, held):
        return nonsense
    if is_open is None:
        return "the meter does not say whether it has cut off, so nobody can say what its limits would do"
    if is_open:
        if "permit" in wanted and held["permit"] < left_fen <= wanted["permit"]:
            return f"{yuan(left_fen)} yuan are left: whoever may close by now would have to pay above {yuan(wanted['permit'])} first"
        return None
    if "alarm2" in wanted and held["alarm2"] < left_fen <= wanted["alarm2"]:
        return f"{yuan(left_fen)} yuan are left: the meter would cut the customer off at {yuan(wanted['alarm2'])}"
    if "overdraft" in wanted and wanted["overdraft"] < held["overdraft"] and left_fen <= -wanted["overdraft"]:
        return f"{yuan(left_fen)} yuan are left: with an overdraft of {yuan(wanted['overdraft'])} the meter would cut the customer off"
    return None

"""What a DL/T 698.45 meter says of its wallet: objects 202C to 202E, 401E, 401F, all in 0.01 yuan. How a purchase goes in (F100) is not public."""

from __future__ import annotations

import numpy as np

from protocols.dlt698 import values
from protocols.dlt698.values import Data
from terminals.simulator.meter import Meter


def read(meter: Meter, oad: int, now: np.datetime64) -> Data | None:
    """Attribute 2 of one of them; None: it is none, or the meter has no wallet."""
    wallet, registers = meter.wallet, meter.registers(now)
    if wallet is None or registers is None:
        return None
    remaining, overdrawn = wallet.shown(registers)
    limits = wallet.limits
    bought = wallet.records[-1].total if wallet.records else 0
    amounts = {
        0x202C0200: (remaining, wallet.count),
        0x202D0200: (overdrawn,),
        0x202E0200: (bought,),
        0x401E0200: (limits.alarm1, limits.alarm2),
        0x401F0200: (limits.overdraft, limits.hoarding, limits.permit),
    }.get(oad)
    if amounts is None:
        return None
    parts = [Data(values.DOUBLE_LONG_UNSIGNED, amount) for amount in amounts]
    return parts[0] if len(parts) == 1 else values.structure(*parts)

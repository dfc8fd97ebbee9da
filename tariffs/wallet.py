"""A wallet against the ledger (钱包对账): what a meter says is left, beside what was bought and what its own registers have used.

    expected = what was left before + purchases since - what the energy since then costs

The meter counts with prices of its own, by its own clock; ours are the tariff's, for the energy of each of its registers. So what the
energy costs lies between two bounds, and only what lies outside them by more than a tolerance differs. Nothing is put right by it.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from protocols.reading import MISSING
from tariffs.money import FEN
from tariffs.plan import Tariff
from tariffs.registers import RESOLUTION, advance

#: limits of a meter that can be compared with what is wanted
SETTINGS: Final = ("alarm1", "alarm2", "overdraft", "hoarding", "permit")


@dataclass(frozen=True, slots=True)
class Rules:
    """What a utility decides; amounts in fen. No public text says by how much a wallet may differ: these are defaults.

    tolerance  by which what is left may lie outside its bounds: meters cut registers and fen, and their clocks turn periods at their own time
    age_hours  how old the newest reading of a wallet may be
    alarm1 …   what the meters' limits shall be; None: not compared
    """

    tolerance: int = 100
    age_hours: int = 48
    alarm1: int | None = None
    alarm2: int | None = None
    overdraft: int | None = None
    hoarding: int | None = None
    permit: int | None = None


@dataclass(frozen=True, slots=True)
class Look:
    """A wallet as it was read. `fen` below zero: overdrawn. `registers`: total, T1 to T4 [1e-4 kWh], None where they were not read."""

    fen: int
    count: int
    registers: Sequence[int] | None = None
    is_open: bool | None = None


@dataclass(frozen=True, slots=True)
class Difference:
    """`kind`: count, remaining, overdrawn or settings. `numbers`: all that is known of it, integers and names."""

    kind: str
    numbers: Mapping[str, int | None]


def used(
    tariff: Tariff, first: dt.date, last: dt.date, before: Sequence[int], now: Sequence[int], multiplier: int
) -> tuple[int, int] | None:
    """What the energy between two readings of the registers costs, (least, most) in fen; None where it cannot be known.

    Bounds where the price changed between the two days, where it has steps, and for what the registers cut."""
    energy = advance(np.asarray(before, dtype=np.int64), np.asarray(now, dtype=np.int64))
    if len(energy) != 5 or int(energy[0]) == MISSING:
        return None
    sides: list[tuple[int, int]] = []
    for _, _, version in tariff.spans(first, last + dt.timedelta(days=1)):
        if version.basic is not None or version.power_factor is not None:
            return None  # what a month's demand and power factor make of it, no meter knows
        parts = {version.remainder: int(energy[0])}
        for k, period in enumerate(version.registers, start=1):
            if period is not None and period != version.remainder:
                if int(energy[k]) == MISSING:
                    return None
                parts[period] = parts.get(period, 0) + int(energy[k])
                parts[version.remainder] -= int(energy[k])
        prices = version.price_array
        charge = sum(amount * int(prices[period]) for period, amount in parts.items())
        # each register is cut by itself: so much may have been counted to another period
        cut = 2 * RESOLUTION * int(prices[version.used].max())
        total = int(energy[0])
        more = sum(part.price for part in version.surcharges if not part.included)
        adders = (0,) if version.steps is None else version.steps.adders
        sides.append(
            (charge + total * (more + min(adders)) - cut, charge + total * (more + max(adders)) + cut)
        )
    low, high = min(low for low, _ in sides) * multiplier, max(high for _, high in sides) * multiplier
    return max(low // FEN, 0), -(-high // FEN)


def compare(
    now: Look,
    *,
    proved: int,
    before: Look | None = None,
    bought_fen: int = 0,
    spent_fen: tuple[int, int] | None = None,
    rules: Rules,
    settings: Mapping[str, int] | None = None,
) -> list[Difference]:
    """What of a wallet is not as the ledger has it.

    proved       purchases that we have proof of, as of the reading
    before       an earlier reading; `bought_fen` what was put in between the two, refunds taken off; `spent_fen` from `used`
    settings     the meter's limits by name
    """
    found: list[Difference] = []
    if now.count != proved:
        found.append(Difference("count", {"wallet": now.count, "ledger": proved}))
    elif before is not None and spent_fen is not None:
        most = before.fen + bought_fen - spent_fen[0] + rules.tolerance
        least = before.fen + bought_fen - spent_fen[1] - rules.tolerance
        if not least <= now.fen <= most:
            found.append(
                Difference(
                    "remaining",
                    {
                        "wallet_fen": now.fen, "before_fen": before.fen, "bought_fen": bought_fen, "spent_least_fen": spent_fen[0],
                        "spent_most_fen": spent_fen[1], "least_fen": least, "most_fen": most,
                    },
                )
            )  # fmt: skip
    if now.fen < 0 and now.is_open is False:
        limit = (settings or {}).get("overdraft")
        if limit is None or -now.fen > limit:
            found.append(Difference("overdrawn", {"wallet_fen": now.fen, "overdraft_fen": limit}))
    wrong = {
        name: (settings[name], wanted)
        for name in SETTINGS
        if settings is not None
        and name in settings
        and (wanted := getattr(rules, name)) is not None
        and settings[name] != wanted
    }
    if wrong:
        numbers: dict[str, int | None] = {}
        for name, (has, wanted) in wrong.items():
            numbers |= {f"{name}_fen": has, f"{name}_wanted_fen": wanted}
        found.append(Difference("settings", numbers))
    return found

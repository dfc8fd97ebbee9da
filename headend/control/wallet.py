"""What a meter's wallet (钱包), as it was read, says of a purchase: whether it may be offered, and what became of it. Nothing else proves one.

The count of purchases (购电次数) makes each arrive once: a meter takes only the one that follows its own count.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

#: a wallet shows six digits of yuan
MOST_FEN: Final = 99_999_999
REFUND: Final = "refund"
#: what a kWh costs at most, adders and surcharges included [1e-4 yuan]: how far a wallet may sink by itself between two looks. Steps and
#: sharp periods of all published tariffs stay below two yuan
DEAREST: Final = 50_000
#: registers show 0.01 kWh [1e-4 kWh]
SHOWN: Final = 100
_UNITS_PER_FEN: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Wanted:
    """`action`: open, recharge or refund. `count`: of the purchase, the how manieth it is; of a refund that of the purchase it takes back."""

    action: str
    count: int
    fen: int


@dataclass(frozen=True, slots=True)
class Seen:
    """A wallet as it was read; `fen` below zero is overdrawn. `last_fen`: its newest purchase, `total`: the register of all energy
    [1e-4 kWh]; None where the meter does not say, or was not asked."""

    count: int
    fen: int
    last_fen: int | None = None
    total: int | None = None

    def __str__(self) -> str:
        return f"{self.count} purchases, {yuan(self.fen)} yuan"


class Proof(StrEnum):
    THERE = "there"  # it is in the wallet
    ABSENT = "absent"  # it is not, and can be offered again
    FOREIGN = "foreign"  # something else is: a person looks
    UNCLEAR = "unclear"  # this reading cannot tell


def yuan(fen: int) -> str:
    return f"{'-' * (fen < 0)}{abs(fen) // 100}.{abs(fen) % 100:02d}"


def against(wanted: Wanted, seen: Seen) -> str | None:
    """Why it may not be offered to a wallet that looks like this; None: it stands where the ledger thinks it stands."""
    held = wanted.count - (wanted.action != REFUND)
    if seen.count != held:
        return (
            f"the wallet says {seen.count} purchases, the ledger knows of {held}: something was put into it past us, or it was set back; "
            "look into it, then `headend purchase settle`"
        )
    if wanted.action == REFUND and wanted.fen > seen.fen:
        return f"{yuan(wanted.fen)} yuan are to come out of it, and it holds {yuan(seen.fen)}"
    if wanted.action != REFUND and seen.fen + wanted.fen > MOST_FEN:
        return f"{yuan(wanted.fen)} yuan do not fit above the {yuan(seen.fen)} that it holds"
    return None


def proof(wanted: Wanted, seen: Seen, before: Seen | None = None) -> Proof:
    """What the wallet proves of a purchase that was offered to it. `before`: the wallet just before (refunds need it).

    A count that is the purchase's own says that it was taken, once: nothing else may have this count but what the amount beside it
    tells apart. A refund leaves no count, so what is left must have fallen by it and by no more than was used."""
    if wanted.action != REFUND:
        if seen.count == wanted.count:
            return Proof.THERE if seen.last_fen in (None, wanted.fen) else Proof.FOREIGN
        return Proof.ABSENT if seen.count == wanted.count - 1 else Proof.FOREIGN
    if seen.count != wanted.count:
        return Proof.FOREIGN
    used = None if before is None else _used(before, seen)
    if before is None or used is None:
        return Proof.UNCLEAR
    fallen = before.fen - seen.fen
    there = wanted.fen <= fallen <= wanted.fen + used
    absent = 0 <= fallen <= used
    if there == absent:
        return Proof.UNCLEAR if there else Proof.FOREIGN
    return Proof.THERE if there else Proof.ABSENT


def _used(before: Seen, seen: Seen) -> int | None:
    """The most that the energy between the two looks can have cost [fen]; None: the registers do not say."""
    if before.total is None or seen.total is None or seen.total < before.total:
        return None
    return (seen.total - before.total + SHOWN) * DEAREST // _UNITS_PER_FEN + 1

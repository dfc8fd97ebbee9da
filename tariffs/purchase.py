"""Purchases (充值) into the wallet of a meter that executes its own fee control (本地费控): by which rules such a meter takes one.

    count   how many purchases the wallet has taken (购电次数): the next one must be numbered count + 1
    fen     what is left; below zero it is overdrawn (透支)

The rules are those of published firmware of State Grid meters (2010 to 2016); no standard's text of them is public. The count is what
makes a purchase arrive once: the same one again has a count that is taken, and a later one has a count that is too high.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

#: 999,999.99 yuan: a wallet shows six digits before the point
MOST_FEN: Final = 99_999_999
#: a customer number (客户编号) on the wire has twelve digits
CUSTOMER_DIGITS: Final = 12


class Kind(StrEnum):
    OPEN = "open"  # 开户: the first purchase, which tells the meter whose it is
    RECHARGE = "recharge"  # 充值
    REFUND = "refund"  # 退费


class Answer(StrEnum):
    """What a meter says to a purchase; the numbers are those of its error word SERR, where it has one."""

    TAKEN = "taken"
    REPEATED = "repeated"  # 0002
    CUSTOMER = "customer number"  # 0010
    COUNT = "count"  # 0020
    HOARDING = "hoarding"  # 0040
    CLOSED = "no account open"  # 0001: other
    TOO_MUCH = "more than is left"  # 0001


@dataclass(frozen=True, slots=True)
class Wallet:
    """`customer`: whose it is, '' before an account is opened. `hoarding_fen`: more than this is never held (囤积金额)."""

    count: int = 0
    fen: int = 0
    customer: str = ""
    hoarding_fen: int = MOST_FEN


@dataclass(frozen=True, slots=True)
class Purchase:
    kind: Kind
    count: int
    fen: int
    customer: str


def answer(wallet: Wallet, purchase: Purchase) -> Answer:  # noqa: PLR0911 - a list of rules, asked in order
    """What the meter says. A count of 0 in the wallet and no customer: no account is open."""
    if purchase.kind is not Kind.OPEN and not wallet.customer:
        return Answer.CLOSED
    if wallet.customer and wallet.customer != purchase.customer:
        return Answer.CUSTOMER
    if purchase.kind is Kind.REFUND:
        if purchase.count != wallet.count:
            return Answer.COUNT
        return Answer.TAKEN if purchase.fen <= wallet.fen else Answer.TOO_MUCH
    if purchase.kind is Kind.OPEN and purchase.count > 1:
        return Answer.COUNT
    if purchase.count == wallet.count:
        return Answer.REPEATED
    if purchase.count != wallet.count + 1:
        return Answer.COUNT
    if wallet.fen + purchase.fen > min(MOST_FEN, wallet.hoarding_fen):
        return Answer.HOARDING
    return Answer.TAKEN


def after(wallet: Wallet, purchase: Purchase) -> Wallet:
    """The wallet once the purchase was offered to it: changed if it was taken, else as it was."""
    if answer(wallet, purchase) is not Answer.TAKEN:
        return wallet
    if purchase.kind is Kind.REFUND:
        return replace(wallet, fen=wallet.fen - purchase.fen)
    return replace(wallet, count=purchase.count, fen=wallet.fen + purchase.fen, customer=purchase.customer)


def kind_of(count: int) -> Kind:
    """What the purchase with this count is."""
    return Kind.OPEN if count == 1 else Kind.RECHARGE

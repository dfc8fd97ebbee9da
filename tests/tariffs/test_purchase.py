"""The rules by which a wallet takes a purchase."""

from __future__ import annotations

import pytest

from tariffs.purchase import (
    MOST_FEN,
    Answer,
    Kind,
    Purchase,
    Wallet,
    after,
    answer,
)

OURS = Wallet(count=4, fen=1_000, customer="9001")


def bought(count: int = 5, fen: int = 500, customer: str = "9001", kind: Kind = Kind.RECHARGE) -> Purchase:
    return Purchase(kind, count, fen, customer)


@pytest.mark.parametrize(
    ("wallet", "purchase", "said"),
    [
        (OURS, bought(), Answer.TAKEN),
        (OURS, bought(count=4), Answer.REPEATED),
        (OURS, bought(count=3), Answer.COUNT),
        (OURS, bought(count=6), Answer.COUNT),
        (OURS, bought(customer="9002"), Answer.CUSTOMER),
        (OURS, bought(fen=MOST_FEN - 1_000), Answer.TAKEN),
        (OURS, bought(fen=MOST_FEN - 999), Answer.HOARDING),
        (Wallet(4, 1_000, "9001", hoarding_fen=1_500), bought(), Answer.TAKEN),
        (Wallet(4, 1_001, "9001", hoarding_fen=1_500), bought(), Answer.HOARDING),
        (Wallet(4, -300, "9001", hoarding_fen=200), bought(), Answer.TAKEN),
        (Wallet(), bought(count=1), Answer.CLOSED),
        (Wallet(), bought(count=1, kind=Kind.OPEN), Answer.TAKEN),
        (Wallet(), bought(count=2, kind=Kind.OPEN), Answer.COUNT),
        (Wallet(1, 500, "9001"), bought(count=1, kind=Kind.OPEN), Answer.REPEATED),
        (Wallet(1, 500, "9002"), bought(count=1, kind=Kind.OPEN), Answer.CUSTOMER),
        (OURS, bought(count=4, kind=Kind.REFUND), Answer.TAKEN),
        (OURS, bought(count=5, kind=Kind.REFUND), Answer.COUNT),
        (OURS, bought(count=4, fen=1_001, kind=Kind.REFUND), Answer.TOO_MUCH),
        (Wallet(), bought(count=0, kind=Kind.REFUND), Answer.CLOSED),
    ],
)
def test_the_rules(wallet: Wallet, purchase: Purchase, said: Answer) -> None:
    assert answer(wallet, purchase) is said
    changed = after(wallet, purchase)
    if said is not Answer.TAKEN:
        assert changed == wallet
    elif purchase.kind is Kind.REFUND:
        assert (changed.count, changed.fen) == (wallet.count, wallet.fen - purchase.fen)
    else:
        assert (changed.count, changed.fen) == (purchase.count, wallet.fen + purchase.fen)

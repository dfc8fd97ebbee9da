"""A purchase arrives once, in whatever order messages come, are lost, or come again."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tariffs.purchase import (
    MOST_FEN,
    Answer,
    Kind,
    Proof,
    Purchase,
    Seen,
    Wallet,
    after,
    answer,
    fits,
    kind_of,
    proof,
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


def test_nothing_is_sent_to_a_wallet_that_is_not_where_it_should_be() -> None:
    assert fits(Seen(4, 1_000), bought()) is Answer.TAKEN
    assert [fits(Seen(count, 1_000), bought()) for count in (3, 5, 6)] == [Answer.COUNT] * 3
    assert fits(Seen(4, MOST_FEN - 499), bought()) is Answer.HOARDING
    assert fits(Seen(5, 499), bought(kind=Kind.REFUND)) is Answer.TOO_MUCH
    assert fits(Seen(4, 500), bought(kind=Kind.REFUND)) is Answer.COUNT
    assert fits(Seen(5, 500), bought(kind=Kind.REFUND)) is Answer.TAKEN


@pytest.mark.parametrize(
    ("seen", "says"),
    [
        (Seen(5, 1_500, 500), Proof.THERE),
        (Seen(5, 1_480, None), Proof.THERE),
        (Seen(5, 1_480, 300), Proof.FOREIGN),
        (Seen(4, 1_000, 300), Proof.ABSENT),
        (Seen(4, 1_000, 500), Proof.ABSENT),  # the one before was of the same amount
        (Seen(6, 1_500, 500), Proof.FOREIGN),
        (Seen(3, 1_500, 500), Proof.FOREIGN),
    ],
)
def test_what_a_wallet_proves(seen: Seen, says: Proof) -> None:
    assert proof(bought(), seen) is says


@pytest.mark.parametrize(
    ("left", "used", "says"),
    [
        (1_000, 20, Proof.ABSENT),
        (980, 20, Proof.ABSENT),
        (979, 20, Proof.FOREIGN),
        (500, 20, Proof.THERE),
        (480, 20, Proof.THERE),
        (479, 20, Proof.FOREIGN),
        (500, 500, Proof.UNCLEAR),
        (1_001, 20, Proof.FOREIGN),
        (500, None, Proof.UNCLEAR),
    ],
)
def test_what_a_wallet_proves_of_a_refund(left: int, used: int | None, says: Proof) -> None:
    given_back = bought(count=5, kind=Kind.REFUND)
    assert proof(given_back, Seen(5, left, 500, used), Seen(5, 1_000)) is says
    assert proof(given_back, Seen(5, left, 500, used)) is Proof.UNCLEAR
    assert proof(given_back, Seen(6, left, 500, used), Seen(5, 1_000)) is Proof.FOREIGN


@dataclass
class World:
    """A ledger, a meter, and a line that loses, delays and repeats. The head-end keeps to the rules of an order: one at a time, resolved by
    reading, offered again with the same count only when it was proved absent."""

    meter: Wallet = field(default_factory=Wallet)
    last_fen: int | None = None
    paid: list[int] = field(default_factory=list)
    proven: int = 0
    offered: Purchase | None = None
    unknown: bool = False
    on_the_way: list[Purchase] = field(default_factory=list)
    taken: list[int] = field(default_factory=list)

    def arrives(self, purchase: Purchase) -> Answer:
        said = answer(self.meter, purchase)
        if said is Answer.TAKEN:
            self.taken.append(purchase.fen)
            self.last_fen = purchase.fen
        self.meter = after(self.meter, purchase)
        return said

    def send(self, how: str) -> None:
        if self.unknown or self.proven == len(self.paid):
            return
        count = self.proven + 1
        purchase = Purchase(kind_of(count), count, self.paid[self.proven], "9001")
        if fits(Seen(self.meter.count, self.meter.fen, self.last_fen), purchase) is not Answer.TAKEN:
            self.read(purchase)  # a late one has come meanwhile
            return
        self.offered = purchase
        if how == "request lost":
            self.unknown = True
        elif how == "late":
            self.on_the_way.append(purchase)
            self.unknown = True
        elif how == "answer lost":
            self.arrives(purchase)
            self.unknown = True
        else:
            said = self.arrives(purchase)
            assert said in (Answer.TAKEN, Answer.REPEATED)
            self.read(purchase)

    def read(self, purchase: Purchase | None = None) -> None:
        purchase = purchase or (self.offered if self.unknown else None)
        if purchase is None:
            return
        says = proof(purchase, Seen(self.meter.count, self.meter.fen, self.last_fen))
        assert says in (Proof.THERE, Proof.ABSENT)
        self.unknown = False
        if says is Proof.THERE:
            self.proven = purchase.count

    def deliver(self) -> None:
        if self.on_the_way:
            self.arrives(self.on_the_way.pop(0))


STEPS = st.one_of(
    st.integers(1, 20_000).map(lambda fen: ("pay", fen)),
    st.sampled_from([("send", how) for how in ("heard", "request lost", "answer lost", "late")]),
    st.sampled_from([("read", ""), ("deliver", "")]),
)


@given(st.lists(STEPS, max_size=60))
def test_the_meter_holds_what_was_paid_and_never_twice(steps: list[tuple[str, int | str]]) -> None:
    world = World()
    for what, value in steps:
        if what == "pay":
            assert isinstance(value, int)
            world.paid.append(value)
        elif what == "send":
            world.send(str(value))
        elif what == "read":
            world.read()
        else:
            world.deliver()
        # what it has taken is always a beginning of what was paid: in order, none left out, none twice
        assert world.taken == world.paid[: len(world.taken)]
        assert world.proven <= len(world.taken)
    for _ in range(2 * len(world.paid) + 2):  # once the line is good again all of it arrives
        world.read()
        world.send("heard")
        world.deliver()
    assert world.taken == world.paid
    assert world.meter.fen == sum(world.paid)

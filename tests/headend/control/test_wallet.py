"""A purchase arrives once, in whatever order messages come, are lost, or come again."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headend.control.wallet import MOST_FEN, REFUND, Proof, Seen, Wanted, against, proof, yuan
from tariffs.purchase import Answer, Purchase, Wallet, after, answer, kind_of

BOUGHT = Wanted("recharge", 5, 500)
BACK = Wanted(REFUND, 5, 500)


def test_nothing_is_sent_to_a_wallet_that_is_not_where_it_should_be() -> None:
    assert against(BOUGHT, Seen(4, 1_000)) is None
    assert all("settle" in (against(BOUGHT, Seen(count, 1_000)) or "") for count in (3, 5, 6))
    assert against(BOUGHT, Seen(4, MOST_FEN - 500)) is None
    assert "do not fit" in (against(BOUGHT, Seen(4, MOST_FEN - 499)) or "")
    assert against(BACK, Seen(5, 500)) is None
    assert "holds 4.99" in (against(BACK, Seen(5, 499)) or "")
    assert "settle" in (against(BACK, Seen(4, 500)) or "")


def test_amounts_for_people() -> None:
    assert [yuan(fen) for fen in (0, 5, -5, 123_456, -100)] == ["0.00", "0.05", "-0.05", "1234.56", "-1.00"]


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
    assert proof(BOUGHT, seen) is says


#: 0.02 kWh more: with what the register hides 0.15 yuan and a fen at most
LATER = 10_200


@pytest.mark.parametrize(
    ("left", "total", "says"),
    [
        (1_000, LATER, Proof.ABSENT),
        (984, LATER, Proof.ABSENT),
        (983, LATER, Proof.FOREIGN),
        (500, LATER, Proof.THERE),
        (484, LATER, Proof.THERE),
        (483, LATER, Proof.FOREIGN),
        (500, 20_000, Proof.UNCLEAR),  # 1 kWh may cost as much
        (1_001, LATER, Proof.FOREIGN),
        (500, 9_999, Proof.UNCLEAR),
        (500, None, Proof.UNCLEAR),
    ],
)
def test_what_a_wallet_proves_of_a_refund(left: int, total: int | None, says: Proof) -> None:
    before = Seen(5, 1_000, 500, 10_000)
    assert proof(BACK, Seen(5, left, 500, total), before) is says
    assert proof(BACK, Seen(5, left, 500, total)) is Proof.UNCLEAR
    assert proof(BACK, Seen(6, left, 500, total), before) is Proof.FOREIGN


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

    def seen(self) -> Seen:
        return Seen(self.meter.count, self.meter.fen, self.last_fen)

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
        if against(_wanted(purchase), self.seen()) is not None:
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
        says = proof(_wanted(purchase), self.seen())
        assert says in (Proof.THERE, Proof.ABSENT)
        self.unknown = False
        if says is Proof.THERE:
            self.proven = purchase.count

    def deliver(self) -> None:
        if self.on_the_way:
            self.arrives(self.on_the_way.pop(0))


def _wanted(purchase: Purchase) -> Wanted:
    return Wanted(purchase.kind, purchase.count, purchase.fen)


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

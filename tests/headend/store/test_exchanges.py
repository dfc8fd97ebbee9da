"""The canonical text of an exchange: the same words give the same hash, and only they do."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headend.store import exchanges
from headend.store.db import Connection
from headend.store.exchanges import Exchange, NotAnExchange, Said
from tests.support.house import at, moment, one

BEGAN = np.datetime64("2026-03-11T02:00:00", "us")
SLOTS = np.arange(
    np.datetime64("2026-03-10T16:15", "us"), np.datetime64("2026-03-11T16:01", "us"), np.timedelta64(15, "m")
)
ONE = Exchange(
    12, 345, "000000000345", "dlt645", "curve", BEGAN, BEGAN + np.timedelta64(4_100_000, "us"), SLOTS,
    (Said(0.0, True, bytes.fromhex("6845")), Said(0.2131, False, bytes.fromhex("688516"))), (b"\x01",), '{"layouts":{}}',
)  # fmt: skip
TEXT = b"""headend exchange 1
terminal 12
meter 345 000000000345
protocol dlt645
task curve
began 2026-03-11T02:00:00.000000Z
taken 2026-03-11T02:00:04.100000Z
asked 2026-03-10T16:15:00.000000Z/900s/96
known {"layouts":{}}
= 01
> 0.000 6845
< 0.213 688516
"""

WHEN = st.integers(0, 4 * 10**15).map(lambda us: np.datetime64(us, "us"))
INSTANTS = st.lists(st.integers(0, 10**6), max_size=12, unique=True).map(
    lambda numbers: np.array(sorted(numbers), dtype=np.int64).astype("datetime64[m]").astype("datetime64[us]")
)
SAID = st.builds(Said, st.integers(0, 10**6).map(lambda ms: ms / 1000), st.booleans(), st.binary(max_size=8))
WORDS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Zl", "Zp", "Zs"]), max_size=9)
EXCHANGES = st.builds(
    Exchange, st.integers(0, 9), st.integers(0, 9), WORDS, WORDS, WORDS, WHEN, WHEN, INSTANTS,
    st.lists(SAID, max_size=4).map(tuple), st.lists(st.binary(max_size=4), max_size=2).map(tuple), WORDS,
)  # fmt: skip


def test_the_text_is_the_one_that_is_described() -> None:
    assert ONE.text == TEXT
    assert exchanges.parse(TEXT).text == TEXT


@given(EXCHANGES)
def test_text_and_back(exchange: Exchange) -> None:
    again = exchanges.parse(exchange.text)
    assert again.text == exchange.text
    assert (again.asked == exchange.asked).all()
    assert (again.opening, again.known) == (exchange.opening, exchange.known)
    assert [(s.sent, s.raw) for s in again.said] == [(s.sent, s.raw) for s in exchange.said]


@given(st.binary(max_size=300), st.integers(0, len(TEXT) - 1))
def test_garbage_is_no_exchange(garbage: bytes, cut: int) -> None:
    for bad in (garbage, TEXT[:cut], TEXT[:cut] + garbage):
        try:
            again = exchanges.parse(bad)
        except NotAnExchange:
            continue
        assert isinstance(again, Exchange)  # a piece that says less can still be whole


def test_another_word_is_another_hash() -> None:
    others = [
        replace(ONE, task="day"),
        replace(ONE, meter=346),
        replace(ONE, said=ONE.said[:1]),
        replace(ONE, known=""),
    ]
    assert len({ONE.evidence, *(other.evidence for other in others)}) == 5
    assert -(2**63) <= ONE.evidence < 2**63


def test_kept_found_and_guarded(store: Connection) -> None:
    other = replace(ONE, terminal=13, meter=0, began=BEGAN, taken=BEGAN + np.timedelta64(9, "D"))
    exchanges.write(store, [other, ONE, ONE])
    exchanges.write(store, [ONE])
    store.commit()
    assert one(store, "SELECT count(*) FROM exchange") == 2
    first, last = moment("2026-03-01 00:00"), moment("2026-04-01 00:00")
    assert [e.text for e in exchanges.taken(store, first, last)] == [ONE.text, other.text]
    # who asks for a meter also gets what was said about several
    assert [e.terminal for e in exchanges.taken(store, first, last, meter=345)] == [12, 13]
    assert [e.terminal for e in exchanges.taken(store, first, last, meter=9)] == [13]
    assert [e.terminal for e in exchanges.taken(store, first, last, terminals=[12])] == [12]
    assert list(exchanges.taken(store, first, first + dt.timedelta(days=1))) == []
    found = exchanges.named(store, ONE.evidence, first, last, [12])
    assert found is not None
    assert found.sha256 == ONE.sha256
    assert exchanges.named(store, ONE.evidence, first, last, [13]) is None
    for damage, words in (
        ("body = substr(body, 2)", "cannot be unpacked"),
        ("sha256 = decode(repeat('00', 32), 'hex')", "is not the one whose hash was kept"),
    ):
        store.execute(f"UPDATE exchange SET {damage} WHERE terminal_id = 12")
        with pytest.raises(NotAnExchange, match=words):
            list(exchanges.taken(store, first, last))
        store.rollback()
    assert at("2026-03-11 10:00") == BEGAN

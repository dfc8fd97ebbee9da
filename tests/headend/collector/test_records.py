"""A delivery as bytes and back; and what is not a record is never taken for one."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headend.collector.records import BadRecord, Brought, Record, decode, encode, frames
from headend.plans import CURVE, DAY, PLANS
from headend.store.coverage import Attempt
from headend.store.exchanges import NO_TIMES, Exchange, Said
from headend.store.intake import Delivery
from headend.store.orders import Fence
from headend.store.tables import SOURCES
from protocols.localtime import day_slots
from protocols.quantity import quantities
from protocols.reading import MISSING, Reads, empty_column
from tests.support.house import SHANGHAI, at

SLOTS = day_slots(dt.date(2026, 3, 11), SHANGHAI, 15)
NOW = at("2026-03-12 00:10")


def same(one: Brought, other: Brought) -> bool:
    """Bit for bit: a value that is not there is one that is not there."""
    a, b = one.delivery, other.delivery
    columns = [*a.reads.columns] == [*b.reads.columns] and all(
        column.dtype == b.reads.columns[code].dtype and column.tobytes() == b.reads.columns[code].tobytes()
        for code, column in a.reads.columns.items()
    )
    times = (a.reads.meter.tobytes(), a.reads.time.tobytes()) == (
        b.reads.meter.tobytes(),
        b.reads.time.tobytes(),
    )
    attempts = [
        (x.meter, x.plan, x.at, x.reason, x.detail, x.asked.tolist(), x.absent.tolist(), x.got.tolist())
        for x in a.attempts
    ] == [
        (x.meter, x.plan, x.at, x.reason, x.detail, x.asked.tolist(), x.absent.tolist(), x.got.tolist())
        for x in b.attempts
    ]
    said = (a.exchange and a.exchange.text) == (b.exchange and b.exchange.text)
    return (
        columns
        and times
        and attempts
        and said
        and one.fence == other.fence
        and (a.source, a.at) == (b.source, b.at)
    )


def brought(n: int = 96, *, salt: int = 0) -> Brought:
    """A day of a meter, with holes, proved absences, a reason and the exchange."""
    register = np.arange(n, dtype=np.int64) * 1000 + salt
    register[::7] = MISSING
    volts = np.linspace(220, 240, n)
    volts[::5] = np.nan
    reads = Reads(np.full(n, 7), SLOTS[:n].copy(), {"active_import": register, "voltage_a": volts})
    attempt = Attempt(7, CURVE, SLOTS, SLOTS[n:], NOW, "missing-in-answer", "终端说没有")
    said = (
        Said(0.0, True, b"\x68\x01\x02\x16"),
        Said(0.213, False, bytes(range(256))),
        Said(0.5, True, b""),
    )
    exchange = Exchange(
        3, 7, "000000000007", "dlt645", "curve", NOW, NOW, SLOTS, said, (b"\x01",), '{"layouts":1}'
    )
    return Brought(Delivery(SOURCES["curve"], NOW, reads, (attempt,), exchange), Fence("here:1:ab", 3, 9))


def one(data: bytes) -> Record:
    (frame,) = frames(data)
    return decode(frame)


def test_a_delivery_comes_back_as_it_was() -> None:
    whole = Record("here:1:ab", 2**40, brought(90))
    back = one(encode(whole))
    assert (back.collector, back.sequence) == ("here:1:ab", 2**40)
    assert same(back.brought, whole.brought)
    assert back.brought.delivery.exchange is not None
    assert whole.brought.delivery.exchange is not None
    # the readings name it by its hash
    assert back.brought.delivery.exchange.evidence == whole.brought.delivery.exchange.evidence
    assert back.brought.delivery.source is SOURCES["curve"]  # intake sorts by identity
    assert back.brought.delivery.attempts[0].plan is CURVE


def test_a_day_of_a_meter_takes_little_room() -> None:
    """The bound of the spool is reckoned with it: what was said is kept, and is the larger part."""
    assert len(encode(Record("here:1:ab", 1, brought()))) < 3000


INSTANTS = st.integers(-(2**53), 2**53).map(lambda us: np.datetime64(us, "us"))
TIMES = st.lists(INSTANTS, max_size=5).map(lambda them: np.array(them, dtype="datetime64[us]"))


@st.composite
def deliveries(draw: st.DrawFn) -> Brought:
    n = draw(st.integers(0, 4))
    codes = draw(st.lists(st.sampled_from(sorted(quantities())), max_size=4, unique=True)) if n else []
    columns = {}
    for code in codes:
        column = empty_column(code, n)
        values = draw(st.lists(st.none() | st.integers(-(2**62), 2**62), min_size=n, max_size=n))
        for k, value in enumerate(values):
            if value is not None:
                column[k] = np.array(value).astype(column.dtype)
        columns[code] = column
    meters = np.array(draw(st.lists(st.integers(1, 2**31), min_size=n, max_size=n)), dtype=np.int64)
    times = np.array(draw(st.lists(INSTANTS, min_size=n, max_size=n)), dtype="datetime64[us]")
    attempts = draw(
        st.lists(
            st.builds(
                Attempt, st.integers(1, 2**31), st.sampled_from(sorted(PLANS.values(), key=lambda p: p.id)), TIMES, TIMES, INSTANTS,
                st.sampled_from(["", "offline"]), st.text(max_size=20), TIMES,
            ),
            max_size=3,
        )
    )  # fmt: skip
    fence = draw(
        st.none() | st.builds(Fence, st.text(max_size=9), st.integers(1, 2**31), st.integers(1, 2**40))
    )
    source = draw(st.sampled_from(sorted(SOURCES)))
    return Brought(
        Delivery(SOURCES[source], draw(INSTANTS), Reads(meters, times, columns), tuple(attempts)), fence
    )


@given(deliveries(), st.text(max_size=40), st.integers(0, 2**63))
def test_any_delivery_comes_back(item: Brought, collector: str, sequence: int) -> None:
    back = one(encode(Record(collector, sequence, item)))
    assert (back.collector, back.sequence) == (collector, sequence)
    assert same(back.brought, item)


def read(data: bytes) -> tuple[list[Record], str]:
    records = []
    try:
        for frame in frames(data):
            records.append(decode(frame))  # noqa: PERF401 - those before the fault are wanted
    except BadRecord as error:
        return records, str(error)
    return records, ""


PAIR = [encode(Record("here", k, brought(4, salt=k))) for k in (1, 2)]


@given(st.integers(0, len(PAIR[0] + PAIR[1]) - 1))
def test_cut_anywhere_the_whole_records_before_it_are_read(cut: int) -> None:
    records, fault = read((PAIR[0] + PAIR[1])[:cut])
    assert [r.sequence for r in records] == ([1] if cut >= len(PAIR[0]) else [])
    assert bool(fault) is (cut not in (0, len(PAIR[0])))


@given(st.integers(0, len(PAIR[1]) * 8 - 1))
def test_any_flipped_bit_is_found_and_what_was_before_it_is_read(bit: int) -> None:
    spoilt = bytearray(PAIR[1])
    spoilt[bit // 8] ^= 1 << bit % 8
    records, fault = read(PAIR[0] + bytes(spoilt))
    assert [r.sequence for r in records] == [1]
    assert fault


@given(st.binary(max_size=300))
def test_anything_else_is_no_record_and_nothing_worse(noise: bytes) -> None:
    records, fault = read(noise)
    assert not records
    assert bool(fault) is bool(noise)


def test_a_record_that_is_left_out_is_noticed() -> None:
    third = encode(Record("here", 3, brought(4)))
    records, fault = read(PAIR[0] + third)
    assert [r.sequence for r in records] == [1]
    assert "record 3 follows record 1" in fault


def test_what_a_newer_version_may_know_and_we_do_not_is_said() -> None:
    (frame,) = frames(
        encode(
            Record(
                "here",
                1,
                Brought(Delivery(SOURCES["day"], NOW, attempts=(Attempt(1, DAY, NO_TIMES, NO_TIMES, NOW),))),
            )
        )
    )
    odd = type(frame)(frame.sequence, frame.content[:-3], frame.end)
    with pytest.raises(BadRecord, match="record 1 cannot be read"):
        decode(odd)

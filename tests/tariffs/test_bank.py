"""Words, dates, names and the MAC of the bank link."""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
from zoneinfo import ZoneInfo

import pytest

from tariffs.bank import (
    FIELDS,
    Code,
    accounting_date,
    day_key,
    fixed_part,
    genuine,
    mac,
    masked,
    text_of,
    total,
)

DAY = dt.date(2026, 3, 11)
PAYING = {
    "accounting_date": DAY, "serial": "A1", "customer": "33010001", "amount_fen": 12_345,
    "time": dt.datetime(2026, 3, 11, 10, 0, tzinfo=ZoneInfo("Asia/Shanghai")), "prepaid": False, "bills": ["a", "b"],
}  # fmt: skip


def test_every_code_has_its_number_and_both_languages() -> None:
    words = [code.value for code in Code]
    assert len({word.number for word in words}) == len(words)
    for word in words:
        assert word.number.isdigit()
        assert len(word.number) == 4
        assert word.en.isascii()
        assert any("\u4e00" <= letter <= "\u9fff" for letter in word.zh)


def test_the_fixed_part_is_length_prefixed() -> None:
    assert fixed_part("pay", PAYING) == (
        b"0003pay" b"00102026-03-11" b"0002A1" b"000833010001" b"000512345" b"00202026-03-11T02:00:00Z" b"0002no" b"0003a,b"
    )  # fmt: skip
    # what stands where is told by the lengths: nothing can be moved from one field to the next
    assert fixed_part("pay", PAYING | {"serial": "A13", "customer": "3010001"}) != fixed_part("pay", PAYING)


def test_the_mac_is_hmac_of_the_fixed_part() -> None:
    expected = hmac.new(b"k" * 32, fixed_part("pay", PAYING), hashlib.sha256).hexdigest()[:32]
    assert mac(b"k" * 32, "pay", PAYING) == expected
    assert genuine(b"k" * 32, "pay", PAYING, expected.upper())
    for given in (None, "", expected[:-1], expected[:-1] + ("0" if expected[-1] != "0" else "1"), "没有"):
        assert not genuine(b"k" * 32, "pay", PAYING, given)


@pytest.mark.parametrize("name", FIELDS["pay"])
def test_no_field_can_be_changed(name: str) -> None:
    other = {
        "accounting_date": dt.date(2026, 3, 12), "serial": "A2", "customer": "33010002", "amount_fen": 12_346,
        "time": dt.datetime(2026, 3, 11, 10, 1, tzinfo=ZoneInfo("Asia/Shanghai")), "prepaid": True, "bills": ["a"],
    }  # fmt: skip
    assert not genuine(b"k", "pay", PAYING | {name: other[name]}, mac(b"k", "pay", PAYING))


def test_a_message_is_no_other_message() -> None:
    fields = {"accounting_date": DAY, "operator": "7"}
    assert mac(b"k", "sign-on", fields) != mac(b"k", "sign-off", fields)


def test_each_day_and_bank_and_seed_has_its_own_key() -> None:
    keys = {
        day_key(b"m", *given)
        for given in (
            ("ICBC", DAY, "s"),
            ("ICBC", DAY, "t"),
            ("ICBC", DAY + dt.timedelta(days=1), "s"),
            ("ABC", DAY, "s"),
        )
    }
    assert len(keys) == 4


def test_no_float_is_ever_signed() -> None:
    with pytest.raises(TypeError, match="no float"):
        text_of(1.5)


def test_from_the_cut_off_on_it_is_the_next_day() -> None:
    cutoff = dt.time(22)
    assert accounting_date(dt.datetime(2026, 3, 11, 21, 59, 59), cutoff) == DAY
    assert accounting_date(dt.datetime(2026, 3, 11, 22), cutoff) == dt.date(2026, 3, 12)
    assert accounting_date(dt.datetime(2026, 3, 12), cutoff) == dt.date(2026, 3, 12)
    assert accounting_date(dt.datetime(2026, 12, 31, 23), cutoff) == dt.date(2027, 1, 1)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("", ""), ("王", "*"), ("张三", "*三"), ("张三丰", "**丰"), ("欧阳锋子", "***子"), ("杭州某某有限公司", "杭州****公司"),
    ],
)  # fmt: skip
def test_names_are_masked(name: str, shown: str) -> None:
    assert masked(name) == shown


def test_totals() -> None:
    assert total([]) == (0, 0)
    assert total(k for k in (1, 2, 3)) == (3, 6)

"""Files that are what was written, and files that are refused as a whole, by the line and field that is wrong."""

from __future__ import annotations

import datetime as dt
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tariffs.bank_files import (
    BadFile,
    Debit,
    Result,
    Results,
    read_day,
    read_results,
    write_day,
    write_debits,
    write_results,
)
from tariffs.bank_match import Day, Payment, Reversal

DAY = dt.date(2026, 3, 11)
TEN = dt.datetime(2026, 3, 11, 10, tzinfo=ZoneInfo("Asia/Shanghai"))
BOOKS = Day(
    "ICBC",
    DAY,
    (Payment("a", "3301", 100, TEN), Payment("b", "3302", 250, TEN)),
    (Reversal("c", "b", "3302", 250, TEN),),
)
TEXT = (
    "day,ICBC,2026-03-11\n"
    "totals,2,350,1,250\n"
    "payment,a,3301,100,2026-03-11T10:00:00+08:00\n"
    "payment,b,3302,250,2026-03-11T10:00:00+08:00\n"
    "reversal,c,3302,250,2026-03-11T10:00:00+08:00,b\n"
)
ANSWER = (
    "results,B1,ICBC,2026-03-12\ntotals,1,100,1,250\nitem,1,3301,100,paid\nitem,2,3302,250,failed,余额不足\n"
)


def test_a_day_is_read_as_it_was_written() -> None:
    assert write_day(BOOKS).decode() == TEXT
    assert read_day(TEXT.encode()) == BOOKS
    assert read_day(b"\xef\xbb\xbf" + TEXT.replace("\n", "\r\n").encode()) == BOOKS
    empty = Day("ICBC", DAY, (), ())
    assert read_day(write_day(empty)) == empty


def test_results_are_read_as_they_were_written() -> None:
    results = Results(
        "B1",
        "ICBC",
        dt.date(2026, 3, 12),
        (Result(1, "3301", 100, True, ""), Result(2, "3302", 250, False, "余额不足")),
    )
    assert write_results(results).decode() == ANSWER
    assert read_results(ANSWER.encode()) == results


def test_debits() -> None:
    items = [Debit(1, "6222.1", "3301", 100), Debit(2, "6222.2", "3302", 250)]
    assert write_debits("B1", "ICBC", DAY, items) == (
        b"debit,B1,ICBC,2026-03-11\ntotals,2,350\nitem,1,6222.1,3301,100\nitem,2,6222.2,3302,250\n"
    )


@pytest.mark.parametrize(
    ("old", "new", "line", "field", "problem"),
    [
        ("day,ICBC", "results,ICBC", 1, "record", "'results' is not 'day'"),
        ("day,ICBC,", "day,", 1, "date", "1 fields, not 2"),
        ("2026-03-11\n", "2026-02-30\n", 1, "date", "'2026-02-30' is not a date"),
        ("totals,2,350,1,250\n", "", 2, "record", "'payment' is not 'totals'"),
        ("totals,2,350", "totals,3,350", 2, "payments", "3 in the totals, 2 in the lines below"),
        ("totals,2,350", "totals,2,351", 2, "fen", "351 in the totals, 350 in the lines below"),
        ("350,1,250\n", "350,1,x\n", 2, "fen", "'x' is not a whole number"),
        ("payment,b", "payment,a", 4, "serial", "a stands in the file twice"),
        ("payment,b", "payment,b/1", 4, "serial", "'b/1' is not 1 to 80"),
        ("payment,b", "pay,b", 4, "record", "'pay' is not 'payment'"),
        ("3301,100,", "3301,1.00,", 3, "fen", "'1.00' is not a whole number"),
        ("3301,100,", "3301,-100,", 3, "fen", "'-100' is not a whole number"),
        ("3301,100,", "3301,0,", 3, "fen", "an amount is more than 0 fen"),
        ("100,2026-03-11T10:00:00+08:00", "100,2026-03-11T10:00:00", 3, "time", "is not a time with offset"),
        (",b\n", "\n", 5, "original", "4 fields, not 5"),
        ("3302,250,2026-03-11T10:00:00+08:00,b", "3302,251,2026-03-11T10:00:00+08:00,b", 5, "fen", "251 is not the 250 fen of b"),
        ("250\npayment,a", "250\n\npayment,a", 3, "record", "'' is not 'payment'"),
    ],
)  # fmt: skip
def test_a_bad_day_is_refused_by_line_and_field(
    old: str, new: str, line: int, field: str, problem: str
) -> None:
    assert old in TEXT
    with pytest.raises(BadFile) as refused:
        read_day(TEXT.replace(old, new, 1).encode())
    assert (refused.value.line, refused.value.field) == (line, field)
    assert problem in refused.value.problem
    assert f"line {line}: {field}: " in str(refused.value)


@pytest.mark.parametrize(
    ("old", "new", "line", "field"),
    [
        ("paid", "payed", 3, "result"),
        ("failed,余额不足", "failed", 4, "reason"),
        ("item,2", "item,1", 4, "seq"),
        ("totals,1,100,1", "totals,1,100,2", 2, "failed"),
    ],
)
def test_bad_results(old: str, new: str, line: int, field: str) -> None:
    with pytest.raises(BadFile) as refused:
        read_results(ANSWER.replace(old, new, 1).encode())
    assert (refused.value.line, refused.value.field) == (line, field)


def test_not_text() -> None:
    with pytest.raises(BadFile, match="line 3: record: it is not UTF-8"):
        read_day(TEXT.encode().replace(b"3301", b"\xff"))
    with pytest.raises(BadFile):
        read_day(b"")


@given(st.integers(0, len(TEXT) - 2))
def test_a_file_that_was_cut_off_is_refused(length: int) -> None:
    with pytest.raises(BadFile):
        read_day(TEXT.encode()[:length])


@given(st.binary(max_size=200))
def test_noise_is_refused_and_nothing_else(noise: bytes) -> None:
    for read in (read_day, read_results):
        with pytest.raises(BadFile):
            read(noise)

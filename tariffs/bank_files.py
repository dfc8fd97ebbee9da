"""The files of the bank link: direct debits out, their results in, a day's totals and details in. UTF-8 text, one record a line, fields by comma.

    debit,BATCH,BANK,DATE                         results,BATCH,BANK,DATE                        day,BANK,DATE
    totals,COUNT,FEN                              totals,PAID,FEN,FAILED,FEN                     totals,PAYMENTS,FEN,REVERSALS,FEN
    item,SEQ,ACCOUNT,CUSTOMER,FEN                 item,SEQ,CUSTOMER,FEN,paid                     payment,SERIAL,CUSTOMER,FEN,TIME
                                                  item,SEQ,CUSTOMER,FEN,failed,REASON            reversal,SERIAL,CUSTOMER,FEN,TIME,ORIGINAL

The form is this program's own. Totals come first and must be those of the lines below them, so that a file that was cut off is refused. A
file is taken as a whole or not at all: the first thing wrong with it is one `BadFile` that names line and field.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from tariffs.bank import total
from tariffs.bank_match import Day, Payment, Reversal

#: what a serial, an account and a customer number are made of: nothing that separates fields, or parts of a ledger entry's period
NAME: Final = re.compile(r"[0-9A-Za-z_.:-]{1,80}")
_AMOUNT: Final = re.compile(r"[1-9][0-9]{0,10}|0")
#: lines of one file: a big bank's day in a big city; more is taken for a mistake
MOST_LINES: Final = 2_000_000


class BadFile(ValueError):
    """A file that must not be used: which line and field, and what is wrong with it."""

    def __init__(self, line: int, field: str, problem: str) -> None:
        super().__init__(
            f"line {line}: {field}: {problem}; the whole file is refused, ask the bank for another"
        )
        self.line = line
        self.field = field
        self.problem = problem


@dataclass(frozen=True, slots=True)
class Debit:
    """One amount that a bank is asked to draw from one of its accounts."""

    seq: int
    account: str
    customer: str
    amount_fen: int


@dataclass(frozen=True, slots=True)
class Result:
    """What became of it. `reason` is empty where it was paid."""

    seq: int
    customer: str
    amount_fen: int
    paid: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Results:
    batch: str
    bank: str
    date: dt.date
    items: tuple[Result, ...]


def write_debits(batch: str, bank: str, date: dt.date, items: Sequence[Debit]) -> bytes:
    """The file of a batch: the same items give the same bytes."""
    count, fen = total(item.amount_fen for item in items)
    lines = [f"debit,{batch},{bank},{date}", f"totals,{count},{fen}"]
    lines += [f"item,{item.seq},{item.account},{item.customer},{item.amount_fen}" for item in items]
    return ("\n".join(lines) + "\n").encode()


def write_results(results: Results) -> bytes:
    """A bank's answer, as `read_results` reads it."""
    paid, failed = (
        total(i.amount_fen for i in results.items if i.paid is wanted) for wanted in (True, False)
    )
    lines = [
        f"results,{results.batch},{results.bank},{results.date}",
        "totals,{},{},{},{}".format(*paid, *failed),
    ]
    for item in results.items:
        said = "paid" if item.paid else f"failed,{item.reason}"
        lines.append(f"item,{item.seq},{item.customer},{item.amount_fen},{said}")
    return ("\n".join(lines) + "\n").encode()


def write_day(day: Day) -> bytes:
    """A bank's day, as `read_day` reads it."""
    lines = [f"day,{day.bank},{day.date}", "totals,{},{},{},{}".format(*day.totals)]
    lines += [f"payment,{p.serial},{p.customer},{p.amount_fen},{p.time.isoformat()}" for p in day.payments]
    lines += [
        f"reversal,{r.serial},{r.customer},{r.amount_fen},{r.time.isoformat()},{r.original}"
        for r in day.reversals
    ]
    return ("\n".join(lines) + "\n").encode()


def read_results(body: bytes) -> Results:
    """A result file. BadFile."""
    lines = _lines(body)
    head = lines[0].fields("results", ("batch", "bank", "date"))
    batch, bank, date = head.name(1), head.name(2), head.date(3)
    totals = _second(lines).fields("totals", ("paid", "fen", "failed", "fen"))
    items: list[Result] = []
    seen: set[int] = set()
    for line in lines[2:]:
        failed = len(line.parts) > 4 and line.parts[4] == "failed"
        row = line.fields("item", ("seq", "customer", "fen", "result", *(["reason"] if failed else [])))
        if row.parts[4] not in ("paid", "failed"):
            raise row.wrong(4, f"{row.parts[4]!r} is neither paid nor failed")
        item = Result(row.number(1), row.name(2), row.amount(3), not failed, row.parts[5] if failed else "")
        if item.seq in seen:
            raise row.wrong(1, f"{item.seq} stands in the file twice")
        seen.add(item.seq)
        items.append(item)
    results = Results(batch, bank, date, tuple(items))
    sums = [total(i.amount_fen for i in items if i.paid is wanted) for wanted in (True, False)]
    _agree(totals, [value for pair in sums for value in pair])
    return results


def read_day(body: bytes) -> Day:
    """A day-end file. BadFile."""
    lines = _lines(body)
    head = lines[0].fields("day", ("bank", "date"))
    totals = _second(lines).fields("totals", ("payments", "fen", "reversals", "fen"))
    payments: dict[str, Payment] = {}
    reversals: dict[str, Reversal] = {}
    serials: set[str] = set()
    for line in lines[2:]:
        taking_back = line.parts[0] == "reversal"
        names = ("serial", "customer", "fen", "time", *(["original"] if taking_back else []))
        row = line.fields("reversal" if taking_back else "payment", names)
        serial, customer, fen, time = row.name(1), row.name(2), row.amount(3), row.time(4)
        if serial in serials:
            raise row.wrong(1, f"{serial} stands in the file twice")
        serials.add(serial)
        if not taking_back:
            payments[serial] = Payment(serial, customer, fen, time)
            continue
        original = row.name(5)
        if original in reversals:
            raise row.wrong(5, f"{original} is reversed twice")
        reversals[original] = Reversal(serial, original, customer, fen, time)
        there = payments.get(original)
        if there is not None and there.amount_fen != fen:
            raise row.wrong(3, f"{fen} is not the {there.amount_fen} fen of {original}")
    day = Day(head.name(1), head.date(2), tuple(payments.values()), tuple(reversals.values()))
    _agree(totals, list(day.totals))
    return day


@dataclass(frozen=True, slots=True)
class _Line:
    number_: int
    parts: list[str]
    names: tuple[str, ...] = ()

    def fields(self, kind: str, names: Sequence[str]) -> _Line:
        """Itself, with its fields named, if it is of this kind and has as many. BadFile."""
        named = _Line(self.number_, self.parts, ("record", *names))
        if self.parts[0] != kind:
            raise named.wrong(0, f"{self.parts[0][:40]!r} is not {kind!r}")
        if len(self.parts) != len(named.names):
            raise BadFile(
                self.number_,
                named.names[min(len(self.parts), len(names))],
                f"{len(self.parts) - 1} fields, not {len(names)}: {kind},{','.join(names).upper()}",
            )
        return named

    def wrong(self, k: int, problem: str) -> BadFile:
        return BadFile(self.number_, self.names[k], problem)

    def name(self, k: int) -> str:
        if not NAME.fullmatch(self.parts[k]):
            raise self.wrong(k, f"{self.parts[k][:40]!r} is not 1 to 80 of letters, digits and _ . : -")
        return self.parts[k]

    def number(self, k: int) -> int:
        if not _AMOUNT.fullmatch(self.parts[k]):
            raise self.wrong(k, f"{self.parts[k][:40]!r} is not a whole number")
        return int(self.parts[k])

    def amount(self, k: int) -> int:
        fen = self.number(k)
        if not fen:
            raise self.wrong(k, "an amount is more than 0 fen")
        return fen

    def date(self, k: int) -> dt.date:
        try:
            return dt.date.fromisoformat(self.parts[k])
        except ValueError:
            raise self.wrong(k, f"{self.parts[k][:40]!r} is not a date such as 2026-03-11") from None

    def time(self, k: int) -> dt.datetime:
        try:
            when = dt.datetime.fromisoformat(self.parts[k])
        except ValueError:
            when = None
        if when is None or when.tzinfo is None:
            raise self.wrong(
                k, f"{self.parts[k][:40]!r} is not a time with offset: 2026-03-11T10:00:00+08:00"
            )
        return when


def _lines(body: bytes) -> list[_Line]:
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = body.count(b"\n", 0, error.start) + 1
        raise BadFile(line, "record", "it is not UTF-8 text") from None
    rows = text.replace("\r\n", "\n").removesuffix("\n").split("\n")
    if len(rows) > MOST_LINES:
        raise BadFile(MOST_LINES, "record", f"more than {MOST_LINES} lines")
    return [_Line(k, row.split(",")) for k, row in enumerate(rows, 1)]


def _second(lines: list[_Line]) -> _Line:
    if len(lines) < 2:
        raise BadFile(2, "record", "the file ends before its totals")
    return lines[1]


def _agree(totals: _Line, found: Sequence[int]) -> None:
    for k, value in enumerate(found, 1):
        if totals.number(k) != value:
            raise totals.wrong(k, f"{totals.parts[k]} in the totals, {value} in the lines below")

"""NEM12 in: interval energies become registers again.

A NEM12 file says what flowed in each interval, our store keeps what the register showed. So the energies are added onto a register that is
known: the store's own at the instant where a run of intervals begins, else the one given as opening, which is then kept as what it is, an
assumption. Energies are on the primary side; the running sum is divided by CT x PT, so that rounding never adds up.

An interval flagged A gives a reading. S, E and F are no readings: their registers are laid over as estimates, `nem12-S14` and so on being
the method. A null (N) ends a run: behind it nothing is known until a register is.
"""

from __future__ import annotations

import csv
import datetime as dt
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from headend.export.nem12 import SUFFIXES, standard_midnight
from headend.importing.csvfile import opened
from headend.importing.rows import Complaints, Mark, Rows
from headend.plans import CURVE, locate
from headend.store import sheets
from headend.store.db import Connection
from headend.store.sheets import ESTIMATED
from protocols.localtime import as_datetime
from protocols.reading import MISSING

I64 = NDArray[np.int64]

#: what the suffix's first letter says, as in our own files
CODES: Final = {suffix[0]: code for code, suffix in SUFFIXES.items()}
#: unit, in lower case -> 1e-4 kWh or kvarh
UNITS: Final = {
    unit: Decimal(scale)
    for scale, names in (("10", ("wh", "varh")), ("10000", ("kwh", "kvarh")), ("10000000", ("mwh", "mvarh")))
    for unit in names
}

LENGTHS: Final = (5, 15, 30)
_VALUE: Final = re.compile(r"\d+(\.\d*)?")
_QUALITY: Final = re.compile(r"A|N|V|[ESF]\d\d")
#: interval energies of one meter held at once: a year of five-minute intervals of four registers
MOST_DAYS: Final = 366 * 4


@dataclass(slots=True)
class Day:
    """A 300 record. energy int64[n] in 1e-4; flags [n] of (QualityMethod, reason)."""

    line: int
    date: dt.date
    energy: I64
    flags: list[tuple[str, str]]
    varies: bool = False
    covered: int = 0


@dataclass(slots=True)
class Register:
    """A 200 record and its days."""

    line: int
    nmi: str
    serial: str
    code: str
    minutes: int
    scale: Decimal
    last: int = 0  # the line of its last record
    days: list[Day] = field(default_factory=list)


def read(
    conn: Connection, path: Path, complaints: Complaints, zone: ZoneInfo, opening: dict[str, int]
) -> Iterator[Rows]:
    """The registers of each meter of the file, meter by meter. What is wrong goes to `complaints`."""
    seen: set[tuple[str, str, str, dt.date]] = set()
    openings = _Openings(opening)
    for registers in _meters(path, complaints):
        for register in registers:
            _once(register, seen, complaints)
        lines = range(registers[0].line, registers[-1].last + 1)
        if complaints.total > len(complaints.kept) or any(c.line in lines for c in complaints.kept):
            continue  # what cannot be read cannot be placed
        made = _placed(conn, registers, complaints, zone, openings)
        if made is not None:
            yield made


def _once(register: Register, seen: set[tuple[str, str, str, dt.date]], complaints: Complaints) -> None:
    for day in register.days:
        key = (register.nmi, register.serial, register.code, day.date)
        if key in seen:
            complaints.add(
                day.line, f"{register.nmi} {register.code} of {day.date}: said before in this file"
            )
        seen.add(key)


# ---- the records ----


def _meters(path: Path, complaints: Complaints) -> Iterator[list[Register]]:
    """The 200 blocks of one NMI and meter together, as they follow each other."""
    block: list[Register] = []
    for register in _Parser(complaints).registers(path):
        if block and (register.nmi, register.serial) != (block[0].nmi, block[0].serial):
            yield block
            block = []
        block.append(register)
    if block:
        yield block


@dataclass(slots=True)
class _Parser:
    complaints: Complaints
    register: Register | None = None
    day: Day | None = None
    ended: bool = False

    def registers(self, path: Path) -> Iterator[Register]:
        """200 blocks in file order, each complete."""
        line = 0
        with opened(path) as handle:
            table = csv.reader(handle)
            try:
                for row in table:
                    if not row:
                        continue
                    line = table.line_num
                    done = self._record(row, line)
                    if done is not None:
                        yield done
            except (csv.Error, OSError, EOFError, zlib.error) as error:
                self.complaints.add(line + 1, f"cannot be read: {error}")
        if not self.ended:
            self.complaints.add(line, "the file is cut off: it has no 900 record at its end")
        self._close_day()
        if self.register is not None:
            yield self.register

    def _record(self, row: list[str], line: int) -> Register | None:
        """Take a record; the block before it if that is complete."""
        kind, done = row[0], None
        if self.register is not None and kind != "200":
            self.register.last = line
        if any("\udc80" <= char <= "\udcff" for cell in row for char in cell):
            self.complaints.add(line, "is not UTF-8 text")
        if self.ended:
            self.complaints.add(line, "there is something behind the 900 record")
        elif line == 1 or kind == "100":
            if kind != "100" or line != 1 or row[1:2] != ["NEM12"]:
                self.complaints.add(line, "a file begins with one 100 record that says NEM12")
        elif kind == "200":
            self._close_day()
            done, self.register = self.register, self._begin(row, line)
        elif kind == "300":
            self._close_day()
            self._day(row, line)
        elif kind == "400":
            self._event(row, line)
        elif kind == "900":
            self.ended = True
        elif kind != "500":  # 500: business details of a reading; nothing of ours
            self.complaints.add(line, f"there is no record {kind[:10]!r} in NEM12")
        return done

    def _begin(self, row: list[str], line: int) -> Register | None:
        row = [cell.strip() for cell in row] + [""] * (10 - len(row))
        nmi, suffix, serial, unit, minutes = row[1], row[4], row[6], row[7], row[8]
        wrong = []
        if not nmi:
            wrong.append("the NMI is empty")
        if suffix[:1] not in CODES or len(suffix) != 2:
            wrong.append(f"suffix {suffix!r}: known are {', '.join(f'{letter}n' for letter in CODES)}")
        if unit.lower() not in UNITS:
            wrong.append(f"unit {unit!r} is no energy")
        if not minutes.isdigit() or int(minutes) not in LENGTHS:
            wrong.append(f"interval length {minutes!r}: known are {', '.join(map(str, LENGTHS))}")
        for reason in wrong:
            self.complaints.add(line, reason)
        if wrong:
            return None
        return Register(line, nmi, serial, CODES[suffix[0]], int(minutes), UNITS[unit.lower()], last=line)

    def _day(self, row: list[str], line: int) -> None:
        register, self.day = self.register, None
        if register is None:
            self.complaints.add(line, "a 300 record without a 200 record that can be read before it")
            return
        n = 1440 // register.minutes
        if not n + 3 <= len(row) <= n + 7:
            self.complaints.add(
                line, f"{len(row)} fields; {n} intervals of {register.minutes} minutes make {n + 7}"
            )
            return
        try:
            date = dt.datetime.strptime(row[1], "%Y%m%d").date()
        except ValueError:
            self.complaints.add(line, f"{row[1][:20]!r} is no date such as 20260311")
            return
        if len(register.days) >= MOST_DAYS:
            self.complaints.add(line, f"more than {MOST_DAYS} days of one register; cut the file")
            return
        energy = [self._energy(text, k, register, line) for k, text in enumerate(row[2 : 2 + n], start=1)]
        tail = [*row[2 + n :], "", "", "", ""]
        flag = self._flag(tail[0].strip(), tail[1].strip(), tail[2].strip(), line)
        self.day = Day(line, date, np.array(energy, dtype=np.int64), [flag] * n, varies=flag[0] == "V")
        if flag[0] == "V":
            self.day.flags = [("", "")] * n
        register.days.append(self.day)

    def _energy(self, text: str, k: int, register: Register, line: int) -> int:
        if not _VALUE.fullmatch(text.strip()):
            self.complaints.add(line, f"interval {k}: {text[:20]!r} is not a number from 0 on")
            return 0
        exact = Decimal(text.strip()) * register.scale
        if exact != exact.to_integral_value() or exact > 10**13:
            self.complaints.add(
                line, f"interval {k}: {text[:20]} is finer than 0.0001 of a kWh, or no energy of an interval"
            )
            return 0
        return int(exact)

    def _flag(self, quality: str, code: str, words: str, line: int) -> tuple[str, str]:
        """(QualityMethod, reason as 'code words')."""
        if not _QUALITY.fullmatch(quality):
            self.complaints.add(
                line, f"quality {quality[:10]!r}: A, N, V, or E, S or F with a method of two digits"
            )
        elif quality[0] in "SF" and not code.isdigit():
            self.complaints.add(line, f"quality {quality} without a reason code")
        return quality, f"{code} {words}".strip()

    def _event(self, row: list[str], line: int) -> None:
        """A 400 record: the quality of some intervals of a day whose quality varies."""
        if self.day is None:
            self.complaints.add(line, "a 400 record without a 300 record that can be read before it")
            return
        if not self.day.varies:
            self.complaints.add(line, "a 400 record after a 300 record whose quality is not V")
            return
        row = [cell.strip() for cell in row] + [""] * (6 - len(row))
        n = len(self.day.flags)
        if not (
            row[1].isdigit() and row[2].isdigit() and self.day.covered + 1 == int(row[1]) <= int(row[2]) <= n
        ):
            self.complaints.add(
                line, f"intervals {row[1]} to {row[2]}: the next one is {self.day.covered + 1} of {n}"
            )
            return
        flag = self._flag(row[3], row[4], row[5], line)
        if flag[0] == "V":
            self.complaints.add(line, "quality V is for 300 records alone")
        self.day.flags[self.day.covered : int(row[2])] = [flag] * (int(row[2]) - self.day.covered)
        self.day.covered = int(row[2])

    def _close_day(self) -> None:
        """What can be said of a day only when it is complete."""
        day, self.day = self.day, None
        if day is None:
            return
        if day.varies and day.covered < len(day.flags):
            self.complaints.add(
                day.line, f"quality V, but its 400 records end at interval {day.covered} of {len(day.flags)}"
            )
        odd = [k for k, flag in enumerate(day.flags) if flag[0] == "N" and day.energy[k]]
        if odd:
            self.complaints.add(day.line, f"interval {odd[0] + 1} is null (N) and has a value")


# ---- registers ----


@dataclass(slots=True)
class _Openings:
    """Registers that were given, by meter ('' for all others): each is where the file begins, so it counts once."""

    given: dict[str, int]
    used: set[tuple[str, str, str]] = field(default_factory=set)

    def take(self, register: Register) -> int | None:
        if (register.nmi, register.serial, register.code) in self.used:
            return None
        return self.given.get(register.serial, self.given.get(""))

    def begun(self, register: Register) -> None:
        """The file's first run of this register is done."""
        self.used.add((register.nmi, register.serial, register.code))


def _placed(
    conn: Connection,
    registers: list[Register],
    complaints: Complaints,
    zone: ZoneInfo,
    opening: _Openings,
) -> Rows | None:
    """The rows of one meter; None if nothing can be placed."""
    first = registers[0]
    days = [day for register in registers for day in register.days]
    if not days:
        return None
    begin = standard_midnight(min(day.date for day in days), zone)
    end = standard_midnight(max(day.date for day in days) + dt.timedelta(days=1), zone)
    meter = sheets.meter_ids(conn, [first.serial]).get(first.serial) if first.serial else None
    if meter is None:
        meter = sheets.meter_at(conn, first.nmi, begin)
    if meter is None:
        complaints.add(
            first.line,
            f"neither meter {first.serial!r} nor point {first.nmi!r} with a meter on it is in the archive",
        )
        return None
    spans = list(sheets.installations(conn, np.array([meter]), begin, end))
    cells: list[_Cell] = []
    for register in registers:
        for run in _runs(register, zone):
            cells += _Run(conn, meter, register, run, spans, opening, complaints, zone).cells()
            opening.begun(register)
    return _rows(conn, meter, cells, zone) if cells and not complaints.total else None


@dataclass(frozen=True, slots=True)
class _Cell:
    """A register at an instant. `method` '' for a reading."""

    line: int
    time: np.datetime64
    code: str
    value: int
    method: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class _Interval:
    line: int
    number: int
    end: np.datetime64
    energy: int
    flag: str
    reason: str


def _runs(register: Register, zone: ZoneInfo) -> Iterator[list[_Interval]]:
    """Intervals that follow each other without a null."""
    step, run = np.timedelta64(register.minutes, "m"), list[_Interval]()
    for day in sorted(register.days, key=lambda day: day.date):
        begin = standard_midnight(day.date, zone)
        for k, (energy, flag) in enumerate(zip(day.energy.tolist(), day.flags, strict=True), start=1):
            end = (begin + k * step).astype("datetime64[us]")
            if run and (flag[0] == "N" or run[-1].end + step != end):
                yield run
                run = []
            if flag[0] != "N":
                run.append(_Interval(day.line, k, end, energy, *flag))
    if run:
        yield run


@dataclass(frozen=True, slots=True)
class _Run:
    """One run of intervals, to be put onto a register that is known where it begins."""

    conn: Connection
    meter: int
    register: Register
    intervals: list[_Interval]
    spans: list[tuple[int, str, int, np.datetime64, np.datetime64, int]]
    opening: _Openings
    complaints: Complaints
    zone: ZoneInfo

    def cells(self) -> list[_Cell]:
        first, code = self.intervals[0], self.register.code
        begin = first.end - np.timedelta64(self.register.minutes, "m")
        span = next((s for s in self.spans if s[3] <= begin and self.intervals[-1].end <= s[4]), None)
        if span is None:
            self.complaints.add(
                first.line,
                f"from interval {first.number} on: the meter is not installed with one multiplier for all of it; cut the file there",
            )
            return []
        known = sheets.register_at(self.conn, self.meter, code, begin)
        made = []
        if known is None:
            known = self.opening.take(self.register)
            if known is None:
                self.complaints.add(
                    first.line,
                    f"interval {first.number}: {code} at {as_datetime(begin, self.zone).isoformat()} is not known; "
                    "import that register first, or give --opening",
                )
                return []
            words = f"the register where {self.complaints.file} begins is assumed"
            made.append(_Cell(first.line, begin, code, known, "nem12-opening", words))
        return made + self._registers(known, span[2], span[5])

    def _registers(self, known: int, multiplier: int, digits: int) -> list[_Cell]:
        """What the register showed at the end of each slot of the store's."""
        sums = np.cumsum([interval.energy for interval in self.intervals])
        values = (known + (2 * sums + multiplier) // (2 * multiplier)) % 10 ** (digits + 4)
        ends = np.array([interval.end for interval in self.intervals], dtype="datetime64[us]")
        on_grid = locate(CURVE, ends, self.zone)[1] >= 0
        made, flags = [], list[tuple[str, str]]()
        for interval, value, on in zip(self.intervals, values.tolist(), on_grid.tolist(), strict=True):
            flags.append((interval.flag, interval.reason))
            if on:  # of intervals shorter than a slot the worst counts
                flag, reason = next((f for f in flags if f[0] != "A"), flags[-1])
                method = "" if flag == "A" else f"nem12-{flag}"
                made.append(
                    _Cell(
                        interval.line,
                        interval.end,
                        self.register.code,
                        value,
                        method,
                        reason if method else "",
                    )
                )
                flags = []
        return made


def _rows(conn: Connection, meter: int, cells: list[_Cell], zone: ZoneInfo) -> Rows:
    """Cells of one meter as rows."""
    asset = sheets.asset(conn, meter)
    times = sorted({cell.time for cell in cells})
    row = {when: k for k, when in enumerate(times)}
    columns: dict[str, NDArray[Any]] = {}
    lines, marks = np.zeros(len(times), dtype=np.int64), []
    for cell in cells:
        k = row[cell.time]
        if cell.code not in columns:
            columns[cell.code] = np.full(len(times), MISSING, dtype=np.int64)
        columns[cell.code][k] = cell.value
        lines[k] = cell.line
        if cell.method:
            marks.append(Mark(k, cell.code, ESTIMATED, cell.method, cell.reason))
    return Rows(
        lines,
        [asset],
        np.zeros(len(times), dtype=np.int64),
        np.array(times, dtype="datetime64[us]"),
        columns,
        marks,
    )

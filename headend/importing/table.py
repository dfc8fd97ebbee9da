"""Tables as our wide and long exports write them: the header, and batches of rows as columns, from Arrow or from text."""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from headend.export.about import code_of, column
from headend.export.csv_long import HEADER as LONG
from headend.export.csv_wide import KEYS, MARKS
from headend.importing.rows import I64, QUALITY_OF, Complaints, Mark, Rows, Seen
from headend.store.sheets import QUALITIES
from headend.store.tables import Source
from protocols.localtime import Times, as_datetime, instant
from protocols.quantity import quantities
from protocols.reading import MISSING, empty_column

#: what a long table cannot do without
NEEDED: Final = ("meter", "slot_end", "quantity", "value")
_NUMBER: Final = re.compile(r"[+-]?\d+(\.\d*)?([eE][+-]?\d{1,3})?")
_WHOLE: Final = re.compile(r"[+-]?\d+")
NAT: Final = np.datetime64("NaT", "us")


@dataclass(frozen=True, slots=True)
class Layout:
    """A header that was understood. `codes`: the quantities a wide table has, or a long one may have, by their column or number."""

    names: tuple[str, ...]
    wide: bool
    codes: tuple[str, ...]

    def place(self, name: str) -> int | None:
        return self.names.index(name) if name in self.names else None

    def column_of(self, code: str) -> int:
        return next(
            k for k, name in enumerate(self.names) if name not in (*KEYS, *MARKS) and code_of(name) == code
        )


def layout(names: Sequence[str], source: Source, complaints: Complaints) -> Layout:
    """What a header means. BadFile if it is none of ours."""
    known = tuple(code for table in source.tables for code in table.codes)
    if set(NEEDED) <= set(names):
        odd = [name for name in names if name not in LONG]
        codes: tuple[str, ...] = known
    else:
        for name in KEYS:
            if name not in names:
                complaints.add(
                    1,
                    f"the header has no column {name!r}; a table begins with {', '.join(KEYS)} (wide) or has {', '.join(NEEDED)} (long)",
                )
        values = [name for name in names if name not in (*KEYS, *MARKS)]
        odd = [name for name in values if code_of(name) not in known]
        codes = tuple(code for name in values if (code := code_of(name)) in known and code is not None)
        if len(set(codes)) < len(codes):
            complaints.add(1, "a quantity has two columns")
        if not values:
            complaints.add(1, "no column holds a quantity")
    for name in odd:
        complaints.add(
            1, f"column {name!r}: {source.name} readings have none of that name; such as {column(known[0])}"
        )
    if len(set(names)) < len(names):
        complaints.add(1, "two columns have the same name")
    if complaints.total:
        raise complaints.error()
    return Layout(tuple(names), not set(NEEDED) <= set(names), codes)


@dataclass(slots=True)
class Reader:
    """Turns batches into Rows, with the memory of what the file has said."""

    layout: Layout
    complaints: Complaints
    seen: Seen = field(default_factory=Seen)
    _times: dict[str, np.datetime64] = field(default_factory=dict)

    # ---- from Arrow: whole columns at a time ----

    def from_arrow(self, pa: Any, batch: Any, line: I64) -> Rows:
        """A record batch with the layout's columns by name. ArrowInvalid where a text is not what its column holds."""
        meters = batch.column(batch.schema.get_field_index("meter")).dictionary_encode()
        assets = [str(name) for name in meters.dictionary.to_pylist()]
        index = np.asarray(meters.indices.fill_null(-1)).astype(np.int64)
        stamps = batch.column(batch.schema.get_field_index("slot_end"))
        time = np.asarray(
            stamps.cast(pa.timestamp("us", stamps.type.tz)).cast(pa.int64()).fill_null(MISSING)
        ).view("datetime64[us]")
        if (index < 0).any() or "" in assets:
            empty = np.flatnonzero(
                (index < 0) | np.isin(index, [k for k, name in enumerate(assets) if not name])
            )
            self._each(line[empty], "meter is empty")
            index = np.maximum(index, 0)
            assets = assets or [""]
        self._each(line[np.isnat(time)], "slot_end is empty")
        if self.layout.wide:
            columns = {
                code: self._values(pa, batch.column(self._at(batch, code)), code, line)
                for code in self.layout.codes
            }
            marks = self._arrow_marks(pa, batch, line)
            return self._wide(line, assets, index, time, columns, marks)
        return self._arrow_long(pa, batch, line, assets, index, time)

    def _at(self, batch: Any, code: str) -> int:
        return next(
            k
            for k, name in enumerate(batch.schema.names)
            if name not in (*KEYS, *MARKS) and code_of(name) == code
        )

    def _each(self, lines: NDArray[np.int64], reason: str) -> None:
        for line in lines.tolist():
            self.complaints.add(line, reason)

    def _values(self, pa: Any, values: Any, code: str, line: I64) -> NDArray[Any]:
        """An Arrow column as the quantity's numpy column."""
        kind = quantities()[code].kind
        there = np.asarray(values.is_valid())
        if kind == "register":
            exact = values.cast(pa.decimal128(38, 4))
            words = np.frombuffer(exact.buffers()[1], dtype="<i8")[
                2 * exact.offset : 2 * (exact.offset + len(exact))
            ].reshape(-1, 2)
            wide = there & (words[:, 1] != words[:, 0] >> 63)
            self._each(line[wide], f"{code} is out of range")
            return np.where(there & ~wide, words[:, 0], MISSING)
        if kind == "event":
            return np.asarray(values.cast(pa.int64()).fill_null(MISSING))
        if kind == "moment":
            return np.asarray(
                values.cast(pa.timestamp("us", values.type.tz)).cast(pa.int64()).fill_null(MISSING)
            ).view("datetime64[us]")
        numbers = np.asarray(values.cast(pa.float64()).fill_null(np.nan))
        self._each(line[there & ~np.isfinite(numbers)], f"{code} is not a number")
        return np.where(np.isfinite(numbers), numbers, np.nan)

    def _arrow_marks(self, pa: Any, batch: Any, line: I64) -> list[Mark]:
        at = batch.schema.get_field_index("remarks")
        if at < 0:
            return []
        texts = batch.column(at)
        said = np.flatnonzero(
            np.asarray(texts.is_valid()) & np.asarray(pa.compute.not_equal(texts, "").fill_null(False))
        )
        return [mark for k in said.tolist() for mark in self._remarks(k, texts[k].as_py(), int(line[k]))]

    def _arrow_long(self, pa: Any, batch: Any, line: I64, assets: list[str], index: I64, time: Times) -> Rows:
        def plain(name: str) -> list[str]:
            at = batch.schema.get_field_index(name)
            return [] if at < 0 else [text or "" for text in batch.column(at).to_pylist()]

        named = batch.column(batch.schema.get_field_index("quantity")).dictionary_encode()
        names = named.dictionary.to_pylist()
        what = np.asarray(named.indices.fill_null(-1)).astype(np.int64)
        code = self._codes(names, what, line)
        texts = batch.column(batch.schema.get_field_index("value"))
        values: dict[str, tuple[I64, NDArray[Any]]] = {}
        for k in np.unique(code[code >= 0]).tolist():
            rows = np.flatnonzero(code == k)
            name = self.layout.codes[k]
            mine = texts.take(pa.array(rows))
            self._each(line[rows][~np.asarray(mine.is_valid())], f"{name}: the value is empty")
            if quantities()[name].kind == "moment":
                mine = mine.cast(pa.timestamp("us", "UTC"))
            values[name] = rows, self._values(pa, mine, name, line[rows])
        self._units(batch, names, what, line)
        at = batch.schema.get_field_index("quality")
        marks: list[Mark] = []
        if at >= 0:
            odd = ~np.asarray(
                pa.compute.is_in(batch.column(at), value_set=pa.array(["", "measured", "revised"]))
            )
            if (odd & np.asarray(batch.column(at).is_valid())).any():
                marks = self._long_marks(
                    [plain(name) for name in ("quality", "method", "reason")], code, line
                )
        return self._long(line, assets, index, time, code, values, marks)

    def _units(self, batch: Any, names: list[str], what: I64, line: I64) -> None:
        """A unit or OBIS code that is not the quantity's: somebody means something else."""
        for column_name, of in (("unit", "unit"), ("obis", "obis")):
            at = batch.schema.get_field_index(column_name)
            if at < 0:
                continue
            said = batch.column(at).dictionary_encode()
            texts, index = (
                said.dictionary.to_pylist(),
                np.asarray(said.indices.fill_null(-1)).astype(np.int64),
            )
            width = len(texts) + 1
            both = (what + 1) * width + index + 1
            for pair in np.flatnonzero(np.bincount(both)).tolist():  # a handful of combinations
                k, text = pair // width - 1, pair % width - 1
                if k >= 0 and text >= 0 and names[k] in quantities():
                    self._unit(names[k], of, texts[text], line[both == pair])

    def _unit(self, code: str, of: str, text: str, lines: I64) -> None:
        meant = getattr(quantities()[code], of)
        if text not in ("", meant):
            self._each(lines, f"{code}: {of} {text!r} is not {meant!r}")

    def _codes(self, names: Sequence[str], what: I64, line: I64) -> I64:
        """int64[n]: each row's quantity by its number in the layout; -1 for none."""
        numbers = np.array(
            [self.layout.codes.index(n) if n in self.layout.codes else -1 for n in names] + [-1],
            dtype=np.int64,
        )
        code = numbers[what]
        for k in np.flatnonzero(code < 0).tolist():
            name = names[what[k]] if what[k] >= 0 else ""
            self.complaints.add(int(line[k]), f"quantity {name!r} is none of this source's")
        return code

    # ---- from text: cell by cell, so that every complaint has its line ----

    def from_text(self, rows: list[list[str]], lines: list[int]) -> Rows:
        line = np.array(lines, dtype=np.int64)
        place = {name: k for k, name in enumerate(self.layout.names)}
        number: dict[str, int] = {}
        for row, at in zip(rows, lines, strict=True):
            if not row[place["meter"]]:
                self.complaints.add(at, "meter is empty")
            number.setdefault(row[place["meter"]], len(number))
        index = np.array([number[row[place["meter"]]] for row in rows], dtype=np.int64)
        stamps = [
            self._time(row[place["slot_end"]], at, "slot_end") for row, at in zip(rows, lines, strict=True)
        ]
        time = np.array(stamps, dtype="datetime64[us]")
        if self.layout.wide:
            columns = {}
            for code in self.layout.codes:
                k = self.layout.column_of(code)
                columns[code] = self._column(
                    code, ((row[k], at) for row, at in zip(rows, lines, strict=True)), len(rows)
                )
            marks: list[Mark] = []
            if "remarks" in place:
                for n, row in enumerate(rows):
                    if row[place["remarks"]]:
                        marks += self._remarks(n, row[place["remarks"]], lines[n])
            return self._wide(line, list(number), index, time, columns, marks)
        return self._text_long(rows, line, list(number), index, time, place)

    def _text_long(
        self,
        rows: list[list[str]],
        line: I64,
        assets: list[str],
        index: I64,
        time: Times,
        place: dict[str, int],
    ) -> Rows:
        names = list(dict.fromkeys(row[place["quantity"]] for row in rows))
        at = {name: k for k, name in enumerate(names)}
        code = self._codes(
            names, np.array([at[row[place["quantity"]]] for row in rows], dtype=np.int64), line
        )
        values = {}
        for k in np.unique(code[code >= 0]).tolist():
            mine, name = np.flatnonzero(code == k), self.layout.codes[k]
            values[name] = (
                mine,
                self._column(
                    name, ((rows[n][place["value"]], int(line[n])) for n in mine.tolist()), len(mine)
                ),
            )
        for of in ("unit", "obis"):
            if of in place:
                for n, row in enumerate(rows):
                    if row[place["quantity"]] in quantities():
                        self._unit(row[place["quantity"]], of, row[place[of]], line[n : n + 1])
        told = [
            [row[place[name]] if name in place else "" for row in rows]
            for name in ("quality", "method", "reason")
        ]
        return self._long(line, assets, index, time, code, values, self._long_marks(told, code, line))

    def _time(self, text: str, line: int, name: str) -> np.datetime64:
        if text not in self._times:
            try:
                self._times[text] = instant(dt.datetime.fromisoformat(text))
            except ValueError:
                why = (
                    "is empty"
                    if not text
                    else f"{text!r} is no time with an offset, such as 2026-03-11T00:15:00+08:00"
                )
                self.complaints.add(line, f"{name} {why}")
                return NAT
            if len(self._times) > 100_000:  # a year of quarter-hours is a third of it
                self._times.clear()
        return self._times.get(text, NAT)

    def _column(self, code: str, cells: Iterable[tuple[str, int]], n: int) -> NDArray[Any]:
        values = empty_column(code, n)
        kind = quantities()[code].kind
        for k, (text, line) in enumerate(cells):
            if not text:
                if not self.layout.wide:
                    self.complaints.add(line, f"{code}: the value is empty")
                continue
            if kind == "moment":
                values[k] = self._time(text, line, code)
                continue
            number = text.strip()
            if not (_WHOLE if kind == "event" else _NUMBER).fullmatch(number):
                self.complaints.add(line, f"{code}: {text[:40]!r} is not a number")
            elif kind == "register":
                exact = Decimal(number) * 10_000
                if exact != exact.to_integral_value():
                    self.complaints.add(
                        line, f"{code}: {text[:40]} has more than four decimals; registers are exact"
                    )
                elif abs(exact) >= 2**63:
                    self.complaints.add(line, f"{code} is out of range")
                else:
                    values[k] = int(exact)
            elif kind == "event":
                values[k] = int(number) if len(number) < 18 else MISSING
            else:
                values[k] = float(number)
        return values

    # ---- what both end in ----

    def _wide(
        self,
        line: I64,
        assets: list[str],
        index: I64,
        time: Times,
        columns: dict[str, NDArray[Any]],
        marks: list[Mark],
    ) -> Rows:
        for k in self.seen.repeats(self.seen.key(assets, index, time)).tolist():
            self._twice(line[k], assets[index[k]], time[k])
        return Rows(line, assets, index, time, columns, marks)

    def _twice(self, line: Any, asset: str, when: np.datetime64, what: str = "") -> None:
        if not np.isnat(when):
            self.complaints.add(
                int(line), f"meter {asset} at {as_datetime(when).isoformat()}{what}: said before in this file"
            )

    def _long(
        self,
        line: I64,
        assets: list[str],
        index: I64,
        time: Times,
        code: I64,
        values: dict[str, tuple[I64, NDArray[Any]]],
        marks: list[Mark],
    ) -> Rows:
        key = self.seen.key(assets, index, time, np.maximum(code, 0))
        for k in self.seen.repeats(key).tolist():
            self._twice(line[k], assets[index[k]], time[k], f", {self.layout.codes[max(0, code[k])]}")
        _, first, row = np.unique(key >> 7, return_index=True, return_inverse=True)
        columns = {}
        for name, (rows, numbers) in values.items():
            columns[name] = empty_column(name, len(first))
            columns[name][row[rows]] = numbers
        moved = [Mark(int(row[m.row]), m.code, m.quality, m.method, m.reason) for m in marks]
        return Rows(line[first], assets, index[first], time[first], columns, moved)

    def _remarks(self, row: int, text: str, line: int) -> list[Mark]:
        """The cells of a row that were not measured. What was revised is the meter's own value."""
        try:
            said = json.loads(text)
            marks = [(code, str(q), str(method), str(reason)) for code, (q, method, reason) in said.items()]
        except (ValueError, AttributeError, TypeError):
            self.complaints.add(line, f"remarks: {text[:60]!r} is not the JSON of an export")
            return []
        made = [self._mark(row, *mark, line) for mark in marks]
        return [mark for mark in made if mark is not None]

    def _mark(self, row: int, code: str, quality: str, method: str, reason: str, line: int) -> Mark | None:
        if quality not in QUALITIES[1:] or code not in self.layout.codes:
            self.complaints.add(line, f"{code} {quality!r}: a quality is one of {', '.join(QUALITIES[1:])}")
            return None
        if quality not in QUALITY_OF:
            return None
        if quality == "estimated" and method in ("", "read", "edit"):
            self.complaints.add(line, f"{code} is estimated, but how is not said")
            return None
        return Mark(row, code, QUALITY_OF[quality], "edit" if quality == "edited" else method, reason)

    def _long_marks(self, told: Sequence[list[str]], code: I64, line: I64) -> list[Mark]:
        quality = told[0]
        method, reason = (column or [""] * len(quality) for column in told[1:])
        said = [k for k, q in enumerate(quality) if q not in ("", "measured") and code[k] >= 0]
        made = [
            self._mark(k, self.layout.codes[code[k]], quality[k], method[k], reason[k], int(line[k]))
            for k in said
        ]
        return [mark for mark in made if mark is not None]

"""NEM12, the interval format of AEMO's Meter Data File Format (MDFF) specification, v2.6.

    100 header, 200 one register of one meter at one NMI, 300 a day of interval energies, 400 their quality where it varies, 900 end

What is ours in its terms: the NMI is the metering point's code, MeterSerialNumber the meter's asset number; values are energies on the
primary side ("inclusive of any multiplier", 300 record), while our registers stay secondary. Suffixes: E1 active import (the customer's
consumption), B1 active export, Q1 and K1 reactive import and export.

NEM12 knows no summer time: a day is a day of *standard* time, 96 quarter-hours all year. In a zone with summer time the day is cut at
standard midnight, which is 01:00 of local time in summer.

An interval's quality is the worse one of the registers at its two ends: A actual, S substituted (an estimate that the meter's own value
will replace), F final substituted (a person's edit), N null where a register is missing or fell; a null's value is 0.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import BinaryIO, Final
from zoneinfo import ZoneInfo

import numpy as np

from headend.export.about import About, ExportError
from headend.export.text import decimals, joined, quoted
from headend.store.sheets import EDITED, ESTIMATED, GONE, MOST_DAYS, BadSelection, Energy, Place, Sheet, Span
from headend.store.tables import CURVES
from protocols.localtime import Times, as_datetime, instant
from protocols.quantity import quantities
from protocols.reading import MISSING

SUFFIX: Final = ".nem12.csv"
#: our registers -> suffix; the first letter says the direction
SUFFIXES: Final = {
    "active_import": "E1",
    "active_export": "B1",
    "reactive_import": "Q1",
    "reactive_export": "K1",
}
INTERVALS: Final = 96
#: our estimation's name -> method flag of appendix D for remotely read meters (14 like day, 17 linear, 19 zero); any other is 16, agreed
METHODS: Final = (("linear", "17"), ("like-day", "14"), ("reference-day", "14"), ("zero", "19"))
AGREED: Final = "16"
#: what came in by a NEM12 file goes out as it came
IMPORTED: Final = re.compile(r"nem12-([A-Z]\d\d)")
#: VarChar(240) of ReasonDescription
MOST_REASON: Final = 240


def standard_span(first: dt.date, last: dt.date, zone: ZoneInfo) -> Span:
    """The quarter-hours of standard-time days first..last. BadSelection if there are none, or too many."""
    days = (last - first).days + 1
    if not 1 <= days <= MOST_DAYS:
        raise BadSelection(f"{first} to {last} is {days} days; a file holds 1 to {MOST_DAYS}")
    opening = standard_midnight(first, zone)
    steps = np.arange(1, days * INTERVALS + 1) * np.timedelta64(15, "m")
    times: Times = (opening + steps).astype("datetime64[us]")
    if times[-1] != standard_midnight(last + dt.timedelta(days=1), zone):
        raise BadSelection(f"standard time of {zone} changes within {first} to {last}: write the days apart")
    return Span(CURVES, opening, times)


def standard_midnight(day: dt.date, zone: ZoneInfo) -> np.datetime64:
    """The instant at which a day of standard time begins."""
    return instant(dt.datetime(day.year, day.month, day.day, tzinfo=dt.timezone(standard_offset(day, zone))))


def standard_offset(day: dt.date, zone: ZoneInfo) -> dt.timedelta:
    """Of standard time from UTC: the least that the zone has in that year."""
    firsts = (dt.datetime(day.year, month, 1, tzinfo=zone).utcoffset() for month in range(1, 13))
    return min(offset for offset in firsts if offset is not None)


def standard(when: np.datetime64, zone: ZoneInfo) -> dt.datetime:
    """An instant by the clock of standard time."""
    return as_datetime(when, dt.timezone(standard_offset(as_datetime(when, zone).date(), zone)))


def check(about: About) -> None:
    if about.span.source is not CURVES:
        raise ExportError("NEM12 holds interval energies: export the curve")
    odd = [code for code in about.codes if code not in SUFFIXES]
    if odd:
        raise ExportError(
            f"NEM12 holds energies only, not {', '.join(odd)}; choose from {', '.join(SUFFIXES)}"
        )


def write(handle: BinaryIO, sheets: Iterable[Sheet], about: About) -> int:
    """Returns the 300 records written."""
    check(about)
    made = standard(about.now, about.zone)
    sender, receiver = about.participants
    handle.write(f"100,NEM12,{made:%Y%m%d%H%M},{sender},{receiver}\n".encode())
    records = 0
    for sheet in sheets:
        energies = {code: sheet.energy(code) for code in about.codes}
        for place in sheet.places:
            for text in _place(sheet, energies, place, about, f"{made:%Y%m%d%H%M%S}"):
                handle.write(text)
                records += text.startswith(b"300")
    handle.write(b"900\n")
    return records


def _place(
    sheet: Sheet, energies: dict[str, Energy], place: Place, about: About, made: str
) -> Iterator[bytes]:
    """The records of one meter at one point: of each register that said anything."""
    known = [code for code in about.codes if (sheet.quality[code][place.meter] != GONE).any()]
    every = "".join(SUFFIXES[code] for code in known)
    for code in known:
        suffix, unit = SUFFIXES[code], quantities()[code].unit.replace("kvarh", "kVArh")
        yield f"200,{quoted(place.point)},{every},{suffix},{suffix},,{quoted(sheet.assets[place.meter])},{unit},15,\n".encode()
        yield from _days(sheet, energies[code], place, code, made, about)


def _days(
    sheet: Sheet, energies: Energy, place: Place, code: str, made: str, about: About
) -> Iterator[bytes]:
    energy, quality = energies[0][place.meter].copy(), energies[1][place.meter]
    energy[: place.begin] = energy[place.end :] = MISSING
    quality = np.where(energy == MISSING, GONE, quality)
    energy = np.where(energy == MISSING, 0, energy * place.multiplier)
    there = np.ones(INTERVALS, dtype=np.bool_)
    for begin in range(0, len(energy), INTERVALS):
        part = slice(begin, begin + INTERVALS)
        if (quality[part] == GONE).all():
            continue  # a day of which nothing is known is no record
        date = standard(sheet.span.starts[begin], about.zone)
        values = decimals(energy[part], there)
        separated = np.concatenate([np.full((INTERVALS, 1), ord(","), dtype=np.uint8), values], axis=1)
        flags = [_flag(sheet, code, place.meter, t, int(quality[t])) for t in range(begin, begin + INTERVALS)]
        runs = [(flag, len(list(group))) for flag, group in groupby(flags)]
        head = f"{runs[0][0]}" if len(runs) == 1 else "V,,"
        yield b"300," + f"{date:%Y%m%d}".encode() + joined(separated) + f",{head},{made},\n".encode()
        first = 1
        for flag, count in runs if len(runs) > 1 else []:
            yield f"400,{first},{first + count - 1},{flag}\n".encode()
            first += count


def _flag(sheet: Sheet, code: str, m: int, t: int, quality: int) -> str:
    """QualityMethod, ReasonCode, ReasonDescription of an interval."""
    if quality == GONE:
        return "N,78,"  # 78: null data
    if quality not in (EDITED, ESTIMATED):
        return "A,,"
    ends = [(code, m, t - 1), (code, m, t)]
    grades = [_grade(sheet, end) for end in ends]
    method, reason = sheet.notes.get(ends[1] if grades[1] == quality else ends[0], ("", ""))
    came = IMPORTED.fullmatch(method)
    number, _, words = reason.partition(" ")
    if came and number.isdigit():
        return f"{came[1]},{number},{_plain(words)}"
    if quality == EDITED:
        return f"F{AGREED},0,{_plain(f'edited: {reason}')}"
    flag = next((flag for name, flag in METHODS if name in method), AGREED)
    return f"S{flag},0,{_plain(f'{method}: {reason}')}"


def _grade(sheet: Sheet, cell: tuple[str, int, int]) -> int:
    code, m, t = cell
    return int(sheet.quality[code][m, t] if t >= 0 else sheet.opening_quality[code][m])


def _plain(text: str) -> str:
    """A free text as the format bears it: no commas, no quotes, no line ends."""
    return re.sub(r"\s+", " ", re.sub(r'[",]', ";", text))[:MOST_REASON]

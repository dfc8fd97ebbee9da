"""Green Button: an Atom feed of NAESB REQ.21 ESPI 4.0 (schema espi.xsd 4.0.20231213), energies of each slot by metering point.

An interval is named by its START in epoch seconds here, by its end everywhere else. Values are integers of 0.1 Wh: uom 72 (Wh) or 73
(varh) with powerOfTenMultiplier -1. Where CT and PT are not 1 they are applied, and the commodity says so (2, primary metered; else 1,
secondary metered). Elements stand in the schema's order. A slot whose energy is not known has no IntervalReading.

Quality: 14 raw (nobody has validated it) by default; 7 edited, 9 estimated by linear interpolation, 8 by a like day, 16 by another method.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final
from urllib.parse import quote
from xml.sax.saxutils import escape, quoteattr
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from headend.export.about import About, ExportError
from headend.plans import CURVE, locate
from headend.store.sheets import EDITED, ESTIMATED, Energy, Place, Sheet
from headend.store.tables import CURVES
from protocols.localtime import as_datetime, local_day, midnight
from protocols.quantity import quantities
from protocols.reading import MISSING

SUFFIX: Final = ".espi.xml"
EPOCH: Final = dt.date(1970, 1, 1)
ATOM: Final = "http://www.w3.org/2005/Atom"
ESPI: Final = "http://naesb.org/espi"
#: register -> (unit symbol, direction of flow: 1 forward, 19 reverse)
REGISTERS: Final = {
    "active_import": (72, 1), "active_export": (72, 19), "reactive_import": (73, 1), "reactive_export": (73, 19),
}  # fmt: skip
RAW, BY_HAND, LIKE_DAY, LINEAR, OTHERWISE = 14, 7, 8, 9, 16
#: entries are named by what they are, so that the same data give the same names
_NAMES: Final = uuid.UUID("6b1d0a52-0f7e-5a53-9f2e-5f1d3c9b7a10")


def check(about: About) -> None:
    if about.span.source is not CURVES:
        raise ExportError("Green Button holds interval energies: export the curve")
    odd = [code for code in about.codes if code not in REGISTERS]
    if odd:
        raise ExportError(
            f"Green Button holds energies only here, not {', '.join(odd)}; choose from {', '.join(REGISTERS)}"
        )


def write(handle: BinaryIO, sheets: Iterable[Sheet], about: About) -> int:
    """Returns the IntervalReadings written."""
    check(about)
    updated = f"{as_datetime(about.now):%Y-%m-%dT%H:%M:%SZ}"
    day = local_day(about.span.times[0], about.zone)
    handle.write(
        f'<?xml version="1.0" encoding="UTF-8"?>\n<feed xmlns="{ATOM}">\n<id>{_name("feed")}</id>\n'
        f"<title>readings 读数</title>\n<updated>{updated}</updated>\n".encode()
    )
    handle.write(
        _entry("LocalTimeParameters/1", (), "local time", _local_time(day.year, about.zone), updated)
    )
    readings, told, calendar = 0, set[str](), _Calendar.of(about)
    for sheet in sheets:
        energies = {code: sheet.energy(code) for code in about.codes}
        for place in sheet.places:
            readings += _place(handle, sheet, energies, place, about, updated, told, calendar)
    handle.write(b"</feed>\n")
    return readings


def _place(
    handle: BinaryIO,
    sheet: Sheet,
    energies: dict[str, Energy],
    place: Place,
    about: About,
    updated: str,
    told: set[str],
    calendar: _Calendar,
) -> int:
    """The entries of one meter at one point, if it said anything; the number of its readings. `told`: kinds that have their entry."""
    known = {code: list(_blocks(sheet, energies[code], place, code, about, calendar)) for code in about.codes}
    known = {code: blocks for code, blocks in known.items() if blocks}
    if not known:
        return 0
    asset, readings = sheet.assets[place.meter], 0
    base = f"UsagePoint/{quote(f'{place.point}.{asset}')}"
    if place.begin:  # came here, or got another multiplier, within the span
        base += f".{place.begin}"
    point = "<UsagePoint xmlns={espi}><ServiceCategory><kind>0</kind></ServiceCategory><status>1</status></UsagePoint>"
    related = ("LocalTimeParameters/1", f"{base}/MeterReading")
    handle.write(_entry(base, related, f"point {place.point}, meter {asset}", point, updated))
    for code, blocks in known.items():
        name, reading = quantities()[code].name_en, f"{base}/MeterReading/{code}"
        kind = f"ReadingType/{code}.{1 if place.multiplier == 1 else 2}"
        if kind not in told:
            told.add(kind)
            handle.write(_entry(kind, (), f"{name} {quantities()[code].obis}", _type(code, place), updated))
        related = (f"{reading}/IntervalBlock", kind)
        handle.write(_entry(reading, related, name, "<MeterReading xmlns={espi}/>", updated))
        for day, count, block in blocks:
            handle.write(_entry(f"{reading}/IntervalBlock/{day}", (), str(day), block, updated))
            readings += count
    return readings


def _type(code: str, place: Place) -> str:
    uom, flow = REGISTERS[code]
    # 4: energy of the interval; 12: normal; kind 12: energy
    return (
        f"<ReadingType xmlns={{espi}}><accumulationBehaviour>4</accumulationBehaviour><commodity>{1 if place.multiplier == 1 else 2}</commodity>"
        f"<dataQualifier>12</dataQualifier><defaultQuality>{RAW}</defaultQuality><flowDirection>{flow}</flowDirection>"
        f"<intervalLength>900</intervalLength><kind>12</kind><powerOfTenMultiplier>-1</powerOfTenMultiplier>"
        f"<timeAttribute>0</timeAttribute><uom>{uom}</uom></ReadingType>"
    )


def _blocks(
    sheet: Sheet, given: Energy, place: Place, code: str, about: About, calendar: _Calendar
) -> Iterator[tuple[dt.date, int, str]]:
    """(local day, readings, IntervalBlock) of each day of which something is known."""
    energies, qualities = given
    energy, quality = energies[place.meter], qualities[place.meter]
    slots = np.flatnonzero(energy[place.begin : place.end] != MISSING) + place.begin
    for number in np.unique(calendar.day[slots]).tolist():
        mine = slots[calendar.day[slots] == number]
        told = zip(
            mine.tolist(), calendar.start[mine].tolist(), calendar.seconds[mine].tolist(),
            (energy[mine] * place.multiplier).tolist(), quality[mine].tolist(), strict=True,
        )  # fmt: skip
        readings = [
            f"<IntervalReading>{_quality(sheet, code, place.meter, t, grade)}"
            f"<timePeriod><duration>{seconds}</duration><start>{start}</start></timePeriod>"
            f"<value>{value}</value></IntervalReading>"
            for t, start, seconds, value, grade in told
        ]
        day = EPOCH + dt.timedelta(days=number)
        yield day, len(readings), _block(day, readings, about.zone)


@dataclass(frozen=True, slots=True)
class _Calendar:
    """The span's slots, int64[slot]: the local day that owns each (days since 1970), its start [s since 1970] and length [s]."""

    day: NDArray[np.int64]
    start: NDArray[np.int64]
    seconds: NDArray[np.int64]

    @classmethod
    def of(cls, about: About) -> _Calendar:
        starts, ends = (
            times.astype("datetime64[s]").astype(np.int64) for times in (about.span.starts, about.span.times)
        )
        return cls(locate(CURVE, about.span.times, about.zone)[0], starts, ends - starts)


def _block(day: dt.date, readings: list[str], zone: ZoneInfo) -> str:
    begin, end = (
        int(midnight(d, zone).astype("datetime64[s]").astype(np.int64))
        for d in (day, day + dt.timedelta(days=1))
    )
    return (
        f"<IntervalBlock xmlns={{espi}}><interval><duration>{end - begin}</duration><start>{begin}</start></interval>"
        f"{''.join(readings)}</IntervalBlock>"
    )


def _quality(sheet: Sheet, code: str, m: int, t: int, quality: int) -> str:
    """The ReadingQuality of an interval; nothing where it is the default."""
    if quality not in (EDITED, ESTIMATED):
        return ""
    return f"<ReadingQuality><quality>{_number(sheet, code, m, t, quality)}</quality></ReadingQuality>"


def _number(sheet: Sheet, code: str, m: int, t: int, quality: int) -> int:
    if quality == EDITED:
        return BY_HAND
    method = next((sheet.notes[code, m, k][0] for k in (t, t - 1) if (code, m, k) in sheet.notes), "")
    if "linear" in method:
        return LINEAR
    return LIKE_DAY if "like-day" in method or "reference-day" in method else OTHERWISE


def _entry(path: str, related: tuple[str, ...], title: str, content: str, updated: str) -> bytes:
    up = path.rpartition("/")[0]
    links = [f'<link rel="self" href={quoteattr(path)}/>', f'<link rel="up" href={quoteattr(up)}/>']
    links += [f'<link rel="related" href={quoteattr(to)}/>' for to in related]
    return (
        f"<entry><id>{_name(path)}</id>{''.join(links)}<title>{escape(title)}</title>"
        f"<content>{content.replace('{espi}', chr(34) + ESPI + chr(34))}</content>"
        f"<published>{updated}</published><updated>{updated}</updated></entry>\n"
    ).encode()


def _name(path: str) -> str:
    return f"urn:uuid:{uuid.uuid5(_NAMES, path)}"


def _local_time(year: int, zone: ZoneInfo) -> str:
    """The zone's rules of that year. A rule is 32 bits (DstRuleType): seconds, hour, weekday, day of month, operator, month from the lowest."""
    begin, end, summer = "00000000", "00000000", dt.timedelta(0)
    winter = min(_offset(dt.datetime(year, month, 1, tzinfo=zone)) for month in range(1, 13))
    day = dt.date(year, 1, 1)
    while day.year == year:
        before, after = (
            _offset(dt.datetime(d.year, d.month, d.day, tzinfo=zone))
            for d in (day, day + dt.timedelta(days=1))
        )
        if after != before:
            hour = _hour_of_change(day, zone, before)
            if after > before:
                begin, summer = _rule(day, hour), after - before
            else:
                end = _rule(day, hour)
        day += dt.timedelta(days=1)
    return (
        f"<LocalTimeParameters xmlns={{espi}}><dstEndRule>{end}</dstEndRule><dstOffset>{int(summer.total_seconds())}</dstOffset>"
        f"<dstStartRule>{begin}</dstStartRule><tzOffset>{int(winter.total_seconds())}</tzOffset></LocalTimeParameters>"
    )


def _offset(when: dt.datetime) -> dt.timedelta:
    offset = when.utcoffset()
    assert offset is not None
    return offset


def _hour_of_change(day: dt.date, zone: ZoneInfo, before: dt.timedelta) -> int:
    """The hour that the clock shows when it is changed."""
    start = dt.datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(dt.UTC)
    for hour in range(1, 26):
        if _offset((start + dt.timedelta(hours=hour)).astimezone(zone)) != before:
            return hour % 24
    raise AssertionError(day)


def _rule(day: dt.date, hour: int) -> str:
    """'The nth, or the last, such weekday of the month': operators 2 to 6 count from the first, 7 is the last."""
    last = (day + dt.timedelta(days=7)).month != day.month
    operator = 7 if last else 2 + (day.day - 1) // 7
    return f"{hour << 12 | day.isoweekday() << 17 | operator << 25 | day.month << 28:08X}"

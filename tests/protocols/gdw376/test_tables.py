"""items.csv, events.csv, formats.csv: every cell can be read, sizes are those of the standard, and all forms go both ways."""

import csv
import datetime as dt
import random
from collections import Counter
from decimal import Decimal
from importlib.resources import files

import pytest

from protocols.gdw376.describe import describe
from protocols.gdw376.frame import WITH_PW, Address, Frame
from protocols.gdw376.items import Field, Group, events, formats, item, items
from protocols.gdw376.units import Ident, ident
from protocols.gdw376.values import (
    DENSITY_MINUTES,
    Clock,
    PointMark,
    Typed,
    decode,
    decode_event,
    encode,
    encode_layout,
    laid_out,
)
from protocols.quantity import quantities


def rows(name: str) -> list[dict[str, str]]:
    return list(csv.DictReader(files("protocols.gdw376").joinpath(name).read_text("utf-8").splitlines()))


def test_no_duplicates():
    for name, key in (("items.csv", ("afn", "fn")), ("events.csv", ("erc",)), ("formats.csv", ("format",))):
        counts = Counter(tuple(row[k] for k in key) for row in rows(name))
        assert max(counts.values()) == 1


def test_formats_are_those_of_annex_a():
    assert [f"A.{n}" in formats() for n in range(1, 28)] == [True] * 27
    for form in formats().values():
        if form.kind == "bcd":
            digits = form.pattern.removeprefix("(+/-)").replace(".", "")
            assert len(digits) == 2 * form.bytes
            assert len(form.pattern.partition(".")[2]) == form.decimals
            assert form.pattern.startswith("(") == form.signed
        elif form.kind == "time":
            assert len(form.pattern.split()) == form.bytes


def leaves(nodes: tuple[Field | Group, ...]) -> list[Field]:
    return [leaf for node in nodes for leaf in (leaves(node.nodes) if isinstance(node, Group) else [node])]


def test_every_field_has_a_form_and_every_quantity_exists():
    for found in items().values():
        for layout in (found.down or ()) + (found.up or ()):
            counted = {leaf.counts for leaf in leaves(layout)}
            for leaf in leaves(layout):
                assert leaf.size is not None or leaf.form == "EVENTS" or leaf.length in counted
                code = leaf.quantity.replace("{n}", "a" if leaf.repeat == "A..C" else "1").replace("{p}", "a")
                assert not code or code in quantities()


def size(layout: tuple[Field | Group, ...], count: int) -> int:
    counts: dict[str, int] = {}
    total = 0
    for field in laid_out(layout, counts, lambda: False):
        if field.counts:
            counts[field.counts] = count
        total += field.size or 0
    return total


#: Unit lengths without the time tag, M = 4: Q/GDW 376.1-2009, AFN 04, 05, 0C, 0D.
LENGTHS = {
    (0x04, 1): 6, (0x04, 3): 28, (0x04, 8): 8, (0x04, 9): 16, (0x04, 10): 2 + 27 * 4, (0x04, 16): 64, (0x04, 21): 49,
    (0x04, 25): 11, (0x04, 26): 57, (0x04, 27): 24, (0x04, 33): 1 + 4 * (14 + 16), (0x04, 42): 6, (0x04, 44): 8,
    (0x04, 47): 17, (0x05, 1): 1, (0x05, 12): 8, (0x05, 31): 6, (0x0C, 2): 6, (0x0C, 25): 67, (0x0C, 26): 61,
    (0x0C, 27): 60, (0x0C, 28): 33, (0x0C, 31): 59, (0x0C, 33): 91, (0x0C, 34): 91, (0x0C, 35): 76, (0x0C, 49): 12,
    (0x0C, 129): 31, (0x0C, 130): 26, (0x0C, 145): 41, (0x0C, 161): 18, (0x0C, 165): 23, (0x0C, 166): 29,
    (0x0C, 167): 41, (0x0C, 168): 56, (0x0C, 170): 18, (0x0D, 1): 91, (0x0D, 3): 76, (0x0D, 5): 21, (0x0D, 17): 91,
    (0x0D, 25): 32, (0x0D, 26): 24, (0x0D, 27): 93, (0x0D, 28): 14, (0x0D, 29): 38, (0x0D, 30): 4, (0x0D, 31): 10,
    (0x0D, 32): 61, (0x0D, 36): 16, (0x0D, 39): 12, (0x0D, 41): 72, (0x0D, 57): 12, (0x0D, 65): 6, (0x0D, 113): 114,
    (0x0D, 116): 114, (0x0D, 129): 14, (0x0D, 153): 20, (0x0D, 154): 17, (0x0D, 161): 31, (0x0D, 185): 41,
    (0x0D, 209): 18, (0x0D, 210): 41, (0x0D, 213): 23, (0x0D, 214): 29,
}  # fmt: skip
TAGS = {"": 0, "Td_d": 3, "Td_m": 2, "Td_c": 7, "Td_h": 2}


@pytest.mark.parametrize("key", LENGTHS)
def test_lengths(key):
    found = items()[key]
    layout = (found.up if key[0] in (0x0C, 0x0D) else found.down)[0]
    assert size(layout, 4) - TAGS[found.tag] == LENGTHS[key]


def test_harmonic_statistics_and_voltage_without_rates():
    assert size(items()[0x0D, 121].up[0], 19) - 3 == 77
    assert size(items()[0x0D, 27].up[1], 0) - 3 == 66


LE = {
    1: 14, 2: 6, 4: 7, 5: 10, 6: 14, 7: 16, 8: 8, 9: 28, 10: 28, 11: 24, 12: 7, 13: 8, 14: 10, 15: 51, 16: 10, 17: 27,
    18: 17, 19: 31, 20: 22, 21: 6, 23: 16, 24: 14, 25: 17, 26: 14, 27: 17, 28: 18, 29: 18, 30: 13, 31: 21, 32: 13,
    33: 35, 34: 8,
}  # fmt: skip


def test_event_lengths():
    for erc, length in LE.items():
        assert size(events()[erc].layout, 0) == length


# --- any layout, made up and back ---


def made_up(field: Field, chance: random.Random, length: int) -> Typed:  # noqa: PLR0911
    form = formats().get(field.form)
    if field.counts:
        low, high = (1, 4) if field.counts not in ("N",) else (2, 19)
        if field.transform == "~":
            return chance.choice(list(DENSITY_MINUTES))
        return chance.randint(low, high)
    if form is None:
        match field.form:
            case "BIN" | "BS" | "AFN":
                return chance.randrange(200)
            case "BCD":
                return chance.randrange(24)
            case "DIGITS" | "DI":
                return "0123456789012345"[: 2 * length]
            case "ASCII":
                return "A" * length
            case "HEX":
                return chance.randbytes(length)
            case "GB":
                return "a" * length
            case "IP":
                return "10.1.2.3"
            case "DADT":
                return Ident(b"\x01\x01\x02\x03")
            case "POINT":
                return PointMark(chance.randrange(2040), chance.random() < 0.5)
            case "HI4" | "LO4":
                return chance.randrange(16)
        raise AssertionError(field.form)
    sign = chance.choice((-1, 1)) if form.signed else 1
    when = dt.datetime(2024, 2, 29, 13, 45, 59)
    kinds: dict[str, Typed] = {
        "bcd": sign
        * Decimal(chance.randrange(1, 10 ** (2 * form.bytes - form.signed))).scaleb(-form.decimals),
        "power": sign * Decimal(chance.randrange(100, 1000)).scaleb(-2),
        "energy": sign * chance.randrange(10**7),
        "float": sign * chance.randrange(1, 80),
        "clock": Clock(when, 4),
        "digits": "000123456789",
        "density": 1,
    }
    times: dict[str, Typed] = {
        "A.15": when.replace(second=0), "A.16": "29 13:45:59", "A.17": "02-29 13:45", "A.18": "29 13:45",
        "A.19": dt.time(13, 45), "A.20": when.date(), "A.21": "2024-02", "A.24": "29 13",
    }  # fmt: skip
    return times[field.form] if form.kind == "time" else kinds[form.kind]


def values_for(layout: tuple[Field | Group, ...], chance: random.Random) -> list[Typed]:
    counts: dict[str, int] = {}
    found: list[Typed] = []
    rest = iter((True, True, False))
    for field in laid_out(layout, counts, lambda: next(rest, False)):
        if field.form == "EVENTS":
            continue
        value = made_up(field, chance, field.size if field.size is not None else counts[field.length])
        if field.counts and isinstance(value, int):
            made = {"#": value.bit_count(), "~": 60 // DENSITY_MINUTES.get(value, 60)}
            counts[field.counts] = made.get(field.transform, value)
        found.append(value)
    return found


@pytest.mark.parametrize(
    "key", list(items()) + [(0x0A, n) for n in (1, 10, 25, 26)], ids=lambda k: f"{k[0]:02X}F{k[1]}"
)
def test_every_layout_goes_both_ways(key):
    found = item(*key)
    assert found is not None
    chance = random.Random(f"{key}")
    for uplink in (False, True):
        for edition, layout in enumerate(found.layouts(uplink=uplink) or ()):
            values = values_for(layout, chance)
            raw = encode(*key, values, uplink=uplink, edition=edition)
            again = decode(*key, raw, uplink=uplink)
            assert [value.value for value in again] == values
            assert encode(*key, [value.value for value in again], uplink=uplink, edition=edition) == raw
            names = [value.name for value in again]
            assert len(set(names)) == len(names)
            assert not any("{" in name for name in names)


@pytest.mark.parametrize("erc", list(events()))
def test_every_event_goes_both_ways(erc):
    layout = events()[erc].layout
    values = values_for(layout, random.Random(erc))
    raw = encode_layout(layout, values)
    event = decode_event(erc, raw)
    assert [value.value for value in event.values] == values
    assert event.time == (dt.datetime(2024, 2, 29, 13, 45) if erc != 41 else None)
    assert encode_layout(layout, [value.value for value in event.values]) == raw


@pytest.mark.parametrize("afn", sorted({afn for afn, _ in items()} | {0x0A}))
def test_every_layout_is_read_out_of_a_frame(afn):
    for function in [fn for other, fn in items() if other == (0x04 if afn == 0x0A else afn)]:
        found = item(afn, function)
        for uplink, layouts in ((False, found.down), (True, found.up)) if found else ():
            for edition, layout in enumerate(layouts or ()):
                raw = encode(
                    afn, function, values_for(layout, random.Random(function)), uplink=uplink, edition=edition
                )
                pw = bytes(16) if not uplink and afn in WITH_PW else b""
                frame = Frame(
                    Address("0171", 1, 1),
                    0x88 if uplink else 0x4B,
                    afn,
                    0x60,
                    ident([0], [function]).raw + raw,
                    pw,
                )
                told = describe(frame.encode())
                assert "why" not in told, (function, uplink)
                assert "data_units" not in told, (function, uplink)
                spelled = told.get("values", told.get("parameters", told.get("forward", told)))
                assert spelled or not raw

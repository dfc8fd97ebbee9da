"""items.csv against table.csv: every identifier of the standard and its published supplements, with its name and shape.

table.csv lists 7868 identifiers, those that differ in one number together: `00 00 01-3F 00` with `{2}` for the number of byte 2
(`{3-1}`: less one, `{1P}`: as a phase letter). M in a format: as many as there are tariffs.
"""

import csv
import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from protocols.dlt645.items import Field, Item, item, rows
from protocols.dlt645.status import REPORT_BYTES, doubts, explain, flags, report_bits, reported
from protocols.dlt645.values import size_of
from protocols.quantity import quantities


@dataclass(frozen=True, slots=True)
class Fact:
    di: int
    name_zh: str
    forms: tuple[str, ...]
    more: tuple[str, ...]
    size: int | None
    unit: str
    signed: bool
    access: str


def facts() -> Iterator[Fact]:
    text = (Path(__file__).parent / "table.csv").read_text("utf-8")
    for row in csv.DictReader(text.splitlines()):
        forms, more = shape(row["format"])
        spans = [(part.partition("-")[0], part.rpartition("-")[2]) for part in row["identifiers"].split()]
        for four in itertools.product(*(range(int(low, 16), int(high, 16) + 1) for low, high in spans)):
            yield Fact(
                di=int.from_bytes(bytes(four), "big"),
                name_zh=named(row["name_zh"], four),
                forms=forms,
                more=more,
                size=int(row["bytes"]) if row["bytes"] else None,
                unit=row["unit"],
                signed=row["signed"] == "1",
                access=row["access"],
            )


def named(template: str, four: tuple[int, ...]) -> str:
    def number(match: re.Match[str]) -> str:
        value = four[int(match[1])]
        return "?ABC"[value] if match[2] == "P" else str(value - bool(match[2]))

    return re.sub(r"\{(\d)(-1|P)?\}", number, template)


def shape(text: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The forms that come once, and those that repeat to the end."""
    fixed: list[str] = []
    for match in re.finditer(r"\(([^)]*)\)\*(\w+)|([^,]+)", text):
        group = [plain(form) for form in (match[1] or match[3]).split(",")]
        if match[2] == "M":
            return tuple(fixed), tuple(group)
        fixed += group * int(match[2] or 1)
    return tuple(fixed), ()


def plain(form: str) -> str:
    """Digits, identity digits and bits fill the same places: X, N and H."""
    return form if re.search("[a-zYDI]", form) else re.sub("[NH]", "X", form)


FACTS = list(facts())


def numbers(found: Item) -> list[Field]:
    return [field for field in found.fields if field.form[0] == "X"]


def test_the_list_is_whole():
    assert len({fact.di for fact in FACTS}) == len(FACTS) == 7868
    assert len(rows()) < 800


def test_every_identifier_has_its_name_and_access():
    wrong = [
        f"{fact.di:08X}"
        for fact in FACTS
        if (found := item(fact.di)) is None or (found.name_zh, found.access) != (fact.name_zh, fact.access)
    ]
    assert not wrong
    english = [item(fact.di).name_en for fact in FACTS]
    assert len(set(english)) == len(english)
    assert not [name for name in english if "{" in name or not name.isascii()]


#: No source lays these out; two of the records at least have a length.
UNKNOWN = "03300F 033010 033012 033400 04060A 04060B 040015 210000"


def test_every_identifier_has_its_form_and_length():
    for fact in FACTS:
        found = item(fact.di)
        if found.form in ("load-record", "freeze", "security"):
            assert not found.fields
        elif not (fact.forms or fact.more):
            assert f"{fact.di:08X}"[:6] in UNKNOWN.split()
            assert not fact.size or sum(size_of(field.form) for field in found.fields) == fact.size
        else:
            check_shape(fact, found)


def check_shape(fact: Fact, found: Item) -> None:
    once = [plain(field.form) for field in found.fields if not field.repeats]
    again = [plain(field.form) for field in found.fields if field.repeats]
    if again and not fact.more:  # a list of its own length: it may come shorter
        count, rest = divmod(len(fact.forms) - len(once), len(again))
        assert not rest
        once += again * count
    elif fact.more:
        assert once in ([*fact.forms, *fact.more], list(fact.forms)), found
        assert again == list(fact.more), found
    if not fact.more:
        assert once == list(fact.forms), found
    if fact.size is not None:
        assert sum(size_of(form) for form in once) == fact.size, found


#: What is not the unit of the numbers themselves.
NO_UNIT = ("", "datetime", "date", "time", "bits", "count/min", "kW/kvar", "request payload")


def test_every_identifier_has_its_unit():
    for fact in FACTS:
        found = item(fact.di)
        units = {field.unit for field in numbers(found)}
        if fact.unit == "count":
            assert units in ({"times"}, {""}), found  # "" in a parameter that numbers tables, zones, tariffs
        elif fact.unit not in NO_UNIT and found.fields:
            assert units == {fact.unit}, found


def test_every_identifier_has_its_sign():
    for fact in FACTS:
        found = item(fact.di)
        signed = {field.signed for field in numbers(found)}
        if len(signed) == 1 and "record" not in found.name_en and not signed_by_rule(found):
            assert signed == {fact.signed}, found


def signed_by_rule(found: Item) -> bool:
    """Copies of signed items: the list gives no sign, the rule of Table A.1 and A.3 does (current, power, PF, combined)."""
    copy = found.di >> 24 == 5 or found.di >> 16 == 0x0610
    source = re.search("current|power|combined reactive", found.name_en) is not None
    if copy and source:
        assert all(field.signed for field in numbers(found)), found
    return copy and source


def test_wholly_and_field_by_field_an_event_record_is_the_same():
    whole = item(0x1002FF03)
    assert len(whole.fields) == 0x35
    for number, field in enumerate(whole.fields, 1):
        single = item(0x10020003 | number << 8)
        assert single.name_en == f"phase B voltage loss record -3: {field.name}"
        assert (single.fields[0].form, single.fields[0].signed) == (field.form, field.signed)
        assert len(item(0x100200FF | number << 8).fields) == 10
    assert item(0x10023603) is None


def test_quantities_are_those_of_the_present():
    wanted = {
        0x00000000: "active_combined", 0x00030000: "reactive_import", 0x00080000: "reactive_q4", 0x00020300: "active_export_t3",
        0x00290000: "active_import_b", 0x003E0000: "active_export_c", 0x02060200: "power_factor_b", 0x02800002: "frequency",
        0x02800001: "current_n", 0x03110000: "power_failures", 0x03300D00: "cover_openings", 0x03350000: "magnetic_events",
        0x00010001: "", 0x01010001: "", 0x00013F00: "", 0x02010100: "voltage_a", 0x02070300: "phase_angle_c",
    }  # fmt: skip
    for di, code in wanted.items():
        assert item(di).fields[0].quantity == code
    assert [field.quantity for field in item(0x01010000).fields] == [
        "max_demand_import",
        "max_demand_import_time",
    ]
    carried = {field.quantity for fact in FACTS for field in item(fact.di).fields} - {""}
    assert carried <= quantities().keys()


# --- words of bits ---


def test_status_words_leave_no_bit_twice():
    taken = [(flag.word, bit) for flag in flags() for bit in range(flag.bit, flag.bit + flag.width)]
    assert len(set(taken)) == len(taken)
    assert {flag.word for flag in flags()} == set(range(1, 8))


@pytest.mark.parametrize(
    ("word", "bits", "says"),
    [
        (1, 0x0004, {"clock battery": "low"}),
        (2, 0x0002, {"B active direction": "reverse"}),
        (3, 0x0250, {"relay status": "open", "relay command": "open", "meter type": "amount prepaid"}),
        (3, 0x0000, {"relay status": "closed", "relay command": "closed"}),
        (6, 0x0081, {"C voltage loss": "present", "C phase failure": "present"}),
        (7, 0x0100, {"severe current unbalance": "present"}),
    ],
)
def test_status_words(word, bits, says):
    assert {flag.name_en: text for flag, text in explain(word, bits)} == says


def test_both_readings_of_a_disputed_bit_are_told():
    assert list(doubts(2, 1 << 5)) == [
        "bit 5, B reactive direction: another published reading is A reactive direction"
    ]
    assert list(doubts(2, 1 << 7)) == ["bit 7, reserved: another published reading is C reactive direction"]
    assert not list(doubts(4, 0xFFFF))


def test_the_active_report_word_leads_to_its_records():
    assert [bit.bit for bit in report_bits()] == list(range(8 * REPORT_BYTES))
    for bit in report_bits():
        for di in filter(None, (bit.count, bit.record)):
            assert item(di) is not None, bit
        if bit.record_bytes:
            assert sum(size_of(field.form) for field in item(bit.record).fields) == bit.record_bytes, bit
    assert [bit.name_en for bit in reported(1 << 14 | 1 << 95)] == ["relay tripped", "key update"]

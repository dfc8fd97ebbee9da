"""The maps themselves, values in every form, plans, and columns equal to single values."""

from __future__ import annotations

import random
import struct
from decimal import Decimal
from itertools import pairwise

import numpy as np
import pytest

from protocols.errors import FrameError, Misuse
from protocols.modbus import bulk, maps, plan, values
from protocols.modbus.maps import Row
from protocols.quantity import quantities
from protocols.reading import MISSING
from tests.support.conformance import vectors

MODELS = maps.models()


def row(form: str, order: str = "ABCD", scale: str = "1", missing: tuple[int, ...] = ()) -> Row:
    size = maps.size_of(form)
    return Row("x", 3, 0, form, order, Decimal(scale), (), missing, "kWh", "active_import", "x", "x", size, 0)


def has_the_core(model: str) -> bool:
    """Energy taken, what flows now, and at what voltage and current."""
    codes = {row.quantity for row in maps.meter_map(model).rows}
    instants = {"voltage_a", "current_a", "active_power"} <= codes
    return instants and bool({"active_import", "active_import_t1"} & codes)


def test_ten_models_at_least() -> None:
    assert sum(has_the_core(model) for model in MODELS) >= 10


@pytest.mark.parametrize("model", MODELS)
def test_a_map_is_whole(model: str) -> None:
    table = maps.meter_map(model)
    assert table.title
    assert table.document
    assert table.edition
    assert table.sources
    codes = [row.quantity for row in table.rows if row.quantity]
    assert len(codes) == len(set(codes))
    assert all(code in quantities() for code in codes)
    assert all(row.name_en and row.name_zh for row in table.rows)
    spans = sorted((row.function, row.address, row.end) for row in table.rows)
    for one, two in pairwise(spans):
        assert one[0] != two[0] or one[2] <= two[1], f"{one} and {two} overlap"


@pytest.mark.parametrize("model", MODELS)
def test_a_plan_fetches_all_within_the_limits(model: str) -> None:
    table = maps.meter_map(model)
    codes = {row.quantity for row in table.rows if row.quantity}
    for most in (4, 20, None):
        found = plan.blocks(table, codes, most=most)
        for block in found:
            assert block.count <= min(most or table.most, table.most)
        for wanted in table.wanted(codes):
            assert any(wanted in table.within(b.function, b.address, b.count) for b in found)


def test_a_plan_bridges_gaps_only_where_told() -> None:
    table = maps.meter_map("sdm630")
    codes = ("voltage_a", "current_a")
    assert plan.blocks(table, codes) == [plan.Block(4, 0, 8)]
    assert plan.blocks(table, codes, gap=0) == [plan.Block(4, 0, 2), plan.Block(4, 6, 2)]
    with pytest.raises(Misuse, match="no register"):
        plan.blocks(maps.meter_map("adl3000-e"), ["frequency"])


@pytest.mark.parametrize(
    ("order", "raw"), [("ABCD", "00012345"), ("CDAB", "23450001"), ("BADC", "01004523"), ("DCBA", "45230100")]
)
def test_word_orders(order: str, raw: str) -> None:
    assert values.number(row("u32", order), bytes.fromhex(raw)) == 0x12345
    assert values.encode(row("u32", order), 0x12345).hex() == raw


def test_forms() -> None:
    assert values.number(row("s16"), b"\xff\xfe") == -2
    assert values.number(row("u64"), b"\xff" * 8) == 2**64 - 1
    assert values.number(row("f64"), struct.pack(">d", 1234567.25)) == Decimal("1234567.25")
    assert values.number(row("bcd2"), bytes.fromhex("00123456")) == 123456
    assert values.number(row("ascii2"), b"AB1\0") == "AB1"
    assert values.number(row("bits16"), b"\x80\x01") == 0x8001
    assert values.number(row("f32"), struct.pack(">f", float("nan"))) is None
    assert values.number(row("u16", missing=(0xFFFF,)), b"\xff\xff") is None
    with pytest.raises(FrameError, match="BCD"):
        values.number(row("bcd1"), b"\x0a\x00")


def test_registers_are_exact() -> None:
    abb = maps.meter_map("abb-b23")
    raw = (98765432109876).to_bytes(8, "big")
    found = values.quantity_values(abb, 3, {0x5000: raw})
    assert found == {"active_import": 9876543210987600}
    assert values.quantity_values(abb, 3, {0x5000: b"\xff" * 8}) == {"active_import": MISSING}
    em340 = maps.meter_map("em340")  # low register first, 0.1 kWh
    assert values.quantity_values(em340, 4, {0x34: bytes.fromhex("E2400001")}) == {"active_import": 123456000}
    pac = maps.meter_map("pac3200")
    assert values.quantity_values(pac, 3, {801: struct.pack(">d", 123456789.0)}) == {
        "active_import_t1": 1234567890
    }


def test_the_makers_own_answer() -> None:
    """ABB 2CMC48001M0201 revision C, page 169: what an A43 tells of the energies from 5460H on."""
    vector = next(vector for vector in vectors("modbus-rtu") if vector["id"] == "Modbus RTU-019")
    told = values.decode(maps.meter_map("abb-b23"), 3, {0x5460: bytes.fromhex(vector["hex"])[3:-2]})
    assert {row.id: float(str(value)) for row, value in told} == {
        "active_import_a": 2013.62, "active_import_b": 3012.81, "active_import_c": 3538.77,
        "active_export_a": 374.34, "active_export_b": 728.59, "active_export_c": 909.31,
    }  # fmt: skip


def test_floats_are_cut_to_what_they_hold() -> None:
    sdm = maps.meter_map("sdm120")
    assert values.quantity_values(sdm, 4, {0: struct.pack(">f", 230.2)}) == {"voltage_a": 230.2}
    assert values.quantity_values(sdm, 4, {0x48: struct.pack(">f", 12345.67)}) == {"active_import": 123456700}


def test_scale_factors_and_their_absence() -> None:
    """SunSpec: W with 10^-1, a voltage whose factor is not implemented, an energy in Wh with 10^0."""
    table = maps.meter_map("sunspec-203")
    words = [0x8000] * 55
    words[40087 - 40069], words[40091 - 40069] = 12345, 0xFFFF
    words[40077 - 40069] = 2302
    words[40115 - 40069], words[40116 - 40069], words[40123 - 40069] = 18, 54919, 0
    words[40107 - 40069], words[40108 - 40069] = 0, 0
    found = values.quantity_values(table, 3, {40069: struct.pack(">55H", *(w & 0xFFFF for w in words))})
    assert found["active_power"] == 1.2345
    assert found["active_import"] == 12345670
    assert found["active_export"] == MISSING
    assert np.isnan(found["voltage_a"])
    words[40091 - 40069] = 40
    with pytest.raises(FrameError, match="scale factor"):
        values.quantity_values(table, 3, {40069: struct.pack(">55H", *(w & 0xFFFF for w in words))})


def test_a_counter_that_begins_again() -> None:
    assert values.gained(9_999_990, 15, 10_000_000) == 25
    with pytest.raises(Misuse):
        values.gained(10_000_000, 15, 10_000_000)


@pytest.mark.parametrize("model", MODELS)
def test_columns_are_the_single_values(model: str) -> None:
    table, chance = maps.meter_map(model), random.Random(model)
    codes = {row.quantity for row in table.rows if row.quantity}
    for block in plan.blocks(table, codes):
        polls = []
        for _ in range(200):
            poll = bytearray(chance.randbytes(2 * block.count))
            for found in table.within(block.function, block.address, block.count):
                if found.type == "f32" and chance.random() < 0.9:
                    at = 2 * (found.address - block.address)
                    poll[at : at + 4] = struct.pack(
                        ">f", chance.choice((0.0, 1.0, -1.0)) * 10 ** chance.uniform(-4, 9)
                    )
            polls.append(bytes(poll))
        polls += [b"\xff" * 2 * block.count, bytes(2 * block.count), b"\x80\0" * block.count, polls[0][:-2]]
        columns, errors = bulk.columns(table, block.function, block.address, polls)
        assert len(polls) - 1 in errors
        for index, poll in enumerate(polls[:-1]):
            try:
                single = values.quantity_values(table, block.function, {block.address: poll})
            except FrameError:
                assert index in errors
                continue
            for code, value in single.items():
                np.testing.assert_equal(columns[code][index], value, f"{code} {index} {poll.hex()}")

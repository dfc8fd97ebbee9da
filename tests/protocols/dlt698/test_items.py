"""The tables agree with themselves and with the rest of the house."""

import re

from protocols.dlt698 import items, values
from protocols.quantity import quantities
from protocols.reading import REGISTER_QUANTITIES, SLOT_QUANTITIES


def test_the_object_table():
    rows = items.items()
    assert len({row.oi for row in rows}) == 517
    assert len({(row.oi, row.kind, row.number) for row in rows}) == len(rows)
    types = set(values.NAMES.values())
    for row in rows:
        assert row.kind in ("attr", "method", "object")
        assert row.name_en
        assert row.name_zh
        assert row.clause
        assert not row.type or row.type in types, row
        assert len(row.units) == len(row.scalers) or (len(row.scalers) == 1 and not row.units), row
        assert set(row.quantities) <= {"", *quantities()}
        assert row.composite == (len(row.scalers) > 1)
        assert 1 <= row.interface_class <= 26
        assert row.number < 0x20 or row.kind == "method"
        assert re.fullmatch(r"[ -~]+", row.name_en)


def test_units_are_known():
    known = {*items.units().values(), "yuan", "kWh or yuan", "imp/kWh", "imp/kvarh", "dBμV", ""}
    assert {unit for row in items.items() for unit in row.units} <= known
    assert items.units()[33] == "kWh"
    assert len(items.units()) == 56


def test_every_quantity_has_its_object():
    carried = {code for row in items.items() for code in row.quantities} - {""}
    assert carried == set(quantities())
    assert carried >= {*SLOT_QUANTITIES, *REGISTER_QUANTITIES}
    assert items.quantities(0x00100200)[2] == "active_import_t2"
    assert items.quantities(0x00100203) == ("active_import_t2",)
    assert items.quantities(0x20040201) == ("active_power",)
    assert items.quantities(0x20040202) == ("active_power_a",)
    assert items.quantities(0x20040205) == ()
    assert items.quantities(0x10100201) == ("max_demand_import", "max_demand_import_time")
    assert items.quantities(0x10100202) == ()
    assert items.quantities(0x30110701) == ("", "power_failures", "")
    assert items.quantities(0xFFFF0200) == ()


def test_units_and_kinds_agree():
    """What a unit of the object table is, times what bulk makes of it, is the unit of quantities.csv; so is the type with the kind."""
    known = {"℃": "°C", "W": "kW", "var": "kvar", "VA": "kVA"}
    for row in items.items():
        for place, code in enumerate(row.quantities):
            if not code:
                continue
            quantity = quantities()[code]
            unit = row.units[place % row.members if row.members > 1 else 0] if row.units else ""
            assert known.get(unit, unit) == quantity.unit, row
            assert (row.oi < 0x1000) == (quantity.kind == "register")


def test_what_the_standard_lists_is_there():
    """516 objects with 775 members, and every member that a class gives its objects."""
    assert sum(row.kind != "object" for row in items.items()) >= 700
    for row in items.items():
        if row.kind != "method" or row.number >= 0x7F:
            assert items.object_name(row.oi << 16) == row.name_en
    assert items.member_name(0x30110400) == "当前记录数"
    assert items.member_name(0x50040200) == "冻结数据表"
    assert items.member_name(0x80008100, method=True)
    assert items.member(0x00100300).definition == "Scaler_Unit"
    assert items.member(0xEEEE0200) is None
    assert len(items.classes()) == 264


def test_access_results():
    dars = items.dars()
    assert set(dars) == {*range(36), 255}
    assert set(dars) > items.ABSENT
    assert dars[4] == "object undefined"


def test_interface_classes():
    members = items.classes()
    assert {member.interface_class for member in members.values()} == set(range(1, 27))
    assert members[9, "attr", 2].class_en == "freeze"
    assert members[1, "attr", 3].definition == "Scaler_Unit"


def test_names_and_secrets():
    assert items.object_name(0x00100201) == "forward active energy"
    assert items.object_name(0x80008100) == "remote control"
    assert items.object_name(0xEEEE0200) == ""
    assert items.secret(0x44010200)
    assert items.secret(0x45000200)
    assert not items.secret(0x40010200)
    assert items.secret(0xF1000700, method=True)  # the key that a key update brings
    assert not items.secret(0xF1000700)
    assert items.secret(0xF0020400)
    assert items.item(0x0010E200).oi == 0x0010  # the upper three bits of the attribute are its feature

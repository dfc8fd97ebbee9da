"""Items by the names that people give them, in every protocol."""

import pytest

from protocols.dlms.values import BIT_STRING, BOOLEAN, DOUBLE_LONG, OCTET_STRING, Data
from protocols.errors import Misuse
from protocols.modbus.maps import meter_map
from terminals.drivers.dlms import DlmsDriver
from terminals.drivers.dlt645 import Dlt645Driver
from terminals.drivers.dlt698 import Dlt698Driver
from terminals.drivers.gdw376 import Gdw376Driver
from terminals.drivers.modbus import ModbusDriver
from terminals.drivers.published import PublishedDriver
from terminals.items.catalogues import catalogue_of, find_all
from terminals.items.dlms import DlmsItems, shown
from terminals.items.dlt645 import Dlt645Items, told
from terminals.items.dlt698 import Dlt698Items
from terminals.items.item import MOST, Item, UnknownItem
from terminals.items.modbus import ModbusItems


@pytest.mark.parametrize(
    "text",
    [
        "voltage_a",
        "voltage a",
        "A相电压",
        "1-0:32.7.0",
        "1.0.32.7.0.255",
        "02010100",
        "voltage phase A",
        "Voltage A",
    ],
)
def test_one_thing_has_many_names_and_one_identifier(text):
    (item,) = Dlt645Items().find(text)
    assert (item.code, item.name_zh) == ("02010100", "A相电压")


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("正向有功总电能", "00010000"),
        ("active_import_t2", "00010200"),
        ("运行状态字3", None),
        ("电表运行状态字3", "04000503"),
        ("表号", "04000402"),
        ("剩余金额", "00900200"),
        ("phase_angle_c", "02070300"),
        ("0001FF00", "0001FF00"),
    ],
)
def test_names_of_the_standard(text, code):
    if code is None:
        with pytest.raises(UnknownItem, match="电表运行状态字3"):
            Dlt645Items().find(text)
    else:
        assert [item.code for item in Dlt645Items().find(text)] == [code]


@pytest.mark.parametrize(
    ("text", "nearest"),
    [
        ("voltge_a", "voltage_a"),
        ("A相电", "A相电压"),
        ("0201FFFF", "0201FF00"),
        ("表好", "表号"),
        ("curent_b", "current_b"),
    ],
)
def test_a_misspelt_item_names_the_nearest(text, nearest):
    with pytest.raises(UnknownItem, match=nearest):
        Dlt645Items().find(text)


def test_what_is_no_reading_by_number_alone_is_not_asked():
    with pytest.raises(UnknownItem, match="is not read by its number alone"):
        Dlt645Items().find("06000001")
    with pytest.raises(UnknownItem, match="give a quantity such as voltage_a"):
        Dlt645Items().find("zzzzzzzz")


def test_a_block_is_told_part_by_part():
    values = told(Item("0201FF00", "voltage block", "电压数据块", 0x0201FF00), bytes.fromhex("012300230522"))
    assert [(v.part, v.part_zh, v.value, v.unit, v.quantity) for v in values] == [
        ("A", "A相", "230.1", "V", "voltage_a"),
        ("B", "B相", "230.0", "V", "voltage_b"),
        ("C", "C相", "220.5", "V", "voltage_c"),
    ]


# --- DLMS ---


@pytest.mark.parametrize(
    ("text", "code", "obis", "attribute"),
    [
        ("voltage_a", "1-0:32.7.0", "1.0.32.7.0.255", 2),
        ("1-0:32.7.0", "1-0:32.7.0", "1.0.32.7.0.255", 2),
        ("1-0:32.7.0*255", "1-0:32.7.0", "1.0.32.7.0.255", 2),
        ("1.0.14.7.0.255", "1-0:14.7.0", "1.0.14.7.0.255", 2),
        ("3,1-0:32.7.0,3", "3,1-0:32.7.0,3", "1.0.32.7.0.255", 3),
        ("A相电压", "1-0:32.7.0", "1.0.32.7.0.255", 2),
        ("0-0:96.1.0", "0-0:96.1.0", "0.0.96.1.0.255", 2),
    ],
)
def test_obis_codes_in_all_their_forms(text, code, obis, attribute):
    (item,) = DlmsItems().find(text)
    assert (item.code, item.key[1:]) == (code, (obis, attribute))


@pytest.mark.parametrize("text", ["1-0:32.7", "1-0:999.7.0", "1.0.32.7.0", "volts"])
def test_what_is_no_obis_code(text):
    with pytest.raises(UnknownItem):
        DlmsItems().find(text)


@pytest.mark.parametrize(
    ("data", "scaler", "unit", "value"),
    [
        (Data(DOUBLE_LONG, 2301), -1, "V", (230.1, "V")),
        (Data(DOUBLE_LONG, 1500), 0, "W", (1.5, "kW")),
        (Data(DOUBLE_LONG, 123), 1, "Wh", (1.23, "kWh")),
        (Data(BOOLEAN, True), 0, "", (True, "")),
        (Data(OCTET_STRING, b"LGZ1030"), 0, "", ("LGZ1030", "")),
        (Data(OCTET_STRING, b"\x00\xff"), 0, "", ("00 FF", "")),
        (Data(BIT_STRING, "0110"), 0, "", ("0110", "")),
        (Data(OCTET_STRING, b"x" * 1000), 0, "", ("x" * 256, "")),
    ],
)  # fmt: skip
def test_values_are_shown_in_their_units_and_bounded(data, scaler, unit, value):
    assert shown(data, scaler, unit) == value


# --- the others ---


@pytest.mark.parametrize(
    ("text", "code"),
    [("voltage_b", "20000200"), ("20000200", "20000200"), ("电压", "20000200"), ("frequency", "200F0200")],
)
def test_attributes_of_698(text, code):
    assert [item.code for item in Dlt698Items().find(text)] == [code]


def test_what_698_lacks_is_asked_of_the_meter_in_its_own_protocol():
    catalogue = catalogue_of(Dlt698Driver(), "000000000012")
    assert [item.code for item in catalogue.find("040005FF")] == ["040005FF"]
    with pytest.raises(UnknownItem, match="voltage_a"):
        catalogue.find("voltge_a")


def test_rows_of_a_register_map():
    items = ModbusItems(meter_map("sdm630"))
    assert items.find("voltage_a")[0].code == "voltage_a"
    assert items.find("A相电压")[0].key.address == 0
    with pytest.raises(UnknownItem, match="voltage_a"):
        items.find("voltag_a")


def test_the_catalogue_follows_the_protocol():
    assert isinstance(catalogue_of(Dlt645Driver(), "000000000012"), Dlt645Items)
    assert isinstance(catalogue_of(DlmsDriver(), "17"), DlmsItems)
    assert catalogue_of(Gdw376Driver(), "000000000012").find("voltage_a")[0].code == "02010100"
    with pytest.raises(UnknownItem, match="publish"):
        catalogue_of(PublishedDriver(), "m1")
    with pytest.raises(Misuse, match="UNIT@MODEL"):
        catalogue_of(ModbusDriver("tcp"), "1")


def test_items_are_asked_once_and_not_too_many():
    items = Dlt645Items()
    assert [item.code for item in find_all(items, ["voltage_a", "A相电压", "current_a"])] == [
        "02010100",
        "02020100",
    ]
    many = [f"000{tariff:X}0100" for tariff in range(1, 9)] + [f"00{kind:02X}0200" for kind in range(1, 9)]
    many += (
        [f"0201{phase:02X}00" for phase in (1, 2, 3)]
        + [f"0202{phase:02X}00" for phase in (1, 2, 3)]
        + ["04000401", "04000402", "04000403"]
    )
    with pytest.raises(UnknownItem, match=f"at most {MOST}"):
        find_all(items, many)

"""Records in columns: the same as the general decoder, whatever the shape."""

from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.dlt698 import apdu as apdus
from protocols.dlt698 import bulk, clock, values
from protocols.dlt698.apdu import Apdu, RecordResult
from protocols.dlt698.exchange import Device, Master
from protocols.dlt698.requests import GetRecords
from protocols.dlt698.values import Data, Road
from protocols.errors import FrameError, Misuse, Refused
from protocols.exchange import NEED_DATA, Send
from protocols.quantity import quantities
from protocols.reading import MISSING, empty_column
from tests.protocols.dlt698.strategies import LEAVES, U8, U32, records

START = np.datetime64("2026-01-01T00:15", "us")
QUARTER = np.timedelta64(15, "m")
COLUMNS = (0x20210200, 0x00100200, 0x00200201, 0x20000200, 0x20010200, 0x20040200, 0x20050201)


def u32(value):
    return Data(values.DOUBLE_LONG_UNSIGNED, value)


def row(i, base=1000):
    when = clock.encode_time_s(START + i * QUARTER)
    return (
        Data(values.DATE_TIME_S, when),
        values.array(*(u32(base + 10 * i + k) for k in range(5))),
        u32(base + i),
        values.array(*(Data(values.LONG_UNSIGNED, 2300 + i + k) for k in range(3))),
        values.array(*(Data(values.DOUBLE_LONG, -i + k) for k in range(3))),
        values.array(*(Data(values.DOUBLE_LONG, -60000 + i) for _ in range(4))),
        Data(values.DOUBLE_LONG, 25),
    )


def answer(rows, columns=COLUMNS, piid=0, oad=0x50020200, choice=3, flat=False):
    record = RecordResult(oad, columns, 0, tuple(rows), flat)
    fields = {
        3: {"record": record},
        4: {"records": (record,)},
        5: {"last_block": 1, "block": 1, "content": apdus.Chosen(2, (record,))},
    }[choice]
    return apdus.encode(Apdu(0x85, choice, piid, fields))


def same(a, b):
    assert (a.oad, [cell.oad for cell in a.cells]) == (b.oad, [cell.oad for cell in b.cells])
    assert a.owner.tolist() == b.owner.tolist()
    for left, right in zip(a.cells, b.cells, strict=True):
        assert len(left.leaves) == len(right.leaves)
        for x, y in zip(left.leaves, right.leaves, strict=True):
            assert x.present.tolist() == y.present.tolist()
            assert x.values.dtype == y.values.dtype
            assert x.values.shape == y.values.shape
            if x.values.dtype == object:
                assert x.values.tolist() == y.values.tolist()
            else:
                assert x.values.tobytes() == y.values.tobytes()


@pytest.mark.parametrize("choice", [3, 4, 5])
def test_a_day_of_quarter_hours(choice):
    raw = answer([row(i) for i in range(96)], choice=choice)
    (found,) = bulk.decode(raw)
    assert bulk._shape(raw) is not None
    (general,) = bulk.decode_general(raw)
    same(found, general)
    assert (bulk.record_times(found) == START + np.arange(96) * QUARTER).all()
    columns = bulk.quantity_columns(found)
    assert columns["active_import"][:2].tolist() == [100_000, 101_000]  # 1e-2 kWh on the wire, 1e-4 here
    assert columns["active_import_t4"][0] == 100_400
    assert columns["active_export"][95] == 109_500
    assert columns["voltage_c"][0] == 230.2
    assert columns["current_a"][1] == -0.001
    assert columns["active_power"][0] == -6.0  # W on the wire, kW here
    assert columns["reactive_power"][0] == 0.0025
    assert set(columns) <= set(quantities())


def test_missing_values_are_missing():
    null = Data(values.NULL)
    rows = [row(0), (row(1)[0], null, null, values.array(Data(values.LONG_UNSIGNED, 2300)), null, null, null)]
    (found,) = bulk.decode(answer(rows))
    columns = bulk.quantity_columns(found)
    assert columns["active_import"].tolist() == [100_000, MISSING]
    assert columns["active_export"].tolist() == [100_000, MISSING]
    assert columns["voltage_a"].tolist() == [230.0, 230.0]
    assert np.isnan(columns["voltage_b"][1])
    assert np.isnan(columns["active_power"][1])


def test_many_answers_at_once():
    good = [answer([row(0, base=1000 + i)], piid=i % 64) for i in range(200)]
    short = answer([row(0)[:3]], COLUMNS[:3])
    refused = apdus.encode(Apdu(0x85, 3, 0, {"record": RecordResult(0x50020200, COLUMNS, 4, None)}))
    empty = answer([])
    corrupt = bytearray(good[0])
    corrupt[-7] = 0x63
    answers = [*good[:100], short, refused, bytes(corrupt), *good[100:], empty, b"", b"\x85"]
    found, errors = bulk.decode_many(answers)
    assert sorted(errors) == [101, 102, 204, 205]
    assert isinstance(errors[101], Refused)
    assert errors[101].absent
    assert isinstance(errors[102], FrameError)
    assert sorted(owner for part in found for owner in part.owner) == [
        i for i in range(203) if i not in (101, 102)
    ]
    assert len(found) == 2
    assert bulk.quantity_columns(found[0])["active_import"].tolist() == [(1000 + i) * 100 for i in range(200)]


ROADS = (0x202A0200, Road(0x50040200, (0x20210200, 0x00100200, 0x00200201)))


@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("count", [1, 3])
def test_roads_both_ways(flat, count):
    rows = []
    for i in range(count):
        cells = row(i)[:3]
        tsa = Data(values.TSA, bytes((5, 0, 0, 0, 0, 0, i)))
        rows.append((tsa, *cells) if flat else (tsa, values.array(*cells)))
    raw = answer(rows, ROADS, oad=0x60120300, flat=flat)
    assert bulk._shape(raw) is not None
    (found,) = bulk.decode(raw)
    same(found, bulk.decode_general(raw)[0])
    assert [cell.oad for cell in found.cells] == bulk.column_names(ROADS)
    assert bulk.quantity_columns(found)["active_import"][0] == 100_000
    assert apdus.decode(raw).fields["record"].flat == flat


def test_a_road_of_one_column():
    road = (Road(0x50040200, (0x00100200,)),)
    for cell in (row(0)[1], values.array(row(0)[1])):
        raw = answer([(cell,)], road)
        assert bulk._shape(raw) is not None
        (found,) = bulk.decode(raw)
        same(found, bulk.decode_general(raw)[0])
        assert bulk.quantity_columns(found)["active_import_t1"].tolist() == [100_100]


def test_the_finer_register_counts_and_scalers_may_differ():
    rows = [(values.array(u32(123456)), values.array(Data(values.LONG64_UNSIGNED, 12345678)))]
    (found,) = bulk.decode(answer(rows, (0x00100200, 0x00100400)))
    assert bulk.quantity_columns(found)["active_import"].tolist() == [12345678]
    (found,) = bulk.decode(answer([rows[0][:1]], (0x00100200,)))
    assert bulk.quantity_columns(found, {0x001002: -3})["active_import"].tolist() == [1234560]
    assert bulk.quantity_columns(found, {0x001002: -5})["active_import"].tolist() == [12345]


def test_what_does_not_fit_is_refused():
    huge = Data(values.LONG64_UNSIGNED, 2**63)
    with pytest.raises(FrameError, match="63 bits"):
        bulk.decode(answer([(huge,)], (0x00100401,)))
    (found,) = bulk.decode(answer([(Data(values.LONG64, 2**62),)], (0x00100201,)))
    with pytest.raises(FrameError, match="63 bits"):
        bulk.quantity_columns(found)
    (found,) = bulk.decode(answer([(Data(values.OCTET_STRING, b"12"),)], (0x00100201,)))
    with pytest.raises(FrameError, match="integers"):
        bulk.quantity_columns(found)
    (found,) = bulk.decode(
        answer([(Data(values.DATE_TIME_S, bytes.fromhex("07ea021e000000")),)], (0x20210200,))
    )
    with pytest.raises(FrameError, match="no date"):
        bulk.record_times(found)
    (found,) = bulk.decode(answer([(u32(1),)], (0x00100201,)))
    with pytest.raises(FrameError, match="neither"):
        bulk.record_times(found)


@given(records(), U8)
def test_any_record_is_the_same_both_ways(record, piid):
    raw = apdus.encode(Apdu(0x85, 3, piid, {"record": record}))
    fast, fast_errors = bulk.decode_many([raw])
    try:
        slow = bulk.decode_general(raw)
    except (FrameError, Refused) as error:
        wrong = error
    else:
        wrong = None
    assert type(fast_errors.get(0)) is type(wrong)
    if wrong is not None:
        return
    assert not fast_errors
    assert len(fast) == len(slow)
    for a, b in zip(fast, slow, strict=True):
        same(a, b)


@given(st.lists(st.lists(LEAVES, min_size=2, max_size=2).map(tuple), min_size=1, max_size=4), U32)
def test_rows_of_one_shape_and_of_many(rows, oad):
    raw = answer([*rows, *rows], (oad, 0x20220200))
    found, errors = bulk.decode_many([raw, raw])
    if errors:
        assert sorted(errors) == [0, 1]
        return
    (slow,) = bulk.decode_general(raw)
    total = np.concatenate([part.owner for part in found])
    assert sorted(total.tolist()) == [0] * 2 * len(rows) + [1] * 2 * len(rows)
    assert [cell.oad for cell in found[0].cells] == [cell.oad for cell in slow.cells]


def demand(value, when):
    return Data(values.STRUCTURE, (u32(value), Data(values.DATE_TIME_S, bytes.fromhex(when))))


def test_every_kind_of_quantity():
    """Demands with their moments, event counts, phases, factors: each in its kind's dtype, both ways the same."""
    reals = [Data(values.LONG, 998), Data(values.LONG, -1000), Data(values.LONG, 0), Data(values.LONG, 1)]
    event = values.array(
        Data(values.STRUCTURE, (Data(values.NULL), Data(values.STRUCTURE, (u32(7), u32(3600)))))
    )
    columns = (0x20210200, 0x10100200, 0x10200201, 0x200A0200, 0x30110700, 0x20060202, 0x200F0200, 0x20010400)
    rows = [
        (
            row(0)[0],
            values.array(demand(12345, "07ea0102031500"), demand(1, "07ea0102031500")),
            demand(5, "00000000000000"),  # no demand yet: no date either
            values.array(*reals),
            event,
            Data(values.DOUBLE_LONG, 15),
            Data(values.LONG_UNSIGNED, 4998),
            Data(values.DOUBLE_LONG, 1234),
        )
    ] * 2
    raw = answer(rows, columns)
    (found,) = bulk.decode(raw)
    same(found, bulk.decode_general(raw)[0])
    got = bulk.reads(found, np.array([42], np.int64), ZoneInfo("Asia/Shanghai"))
    assert got.meter.tolist() == [42, 42]
    assert got.time[0] == np.datetime64("2025-12-31T16:15")
    told = {code: (column.dtype.str[1:], column[0]) for code, column in got.columns.items()}
    assert told.pop("max_demand_import_time") == ("M8[us]", np.datetime64("2026-01-01T19:21"))
    assert np.isnat(told.pop("max_demand_export_time")[1])
    assert told == {
        "max_demand_import": ("f8", 1.2345), "max_demand_export": ("f8", 0.0005), "power_factor": ("f8", 0.998),
        "power_factor_a": ("f8", -1.0), "power_factor_b": ("f8", 0.0), "power_factor_c": ("f8", 0.001),
        "power_failures": ("i8", 7), "apparent_power_a": ("f8", 0.0015), "frequency": ("f8", 49.98), "current_n": ("f8", 1.234),
    }  # fmt: skip
    for code, column in got.columns.items():
        assert column.dtype == empty_column(code, 0).dtype


@pytest.mark.parametrize(
    ("storage", "stored"),
    [(2, "2026-03-11T00:00"), (3, "2026-03-10T23:59"), (4, "2026-03-10T00:00"), (6, "2026-03-11T00:00")],
)
def test_storage_time_by_its_scheme(storage, stored):
    """The register at the midnight that closes 10 March, whatever the scheme prints."""
    stamp = Data(values.DATE_TIME_S, clock.encode_time_s(np.datetime64(stored, "us")))
    (found,) = bulk.decode(answer([(stamp, u32(5))], (0x60420200, 0x00100201)))
    got = bulk.reads(found, np.array([1], np.int64), ZoneInfo("Asia/Shanghai"), storage=storage)
    assert got.time.tolist() == [np.datetime64("2026-03-10T16:00", "us").item()]


def test_storage_time_of_a_month():
    assert bulk.slots(np.array(["2026-02-28T00:00"], "datetime64[us]"), 7)[0] == np.datetime64("2026-03-01")


def test_packed_rows_are_the_rows():
    """What a server encodes from columns is what the general encoder makes of the same rows."""
    when = START + np.arange(96) * QUARTER
    energy = np.arange(96 * 5).reshape(96, 5) + 1000
    volts = np.arange(96 * 3).reshape(96, 3) + 2300
    power = -np.arange(96)
    packed = bulk.encode([
        bulk.time_cells(when),
        bulk.number_cells(values.DOUBLE_LONG_UNSIGNED, energy),
        bulk.number_cells(values.LONG_UNSIGNED, volts),
        bulk.number_cells(values.DOUBLE_LONG, power),
    ])  # fmt: skip
    columns = (0x20210200, 0x00100200, 0x20000200, 0x20040201)
    rows = [
        (
            Data(values.DATE_TIME_S, clock.encode_time_s(when[i])),
            values.array(*(u32(int(n)) for n in energy[i])),
            values.array(*(Data(values.LONG_UNSIGNED, int(n)) for n in volts[i])),
            Data(values.DOUBLE_LONG, int(power[i])),
        )
        for i in range(96)
    ]
    record = RecordResult(0x50020200, columns, 0, (), packed=packed)
    assert apdus.encode(Apdu(0x85, 3, 0, {"record": record})) == answer(rows, columns)
    with pytest.raises(Misuse):
        bulk.number_cells(values.LONG_UNSIGNED, np.array([70_000]))
    with pytest.raises(Misuse):
        bulk.encode([bulk.time_cells(when), bulk.number_cells(values.DOUBLE_LONG, power[:5])])


def test_a_device_answers_with_packed_rows():
    numbers = np.arange(500)
    packed = bulk.encode([bulk.number_cells(values.DOUBLE_LONG_UNSIGNED, numbers)])
    device, master = Device("000000000001", piece=400, segment=100), Master("000000000001")
    wire = master.send(GetRecords(0x50040200, values.Rsd(10, count=255), (0x00100201,)))
    for _ in range(200):
        device.receive_data(wire)
        back = b""
        while (event := device.next_event()) is not NEED_DATA:
            given = {"record": RecordResult(0x50040200, (0x00100201,), 0, (), packed=packed)}
            back += event.data if isinstance(event, Send) else device.answer(given)
        master.receive_data(back)
        got = master.next_event()
        if not isinstance(got, Send):
            break
        wire = got.data
    assert [row[0].value for row in got.value.rows] == numbers.tolist()

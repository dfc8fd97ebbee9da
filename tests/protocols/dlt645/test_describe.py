"""Every function in words and byte by byte; nothing secret unless asked for; any frame in little time."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.dlt645 import blocks, values
from protocols.dlt645.describe import describe, parts
from protocols.dlt645.exchange import (
    ChangePassword,
    ClearEvents,
    ClearMeter,
    Control,
    Freeze,
    Master,
    SealedControl,
    Secure,
    SwitchOutput,
    Write,
)
from protocols.dlt645.frame import Frame
from protocols.dlt645.items import item, rows
from protocols.errors import FrameError
from protocols.part import MASK
from tests.support.work import MOST, work

METER = "000000000001"
WHEN = np.datetime64("2026-03-04T05:06:07")


def words(control: int, data: str, **options) -> dict:
    return describe(Frame(METER, control, bytes.fromhex(data)).encode(), **options)


def ranges(control: int, data: str, **options) -> list[tuple[str, str]]:
    """The parts of the data field: name and meaning."""
    raw = Frame(METER, control, bytes.fromhex(data)).encode(2)
    told = parts(raw, **options)
    assert [part.start for part in told] == [0, *(part.end for part in told[:-1])]
    assert told[-1].end == len(raw)
    assert all(part.start < part.end and part.name and part.name_zh for part in told)
    return [(part.name, part.meaning) for part in told[6:-2]]


@pytest.mark.parametrize(
    ("control", "data", "wanted"),
    [
        (0x11, "01000006" + "021500010226", {"blocks": 2, "from": "2026-02-01 00:15:00"}),
        (0x12, "01000006" + "07", {"data_id": "06000001", "sequence": 7}),
        (0xB1, "01000006" + "a0a0", {"follow_up": True, "data_bytes_wire_order": "a0a0"}),
        (0xB2, "01000006" + "a0a007", {"follow_up": True, "sequence": 7, "data_bytes_wire_order": "a0a0"}),
        (0x14, "01140004" + "02563412" + "09000000" + "0500",
         {"data_name": "trip delay", "password_level": 2, "password": "123456", "operator": "00000009",
          "values": [{"name": "value", "value": 5, "unit": "min"}], "data_bytes_wire_order": "0500"}),
        (0x15, "070000000000", {"values": [{"name": "communication address", "value": "000000000007"}]}),
        (0x16, "99999999", {"freeze_at": "now"}),
        (0x16, "00089999", {"freeze_at": "every day at 08:00"}),
        (0x16, "30080199", {"freeze_at": "every month on day 01 at 08:30"}),
        (0x17, "08", {"baud_word": "08H", "baud_rate": 2400}),
        (0x97, "32", {"baud_word": "32H", "baud_rate": 9600}),
        (0x18, "050c0004" + "02563412" + "04214365",
         {"password_level": 2, "password": "123456", "new_password_level": 4, "new_password": "654321"}),
        (0x98, "04214365", {"new_password_level": 4, "new_password": "654321"}),
        (0x19, "02563412" + "09000000", {"password_level": 2, "operator": "00000009"}),
        (0x1B, "02563412" + "09000000" + "000d3003", {"cleared": "03300D00 meter cover open count"}),
        (0x1B, "02563412" + "09000000" + "ffffffff", {"cleared": "all events"}),
        (0x1C, "02563412" + "09000000" + "1d06" + "070605040326",
         {"command": "1DH relay open, returns to closed", "returns_after_minutes": 30, "valid_until": "2026-03-04 05:06:07"}),
        (0x1C, "98000000" + "09000000" + "11" * 16 + "22334455",
         {"password_level": 0x98, "protection": "enciphered with MAC", "mac": "22334455", "data_bytes_wire_order": "11" * 16}),
        (0x9C, "2000", {"execution_word": "0020H", "execution_bits": ["trip delayed: large current"]}),
        (0x1D, "01", {"output": "clock second pulse"}),
        (0x03, "ff000007" + "09000000" + "01" * 8 + "02" * 8 + "03" * 8,
         {"data_name": "identity authentication", "operator": "00000009",
          "security_data": {"ciphertext": "01" * 8, "random number 1": "02" * 8, "dispersion factor": "03" * 8}}),
        (0x83, "ff000007" + "04" * 4 + "05" * 8, {"security_data": {"random number 2": "04" * 4, "ESAM serial": "05" * 8}}),
        (0xC3, "0800", {"error_word": "0008H", "error_bits": ["identity authentication failed"]}),
        (0xDC, "2000", {"error_word": "0020H", "error_bits": ["trip refused: keep-power is on"]}),
        (0xDC, "edcd", {"error_word": "0020H", "note": "sent without the 33H"}),
        (0xDC, "04", {"error_word": "04H", "error_bits": ["password error / not authorised"]}),
        (0xD1, "cf", {"error_word": "02H", "error_bits": ["no requested data"], "note": "sent without the 33H"}),
        (0x91, "02050004" + "2000",
         {"values": [{"name": "run status word 2", "value": "0020H"}, {"name": "B reactive direction bit 5", "value": "reverse"}],
          "note": "bit 5, B reactive direction: another published reading is A reactive direction"}),
        (0x91, "01150004" + "00c0" + "00" * 10,
         {"values": [{"name": "word", "value": "00000000000000000000C000H"},
                     {"name": "relay tripped bit 14", "value": "new"}, {"name": "relay closed bit 15", "value": "new"}]}),
        (0x91, "03070004" + "08", {"values": [{"name": "port 1 baud word", "value": "08H"}, {"name": "baud rate", "value": 2400}]}),
        (0x91, "00000101" + "1234560000010226",
         {"values": [{"name": "demand", "value": 56.3412, "unit": "kW"}, {"name": "time", "value": "2026-02-01 00:00:00"}]}),
        (0x91, "00010000" + "ffffffff", {"values": [{"name": "value", "value": None, "unit": "kWh"}]}),
        (0x91, "00010000" + "1a000000", {"data_bytes_wire_order": "1a000000"}),
    ],
)  # fmt: skip
def test_functions_in_words(control, data, wanted):
    told = words(control, data, reveal=True)
    assert {key: told.get(key) for key in wanted} == wanted
    assert json.loads(json.dumps(told)) == told
    assert ranges(control, data, reveal=True)


@pytest.mark.parametrize(
    ("control", "data", "wanted"),
    [
        (0x11, "01000006" + "021500010226", [("data identifier", "06000001 load record all classes, from given time 全部负荷记录给定时间记录块"),
                                            ("number of blocks", "2"), ("from", "2026-02-01 00:15")]),
        (0x91, "00010000" + "78563412",
         [("data identifier", "00000100 combined active energy tariff 1 （当前）组合有功费率1电能"), ("value", "123456.78 kWh")]),
        (0x91, "01ff0605" + "0000010226aa" + "78563412aa" + "aa" * 10,
         [("data identifier", "0506FF01 daily freeze -1: whole block （上1次）日冻结数据块"), ("time of last daily freeze", "2026-02-01 00:00:00"),
          ("separator", ""), ("daily freeze -1: forward active energy block, total", "123456.78 kWh")] + [("separator", "")] * 11),
        (0x9C, "0400", [("execution word", "0004H tripped")]),
        (0xD1, "02", [("error word", "02H no requested data")]),
    ],
)  # fmt: skip
def test_byte_by_byte(control, data, wanted):
    assert ranges(control, data) == wanted


def test_a_load_record_byte_by_byte():
    block = blocks.encode_block(
        np.datetime64("2026-02-01T00:15").astype("datetime64[s]").astype(object), {4: [1, 2, 3, 4]}
    )
    told = ranges(0x91, "01000006" + (block + block).hex())
    assert ("forward active energy total", "class 4: 1.00 kWh") in told
    assert [name for name, _ in told].count("separator") == 12
    assert ("time", "2026-02-01 00:15") in told


SECRET = [
    Control(METER, 0x1A, WHEN, password="918273", operator="64738291"),
    Write(METER, 0x04001401, b"\5\0", 2, "918273", "64738291"),
    Write(METER, 0x04000C03, bytes.fromhex("02738291"), 2, "918273", "64738291"),
    ChangePassword(METER, 2, "918273", 4, "918273"),
    ClearMeter(METER, 2, "918273", "64738291"),
    ClearEvents(METER, 0x03300D00, 2, "918273", "64738291"),
    SealedControl(METER, bytes(20), "64738291"),
    Secure(METER, 0x070000FF, bytes.fromhex("918273" * 8), "64738291"),
]


def secret(text: str) -> bool:
    return any(word in text for word in ("918273", "738291", "64738291", "91827364"))


@pytest.mark.parametrize("request_", SECRET, ids=lambda value: type(value).__name__)
def test_secrets_only_on_demand(request_):
    raw = Master(0).send(request_)
    assert not secret(str(describe(raw)))
    assert not secret(str(parts(raw)))
    assert MASK in str(describe(raw))
    assert secret(str(describe(raw, reveal=True)))
    assert not secret(repr(request_))
    # cut short, lengthened: the shape is wrong, the secret is still one
    frame = Frame(METER, raw[8], bytes((b - 0x33) & 0xFF for b in raw[10:-2]))
    for size in range(len(frame.data)):
        if frame.control == 0x03 and size in (0, 2):
            continue  # that is a re-read of the 1997 edition
        cut = Frame(METER, frame.control, frame.data[:size]).encode()
        assert not secret(str(describe(cut)) + str(parts(cut))), size


def test_a_password_is_not_shown_by_an_answer_either():
    raw = Frame(METER, 0x91, bytes.fromhex("030c000402738291")).encode()
    assert not secret(str(describe(raw)) + str(parts(raw)))


DIS = [row.id for row in rows()]
#: functions that only the 1997 edition has
EDITION_1997 = (0x01, 0x02, 0x04, 0x05, 0x0A, 0x0C, 0x0F, 0x10)
EXAMPLE = {"rr": "02", "ss": "00", "nn": "03", "dd": "03", "pp": "02", "hh": "05", "kk": "02", "ff": "02"}


@given(
    st.integers(0, 255),
    st.one_of(
        st.binary(max_size=255),
        st.builds(
            lambda row, left: bytes.fromhex("".join(EXAMPLE.get(row[i : i + 2], row[i : i + 2]) for i in range(0, 8, 2)))[::-1] + left,
            st.sampled_from(DIS),
            st.binary(max_size=251),
        ),
    ),
)  # fmt: skip
def test_any_data_in_any_function_is_told(control, data):
    raw = Frame(METER, control, data).encode()
    if control & 0x1F in EDITION_1997:
        with pytest.raises(FrameError, match="1997"):
            describe(raw)
        return
    if control & 0x5F == 0x03 and (len(data) in (0, 2) or control & 0x80):
        return  # either edition's: told apart by the data
    for reveal in (False, True):
        told = describe(Frame(METER, control, data).encode(), reveal=reveal)
        assert json.loads(json.dumps(told)) == told
        ranges(control, data.hex(), reveal=reveal)


def longest() -> list[bytes]:
    """The largest data fields of each kind, and long inputs that are no single frame."""
    empty = blocks.encode_block(
        np.datetime64("2026-02-01T00:15").astype("datetime64[s]").astype(object), {}, order=(4,)
    )
    tables = [
        bytes.fromhex(di)[::-1] + bytes(250)
        for di in ("0001FF00", "04010000", "03300801", "0101FF00", "10010303")
    ]
    loads = bytes.fromhex("01000006") + empty * (250 // len(empty))
    frames = [Frame(METER, 0x91, data).encode() for data in (*tables, loads)]
    return [*frames, b"\x68" * 16384, frames[0] * 60, b"\xfe" * 16384, b"\xfe" * 16000 + frames[0]]


@pytest.mark.parametrize("raw", longest(), ids=range(10))
def test_no_input_takes_long(raw):
    for function in (describe, parts):
        assert work(function, raw) < MOST


def test_a_write_reads_back_what_it_writes():
    data = values.encode(0x0400010C, [np.datetime64("2026-03-04T05:06:07").astype(object), 3])
    told = words(0x14, ("0c010004" + "00" * 8 + data.hex()))
    assert told["values"] == [
        {"name": "time", "value": "2026-03-04 05:06:07"},
        {"name": "weekday", "value": 3},
    ]
    assert item(0x0400010C) is not None
    assert words(0x16, "99999999")["freeze_at"] == "now"
    assert Master(0).send(Freeze()) == Frame("999999999999", 0x16, bytes.fromhex("99999999")).encode()
    assert describe(Master(0).send(SwitchOutput(METER, 2)))["output"] == "slot switching"

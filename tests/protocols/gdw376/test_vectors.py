"""What the published frames need beyond tests/protocols/test_conformance.py, which reads, damages and encodes them all."""

import json
from pathlib import Path
from typing import Any

import pytest

from protocols import registry
from protocols.gdw376.describe import MASK, describe
from protocols.gdw376.frame import Frame, decode
from protocols.gdw376.values import decode_units, encode

VECTORS: list[dict[str, Any]] = [
    json.loads(line)
    for line in (Path(__file__).parents[1] / "vectors" / "gdw376.jsonl").read_text("utf-8").splitlines()
]


def by_id(vector: dict[str, Any]) -> str:
    return str(vector["id"].rpartition("-")[2])


def test_the_list_is_whole():
    assert len(VECTORS) == 40
    assert all(vector["valid"] and vector["source"] for vector in VECTORS)


@pytest.mark.parametrize("vector", VECTORS, ids=by_id)
def test_encodes_to_the_same_bytes(vector):
    raw = bytes.fromhex(vector["hex"])
    frame = decode(raw)
    assert frame.encode() == raw
    for unit in decode_units(frame.afn, frame.body, uplink=frame.uplink):
        if unit.known and not any(value.gap == "invalid" for value in unit.values):
            values = [value.value for value in unit.values]
            assert encode(frame.afn, unit.function, values, uplink=frame.uplink) == unit.data


def vector(number: str) -> bytes:
    return next(bytes.fromhex(v["hex"]) for v in VECTORS if v["id"].endswith(number))


def test_secrets_are_masked():
    order = vector("-034")  # forwards a relay command with the meter's password
    assert "020637" in str(registry.protocol("gdw376").describe(order, reveal=True))
    for told in (registry.protocol("gdw376").describe(order), describe(order)):
        assert told["forward"]["frame"] == MASK
        assert "37060" not in str(told)
        assert "356a3935" not in str(told)
        assert "PW" not in told
        assert told["PW_bytes"] == 16
    read = registry.protocol("gdw376").describe(vector("-030"))
    assert read["forward"]["frame"] == "68611001301215681104333334337b16"
    assert describe(vector("-030"))["forward"]["frame"] == "68611001301215681104333334337b16"  # a read
    assert describe(vector("-034"))["forward"]["frame"] == MASK


def test_a_parameter_with_a_password():
    body = bytes.fromhex("00000102") + b"user".ljust(32, b"\0") + b"hunter2".ljust(32, b"\0")
    frame = Frame(
        decode(vector("-028")).address, 0x4A, 0x04, 0x60, body[:2] + b"\x80\x01" + body[4:], bytes(16)
    )
    told = describe(frame.encode())
    assert told["parameters"] == [
        {"name": "user name", "value": "user"},
        {"name": "password", "value": MASK},
    ]
    assert told["remaining_data"] == MASK
    assert b"hunter2".hex() not in str(told)
    assert "hunter2" in str(describe(frame.encode(), reveal=True))
    assert "hunter2" not in repr(decode_units(4, frame.body, uplink=False))


def test_every_unit_of_a_longer_frame_is_spelled_out():
    clock = bytes.fromhex("000002 00".replace(" ", "")) + bytes.fromhex("512023071018")
    counters = bytes.fromhex("00004000") + b"\x03\x04"
    frame = Frame(decode(vector("-050")).address, 0x88, 0x0C, 0x60, clock + counters)
    told = describe(frame.encode())
    assert [unit["Fn"] for unit in told["data_units"]] == [2, 7]
    assert told["data_units"][1]["values"] == [{"name": "EC1", "value": 3}, {"name": "EC2", "value": 4}]
    assert told["remaining_data"] == frame.body[4:].hex()


def test_identifiers_that_name_nothing():
    address = decode(vector("-050")).address
    for raw, everything in (("05000200", False), ("ff000200", True)):
        told = describe(Frame(address, 0x88, 0x0C, 0x60, bytes.fromhex(raw + "aabb")).encode())
        assert told["data_unit"]["pn"] == []
        assert told["data_unit"]["all_points"] is everything
        assert told["remaining_data"] == "aabb"
    told = describe(Frame(address, 0x88, 0x0C, 0x60, b"\x01").encode())
    assert told["remaining_data"] == "01"

"""Whatever comes with a right CRC or header: a value or a FrameError that says where, from every entry."""

from __future__ import annotations

import json
import os
import random

from protocols.errors import FrameError, Refused
from protocols.exchange import NEED_DATA
from protocols.modbus.exchange import Device, Master
from protocols.modbus.pdu import functions
from protocols.modbus.requests import Identify, ReadBits, ReadRegisters, Request, WriteRegister
from protocols.modbus.rtu import describe as rtu_words
from protocols.modbus.rtu import frame as rtu
from protocols.modbus.tcp import describe as tcp_words

TRIES = int(os.environ.get("MODBUS_TRIES", "2000"))


def some_body(chance: random.Random) -> bytes:
    """Unit, function and data, near enough to the forms that half of them fit."""
    function = chance.choice([*functions(), 0x83, 0xAB]) if chance.random() < 0.9 else chance.randrange(256)
    data = bytearray(chance.randbytes(chance.choice((0, 1, 2, 3, 4, 4, 5, 6, 7, 9, chance.randrange(252)))))
    if data and chance.random() < 0.5:
        data[0] = len(data) - 1
    if len(data) > 5 and chance.random() < 0.3:
        data[2:5] = bytes((0, chance.randrange(60), len(data) - 5))
    if function == 0x2B and len(data) > 6:
        data[:6] = bytes((chance.choice((13, 14)), 1, 1, 0, 0, 1))
        data += b"\0\0"
        data[7] = len(data) - 8
    return bytes((chance.randrange(1, 248), function)) + bytes(data)


def test_descriptions() -> None:
    chance = random.Random(5)
    good, offsets = 0, []
    for _ in range(TRIES):
        body = some_body(chance)
        serial = body + rtu.crc16(body).to_bytes(2, "little")
        framed = b"\0\1\0\0" + len(body).to_bytes(2, "big") + body
        for words, raw in ((rtu_words, serial), (tcp_words, framed)):
            try:
                told, parts = words.describe(raw), words.parts(raw)
            except FrameError as error:
                offsets.append((error.offset, len(raw)))
                continue
            good += 1
            assert json.loads(json.dumps(told)) == told
            ends = [0, *(part.end for part in parts)]
            assert [part.start for part in parts] == ends[:-1]
            assert ends[-1] == len(raw)
            assert all(part.start < part.end and part.name and part.name_zh for part in parts)
    assert good > TRIES / 4
    assert all(at is not None and 0 <= at <= size for at, size in offsets)


def test_both_sides_of_the_conversation() -> None:
    chance = random.Random(6)
    for _ in range(TRIES // 2):
        body = some_body(chance)
        unit, count = body[0], max(1, min(125, (len(body) - 3) // 2))
        requests: tuple[Request, ...] = (
            ReadRegisters(unit, 0, count), ReadRegisters(unit, 0, count, 4), ReadBits(unit, 0, 8 * count, 2),
            WriteRegister(unit, 1, 2), Identify(unit),
        )  # fmt: skip
        frames = {
            "rtu": body + rtu.crc16(body).to_bytes(2, "little"),
            "tcp": b"\0\1\0\0" + len(body).to_bytes(2, "big") + body,
        }
        for line, raw in frames.items():
            master, device = Master(line), Device(unit, line)  # type: ignore[arg-type]
            master.send(chance.choice(requests))
            master.receive_data(raw)
            device.receive_data(raw)
            for _ in range(100):
                try:
                    if master.next_event() is NEED_DATA:
                        break
                except (FrameError, Refused):
                    continue
            else:
                raise AssertionError("the master never has enough")
            while device.next_event() is not NEED_DATA:
                pass

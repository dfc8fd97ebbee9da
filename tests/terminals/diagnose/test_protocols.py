"""Every protocol that a line may speak, and what lines do besides: on real sockets, pseudo-terminals and against pymodbus."""

from __future__ import annotations

import asyncio
import os
import re
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from protocols.dlms import model, values
from protocols.dlms.exchange import GetRequest, Server
from protocols.dlms.hdlc import HdlcTransport, server_address
from protocols.dlms.values import Data
from protocols.dlt645.edition1997 import exchange as of_1997
from protocols.dlt645.edition1997.words import NO_SUCH_DI
from protocols.exchange import NEED_DATA, Send
from protocols.iec62056_21.frame import Identification, with_parity
from terminals.diagnose.candidates import known_candidates
from terminals.diagnose.diagnosis import Cause, State
from terminals.diagnose.engine import diagnose
from terminals.diagnose.phasors import Source
from terminals.diagnose.search import Target
from terminals.pace import Timing
from tests.support.registers import device, on_serial, over_tcp
from tests.terminals.drivers.test_modbus import SDM630, cable

ZONE = ZoneInfo("Asia/Shanghai")
NOW = np.datetime64("2026-03-11T02:00:00", "us")  # 10:00 there
QUICK = Timing(first=0.15, floor=0.1, ceiling=0.4, gap=0.05, attempts=2, pause=0.0, whole=2.0)
ADDRESS = "000000000012"


async def _diagnose(url, target=None, *, names=(), **options):
    candidates = [c for c in known_candidates() if not names or c.name in names]
    settings = {"now": lambda: NOW, "zone": ZONE, "timing": QUICK, "connect_timeout": 1.0} | options
    return await diagnose(url, target or Target(), candidates, lambda step: None, **settings)


def _step(diagnosis, key):
    return next(step for step in diagnosis.steps if step.key == key)


# --- DL/T 645-1997 ---

OF_1997 = {
    0x9010: "78563412", 0xC010: "03110326", 0xC011: "050010", 0xB611: "2002", 0xB621: "0005", 0xB630: "001000", 0xB631: "001000",
    0xB640: "0500", 0xB641: "0500", 0xC021: "02", 0xC032: "120000000000",
}  # fmt: skip


def meter_of_1997(**options):
    meter = of_1997.Device(ADDRESS, **options)

    def answer(data):
        meter.receive_data(data)
        answers = b""
        while (event := meter.next_event()) is not NEED_DATA:
            if isinstance(event, Send):
                answers += event.data
            elif isinstance(event, of_1997.ReadRequest) and event.di in OF_1997:
                answers += meter.answer(bytes.fromhex(OF_1997[event.di]))
            else:
                answers += meter.refuse(NO_SUCH_DI)
        return answers

    return answer


async def test_a_meter_of_1997_is_found_after_2007_and_read(server):
    server.answer = meter_of_1997()
    diagnosis = await _diagnose(server.url)
    assert (diagnosis.protocol, diagnosis.address) == ("dlt645-1997", ADDRESS)
    assert diagnosis.clock_offset == 5.0
    assert diagnosis.reads.columns["active_import"][0] == 1234567800
    (phase,) = diagnosis.phasors.phases
    assert phase.source is Source.POWERS
    assert phase.angle == pytest.approx(26.57, abs=0.01)
    assert [flag.name.zh for flag in diagnosis.flags] == ["B相断电"]
    assert _step(diagnosis, "status").state is State.FAILED
    assert "no relay" in _step(diagnosis, "relay").detail.en


async def test_a_meter_of_1997_that_does_not_say_its_address_is_read_by_the_wildcard(server):
    server.answer = meter_of_1997(anonymous=True)
    diagnosis = await _diagnose(server.url)
    assert (diagnosis.protocol, diagnosis.address) == ("dlt645-1997", "AAAAAAAAAAAA")
    assert diagnosis.reads.columns["active_import"][0] == 1234567800


# --- DLMS over HDLC, and the optical head ---


class HdlcMeter:
    """Clock, one register and a voltage; logical device 1. `asked` before any password."""

    def __init__(self):
        self.server = Server(1, zone=ZONE, transport=HdlcTransport(server_address(1), None, client=False))
        self.objects = {
            (8, model.CLOCK, 2): values.octets(values.encode_clock(NOW + np.timedelta64(7, "s"), ZONE)),
            (3, "1.0.1.8.0.255", 2): Data(values.DOUBLE_LONG_UNSIGNED, 123456),
            (3, "1.0.1.8.0.255", 3): values.structure(Data(values.INTEGER, 1), Data(values.ENUM, 30)),
            (3, "1.0.32.7.0.255", 2): Data(values.LONG_UNSIGNED, 2301),
            (3, "1.0.32.7.0.255", 3): values.structure(Data(values.INTEGER, -1), Data(values.ENUM, 35)),
            (1, "0.0.96.1.0.255", 2): values.octets(b"12345678"),
        }  # fmt: skip

    def answer(self, data):
        self.server.receive_data(data)
        answers = b""
        while (event := self.server.next_event()) is not NEED_DATA:
            if isinstance(event, Send):
                answers += event.data
            elif isinstance(event, GetRequest):
                found = self.objects.get((event.class_id, event.obis, event.attribute))
                answers += self.server.refuse(4) if found is None else self.server.answer(found)
        return answers


async def test_hdlc_in_tcp_is_found_and_read(server):
    server.answer = HdlcMeter().answer
    diagnosis = await _diagnose(server.url)
    assert (diagnosis.protocol, diagnosis.address) == ("dlms-hdlc", "1")
    assert diagnosis.clock_offset == 7.0
    assert diagnosis.reads.columns["active_import"][0] == 12_345_600
    assert {trait.key: trait.value for trait in diagnosis.traits} == {"number": "12345678"}


async def _on_pty(pty, answer, url="serial://{}?baud=9600&parity=N", **options):
    far, name = pty
    loop = asyncio.get_running_loop()

    def heard():
        reply = answer(os.read(far, 4096))
        if reply:
            os.write(far, reply)

    loop.add_reader(far, heard)
    try:
        return await _diagnose(url.format(name), **options)
    finally:
        loop.remove_reader(far)


async def test_an_optical_head_is_woken_and_goes_on_in_hdlc(pty):
    meter, said = HdlcMeter(), []

    def answer(data):
        if not said:
            assert data == with_parity(b"/?!\r\n")
            said.append("identified")
            return with_parity(Identification("LGZ", "5", "ZMD310", ("2",)).encode())
        if data.startswith(b"\x06"):
            said.append(with_parity(b"\x06252\r\n") == data)
            return b""
        return meter.answer(data)

    diagnosis = await _on_pty(pty, answer, "serial://{}?baud=300&parity=N")
    assert said == ["identified", True]
    assert diagnosis.protocol == "dlms-hdlc"
    assert diagnosis.reads.columns["voltage_a"][0] == 230.1


async def test_a_meter_without_binary_mode_says_so(pty):
    answer = lambda data: with_parity(Identification("EMH", "5", "mMe4.0").encode())  # noqa: E731
    diagnosis = await _on_pty(pty, answer, "serial://{}?baud=300&parity=N")
    assert "EMH mMe4.0: the meter offers no binary mode" in _step(diagnosis, "address").detail.en


# --- RS-485 that echoes ---


async def test_an_echo_is_recognised_taken_out_and_told(pty, meter645):
    meters = meter645(ADDRESS)
    meters.data = {0x04000101: bytes.fromhex("03110326"), 0x04000102: bytes.fromhex("300010")}
    diagnosis = await _on_pty(pty, lambda data: data + meters.answer(data))
    assert (diagnosis.protocol, diagnosis.address) == ("dlt645-2007", ADDRESS)
    assert diagnosis.url.endswith("&echo=1")
    assert ["echo" in note.en for note in diagnosis.notes] == [True]
    assert not any(trip.received.startswith(trip.sent) for trip in _step(diagnosis, "clock").trips)


async def test_nothing_but_an_echo_is_told_apart_from_silence(pty):
    diagnosis = await _on_pty(pty, lambda data: data)
    assert _step(diagnosis, "address").cause is Cause.ECHO
    assert "Swap A and B" in diagnosis.verdict.en


# --- Modbus ---


async def test_a_modbus_device_asks_for_its_model():
    async with over_tcp(device(1, "sdm630", SDM630)) as port:
        diagnosis = await _diagnose(f"tcp://127.0.0.1:{port}")
    step = _step(diagnosis, "address")
    assert step.cause is Cause.NEEDS
    assert re.search(r"--address 1@MODEL, models: .*sdm630", step.detail.en)


async def test_a_modbus_meter_with_its_model_is_read():
    async with over_tcp(device(1, "sdm630", SDM630)) as port:
        diagnosis = await _diagnose(f"tcp://127.0.0.1:{port}", Target("1@sdm630"))
    assert (diagnosis.protocol, diagnosis.address) == ("modbus-tcp", "1@sdm630")
    assert diagnosis.reads.columns["voltage_a"][0] == 230.2
    assert _step(diagnosis, "clock").state is State.UNKNOWN


async def test_modbus_on_a_serial_line():
    with cable() as (ours, theirs):
        async with on_serial(theirs, device(1, "sdm630", SDM630)):
            url = f"serial://{ours}?baud=9600&parity=N"
            diagnosis = await _diagnose(url, Target("1@sdm630"))
    assert diagnosis.protocol == "modbus-rtu"
    assert diagnosis.reads.columns["active_import"][0] == 12_345_670


# --- who speaks by himself ---


async def test_a_terminal_that_logs_in_here_is_named(server):
    login = bytes.fromhex("68 32 00 32 00 68 C9 71 01 22 08 00 02 78 00 00 01 00 E0 16")
    server.answer = lambda data: login
    diagnosis = await _diagnose(server.url, names=("dlt645-2007", "dlt645-1997"))
    step = _step(diagnosis, "address")
    assert step.cause is Cause.NEEDS
    assert "--terminal 01710822" in step.detail.en
    assert "01710822" in step.detail.zh

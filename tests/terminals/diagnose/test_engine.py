"""The field diagnosis against a real DL/T 645 meter on loopback, and against what goes wrong in the field."""

import asyncio
import os
import socket
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from protocols.dlt645.exchange import Master, ReadAddress, Write
from protocols.errors import Refused
from terminals.diagnose.candidates import Candidate, known_candidates
from terminals.diagnose.diagnosis import Cause, State
from terminals.diagnose.engine import diagnose
from terminals.diagnose.lockout import Lockout
from terminals.diagnose.probes.dlt645 import Dlt645Probe
from terminals.diagnose.search import Target
from terminals.drivers.dlt645 import Dlt645Driver
from terminals.links.link import BadAddress
from terminals.links.tap import Tap
from terminals.links.tcp import connect
from terminals.links.url import Opener
from terminals.pace import Timing

ZONE = ZoneInfo("Asia/Shanghai")
NOW = np.datetime64("2026-03-11T02:00:00", "us")  # 10:00 there
ADDRESS = "000000000012"
QUICK = Timing(first=0.1, floor=0.03, ceiling=0.2, gap=0.02, attempts=2, pause=0.0, whole=1.0)
C645 = Candidate(Dlt645Probe(Dlt645Driver()), find=lambda: (Master(), ReadAddress()))
STEPS = [
    "link",
    "address",
    "identity",
    "clock",
    "registers",
    "voltages",
    "phasors",
    "status",
    "battery",
    "relay",
]


@pytest.fixture
def meters(meter645, server):
    meters = meter645(ADDRESS)
    meters.data = {
        0x04000101: bytes.fromhex("03110326"),
        0x04000102: bytes.fromhex("300010"),
        0x00010000: bytes.fromhex("78563412"),
        0x02010100: bytes.fromhex("0522"),
        0x02030000: bytes.fromhex("563400"),
        0x02070100: bytes.fromhex("5003"),
        0x02020100: bytes.fromhex("005000"),
        0x04000402: bytes.fromhex("120000000000"),
        0x02800008: bytes.fromhex("6003"),
        0x040005FF: bytes(14),
        0x04000503: bytes.fromhex("0000"),
    }
    server.answer = meters.answer
    return meters


async def _diagnose(url, address="", candidates=(C645,), passwords=(), terminal="", **options):
    reported = []
    target = Target(address, terminal, 0, tuple(passwords))
    settings = {"now": lambda: NOW, "zone": ZONE, "timing": QUICK, "connect_timeout": 1.0} | options
    diagnosis = await diagnose(url, target, candidates, reported.append, **settings)
    assert tuple(reported) == diagnosis.steps
    assert [step.key for step in diagnosis.steps] == STEPS
    return diagnosis


def _step(diagnosis, key):
    return next(step for step in diagnosis.steps if step.key == key)


async def test_a_healthy_meter_is_found_and_read(server, meters):
    diagnosis = await _diagnose(server.url)
    assert [step.state for step in diagnosis.steps] == [State.OK] * 10
    assert diagnosis.ok
    assert (diagnosis.protocol, diagnosis.address) == ("dlt645-2007", ADDRESS)
    assert diagnosis.clock_offset == 30.0
    assert diagnosis.reads.columns["active_import"][0] == 1234567800
    assert "123456.78 kWh" in _step(diagnosis, "registers").detail.en
    assert "220.5 V" in _step(diagnosis, "voltages").detail.en
    assert "电压" in _step(diagnosis, "voltages").detail.zh
    assert "closed" in _step(diagnosis, "relay").detail.en
    assert "nothing to do" in diagnosis.verdict.en
    assert "正常" in diagnosis.verdict.zh
    trips = _step(diagnosis, "address").trips
    assert trips[0].sent.endswith("68 AA AA AA AA AA AA 68 13 00 DF 16")
    assert trips[0].received.startswith("FE FE FE FE 68 12 00")
    assert all(step.seconds >= 0 for step in diagnosis.steps)


async def test_a_given_address_is_used_and_must_answer(server, meters):
    assert (await _diagnose(server.url, ADDRESS)).address == ADDRESS
    diagnosis = await _diagnose(server.url, "000000000099")
    assert _step(diagnosis, "address").cause is Cause.SILENT
    assert "Check the address" in diagnosis.verdict.en
    assert _step(diagnosis, "clock").state is State.UNKNOWN
    assert diagnosis.address is None


async def test_a_wrong_clock_is_told(server, meters):
    diagnosis = await _diagnose(server.url, now=lambda: NOW - np.timedelta64(20, "m"))
    assert _step(diagnosis, "clock").cause is Cause.WRONG
    assert diagnosis.clock_offset == 1230.0
    assert "Set the clock" in diagnosis.verdict.en
    assert "校时" in diagnosis.verdict.zh


async def test_a_missing_phase_is_told(server, meters):
    meters.data[0x0201FF00] = bytes.fromhex("052205220000")
    diagnosis = await _diagnose(server.url)
    assert _step(diagnosis, "voltages").cause is Cause.WRONG
    assert "fuses" in diagnosis.verdict.en


async def test_what_the_meter_refuses_is_unknown_and_no_failure(server, meters):
    del meters.data[0x04000503]
    diagnosis = await _diagnose(server.url)
    assert _step(diagnosis, "relay").state is State.UNKNOWN
    assert diagnosis.ok
    assert "unknown could not be checked" in diagnosis.verdict.en


async def test_several_meters_answering_at_once(server, meters):
    server.answer = lambda data: bytes(a | b for a, b in zip(data, b"\x55" * 99, strict=False))
    diagnosis = await _diagnose(server.url)
    assert _step(diagnosis, "address").cause is Cause.GARBLED
    assert "give an address" in diagnosis.verdict.en


async def test_a_meter_that_falls_silent_in_the_midst(server, meters):
    def answer(data):
        reply = meters.answer(data)
        return b"" if len(meters.asked) > 5 else reply

    server.answer = answer
    diagnosis = await _diagnose(server.url)
    assert _step(diagnosis, "registers").cause is Cause.SILENT
    assert "stopped answering" in diagnosis.verdict.en


async def test_a_line_that_breaks_in_the_midst(server, meters):
    def answer(data):
        if len(meters.asked) > 4:
            server.transports[0].abort()
        return meters.answer(data)

    server.answer = answer
    diagnosis = await _diagnose(server.url)
    assert Cause.LOST in {step.cause for step in diagnosis.steps}
    assert "connection broke" in diagnosis.verdict.en
    assert diagnosis.steps[-1].cause is Cause.NOT_TRIED


async def test_nothing_listens():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        diagnosis = await _diagnose(f"tcp://127.0.0.1:{taken.getsockname()[1]}")
    assert _step(diagnosis, "link").cause is Cause.CANNOT_OPEN
    assert "could not be opened" in diagnosis.verdict.en
    assert [step.state for step in diagnosis.steps[1:]] == [State.UNKNOWN] * 9


async def test_a_bad_address_is_the_caller_s(server):
    with pytest.raises(BadAddress):
        await _diagnose("10.1.2.3:7001")


async def test_without_settings_a_serial_port_is_searched(pty, meter645, meters):
    """On a pty only parity N can be set: the search arrives at 9600 N."""
    far, device = pty

    def heard():
        os.write(far, meters.answer(os.read(far, 4096)))

    loop = asyncio.get_running_loop()
    loop.add_reader(far, heard)
    try:
        diagnosis = await _diagnose(f"serial://{device}")
    finally:
        loop.remove_reader(far)
    assert diagnosis.url.endswith("?baud=9600&parity=N")
    assert diagnosis.address == ADDRESS


async def test_a_recording_is_diagnosed_offline(server, meters, tmp_path):
    path = tmp_path / "case.toml"

    async def tapped(timeout):
        return Tap(await connect("127.0.0.1", server.port, timeout), path, "2026-03-11")

    live = await _diagnose([Opener(server.url, tapped)])
    offline = await _diagnose(f"recording://{path}")
    assert [(s.state, s.detail) for s in offline.steps[1:]] == [(s.state, s.detail) for s in live.steps[1:]]


# --- passwords ---


class Guarded(Dlt645Driver):
    """A protocol with a door: reads its own address item first and lets in who knows the word."""

    def open(self, meter):
        word = meter.secrets.get("password", "")
        yield Write(meter.address, 0x04000401, b"", password=word.encode().hex()[:6])


async def test_a_refused_password_is_told_and_few_are_tried(server, meters):
    diagnosis = await _diagnose(
        server.url,
        ADDRESS,
        [Candidate(Dlt645Probe(Guarded()), secret="password")],
        ["one", "two", "three", "four"],
    )
    assert _step(diagnosis, "address").cause is Cause.LOCKING
    assert "2 wrong passwords tried" in _step(diagnosis, "address").detail.en
    assert "before the meter locks" in diagnosis.verdict.en
    assert len(meters.asked) == 2  # and none on the other settings or protocols


async def test_one_wrong_password_is_a_refusal_and_says_how_many_are_left(server, meters):
    guarded = Candidate(Dlt645Probe(Guarded()), secret="password")
    diagnosis = await _diagnose(server.url, ADDRESS, [guarded], ["one"])
    assert _step(diagnosis, "address").cause is Cause.REFUSED
    assert "Check the password" in diagnosis.verdict.en
    assert [note.en for note in diagnosis.notes] == [
        "1 wrong password tried in this run; taken to lock at 3, so 2 left before the lock"
    ]


async def test_an_unanswered_protocol_gives_way_to_the_next(server, meters):
    dlms = next(c for c in known_candidates() if c.driver.name == "dlms")
    diagnosis = await _diagnose(server.url, "", [dlms, C645])
    assert diagnosis.protocol == "dlt645-2007"


async def test_passwords_are_blotted_out_of_the_dump(server, meters):
    server.answer = lambda data: b""
    dlms = next(c for c in known_candidates() if c.driver.name == "dlms")
    diagnosis = await _diagnose(server.url, "1", [dlms], ["secret77"])
    sent = " ".join(trip.sent for trip in _step(diagnosis, "address").trips)
    assert "2A 2A 2A 2A 2A 2A 2A 2A" in sent
    assert b"secret77".hex(" ").upper() not in sent


async def test_a_password_that_went_out_unanswered_may_have_been_counted(server, meters):
    """The answer may be lost, not the question: the meter counts all the same."""
    server.answer = lambda data: b""
    dlms = next(c for c in known_candidates() if c.driver.name == "dlms")
    lockout = Lockout(limit=3)
    await _diagnose(server.url, "1", [dlms], ["secret77"], lockout=lockout)
    assert lockout.left("dlms") == 2


async def test_the_right_one_after_a_wrong_one_is_told_with_what_is_left(server, meters):
    class Picky(Dlt645Driver):
        def open(self, meter):
            if meter.secrets.get("password") != "right":
                raise Refused("wrong password", code=4)
            yield from ()

    picky = Candidate(Dlt645Probe(Picky()), secret="password")
    diagnosis = await _diagnose(server.url, ADDRESS, [picky], ["left", "right"])
    assert diagnosis.address == ADDRESS
    assert "1 wrong password tried" in diagnosis.notes[0].en

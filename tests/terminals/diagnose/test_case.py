"""A diagnosis and what was written down of it are the same: on every line that is hard to write down."""

from __future__ import annotations

import asyncio
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from terminals.diagnose.candidates import known_candidates
from terminals.diagnose.case import Asked, NoCase, load
from terminals.diagnose.diagnosis import Cause
from terminals.diagnose.document import document, notes_in, phasors_in, steps_of
from terminals.diagnose.engine import diagnose
from terminals.diagnose.lockout import Lockout
from terminals.diagnose.search import Target
from terminals.diagnose.wire import LiveWire, PlayedWire
from terminals.pace import Timing

ZONE = ZoneInfo("Asia/Shanghai")
BEGAN = np.datetime64("2026-03-11T02:00:00", "us")
QUICK = Timing(first=0.1, floor=0.03, ceiling=0.2, gap=0.02, attempts=2, pause=0.02, whole=1.0)
ADDRESS = "000000000012"
DATA = {
    0x04000101: "03110326", 0x04000102: "300010", 0x00010000: "78563412", 0x02010100: "0522", 0x02020100: "005000",
    0x02070100: "5003", 0x02030000: "563400", 0x040005FF: "00" * 14, 0x04000503: "0000",
}  # fmt: skip


@pytest.fixture
def meters(meter645, server):
    meters = meter645(ADDRESS)
    meters.data = {di: bytes.fromhex(text) for di, text in DATA.items()}
    server.answer = meters.answer
    return meters


async def _run(asked, wire):
    return document(
        await diagnose(
            asked.url, asked.target, known_candidates(), lambda step: None, now=lambda: asked.now(wire.at), zone=asked.zone,
            timing=QUICK, connect_timeout=1.0, wire=wire, lockout=Lockout(asked.limit),
        )
    )  # fmt: skip


async def _both(url, path, target=None, rate=1.0):
    asked = Asked(url, target or Target(), (), ZONE, BEGAN, rate)
    wire = LiveWire(path, asked.head(url, "2026-03-11"))
    live = await _run(asked, wire)
    wire.close()
    again, recorded = load(path)
    assert again == asked
    return live, await _run(again, PlayedWire(recorded.moments))


async def test_a_healthy_meter(server, meters, tmp_path):
    live, played = await _both(server.url, tmp_path / "case.toml")
    assert live == played
    assert live["ok"]
    assert sum(step["seconds"] for step in live["steps"]) > 0


async def test_noise_silence_pieces_and_a_late_answer(server, meters, tmp_path):
    turns = iter(range(1000))

    def answer(data):
        turn = next(turns)
        reply = meters.answer(data)
        if turn % 7 == 3:
            return b""  # lost
        if turn % 7 == 5:
            reply = bytes((*reply[:-3], reply[-3] ^ 0x55, *reply[-2:]))  # spoilt
        transport = server.transports[-1]
        loop = asyncio.get_running_loop()
        if turn % 5 == 2:  # in two pieces, with noise before
            loop.call_later(0.005, transport.write, reply[9:])
            return b"\x00\xff" + reply[:9]
        if turn % 11 == 7:  # after the time-out
            loop.call_later(0.15, transport.write, reply)
            return b""
        if turn % 3 == 0:  # twice, the second time in the pause before the next request
            loop.call_later(0.008, transport.write, reply)
        return reply

    server.answer = answer
    live, played = await _both(server.url, tmp_path / "case.toml", Target(ADDRESS))
    assert live == played
    assert "late" in {moment.direction for moment in load(tmp_path / "case.toml")[1].moments}


async def test_a_line_that_breaks(server, meters, tmp_path):
    def answer(data):
        if len(meters.asked) > 8:
            server.transports[-1].abort()
        return meters.answer(data)

    server.answer = answer
    live, played = await _both(server.url, tmp_path / "case.toml")
    assert live == played
    assert Cause.LOST.value in {step["cause"] for step in live["steps"]}


async def test_nobody_and_nothing_there(server, tmp_path):
    server.answer = lambda data: b""
    live, played = await _both(server.url, tmp_path / "case.toml")
    assert live == played
    live, played = await _both("tcp://127.0.0.1:1", tmp_path / "none.toml")
    assert live == played
    assert live["steps"][0]["cause"] == Cause.CANNOT_OPEN.value


async def test_domain_time_that_runs_faster_does_so_again(server, meters, tmp_path):
    live, played = await _both(server.url, tmp_path / "case.toml", rate=120.0)
    assert live == played
    assert live["clock_offset_seconds"] < 30.0


async def test_other_options_than_the_recorded_ones_depart_from_it(server, meters, tmp_path):
    await _both(server.url, tmp_path / "case.toml")
    asked, recorded = load(tmp_path / "case.toml")
    wire = PlayedWire(recorded.moments)
    told = await _run(Asked(asked.url, Target("000000000099"), (), ZONE, BEGAN), wire)
    assert told["steps"][1]["cause"] == Cause.DEPARTED.value
    assert "recording" in told["verdict_en"]


async def test_a_document_gives_its_parts_back(server, meters, tmp_path):
    live, _ = await _both(server.url, tmp_path / "case.toml")
    assert [step.key for step in steps_of(live)] == [step["step"] for step in live["steps"]]
    phasors = phasors_in(live)
    assert phasors is not None
    assert phasors.phases[0].angle == 35.0
    assert notes_in(live) == ()


def test_what_is_no_case(tmp_path):
    path = tmp_path / "case.toml"
    with pytest.raises(NoCase, match="No such file"):
        load(path)
    path.write_text('source = "x"\n')
    with pytest.raises(NoCase, match="there is no \\[asked\\]"):
        load(path)
    path.write_text(
        Asked("tcp://x:1", Target(), (), ZONE, BEGAN).head("x", "y").replace("Asia/Shanghai", "Asia/Nowhere")
    )
    with pytest.raises(NoCase, match="Asia/Nowhere"):
        load(path)

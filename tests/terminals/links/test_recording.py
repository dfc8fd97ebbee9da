"""The tap writes what the script plays."""

import asyncio

import pytest

from terminals.links.link import LinkLost
from terminals.links.recording import Moment, load
from terminals.links.script import Departed, ScriptLink
from terminals.links.tap import Tap
from terminals.links.tcp import connect
from terminals.links.url import parse


async def test_a_tapped_conversation_plays_back(server, closing, tmp_path):
    path = tmp_path / "case.toml"
    times = iter(range(100))
    tap = Tap(
        await connect("127.0.0.1", server.port, 1.0),
        path,
        "2026-03-11T10:00:00+08:00",
        now=lambda: next(times),
    )
    tap.write(b"\x68\xff")
    assert await tap.read(1.0) == b"\x68\xff"
    tap.write(b"two")
    await asyncio.sleep(0.02)
    assert tap.discard() == b"two"
    server.transports[0].abort()
    with pytest.raises(LinkLost):
        await tap.read(1.0)
    await tap.close()

    recording = load(path)
    assert (recording.source, recording.date) == (server.url, "2026-03-11T10:00:00+08:00")
    assert [(m.direction, m.data, m.at) for m in recording.moments] == [
        ("sent", b"\x68\xff", 0.0),
        ("received", b"\x68\xff", 1.0),
        ("sent", b"two", 2.0),
        ("received", b"two", 3.0),
        ("lost", b"", 4.0),
    ]

    link = closing(await parse(f"recording://{path}").open(1.0))
    link.write(b"\x68")
    with pytest.raises(TimeoutError):
        await link.read(60.0)  # not all has been sent; no waiting
    link.write(b"\xff")
    assert await link.read(60.0) == b"\x68\xff"
    link.write(b"two")
    assert await link.read(60.0) == b"two"
    assert not link.finished
    with pytest.raises(LinkLost):
        await link.read(60.0)


async def test_the_tap_stops_at_its_limit_and_the_link_goes_on(server, closing, tmp_path):
    path = tmp_path / "case.toml"
    tap = closing(Tap(await connect("127.0.0.1", server.port, 1.0), path, "x", limit=200))
    for _ in range(10):
        tap.write(b"x" * 20)
        assert await tap.read(1.0) == b"x" * 20
    assert tap.full
    assert path.stat().st_size <= 200
    assert len(load(path).moments) == 1


async def test_silence_costs_no_time_and_unread_answers_are_passed_over():
    link = ScriptLink(
        [Moment("sent", b"a"), Moment("received", b"b"), Moment("sent", b"c"), Moment("received", b"d")]
    )
    link.write(b"a")
    link.write(b"c")
    assert await link.read(60.0) == b"d"
    with pytest.raises(TimeoutError):
        await link.read(60.0)
    assert link.finished


async def test_leaving_the_script_is_told_with_both_frames():
    link = ScriptLink([Moment("sent", b"\x01\x02")])
    with pytest.raises(Departed, match="expected 01 02, sent 09"):
        link.write(b"\x09")


async def test_a_lenient_script_takes_anything():
    link = ScriptLink([Moment("sent", b"a"), Moment("received", b"b")], strict=False)
    link.write(b"whatever")
    assert await link.read(1.0) == b"b"
    assert link.sent == [b"whatever"]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("x =", "case.toml"),
        ("[[moment]]\nhex='00'", "moment 1: direction None"),
        ("[[moment]]\ndirection='sent'\nhex='0x'", "moment 1"),
        ("[[moment]]\ndirection='sent'\nhex=5", "moment 1"),
    ],
)
def test_a_broken_file_is_named_with_its_moment(tmp_path, text, why):
    path = tmp_path / "case.toml"
    path.write_text(text)
    with pytest.raises(ValueError, match=why):
        load(path)


def test_other_keys_are_kept(tmp_path):
    path = tmp_path / "case.toml"
    path.write_text("source = '电表 \"a\"'\n[expected]\nvolts = 230\n")
    recording = load(path)
    assert recording.extra == {"expected": {"volts": 230}}
    assert recording.moments == []

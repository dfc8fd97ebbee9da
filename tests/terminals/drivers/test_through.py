"""A meter's own frames inside somebody else's: refusals of the two are told apart, broadcasts are not waited for."""

import numpy as np
import pytest

from protocols.dlt645.exchange import Master, Read, SetTimeBroadcast
from protocols.errors import FrameError, Misuse, Refused
from terminals.drivers.through import NotReached, through

NOON = np.datetime64("2026-03-11T12:00", "us")
ADDRESS = "000000000001"


def run(script, line):
    """Drive a script whose requests are ("carry", frame); `line` gives what came back."""
    try:
        kind, frame = next(script)
        while True:
            assert kind == "carry"
            try:
                back = line(frame)
            except Refused as refused:
                kind, frame = script.throw(refused)
            else:
                kind, frame = script.send(back)
    except StopIteration as done:
        return done.value


def reading(*items):
    got = []
    for di in items:
        try:
            answer = yield Read(ADDRESS, di)
            got.append(answer.data)
        except Refused as refused:
            got.append(refused.absent)
    return got


def carried(script, line):
    return run(through(script, Master(0), lambda frame: ("carry", frame)), line)


def test_answers_and_refusals_of_the_meter_go_into_its_script(meter645):
    meter = meter645(ADDRESS)
    meter.data[0x02010100] = bytes((0x25, 0x22))
    assert carried(reading(0x02010100, 0x02020100), meter.answer) == [bytes((0x25, 0x22)), True]


def test_a_refusal_of_the_terminal_is_not_the_meters():
    """Else "object undefined" of a terminal would prove that a meter has no record."""

    def deaf(frame):
        raise Refused("forward: object undefined (4)", code=4, absent=True)

    with pytest.raises(NotReached, match="not reached: forward: object undefined"):
        carried(reading(0x02010100), deaf)


def test_nobody_waits_for_an_answer_to_a_broadcast():
    sent = []

    def silent(frame):
        sent.append(frame)
        raise Refused("forward: request timeout (33)", code=33)

    def work():
        yield SetTimeBroadcast(NOON)
        return "done"

    assert carried(work(), silent) == "done"
    assert len(sent) == 1


@pytest.mark.parametrize("spoil", [lambda b: b[:-3], lambda b: b[:-2] + b"\x00\x16"])
def test_what_is_no_whole_answer_is_an_error(meter645, spoil):
    meter = meter645(ADDRESS)
    meter.data[0x02010100] = bytes((0x25, 0x22))
    with pytest.raises(FrameError):
        carried(reading(0x02010100), lambda frame: spoil(meter.answer(frame)))


def test_a_terminal_that_brings_nothing_back_has_not_reached_the_meter(meter645):
    with pytest.raises(NotReached, match="brought nothing back"):
        carried(reading(0x02010100), lambda frame: b"")


def test_another_meters_frame_is_passed_over(meter645):
    mine, other = meter645(ADDRESS), meter645("000000000002")
    mine.data[0x02010100] = other.data[0x02010100] = bytes((0x25, 0x22))
    stray = other.answer(Master(0).send(Read("000000000002", 0x02010100)))
    got = carried(reading(0x02010100), lambda frame: stray + mine.answer(frame))
    assert got == [bytes((0x25, 0x22))]
    with pytest.raises(FrameError, match="another meter's frame"):
        carried(reading(0x02010100), lambda frame: stray)


def test_other_errors_end_the_script():
    ended = []

    def work():
        try:
            yield Read(ADDRESS, 0x02010100)
        finally:
            ended.append(True)

    script = through(work(), Master(0), lambda frame: ("carry", frame))
    next(script)
    with pytest.raises(Misuse):
        script.throw(Misuse("nobody may write any more"))
    assert ended

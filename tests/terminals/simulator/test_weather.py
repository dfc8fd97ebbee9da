"""What a line does to answers: each kind by itself, and nothing else."""

from random import Random

import pytest

from protocols.dlt645 import frame as dlt645
from protocols.dlt698 import frame as dlt698
from protocols.gdw376 import frame as gdw376
from protocols.modbus.frame import Frame
from protocols.modbus.rtu import frame as modbus_rtu
from protocols.modbus.tcp import frame as modbus_tcp
from terminals.simulator.strangers import readdress
from terminals.simulator.weather import GAP, Passage, Piece, Weather

FIRST, SECOND = b"first answer", b"second answer"


def passage(seed=1, fragile=None, **weather):
    return Passage(Weather(**weather), Random(seed), lambda answer: b"another's", fragile)


def test_fair_weather_does_nothing():
    assert Weather().fair
    assert not Weather(delay=1.0).fair
    assert passage().leave(FIRST) == [Piece(FIRST)]


def test_loss_foreign_duplicate():
    assert passage(loss=1.0).leave(FIRST) == []
    assert passage(foreign=1.0).leave(FIRST) == [Piece(b"another's")]
    assert passage(duplicate=1.0).leave(FIRST) == [Piece(FIRST + FIRST)]


def test_a_stale_answer_stands_before_the_new_one():
    line = passage(stale=1.0)
    assert line.leave(FIRST) == [Piece(FIRST)]
    assert line.leave(SECOND) == [Piece(FIRST + SECOND)]
    line.reset()
    assert line.leave(FIRST) == [Piece(FIRST)]


@pytest.mark.parametrize("seed", range(20))
def test_one_byte_is_changed_where_it_may_be(seed):
    (piece,) = passage(seed, garble=1.0).leave(FIRST)
    assert sum(a != b for a, b in zip(piece.data, FIRST, strict=True)) == 1
    (piece,) = passage(seed, fragile=range(3, 5), garble=1.0).leave(FIRST)
    assert next(k for k, (a, b) in enumerate(zip(piece.data, FIRST, strict=True)) if a != b) in (3, 4)


@pytest.mark.parametrize("seed", range(20))
def test_pieces_and_noise(seed):
    one, two = passage(seed, split=1.0).leave(FIRST)
    assert one.data + two.data == FIRST
    assert (one.after, two.after) == (0.0, GAP)
    assert min(len(one.data), len(two.data)) >= 1
    (piece,) = passage(seed, noise=1.0).leave(FIRST)
    assert piece.data.endswith(FIRST)
    assert 1 <= len(piece.data) - len(FIRST) <= 8


def test_glued_answers_leave_together_or_after_a_while():
    line = passage(glue=1.0)
    assert line.leave(FIRST) == []
    assert line.holds
    line.weather = Weather()
    assert line.leave(SECOND) == [Piece(FIRST + SECOND)]
    assert not line.holds
    line.weather = Weather(glue=1.0)
    line.leave(FIRST)
    assert line.flush() == FIRST
    assert line.flush() == b""


def test_delay_varies_by_its_jitter():
    line = passage(delay=2.0, jitter=1.0)
    waits = [line.leave(FIRST)[0].after for _ in range(200)]
    assert 2.0 <= min(waits) < 2.1
    assert 2.9 < max(waits) <= 3.0


def test_probabilities_are_kept():
    line = passage(loss=0.3)
    assert 230 < sum(not line.leave(FIRST) for _ in range(1_000)) < 370


@pytest.mark.parametrize(
    ("protocol", "raw", "decode", "who"),
    [
        ("dlt645", dlt645.Frame("410000010099", 0x91, b"\x01\x00\x00\x06").encode(4), dlt645.decode, lambda f: f.address),
        ("gdw376", gdw376.Frame(gdw376.Address("3301", 7), 0x88, 0x0C, 0x60, b"\x00\x00\x01\x00").encode(), gdw376.decode, lambda f: f.address.text),
        ("dlt698", dlt698.Frame(dlt698.Address("330000000001"), 0, 0x83, b"\x85\x01").encode(), dlt698.decode, lambda f: f.server.digits),
    ],
)  # fmt: skip
def test_an_answer_of_somebody_else_is_sound(protocol, raw, decode, who):
    changed = readdress(protocol)(raw)
    assert who(decode(changed)) != who(decode(raw))
    assert len(changed) == len(raw)
    assert readdress(protocol)(b"no frame") == b"no frame"


@pytest.mark.parametrize(("protocol", "codec"), [("modbus-tcp", modbus_tcp), ("modbus-rtu", modbus_rtu)])
def test_a_modbus_answer_of_another_unit(protocol, codec):
    raw = codec.encode(Frame(247, 4, bytes.fromhex("04 43 66 0000"), 0))
    assert codec.decode(readdress(protocol)(raw)).unit == 1


def test_a_dlms_answer_of_another_port():
    raw = bytes.fromhex("0001 0011 0001 0002 c401")
    assert readdress("dlms")(raw) == bytes.fromhex("0001 4011 0001 0002 c401")

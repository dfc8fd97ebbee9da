"""Parameters and tasks of a 376.1 terminal: one field changed, the others as they are; what may not be set is not."""

from __future__ import annotations

import datetime as dt

import pytest

from protocols.errors import Misuse
from protocols.gdw376.values import encode
from terminals.drivers.settings376 import Settings376, changed, place
from terminals.drivers.station376 import Station376
from tests.terminals.drivers.test_archive376 import WHOM, Table

F3 = encode(0x04, 3, ["10.0.0.1", 7040, "10.0.0.2", 7041, "CMNET"], uplink=False)


def settings(**more: object) -> Settings376:
    return Settings376(Station376(), **more)  # type: ignore[arg-type]


def test_what_is_asked_and_what_is_denied() -> None:
    table = Table()
    found = table.run(settings().read(WHOM, ["F1", "F3", "F33", "F65.1"]))
    assert found == {"F1": bytes((0, 10, 0, 0, 0, 1)), "F3": bytes(28), "F33": None, "F65.1": None}
    asked = [frame[14:-2].hex() for frame in table.frames]
    # p0 F1, F3; F33 with the count and number of its port; task 1 is a point
    assert asked == ["00000100", "00000400", "00000104" + "011f", "01010108"]
    table.frames.clear()
    table.run(settings(ports=()).read(WHOM, ["F33"]))
    assert table.frames[0][14:-2].hex() == "00000104"


def test_what_was_written_is_read() -> None:
    table = Table()
    table.run(settings().write(WHOM, "F3", F3))
    assert table.run(settings().read(WHOM, ["F3"])) == {"F3": F3}
    task = changed("F65.2", None, {"values": [0x41, dt.datetime(2026, 3, 11, 0, 5), 1, 1, "p1 F25"]})
    table.run(settings().write(WHOM, "F65.2", task))
    assert table.run(settings().read(WHOM, ["F65.2", "F65.1"])) == {"F65.2": task, "F65.1": None}
    assert task[-4:] == bytes.fromhex("01010103")


def test_one_field_over_the_others() -> None:
    made = changed("F3", F3, {"main address": "10.9.9.9"})
    assert made == bytes((10, 9, 9, 9)) + F3[4:]
    assert changed("F3", F3, {}) == F3


@pytest.mark.parametrize(
    ("name", "now", "said", "why"),
    [
        ("F3", F3, {"main port": 70_000}, "main port"),
        ("F3", F3, {"mane port": 1}, "no field 'mane port'; there is main address, main port"),
        ("F3", None, {"main port": 1}, "the terminal has none, so give all of it as 'values'"),
        ("F3", F3, {"values": [1], "main port": 1}, "nothing stands beside them"),
        ("F10", None, {"values": [0]}, "'F10' is no setting"),
        ("F16", None, {"values": []}, "'F16' is no setting"),
        ("F3.1", F3, {}, "'F3.1' is no setting"),
        ("F65", None, {"values": []}, "'F65' is no setting"),
        ("F65.0", None, {"values": []}, "'F65.0' is no setting"),
        ("clock", None, {}, "'clock' is no setting"),
    ],
)
def test_what_cannot_be_set(name: str, now: bytes | None, said: dict[str, object], why: str) -> None:
    with pytest.raises(Misuse, match=why):
        changed(name, now, said)


def test_bytes_that_are_no_such_unit_do_not_leave() -> None:
    table = Table()
    with pytest.raises(Misuse, match="F3: "):
        table.run(settings().write(WHOM, "F3", F3[:-1]))
    assert table.frames == []


def test_names() -> None:
    assert (place("F33"), place("F68.2040")) == ((0, 33), (2040, 68))

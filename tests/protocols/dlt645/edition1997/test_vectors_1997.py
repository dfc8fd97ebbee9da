"""Published frames of the 1997 edition, and what their descriptions must not say."""

import json
from pathlib import Path
from typing import Any

import pytest

from protocols.dlt645.edition1997.describe import describe, parts
from protocols.dlt645.frame import Frame
from protocols.errors import FrameError
from protocols.part import MASK

VECTORS: list[dict[str, Any]] = [
    json.loads(line)
    for line in (Path(__file__).parents[2] / "vectors" / "dlt645-1997.jsonl").read_text("utf-8").splitlines()
]


def covers(raw: bytes, **how: bool) -> list[str]:
    """The meanings of all parts, having seen that every byte has exactly one."""
    at = 0
    found = parts(raw, **how)
    for part in found:
        assert part.start == at < part.end
        assert part.name
        assert part.name_zh
        at = part.end
    assert at == len(raw)
    return [part.meaning for part in found]


def test_the_list_is_whole():
    assert len(VECTORS) == 19
    assert all(vector["valid"] for vector in VECTORS)


def test_a_block_says_its_values_beside_the_bytes():
    raw = bytes.fromhex(VECTORS[-1]["hex"])
    told = describe(raw)
    total, *tariffs = (value["value"] for value in told["values"])
    assert total == pytest.approx(sum(tariffs)) == 10793.30
    assert covers(raw)[-3] == "AAH"


@pytest.mark.parametrize("control", [0x11, 0x91, 0xB1, 0xD1, 0x12, 0x14, 0x1C, 0x9C, 0x00, 0x06])
def test_other_editions_functions_are_refused(control):
    raw = Frame("000000000001", control, bytes.fromhex("00000100")).encode(2)
    for view in (describe, parts):
        with pytest.raises(FrameError, match=f"control: {control:02X}H") as caught:
            view(raw)
        assert caught.value.offset == 10


@pytest.mark.parametrize(
    ("control", "data", "ours"),
    [
        (0x03, "", True),
        (0x03, "1090", True),
        (0x03, "ff00000700000000", False),  # 2007: identity authentication 070000FF
        (0x83, "109012345678", True),
        (0x83, "ff000007000000001122334455667788", False),
        (0xC3, "02", True),
    ],
)
def test_code_03_is_told_apart_by_its_data(control, data, ours):
    raw = Frame("000000000001", control, bytes.fromhex(data)).encode()
    if ours:
        assert describe(raw)["function"] == "re-read data"
        covers(raw)
    else:
        with pytest.raises(FrameError, match="re-read"):
            describe(raw)


def test_broadcast_time_is_the_same_in_both_editions():
    raw = Frame("999999999999", 0x08, bytes.fromhex("512210050617")).encode()
    assert describe(raw)["values"] == [{"name": "time", "value": "2017-06-05 10:22:51"}]
    assert "2017-06-05 10:22:51" in covers(raw)


def test_error_answer():
    raw = Frame("000000000001", 0xC1, b"\x06").encode()
    told = describe(raw)
    assert told["error_word"] == "06H"
    assert told["error_bits"] == ["data identifier error", "password error / not authorised"]
    covers(raw)


SECRET = "C0FFEE"
SECRETS = {
    "write": Frame("000000000001", 0x04, bytes.fromhex("11c0" + "02" + "eeffc0" + "563412")),
    "write, cut short": Frame("000000000001", 0x04, bytes.fromhex("11c0" + "eeffc0")),
    "write of the password": Frame("000000000001", 0x04, bytes.fromhex("12c2" + "00000000" + "eeffc000")),
    "read of the password": Frame("000000000001", 0x81, bytes.fromhex("12c2" + "eeffc000")),
    "change of password": Frame("000000000001", 0x0F, bytes.fromhex("00eeffc0" + "00eeffc0")),
    "change, odd length": Frame("000000000001", 0x0F, bytes.fromhex("00eeffc0")),
    "answer to the change": Frame("000000000001", 0x8F, bytes.fromhex("00eeffc0")),
    "demand reset": Frame("000000000001", 0x10, bytes.fromhex("00eeffc0")),
    "demand reset, odd": Frame("000000000001", 0x10, bytes.fromhex("eeffc0")),
}


@pytest.mark.parametrize("frame", SECRETS.values(), ids=SECRETS.keys())
def test_secrets_are_masked_unless_revealed(frame):
    raw = frame.encode()
    shown = f"{describe(raw)} {covers(raw)}".upper()
    assert SECRET not in shown
    assert "EEFFC0" not in shown
    assert MASK in shown
    revealed = f"{describe(raw, reveal=True)}".upper()
    assert SECRET in revealed or "EEFFC0" in revealed
    covers(raw, reveal=True)

"""What stands beside a wallet, from bytes that a meter may send."""

from __future__ import annotations

from typing import Any

import pytest

from protocols.dlt645.exchange import ReadAnswer
from terminals.drivers.driver import Meter
from terminals.drivers.wallet645 import ENERGIES, Wallet645
from terminals.simulator.scenario import ZONE

METER = Meter(1, "000000000001", ZONE)
ONE, INVALID = bytes.fromhex("00010000"), b"\xff" * 4


def told_by(script: Any, raw: bytes) -> Any:
    next(script)
    with pytest.raises(StopIteration) as told:
        script.send(ReadAnswer(METER.address, ENERGIES, raw))
    return told.value.value


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        (ONE * 5, (1_0000,) * 5),
        (ONE * 3, (1_0000,) * 3 + (0, 0)),  # a meter of two tariffs: the others count nothing
        (ONE + INVALID + ONE * 3, None),  # one that is not known now is not one that stands at 0
        (INVALID * 5, None),
    ],
)
def test_a_register_that_is_not_known_is_none(raw: bytes, told: Any) -> None:
    assert told_by(Wallet645(None)._registers(METER), raw) == told


@pytest.mark.parametrize(("raw", "told"), [(ONE + INVALID * 4, 1_0000), (INVALID + ONE * 4, None)])
def test_the_total_is_known_without_the_others(raw: bytes, told: Any) -> None:
    assert told_by(Wallet645(None).total(METER), raw) == told

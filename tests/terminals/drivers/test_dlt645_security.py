"""The relay script with a cipher machine: 03H, then 1CH at level 98, and no way back to a password."""

from __future__ import annotations

import time
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from headend.collector.drivers import drivers, machine_of
from headend.config import ConfigError
from protocols.dlt645.exchange import Control, ControlAnswer, SealedControl, Secure, SecureAnswer
from protocols.dlt645.security import AUTHENTICATE, Sealed
from protocols.errors import FrameError, Misuse, Refused
from protocols.machine import AskMachine
from terminals import session
from terminals.drivers.dlt645 import Dlt645Driver
from terminals.drivers.driver import Meter, RelayAction
from terminals.simulator.standin import StandInMachine

UNTIL = np.datetime64("2026-03-10T09:00:00", "us")
METER = Meter(
    1, "000000000001", ZoneInfo("Asia/Shanghai"), secrets={"password": "123456", "operator": "00000042"}
)


def script(machine=None, meter=METER):
    return Dlt645Driver(machine=machine).relay(meter, RelayAction.TRIP, UNTIL)


def test_authentication_first_then_a_sealed_command():
    machine = StandInMachine()
    running = script(machine)
    ask = next(running)
    assert isinstance(ask, AskMachine)
    challenge = ask.question.ask(ask.machine)
    request = running.send(challenge)
    assert request == Secure(METER.address, AUTHENTICATE, challenge.encode(), "00000042")
    ask = running.send(SecureAnswer(METER.address, AUTHENTICATE, bytes(12)))
    assert isinstance(ask, AskMachine)
    assert ask.question.plain.hex() == "1a00" + "000017100326"  # 17:00 in Shanghai
    sealed = ask.question.ask(ask.machine)
    order = running.send(sealed)
    assert order == SealedControl(METER.address, sealed.encode(), "00000042")
    with pytest.raises(StopIteration) as done:
        running.send(ControlAnswer(METER.address, 0x0004))
    assert done.value.value.detail == "tripped"
    assert "123456" not in repr((request, order, ask))


def to_the_command(machine):
    running = script(machine)
    ask = next(running)
    running.send(ask.question.ask(machine))
    return running


def test_a_refused_authentication_is_the_end():
    running = to_the_command(StandInMachine())
    with pytest.raises(Refused, match="no"):
        running.throw(Refused("no", code=8))
    running = to_the_command(StandInMachine())
    with pytest.raises(FrameError, match="authentication answer"):
        running.send(SecureAnswer(METER.address, AUTHENTICATE, bytes(11)))


def test_a_machine_that_seals_wrongly_sends_nothing():
    running = to_the_command(StandInMachine())
    running.send(SecureAnswer(METER.address, AUTHENTICATE, bytes(12)))
    with pytest.raises(Misuse, match="cipher machine"):
        running.send(Sealed(bytes(8), bytes(4)))


def test_without_a_machine_only_an_old_meter_takes_it():
    running = script()
    assert isinstance(next(running), Control)
    with pytest.raises(Refused, match="only through the utility's cipher machine"):
        running.throw(Refused("meter 000000000001 refused: password error", code=4))
    with pytest.raises(Misuse, match="no cipher machine and this meter has no password"):
        next(script(meter=Meter(1, METER.address, METER.zone)))
    old = Meter(1, METER.address, METER.zone, secrets={"password": "123456", "relay": "password"})
    assert isinstance(next(script(StandInMachine(), old)), Control)


class Broken:
    def authenticate(self, dispersion):
        raise ConnectionError("key 918273")


class Slow:
    def authenticate(self, dispersion):
        time.sleep(0.3)


@pytest.mark.parametrize("machine", [Broken(), Slow()])
async def test_a_machine_that_fails_is_misuse_without_its_words(machine, monkeypatch):
    monkeypatch.setattr(session, "MACHINE_SECONDS", 0.05)
    with pytest.raises(Misuse, match="the cipher machine did not answer") as misuse:
        await session._ask(next(script(machine)))
    assert "918273" not in str(misuse.value)


def test_the_setting_names_a_module_and_an_attribute():
    assert machine_of("") is None
    assert isinstance(machine_of("terminals.simulator.standin:StandInMachine"), StandInMachine)
    assert drivers("terminals.simulator.standin:StandInMachine").keys() >= {"dlt645", "dlms"}
    for wrong in (
        "terminals.simulator.standin",
        "no.such:Thing",
        "terminals.simulator.standin:Nothing",
        ":x",
    ):
        with pytest.raises(ConfigError, match="HEADEND_CIPHER_MACHINE"):
            machine_of(wrong)

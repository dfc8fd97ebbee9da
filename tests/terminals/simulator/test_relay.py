"""The relay's table."""

import pytest

from terminals.simulator.relay import CannotAct, Command, Contact, Relay, after


def run(*commands, relay=Relay()):  # noqa: B008 - frozen
    for command in commands:
        relay = after(relay, command)
    return relay


def test_a_permit_waits_for_the_key():
    permitted = run(Command.TRIP, Command.PERMIT)
    assert permitted.open
    assert permitted.contact is Contact.PERMITTED
    assert not after(permitted, Command.KEY).open


def test_a_key_alone_closes_nothing():
    with pytest.raises(CannotAct, match="not permitted"):
        run(Command.TRIP, Command.KEY)


def test_keep_power_refuses_trips_until_it_ends():
    kept = run(Command.KEEP_POWER)
    with pytest.raises(CannotAct, match="keep-power"):
        after(kept, Command.TRIP)
    assert run(Command.END_KEEP_POWER, Command.TRIP, relay=kept).open


def test_keep_power_lets_an_open_relay_be_closed():
    assert run(Command.TRIP, Command.KEEP_POWER).contact is Contact.PERMITTED
    assert not run(Command.TRIP, Command.KEEP_POWER, Command.KEY).open


@pytest.mark.parametrize("commands", [(), (Command.TRIP,), (Command.TRIP, Command.PERMIT)])
def test_a_direct_close_closes_always(commands):
    assert not run(*commands, Command.CLOSE).open


def test_a_trip_takes_a_permit_back():
    assert run(Command.TRIP, Command.PERMIT, Command.TRIP).contact is Contact.OPEN


@pytest.mark.parametrize("contact", Contact)
@pytest.mark.parametrize("command", [c for c in Command if c is not Command.KEY])
def test_every_state_has_an_answer_to_every_command(contact, command):
    assert isinstance(after(Relay(contact), command), Relay)

"""The relay in a meter, as a table: state × command → state, or the reason why not."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum


class Command(Enum):
    """What a relay can be told; KEY is the customer's own hand."""

    TRIP = "trip"
    PERMIT = "permit"
    CLOSE = "close"
    KEEP_POWER = "keep-power"
    END_KEEP_POWER = "end-keep-power"
    KEY = "key"


class Contact(Enum):
    CLOSED = "closed"
    OPEN = "open"
    PERMITTED = "permitted"  # open, and the key may close it


@dataclass(frozen=True, slots=True)
class Relay:
    """`keep`: power is to be kept, trips are refused."""

    contact: Contact = Contact.CLOSED
    keep: bool = False

    @property
    def open(self) -> bool:
        return self.contact is not Contact.CLOSED


class CannotAct(Exception):
    """The relay refuses; the message says why."""


_NEXT: dict[tuple[Contact, Command], Contact] = {
    (Contact.CLOSED, Command.TRIP): Contact.OPEN,
    (Contact.OPEN, Command.TRIP): Contact.OPEN,
    (Contact.PERMITTED, Command.TRIP): Contact.OPEN,
    (Contact.CLOSED, Command.PERMIT): Contact.CLOSED,
    (Contact.OPEN, Command.PERMIT): Contact.PERMITTED,
    (Contact.PERMITTED, Command.PERMIT): Contact.PERMITTED,
    (Contact.CLOSED, Command.CLOSE): Contact.CLOSED,
    (Contact.OPEN, Command.CLOSE): Contact.CLOSED,
    (Contact.PERMITTED, Command.CLOSE): Contact.CLOSED,
    (Contact.CLOSED, Command.KEY): Contact.CLOSED,
    (Contact.PERMITTED, Command.KEY): Contact.CLOSED,
    # Keep-power on an open relay lets the customer close it (and no trip opens it again).
    (Contact.CLOSED, Command.KEEP_POWER): Contact.CLOSED,
    (Contact.OPEN, Command.KEEP_POWER): Contact.PERMITTED,
    (Contact.PERMITTED, Command.KEEP_POWER): Contact.PERMITTED,
    (Contact.CLOSED, Command.END_KEEP_POWER): Contact.CLOSED,
    (Contact.OPEN, Command.END_KEEP_POWER): Contact.OPEN,
    (Contact.PERMITTED, Command.END_KEEP_POWER): Contact.PERMITTED,
}


def after(relay: Relay, command: Command) -> Relay:
    """The relay after a command. CannotAct: a trip under keep-power, a key where nothing is permitted."""
    if command is Command.TRIP and relay.keep:
        raise CannotAct("keep-power")
    contact = _NEXT.get((relay.contact, command))
    if contact is None:
        raise CannotAct("not permitted")
    if command is Command.KEEP_POWER:
        return Relay(contact, keep=True)
    if command is Command.END_KEEP_POWER:
        return Relay(contact, keep=False)
    return replace(relay, contact=contact)

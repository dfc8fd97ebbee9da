"""The life of an order: state × event -> state. What is not in the table is an error.

wanted -> approved -> sending (committed before the first byte leaves) -> answered -> pending -> verified. A restart or a lost answer
turns sending into unknown, which is resolved by reading the meter, never by sending again.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class State(StrEnum):
    WANTED = "wanted"  # asked for; a trip waits for a second person
    APPROVED = "approved"  # may be sent
    SENDING = "sending"  # committed: the next byte may be on the wire
    ANSWERED = "answered"  # the meter took it; not proof of anything yet
    PENDING = "pending"  # the meter acts later: its own delay, or the customer's key
    UNKNOWN = "unknown"  # sent, perhaps: only reading the meter can tell
    VERIFIED = "verified"  # proved by reading relay and load back
    FAILED = "failed"  # the meter refused it, or the read-back disproves it
    REFUSED = "refused"  # a gate said no; nothing was sent
    EXPIRED = "expired"  # its time ran out
    CANCELLED = "cancelled"  # withdrawn before sending


class Event(StrEnum):
    APPROVE = "approve"
    REFUSE = "refuse"
    CANCEL = "cancel"
    EXPIRE = "expire"
    SEND = "send"
    ANSWER = "answer"
    REJECT = "reject"
    LOSE = "lose"  # no answer, lost link, or a restart in between
    HOLD = "hold"  # read back: not yet, but it will act
    PROVE = "prove"
    DISPROVE = "disprove"


_S, _E = State, Event
TABLE: Final[dict[tuple[State, Event], State]] = {
    (_S.WANTED, _E.APPROVE): _S.APPROVED,
    (_S.WANTED, _E.REFUSE): _S.REFUSED,
    (_S.WANTED, _E.CANCEL): _S.CANCELLED,
    (_S.WANTED, _E.EXPIRE): _S.EXPIRED,
    (_S.APPROVED, _E.SEND): _S.SENDING,
    (_S.APPROVED, _E.REFUSE): _S.REFUSED,
    (_S.APPROVED, _E.CANCEL): _S.CANCELLED,
    (_S.APPROVED, _E.EXPIRE): _S.EXPIRED,
    (_S.SENDING, _E.ANSWER): _S.ANSWERED,
    (_S.SENDING, _E.REJECT): _S.FAILED,
    (_S.SENDING, _E.LOSE): _S.UNKNOWN,
    (_S.ANSWERED, _E.PROVE): _S.VERIFIED,
    (_S.ANSWERED, _E.HOLD): _S.PENDING,
    (_S.ANSWERED, _E.DISPROVE): _S.FAILED,
    (_S.ANSWERED, _E.LOSE): _S.UNKNOWN,
    (_S.UNKNOWN, _E.PROVE): _S.VERIFIED,
    (_S.UNKNOWN, _E.HOLD): _S.PENDING,
    (_S.UNKNOWN, _E.DISPROVE): _S.FAILED,
    (_S.PENDING, _E.PROVE): _S.VERIFIED,
    (_S.PENDING, _E.DISPROVE): _S.FAILED,
    (_S.PENDING, _E.EXPIRE): _S.EXPIRED,
}
#: states an order can still leave; one relay order of a meter may be in them at a time
OPEN: Final = frozenset(state for state, _ in TABLE)


class NoSuchStep(ValueError):
    """The event cannot happen in that state."""


def after(state: State, event: Event) -> State:
    """The state after `event`; NoSuchStep if the table has none."""
    try:
        return TABLE[state, event]
    except KeyError:
        raise NoSuchStep(f"an order that is {state} cannot {event}") from None

"""The life of a plan of orderly use: state × act -> state. What is not in the table is an error.

draft -> approved -> running -> ended; withdrawn from any of them that is not over. Once it ran, its controls are switched off however it ends, and
whether each terminal has obeyed is told by its orders, not here.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class State(StrEnum):
    DRAFT = "draft"  # somebody has written it and looks at what it would bring
    APPROVED = "approved"  # another person has said yes to exactly these setpoints; its time has not come
    RUNNING = "running"  # controls are switched on
    ENDED = "ended"  # its time is over: controls are switched off
    WITHDRAWN = "withdrawn"  # taken back: what was switched on is switched off


class Act(StrEnum):
    LOOK = "look"  # who would be called, worked out anew
    APPROVE = "approve"
    START = "start"
    END = "end"
    WITHDRAW = "withdraw"


_S, _A = State, Act
TABLE: Final[dict[tuple[State, Act], State]] = {
    (_S.DRAFT, _A.LOOK): _S.DRAFT,
    (_S.DRAFT, _A.APPROVE): _S.APPROVED,
    (_S.APPROVED, _A.START): _S.RUNNING,
    (_S.APPROVED, _A.END): _S.ENDED,  # its time went by while nothing could be sent
    (_S.RUNNING, _A.END): _S.ENDED,
    (_S.DRAFT, _A.WITHDRAW): _S.WITHDRAWN,
    (_S.APPROVED, _A.WITHDRAW): _S.WITHDRAWN,
    (_S.RUNNING, _A.WITHDRAW): _S.WITHDRAWN,
}
#: a customer is in one such plan at a time
HOLDING: Final = (State.APPROVED, State.RUNNING)


class NoSuchAct(ValueError):
    """The act is not possible in that state."""


def after(state: State, act: Act) -> State:
    """The state after `act`; NoSuchAct if the table has none."""
    try:
        return TABLE[state, act]
    except KeyError:
        raise NoSuchAct(f"a plan that is {state} cannot be {_DONE[act]}") from None


_DONE: Final = {
    Act.LOOK: "worked out anew",
    Act.APPROVE: "approved",
    Act.START: "started",
    Act.END: "ended",
    Act.WITHDRAW: "withdrawn",
}

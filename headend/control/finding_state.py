"""The life of a finding: state × act -> state. What is not in the table is an error.

new -> acknowledged -> work-order -> closed; whoever sees it first may skip a step. What is closed stays closed: what is seen again later is
another finding, *recurred*, that names the closed one. Rules withdraw what better data no longer show, and let fade what has not been seen
for days; a finding with a work order is a person's, and only a person ends it.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class State(StrEnum):
    NEW = "new"
    RECURRED = "recurred"  # new, and the same was closed before
    ACKNOWLEDGED = "acknowledged"  # a person has taken note
    ORDERED = "work-order"  # somebody is sent; the number of his order is beside it
    CLOSED = "closed"  # done, or gone by itself
    WITHDRAWN = "withdrawn"  # a later run over more complete data no longer sees it


class Act(StrEnum):
    ACKNOWLEDGE = "acknowledge"
    ORDER = "order"
    CLOSE = "close"
    REOPEN = "reopen"  # closed by mistake
    WITHDRAW = "withdraw"  # the rules: not there after all
    RETURN = "return"  # the rules: there after all
    FADE = "fade"  # the rules: not seen for days


_S, _A = State, Act
TABLE: Final[dict[tuple[State, Act], State]] = {
    (_S.NEW, _A.ACKNOWLEDGE): _S.ACKNOWLEDGED,
    (_S.RECURRED, _A.ACKNOWLEDGE): _S.ACKNOWLEDGED,
    (_S.ACKNOWLEDGED, _A.ACKNOWLEDGE): _S.ACKNOWLEDGED,
    (_S.NEW, _A.ORDER): _S.ORDERED,
    (_S.RECURRED, _A.ORDER): _S.ORDERED,
    (_S.ACKNOWLEDGED, _A.ORDER): _S.ORDERED,
    (_S.ORDERED, _A.ORDER): _S.ORDERED,  # another number
    (_S.NEW, _A.CLOSE): _S.CLOSED,
    (_S.RECURRED, _A.CLOSE): _S.CLOSED,
    (_S.ACKNOWLEDGED, _A.CLOSE): _S.CLOSED,
    (_S.ORDERED, _A.CLOSE): _S.CLOSED,
    (_S.CLOSED, _A.REOPEN): _S.ACKNOWLEDGED,
    (_S.NEW, _A.WITHDRAW): _S.WITHDRAWN,
    (_S.RECURRED, _A.WITHDRAW): _S.WITHDRAWN,
    (_S.ACKNOWLEDGED, _A.WITHDRAW): _S.WITHDRAWN,
    (_S.WITHDRAWN, _A.RETURN): _S.NEW,
    (_S.NEW, _A.FADE): _S.CLOSED,
    (_S.RECURRED, _A.FADE): _S.CLOSED,
    (_S.ACKNOWLEDGED, _A.FADE): _S.CLOSED,
}
#: one finding of a rule and subject may be in them at a time
OPEN: Final = (State.NEW, State.RECURRED, State.ACKNOWLEDGED, State.ORDERED)


class NoSuchAct(ValueError):
    """The act is not possible in that state."""


def after(state: State, act: Act) -> State:
    """The state after `act`; NoSuchAct if the table has none."""
    try:
        return TABLE[state, act]
    except KeyError:
        raise NoSuchAct(f"a finding that is {state} cannot be {_DONE[act]}") from None


_DONE: Final = {
    Act.ACKNOWLEDGE: "acknowledged",
    Act.ORDER: "given a work order",
    Act.CLOSE: "closed",
    Act.REOPEN: "reopened",
    Act.WITHDRAW: "withdrawn",
    Act.RETURN: "seen again",
    Act.FADE: "let fade",
}

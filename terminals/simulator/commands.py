"""The commands that a running fleet obeys: a word and its arguments -> what came of it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from terminals.simulator.control import NotTold
from terminals.simulator.troubles import Impossible

if TYPE_CHECKING:
    from terminals.simulator.fleet import Fleet
    from terminals.simulator.mischief import Mischief


def obey(fleet: Fleet, line: str) -> str:
    """Carry out a line. NotTold: no such command, or wrong arguments."""
    word, *arguments = line.split() or [""]
    command = COMMANDS.get(word)
    if command is None:
        raise NotTold(f"{word!r} is none of {', '.join(COMMANDS)}")
    return command(fleet, arguments)


def _status(fleet: Fleet, arguments: Sequence[str]) -> str:
    """status: how many terminals there are and online, logins, answers."""
    _at_most(arguments, 0, "status takes nothing")
    return json.dumps(fleet.status())


def _reconnect(fleet: Fleet, arguments: Sequence[str]) -> str:
    """reconnect [SECONDS]: all terminals that dial in hang up and dial anew, now or within so many seconds."""
    _at_most(arguments, 1, "reconnect takes a number of seconds")
    return f"{fleet.reconnect(_number(arguments[0]) if arguments else 0.0)} terminals"


def _fault(fleet: Fleet, arguments: Sequence[str]) -> str:
    """fault KIND WHO [VALUE] [for SECONDS]: a trouble begins; WHO: all, a share such as 5%, or names with commas between."""
    seconds: float | None = None
    rest = list(arguments)
    if len(rest) >= 2 and rest[-2] == "for":
        seconds = _number(rest[-1])
        rest = rest[:-2]
    if len(rest) not in (2, 3):
        raise NotTold("fault takes KIND WHO [VALUE] [for SECONDS]")
    value = _any_number(rest[2]) if len(rest) == 3 else None
    try:
        mischief = _mischief(fleet)
        return f"{mischief.plant(rest[0], mischief.whom(rest[0], rest[1]), value, seconds)} began"
    except Impossible as why:
        raise NotTold(str(why)) from None


def _mend(fleet: Fleet, arguments: Sequence[str]) -> str:
    """mend KIND WHO: it is over."""
    if len(arguments) != 2:
        raise NotTold("mend takes KIND WHO")
    kind, who = arguments
    try:
        mischief = _mischief(fleet)
        return f"{mischief.mend(kind, mischief.whom(kind, who))} ended"
    except Impossible as why:
        raise NotTold(str(why)) from None


def _faults(fleet: Fleet, arguments: Sequence[str]) -> str:
    """faults: how many troubles of each kind go on."""
    _at_most(arguments, 0, "faults takes nothing")
    return json.dumps(Counter(kind for kind, _ in _mischief(fleet).going))


def _mischief(fleet: Fleet) -> Mischief:
    if fleet.mischief is None:
        raise NotTold("the fleet is not there yet; wait for ready.json")
    return fleet.mischief


def _any_number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise NotTold(f"{text!r} is no number") from None


def _at_most(arguments: Sequence[str], count: int, otherwise: str) -> None:
    if len(arguments) > count:
        raise NotTold(otherwise)


def _number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number <= 86_400:
        raise NotTold(f"{text!r} is no number between 0 and 86400")
    return number


COMMANDS: Final[Mapping[str, Callable[[Fleet, Sequence[str]], str]]] = {
    "status": _status,
    "reconnect": _reconnect,
    "fault": _fault,
    "mend": _mend,
    "faults": _faults,
}

"""The commands that a running fleet obeys: a word and its arguments -> what came of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from terminals.simulator.control import NotTold

if TYPE_CHECKING:
    from terminals.simulator.fleet import Fleet


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
}

"""Parameters and tasks of a Q/GDW 376.1 terminal: AFN 04 writes, AFN 0A asks, a data unit each; names are 'F3' and, for a task, 'F65.1'.

The head-end reads what it wants when it is due, so it needs no task of the terminal; one that reports by itself (F65-F68) costs its
SIM card. They can be read, compared and written all the same.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from protocols.errors import FrameError, Misuse, Refused
from protocols.gdw376.exchange import Order, Read, Reply
from protocols.gdw376.forms import Value
from protocols.gdw376.units import LAST_POINT, Ident, ident
from protocols.gdw376.values import Clock, Typed, decode, encode
from terminals.drivers.driver import Meter, Script
from terminals.drivers.station376 import Station376, password

#: F1 communication, F3 master address, F9 events, F33 reading; F65-F68 tasks of class 1 and 2 and whether they run. F10, the archive, has
#: its own way in and is none of these, nor is anything that holds a secret.
ALLOWED: Final = (1, 3, 9, 33)
TASKS: Final = (65, 66, 67, 68)
PORTS: Final = 33


class Settings376:
    """terminals.drivers.settings.Settings.

    ports  those of which F33 is asked. That the question carries their count and numbers, as that of F10 carries entries, no public
           source confirms; () asks without
    """

    parameters: tuple[str, ...] = ("F1", "F3", "F9")
    tasks: tuple[str, ...] | None = ("F65.1", "F66.1", "F67.1", "F68.1")

    def __init__(self, station: Station376, *, ports: Sequence[int] = (31,)) -> None:
        self._station = station
        self._ports = tuple(ports)

    def read(self, whom: Meter, names: Iterable[str] | None) -> Script[Mapping[str, bytes | None]]:
        """One request each: one that is denied must not hide the others."""
        found: dict[str, bytes | None] = {}
        for name in self.tasks or () if names is None else names:
            point, function = place(name)
            data = bytes((len(self._ports), *self._ports)) if function == PORTS and self._ports else b""
            try:
                reply: Reply = yield Read(self._station.address(whom), (point,), (function,), 0x0A, data)
            except Refused:
                found[name] = None
                continue
            found[name] = _unit(reply, name, point, function)
        return found

    def write(self, whom: Meter, name: str, raw: bytes) -> Script[None]:
        """One AFN 04. Misuse: the bytes are no such unit."""
        point, function = place(name)
        told(name, raw)
        yield Order(self._station.address(whom), 0x04, ((ident([point], [function]), [raw]),), password(whom))


def _unit(reply: Reply, name: str, point: int, function: int) -> bytes | None:
    for unit in reply.units:
        if (unit.point, unit.function) == (point, function):
            if not unit.known:
                raise FrameError(f"AFN 0A {name}: {unit.why}")
            return unit.data
    return None


def place(name: str) -> tuple[int, int]:
    """Point (of a task, its number) and Fn. Misuse: no such setting."""
    found = re.fullmatch(r"F(\d{1,3})(?:\.(\d{1,4}))?", name)
    function, point = (int(found[1]), int(found[2] or 0)) if found else (0, 0)
    if function in ALLOWED and point == 0 and found and found[2] is None:
        return 0, function
    if function in TASKS and 0 < point <= LAST_POINT:
        return point, function
    raise Misuse(
        f"{name!r} is no setting of a 376.1 terminal: there are {', '.join(f'F{k}' for k in ALLOWED)} "
        f"and tasks {', '.join(f'F{k}.n' for k in TASKS)}"
    )


def told(name: str, raw: bytes) -> tuple[Value, ...]:
    """The fields of a unit, named. Misuse: the bytes are none."""
    try:
        return decode(0x04, place(name)[1], raw, uplink=False)
    except FrameError as error:
        raise Misuse(f"{name}: {error}") from None


def changed(name: str, now: bytes | None, said: Mapping[str, Any]) -> bytes:
    """The unit with what is `said` by field names over what is there, or with `values`, all of its fields in order.

    Misuse: an unknown field, a value that does not fit, or one field alone where nothing is there."""
    function = place(name)[1]
    values: list[Typed]
    if "values" in said:
        if len(said) > 1:
            raise Misuse(f"{name}: 'values' are all the fields in order; nothing stands beside them")
        values = [_typed(value) for value in said["values"]]
    else:
        fields = told(name, now) if now is not None else ()
        unknown = [field for field in said if field not in {value.name for value in fields}]
        if unknown:
            names = (
                ", ".join(value.name for value in fields)
                or "nothing: the terminal has none, so give all of it as 'values'"
            )
            raise Misuse(f"{name}: no field {unknown[0]!r}; there is {names}")
        values = [_typed(said[value.name]) if value.name in said else value.value for value in fields]
    return encode(0x04, function, values, uplink=False)


def _typed(value: Any) -> Typed:
    """As a settings file has it: a date with time is A.1, 'p1 F33' a data unit identifier; all else is what it looks like."""
    if isinstance(value, dt.datetime):
        return Clock(value, value.isoweekday())
    found = re.fullmatch(r"p(\d{1,4}) F(\d{1,3})", value) if isinstance(value, str) else None
    made: Typed | Ident = ident([int(found[1])], [int(found[2])]) if found else value
    return made

"""Tasks of a DL/T 698.45 terminal: ordinary collection schemes (6014) say what is read and kept, tasks (6012) when. Without them it
collects nothing. Names are '6014.1' and '6012.1': the object and the number of the scheme or task.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable, Mapping
from typing import Final

import numpy as np

from protocols.dlt698 import clock, values
from protocols.dlt698.requests import Act, Get
from protocols.dlt698.values import Csd, Data, Ms, Road, Ti
from protocols.errors import FrameError, Misuse
from terminals.drivers.dlt698 import CURVE, DAY, FROZEN, MONTH, Scheme
from terminals.drivers.driver import Meter, Script
from terminals.drivers.station698 import Station698

SCHEMES, TASKS = "6014", "6012"
#: attribute 2 of each, and method 127, Add
TABLES: Final = {SCHEMES: 0x60140200, TASKS: 0x60120200}
ADDS: Final = {SCHEMES: 0x60147F00, TASKS: 0x60127F00}

#: 采集类型: by the freeze's own time (2), every so often by it (3). 存储时标选择: of the freeze (6).
BY_FREEZE, BY_INTERVAL, STORED_AS_FROZEN = 2, 3, 6
#: Rows that a scheme keeps of a meter: 10 days of quarter-hours, 31 days, 12 months, which is what the driver believes of terminals.
DEPTHS: Final = (960, 31, 12)
#: What no source gives a number for: seconds after its time at which a task begins, so that the meters have frozen by then, and its priority.
DELAY: Final = Ti(1, 5)
PRIORITY: Final = 1
#: Ends never: the date that published tasks have.
FOREVER: Final = dt.datetime(2099, 9, 9, 9, 9, 9)
#: Fields of a task that say from when until when it runs; a task that differs in them alone is the same.
_SPAN: Final = slice(4, 6)


class Settings698:
    """terminals.drivers.settings.Settings. Parameters of 698.45 terminals are not in its reach."""

    parameters: tuple[str, ...] = ()
    tasks: tuple[str, ...] | None = None

    def __init__(self, station: Station698) -> None:
        self._station = station

    def read(self, whom: Meter, names: Iterable[str] | None) -> Script[Mapping[str, bytes | None]]:
        """Both tables are read whole. FrameError: they are none."""
        found: dict[str, bytes | None] = {}
        for table, oad in TABLES.items():
            rows: Data = yield Get(oad)
            if rows.tag != values.ARRAY:
                raise FrameError(f"{table}: {values.NAMES.get(rows.tag, rows.tag)} where an array must be")
            for row in rows.value:
                if row.tag != values.STRUCTURE or not row.value:
                    raise FrameError(f"{table}: a row that is no structure")
                found[f"{table}.{row.value[0].value}"] = values.encode(row)
        return found if names is None else {name: found.get(_checked(name)) for name in names}

    def write(self, whom: Meter, name: str, raw: bytes) -> Script[None]:
        """Add (127) of one row. Misuse: the row has another number than its name."""
        table, _, number = _checked(name).partition(".")
        row = values.decode(raw)
        if row.tag != values.STRUCTURE or not row.value or row.value[0].value != int(number):
            raise Misuse(f"{name}: the row is not number {number}")
        yield Act(ADDS[table], values.array(row))


def _checked(name: str) -> str:
    if not re.fullmatch(rf"({SCHEMES}|{TASKS})\.\d{{1,3}}", name):
        raise Misuse(f"{name!r} is no setting of a 698.45 terminal: there are {SCHEMES}.n and {TASKS}.n")
    return name


def wanted(begin: dt.datetime) -> dict[str, bytes]:
    """The schemes and tasks by which a terminal keeps what the driver asks for: quarter-hours, days, months. `begin`: naive local time.

    The driver's requests are by the freeze's own time, so records are stored by that."""
    found: dict[str, bytes] = {}
    for number, (scheme, depth) in enumerate(zip((CURVE, DAY, MONTH), DEPTHS, strict=True), start=1):
        found[f"{SCHEMES}.{number}"] = values.encode(_scheme(number, scheme, depth))
    # a round for the quarter-hours each quarter-hour; days and months once, when they are over
    for number, every in enumerate((Ti(1, 15), Ti(3, 1), Ti(4, 1)), start=1):
        found[f"{TASKS}.{number}"] = values.encode(_task(number, every, begin))
    return found


def same_task(name: str, one: bytes | None, other: bytes | None) -> bool:
    """Whether two rows say the same, whenever they begin and end."""
    if one is None or other is None or not name.startswith(TASKS):
        return one == other
    a, b = list(values.decode(one).value), list(values.decode(other).value)
    a[_SPAN], b[_SPAN] = [], []
    return a == b


def _scheme(number: int, scheme: Scheme, depth: int) -> Data:
    kind, content = (
        (BY_INTERVAL, Data(values.TI, scheme.every)) if scheme.every.count else (BY_FREEZE, Data(values.NULL))
    )
    column: Csd = Road(scheme.freeze, (FROZEN, *scheme.columns))
    return values.structure(
        Data(values.UNSIGNED, number), Data(values.LONG_UNSIGNED, depth), values.structure(Data(values.UNSIGNED, kind), content),
        values.array(Data(values.CSD, column)), Data(values.MS, Ms(1)), Data(values.ENUM, STORED_AS_FROZEN),
    )  # fmt: skip


def _task(number: int, every: Ti, begin: dt.datetime) -> Data:
    whole_day = values.structure(*(Data(values.UNSIGNED, part) for part in (0, 0, 23, 59)))
    return values.structure(
        Data(values.UNSIGNED, number), Data(values.TI, every), Data(values.ENUM, 1), Data(values.UNSIGNED, number),
        _time(begin), _time(FOREVER), Data(values.TI, DELAY), Data(values.UNSIGNED, PRIORITY), Data(values.ENUM, 1),
        Data(values.LONG_UNSIGNED, 0), Data(values.LONG_UNSIGNED, 0), values.structure(Data(values.ENUM, 0), values.array(whole_day)),
    )  # fmt: skip


def _time(local: dt.datetime) -> Data:
    return Data(values.DATE_TIME_S, clock.encode_time_s(np.datetime64(local, "us")))

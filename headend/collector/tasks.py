"""What a driver is asked for, by the name that the exchange keeps: asked on the wire today, and again of the recorded bytes by re-decode."""

from __future__ import annotations

from collections.abc import Iterable
from zoneinfo import ZoneInfo

import numpy as np

from headend.plans import CURVE, DAY, MONTH
from headend.store.archive import Installed, Terminal
from headend.store.coverage import NO_TIMES
from headend.store.tables import SOURCES, Source
from protocols.localtime import Times
from terminals.drivers.driver import Driver, Meter, Outcome, Script
from terminals.drivers.station import terminal_itself

SPOT = "spot"
#: what has happened: no readings
EVENTS = "events"
#: ends the name of a task that the meter is asked for past its terminal
PAST = "-past-terminal"


def meter_of(row: Installed, zone: ZoneInfo) -> Meter:
    """What the archive knows of an installed meter, as a driver wants it."""
    return Meter(
        row.meter_id, row.address, zone, row.phases, row.secrets, row.terminal, row.pn, row.switch, row.multiplier
    )  # fmt: skip


def source_of(task: str) -> Source:
    """Where its readings go."""
    return SOURCES[task.removesuffix(PAST)]


def station_of(terminal: Terminal, meters: Iterable[Meter], zone: ZoneInfo) -> Meter:
    """What the archive knows of the terminal itself. Its password stands with its meters, and the first that has it is asked."""
    said = (m.secrets["terminal_password"] for m in meters if "terminal_password" in m.secrets)
    password = next(said, None)
    return terminal_itself(
        terminal.login or "", zone, {} if password is None else {"terminal_password": password}
    )


def script(driver: Driver, meter: Meter, task: str, asked: Times, now: np.datetime64) -> Script[Outcome]:
    """The driver's script of a task. ValueError for a task that brings no readings."""
    if task.endswith(PAST) and driver.behind is not None:
        beyond = script(driver.behind, meter, task.removesuffix(PAST), asked, now)
        return driver.through(meter, beyond)
    if task == CURVE.name:
        return driver.curve(meter, asked)
    if task == DAY.name:
        return driver.day_freeze(meter, asked, now)
    if task == MONTH.name:
        return driver.month_freeze(meter, asked, now)
    if task == SPOT:
        return _spot(driver, meter, now)
    raise ValueError(f"no task {task!r} that brings readings")


def _spot(driver: Driver, meter: Meter, now: np.datetime64) -> Script[Outcome]:
    reads = yield from driver.registers(meter, now)
    return Outcome(reads, NO_TIMES)

"""How far a terminal is on its way from the box to data. Derived from facts, never set: what was read back, and what has come."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Stage(StrEnum):
    LINE = "line"  # it passes bytes on and holds nothing of its own: there is nothing to tell it
    UNCONFIGURED = "unconfigured"
    PARAMETERS = "parameters"
    ARCHIVE = "archive"
    TASKS = "tasks"
    FIRST_DATA = "first-data"  # of some of its meters
    COMMISSIONED = "commissioned"  # each of its meters has brought data


ZH: Final = {
    Stage.LINE: "透传",
    Stage.UNCONFIGURED: "未配置",
    Stage.PARAMETERS: "参数已写",
    Stage.ARCHIVE: "档案已写",
    Stage.TASKS: "任务已写",
    Stage.FIRST_DATA: "首批数据",
    Stage.COMMISSIONED: "已投运",
}


@dataclass(frozen=True, slots=True)
class Told:
    """Facts of one terminal. Times are aware; None: never.

    station                     whether it holds anything of its own
    parameters, archive, tasks  when such a write was last proved by reading back
    emptied                     when its archive was last read, if it was empty then
    meters, bringing            how many are installed behind it, and how many of those have brought data since they were
    """

    station: bool
    parameters: dt.datetime | None = None
    archive: dt.datetime | None = None
    tasks: dt.datetime | None = None
    emptied: dt.datetime | None = None
    meters: int = 0
    bringing: int = 0


def stage(told: Told) -> Stage:
    """Data prove all that comes before them: a terminal that another system has told everything is commissioned, too. But one whose archive
    was found empty, and not written since, is at the beginning, whatever has come: another box hangs there, and its meters may have been
    asked past it."""
    if not told.station:
        return Stage.LINE
    if told.emptied is not None and (told.archive is None or told.emptied > told.archive):
        return Stage.PARAMETERS if told.parameters and told.parameters > told.emptied else Stage.UNCONFIGURED
    if told.bringing:
        return Stage.COMMISSIONED if told.bringing >= told.meters else Stage.FIRST_DATA
    if told.archive:
        return Stage.TASKS if told.tasks else Stage.ARCHIVE
    return Stage.PARAMETERS if told.parameters else Stage.UNCONFIGURED

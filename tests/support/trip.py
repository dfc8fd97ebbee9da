"""A trip that every gate lets pass, to change one fact of."""

from __future__ import annotations

import datetime as dt
from typing import Any
from zoneinfo import ZoneInfo

from headend.control.facts import Facts

#: an ordinary Wednesday
NOW = dt.datetime(2026, 3, 11, 10, 0, tzinfo=ZoneInfo("Asia/Shanghai"))


def facts(**changes: Any) -> Facts:
    given: dict[str, Any] = {
        "now": NOW,
        "local": NOW,
        "expires": NOW + dt.timedelta(hours=1),
        "requested_by": "job:prepaid",
        "approved_by": "李敏",
        "sending": True,
        "protected": "",
        "day_kind": "workday",
        "next_day_kind": "workday",
        "prepaid": True,
        "balance_high_fen": -1,
        "balance_as_of": NOW,
        "balance_valid": True,
        "newest_reading": NOW,
        "trips_hour": 0,
        "trips_day": 0,
        "trips_area_hour": 0,
        "noticed_at": NOW - dt.timedelta(minutes=30),
    }
    return Facts(**{**given, **changes})

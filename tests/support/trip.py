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
        **{
            f"trips_{scope}{span}": 0
            for scope in ("", "area_", "line_", "organisation_")
            for span in ("minute", "hour", "day")
        },
        "stop_below_fen": 0,
        "grace_until": NOW,
        "noticed_at": NOW - dt.timedelta(minutes=30),
        "stopped": "",
        "keep_power": False,
        "cuts_also": (),
        "no_trip": "",
        "validated_until": dt.date(2026, 3, 10),
        "doubts": "",
        "same_since": NOW - dt.timedelta(days=60),
        "usual_day_fen": 2000,
        "fall_fen": 2500,
        "fall_accepted_by": None,
        "batch_size": 1,
        "batch_usual": None,
        "batch_released": None,
        "batch_released_by": None,
        "not_before": None,
    }
    return Facts(**{**given, **changes})

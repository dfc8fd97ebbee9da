"""A terminal that is not reached (终端离线): one finding, however many meters wait behind it."""

from __future__ import annotations

from typing import Final

import numpy as np

from lineloss.contacts import Contacts
from lineloss.finding import Finding

RULE: Final = "offline"
VERSION: Final = 2


def find(
    contacts: Contacts, now: np.datetime64, *, minutes: int = 120, alarm_minutes: int = 24 * 60
) -> list[Finding]:
    """Terminals with meters behind them that have not been heard of for `minutes` in which somebody listened; an alarm after a day.

    minutes  the time within which operators are usually asked to bring a terminal back
    """
    away = (now - contacts.last_seen) / np.timedelta64(1, "m")
    listened = (now - contacts.listened) / np.timedelta64(1, "m")  # NaN is never enough
    found = ~contacts.online & (contacts.meters > 0) & (np.minimum(away, listened) >= minutes)
    return [
        Finding(
            RULE,
            VERSION,
            "terminal",
            int(contacts.terminal[row]),
            "alarm" if away[row] >= alarm_minutes else "warning",
            {
                "last_seen": f"{np.datetime_as_string(contacts.last_seen[row], unit='s')}Z",
                "minutes": int(away[row]),
                "threshold_minutes": minutes,
                "meters": int(contacts.meters[row]),
            },
            f"Terminal offline for {_long(int(away[row]))}, {int(contacts.meters[row])} meters behind it",
            f"终端离线 {_long_zh(int(away[row]))},影响 {int(contacts.meters[row])} 块电表",
        )
        for row in np.flatnonzero(found).tolist()
    ]


def _long(minutes: int) -> str:
    return f"{minutes // 1440} days" if minutes >= 2880 else f"{minutes // 60} h {minutes % 60} min"


def _long_zh(minutes: int) -> str:
    return f"{minutes // 1440} 天" if minutes >= 2880 else f"{minutes // 60} 小时 {minutes % 60} 分"

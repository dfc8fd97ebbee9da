"""A terminal that comes and goes (终端频繁上下线): a weak signal, a worn SIM, a supply that drops out."""

from __future__ import annotations

from typing import Final

import numpy as np

from lineloss.contacts import Contacts
from lineloss.finding import Finding

RULE: Final = "flapping"
VERSION: Final = 1


def find(
    contacts: Contacts, *, logins: int = 12, alarm: int = 48, everybody: float = 0.5, few: int = 4
) -> list[Finding]:
    """Terminals that came (back) `logins` times or more in the day.

    logins     once every two hours: a network that moves its terminals over is slower than that
    everybody  where more than this share of the terminals flaps at once it is our side, or the operator's; no terminal is accused.
               Of fewer than `few` terminals nobody can say so
    """
    often = contacts.logins >= logins
    if len(often) >= few and often.mean() > everybody:
        return []
    return [
        Finding(
            RULE,
            VERSION,
            "terminal",
            int(contacts.terminal[row]),
            "alarm" if contacts.logins[row] >= alarm else "warning",
            {
                "logins": int(contacts.logins[row]),
                "threshold": logins,
                "online": bool(contacts.online[row]),
                "meters": int(contacts.meters[row]),
            },
            f"Terminal came {int(contacts.logins[row])} times in the day",
            f"终端当日上线 {int(contacts.logins[row])} 次",
        )
        for row in np.flatnonzero(often).tolist()
    ]

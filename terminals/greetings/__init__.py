"""Who dials in, known by his first bytes, and what of his stream is not the meters': one file a kind of caller. No I/O.

`every_kind` gives them in the order in which they are asked.
"""

from __future__ import annotations

from zoneinfo import ZoneInfo

from terminals.greetings.dlms import DlmsGreeting
from terminals.greetings.dlt698 import Dlt698Greeting
from terminals.greetings.dtu import DtuGreeting
from terminals.greetings.gdw376 import Gdw376Greeting
from terminals.greetings.greeting import Greeting


def every_kind(zone: ZoneInfo) -> tuple[Greeting, ...]:
    """All kinds that this house knows. `zone`: the terminals' civil time."""
    return DtuGreeting(), Gdw376Greeting(), Dlt698Greeting(zone), DlmsGreeting()

"""Day and month roll-ups of what changed since the last run."""

from __future__ import annotations

import datetime as dt
import time
from typing import Final

from headend.jobs.frame import Run
from headend.store import rollups

#: seconds after which a run stops between two transactions: the balances of the quarter-hour wait behind it
SECONDS: Final = 60.0
#: how a summary ends when there is more to do at once
MORE: Final = "more waits"


def job(run: Run, day: dt.date) -> str:
    """The day does not matter: it is told by the changes. Commits step by step."""
    begun = time.monotonic()
    days = months = 0
    more = True
    while more and time.monotonic() - begun < SECONDS:
        with run.conn.transaction():
            step = rollups.step(run.conn, run.zone, run.now)
        run.conn.commit()
        days, months, more = days + step.days, months + step.months, step.more
    return f"{days} days and {months} months of a meter" + (f", {MORE}" if more else "")

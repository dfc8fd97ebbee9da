"""Reading and setting a clock: a meter's, or the terminal's own."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from headend.collector.job import Job, Looked, WireTrouble
from headend.control.order_state import Event
from protocols.localtime import as_datetime

#: seconds by which a clock may still be off after it was set: it ticks in whole seconds, and the answer takes its time
TOLERANCE: Final = 5.0


class ClockAct:
    """headend.collector.job.Act."""

    async def look(self, job: Job) -> Looked:
        return Looked()

    async def send(self, job: Job, looked: Looked, asked: np.datetime64, left: float) -> None:
        set_it = job.order["action"] == "set"
        try:
            if set_it:
                await job.session.run(job.speaker.set_clock(job.whom, job.now()), attempts=1)
            shown = await job.session.run(job.speaker.clock(job.whom))
        except WireTrouble as trouble:
            await job.step(Event.REJECT, str(trouble))
            return
        offset = float((shown - job.now()) / np.timedelta64(1, "s"))
        result = {"meter_clock": as_datetime(shown).isoformat(), "offset_seconds": round(offset, 1)}
        await job.step(Event.ANSWER, "clock read", result)
        wrong = set_it and abs(offset) > TOLERANCE + getattr(job.desk.clock, "rate", 1.0)
        whose = "meter" if job.order["meter_id"] is not None else "terminal"
        await job.step(Event.DISPROVE if wrong else Event.PROVE, f"{whose} clock off by {offset:+.1f} s")

    async def find_out(self, job: Job) -> None:
        """Nothing: a clock that was interrupted is asked for again by whoever wants it."""

    def resolved_by_reading(self, order: dict[str, Any]) -> bool:
        return False

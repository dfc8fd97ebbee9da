"""A live reading: the present values of a meter, stored like any others."""

from __future__ import annotations

from typing import Any

import numpy as np

from headend.collector.inquiry import inquire
from headend.collector.job import Job, Looked, WireTrouble
from headend.collector.tasks import SPOT, script
from headend.control.order_state import Event
from headend.store.exchanges import NO_TIMES
from headend.store.intake import Delivery, save
from headend.store.tables import SPOT_READS
from protocols.localtime import as_datetime
from protocols.quantity import quantities


class ReadingAct:
    """headend.collector.job.Act."""

    async def look(self, job: Job) -> Looked:
        return Looked()

    async def send(self, job: Job, looked: Looked, asked: np.datetime64, left: float) -> None:
        if job.order["action"]:
            await _inquire(job)
            return
        desk, meter, now = job.desk, job.whom, job.now()
        try:
            with desk.recorder.listening(meter, SPOT, NO_TIMES, now) as so_far:
                row = (await job.session.run(script(desk.driver, meter, SPOT, NO_TIMES, now))).reads
                said = so_far()
        except WireTrouble as trouble:
            await job.step(Event.REJECT, str(trouble))
            return
        # of each quantity the newest: a terminal that tells what it has read earlier may have read them at different times
        newest = {code: found[-1] for code in row.columns if len(found := np.flatnonzero(row.valid(code)))}
        values = {
            code: {
                "value": _plain(code, row.columns[code][k]),
                "unit": quantities()[code].unit,
                "obis": quantities()[code].obis,
            }
            for code, k in newest.items()
        }
        delivery = Delivery(SPOT_READS, now, row, exchange=said)
        zone, owner = desk.database.zone, desk.fence.owner
        await desk.database.call(lambda conn: save(conn, [delivery], zone, who=owner))
        read_at = min((row.time[k] for k in newest.values()), default=now)
        result = {"read_at": as_datetime(read_at).isoformat(), "values": values}
        await job.step(Event.ANSWER, "read", result)
        await job.step(Event.PROVE, f"{len(values)} values read")

    async def find_out(self, job: Job) -> None:
        """Nothing: what was not read is asked for again."""

    def resolved_by_reading(self, order: dict[str, Any]) -> bool:
        return False


async def _inquire(job: Job) -> None:
    """A survey, or single items: what came is the order's result, and no reading of the store."""
    found = await inquire(job.session, job.desk.driver, job.whom, job.order["action"], job.now)
    if found.failed:
        await job.step(Event.REJECT, found.failed, found.result)
        return
    await job.step(Event.ANSWER, "read", found.result)
    await job.step(Event.PROVE, found.outcome)


def _plain(code: str, value: Any) -> str | float:
    """Registers as exact decimal text in kWh, instants as numbers."""
    if quantities()[code].kind == "register":
        return f"{int(value) // 10_000}.{int(value) % 10_000:04d}"
    return round(float(value), 4)

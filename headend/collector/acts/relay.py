"""Relay commands: valid until the order or the lease ends, by the meter's own clock; proved by reading relay and load back."""

from __future__ import annotations

import math
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import structlog

from headend.collector.acts.validity import TooLate, in_time, validity
from headend.collector.job import Job, Looked, WireTrouble
from headend.control.order_state import Event, State
from headend.control.readback import Seen, judge
from headend.store import orders
from protocols.errors import Misuse, ProtocolError, Refused
from protocols.localtime import as_datetime
from terminals.drivers.driver import Meter, RelayAction, RelayState, Script, T

log = structlog.get_logger()


class RelayAct:
    """headend.collector.job.Act."""

    async def look(self, job: Job) -> Looked:
        """Whom, with what works his supply, and by how much the clock that ends the command is ahead of ours; negative if it is behind. Asked
        before anything is sent: a meter that is silent now is not told to act.

        None: there is no usable clock. Supply is given back all the same, but nobody is cut off by a command whose end the other side cannot
        see. Where a command has no end (a coil), or somebody else's switch cuts the meter off, who must answer is the switch."""
        driver, whom = job.desk.driver, await _switched(job)
        # whoever finds out about it must ask what was told, whatever the archive says by then
        kept = {"switch": list(whom.switch), "terminal": job.order["terminal"]}
        clock = driver.relay_clock(whom)
        if clock is None or whom.switch:
            await _asked(job, driver.relay_state(whom))
        shown = None if clock is None else await _asked(job, clock)
        # our time after the answer: the difference is rather too small, and the validity with it
        ahead = None if shown is None else np.timedelta64(shown - job.now())
        return Looked(known=(whom, ahead), kept=kept)

    async def send(self, job: Job, looked: Looked, asked: np.datetime64, left: float) -> None:
        whom, ahead = looked.known
        until = validity(job, ahead, asked, left)
        try:
            with in_time(job, until.last):
                answer = await job.session.run(
                    job.desk.driver.relay(whom, RelayAction(job.order["action"]), until.shown), attempts=1
                )
        except Refused as refusal:
            await job.step(Event.REJECT, f"the meter refused: {refusal}")
            return
        except Misuse as mistake:
            await job.step(Event.REJECT, f"not sent: {mistake}")
            return
        except TooLate as late:
            await job.step(Event.LOSE, str(late))
            return
        except WireTrouble as trouble:  # a corrupt answer too: it says nothing about the relay
            await job.step(Event.LOSE, f"sent, but {trouble}")
            raise
        await job.step(
            Event.ANSWER, answer.detail or "the meter took the command", {"pending": answer.pending}
        )
        await _judge(job, whom, pending=answer.pending)

    async def find_out(self, job: Job) -> None:
        result, here = job.order["result"], job.order["terminal"]
        # sent before orders kept it: as the archive has it
        switch = result.get("switch", job.whom.switch)
        if switch and result.get("terminal", here) != here:
            told = f"{'+'.join(switch)} of terminal {result['terminal']} was told"
            where = f"the meter hangs behind {here} now: what became of it must be looked for there"
            await job.step(Event.DISPROVE, f"{told}, and {where}")
            return
        # what the meter said when it answered holds, whether or not it could be read back then
        await _judge(job, replace(job.whom, switch=tuple(switch)), pending=result.get("pending", False))

    def resolved_by_reading(self, order: dict[str, Any]) -> bool:
        return True


async def _switched(job: Job) -> Meter:
    """The meter with what this command works: what the archive names; where supply is given back, what it was cut off by. What ends keep-power ends
    the meter's own, whatever cuts it off: `headend control` ends a terminal's."""
    if job.order["action"] == "end-keep-power":
        return replace(job.whom, switch=())
    if job.order["action"] not in ("permit", "close"):
        return job.whom
    meter, terminal = job.order["meter_id"], job.order["terminal"]
    switch = await job.desk.database.call(lambda conn: orders.cut_off_by(conn, meter, terminal))
    return job.whom if switch is None else replace(job.whom, switch=switch)


async def _asked(job: Job, script: Script[T]) -> T | None:
    """What it brings before anything is sent. None: nothing, and supply is given back all the same; a trip is not sent."""
    try:
        return await job.session.run(script)
    except ProtocolError:
        if job.order["action"] == "trip":
            raise
        return None


async def _judge(job: Job, whom: Meter, *, pending: bool) -> None:
    """Read the relay and the load back and move the order by what they prove."""
    try:
        seen: RelayState = await job.session.run(job.desk.driver.relay_state(whom))
    except WireTrouble as trouble:
        log.info("read-back failed", order=job.order["order_id"], why=str(trouble))
        raise
    now = as_datetime(job.now())
    flows = seen.load_kw * whom.multiplier
    event, sentence = judge(
        job.order["action"],
        Seen(seen.open, seen.permitted, seen.keep_power, flows),
        now - (job.order["sent_at"] or now),
        pending,
    )
    # JSON knows no NaN
    load = None if math.isnan(flows) else flows
    result = {"relay": asdict(seen) | {"load_kw": load}, "read_back_at": now.isoformat()}
    if event is Event.HOLD and await job.state() is State.PENDING:
        return
    await job.step(event, sentence, result)

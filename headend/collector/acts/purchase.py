"""Purchases (充值) on the wire: the wallet is read first, the purchase is offered once, and the wallet read back is the proof.

An answer that was lost is found out about by reading, never by offering again. Before that reading the meter is made to take nothing that
was sent before (`WalletWay.bar`), so that what is proved absent stays absent and may be offered anew, with the same count.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np

from headend.collector.drivers import wallets_for
from headend.collector.job import Job, Looked, WireTrouble
from headend.control import wallet
from headend.control.facts import Refusal
from headend.control.order_state import Event, State
from headend.control.wallet import REFUND, Proof, Seen, Wanted
from headend.store import wallets
from protocols.errors import Misuse, Refused
from protocols.localtime import as_datetime
from terminals.drivers.wallet import Declined, Purchase, Repeated, WalletWay


class PurchaseAct:
    """headend.collector.job.Act."""

    async def look(self, job: Job) -> Looked:
        """The wallet as it is: it must stand where the ledger thinks it stands. A meter that is silent now is offered nothing."""
        if job.order["action"] == "read":
            return Looked()
        try:
            _way(job).able()
            before = await _seen(job)
        except (Refused, Misuse) as why:
            return Looked((Refusal("wallet", str(why)),))
        why_not = wallet.against(_wanted(job), before)
        # a refund is measured by it, whoever is alive to do so
        return Looked(
            () if why_not is None else (Refusal("wallet", why_not),), kept={"before": asdict(before)}
        )

    async def send(self, job: Job, looked: Looked, asked: np.datetime64, left: float) -> None:
        if job.order["action"] == "read":
            await _read(job)
            return
        job.order["result"] |= looked.kept or {}
        try:
            told = Purchase(action=job.order["action"], **job.order["request"])
            await job.session.run(_way(job).carry(job.whom, told), attempts=1)
        except Repeated as repeated:  # an earlier try has arrived after all, if the wallet says so too
            await job.step(Event.ANSWER, str(repeated), {"taken": True})
        except Declined as no:
            # what lies between may have said it twice: whether it is in the wallet, the wallet says
            said = {"serr": f"{no.code:04X}", "no": f"the meter refused: {no}"}
            await job.step(Event.LOSE, said["no"], said)
            job.order["result"] |= said
            await _judge(job, answered=False)
            return
        except Refused as refusal:
            await job.step(Event.REJECT, f"the meter refused: {refusal}", {"serr": f"{refusal.code:04X}"})
            return
        except Misuse as mistake:
            await job.step(Event.REJECT, f"not sent: {mistake}")
            return
        except WireTrouble as trouble:  # a corrupt answer too: it says nothing about the wallet
            await job.step(Event.LOSE, f"sent, but {trouble}")
            raise
        else:
            await job.step(Event.ANSWER, "the meter took it", {"taken": True})
        await _judge(job, answered=True)

    async def find_out(self, job: Job) -> None:
        await job.session.run(_way(job).bar(job.whom))
        await _judge(job, answered=bool(job.order["result"].get("taken")))

    def resolved_by_reading(self, order: dict[str, Any]) -> bool:
        return bool(order["action"] != "read")


def _way(job: Job) -> WalletWay:
    way = wallets_for(job.desk.driver)
    if way is None:
        raise Misuse(f"purchase: {job.desk.driver.name} knows no wallets")
    return way


def _wanted(job: Job) -> Wanted:
    request = job.order["request"]
    return Wanted(job.order["action"], request["count"], request["fen"])


async def _seen(job: Job) -> Seen:
    way = _way(job)
    held = await job.session.run(way.read(job.whom))
    total = await job.session.run(way.total(job.whom)) if job.order["action"] == REFUND else None
    return Seen(held.count, held.remaining_fen - held.overdrawn_fen, held.last_fen, total)


async def _judge(job: Job, *, answered: bool) -> None:
    """Read the wallet back and move the order by what it proves. `answered`: the meter said that it has it."""
    before = job.order["result"].get("before")
    seen = await _seen(job)
    says = wallet.proof(_wanted(job), seen, None if before is None else Seen(**before))
    result: dict[str, Any] = {"wallet": asdict(seen), "read_back_at": as_datetime(job.now()).isoformat()}
    shown = f"the wallet read back: {seen}"
    if says is Proof.ABSENT and answered:
        says = Proof.FOREIGN  # it said yes: offered again it might take it twice
    if says is Proof.THERE:
        await job.step(Event.PROVE, shown, result)
    elif says is Proof.ABSENT:
        await job.step(Event.DISPROVE, f"{job.order['result'].get('no', 'not taken')}; {shown}", result)
    elif says is Proof.FOREIGN:
        result["foreign"] = True
        await job.step(Event.DISPROVE, f"not what was to be, a person must look; {shown}", result)
    elif await job.state() is State.ANSWERED:  # the energy used since hides it
        await job.step(Event.LOSE, f"not to be told yet; {shown}", result)


async def _read(job: Job) -> None:
    """The wallet and what stands beside it, kept as a reading of it."""
    try:
        way = _way(job)
        held = await job.session.run(way.read(job.whom))
        around = await job.session.run(way.around(job.whom))
    except WireTrouble as trouble:
        await job.step(Event.REJECT, str(trouble))
        return
    reading = wallets.Reading(
        held.remaining_fen,
        held.overdrawn_fen,
        held.count,
        around.registers,
        around.is_open,
        dict(around.settings),
    )
    meter, at = job.order["meter_id"], job.now()
    await job.desk.database.call(lambda conn: wallets.save(conn, meter, reading, at=at))
    await job.step(
        Event.ANSWER, "read", {"wallet": reading.document(), "read_at": as_datetime(at).isoformat()}
    )
    await job.step(Event.PROVE, f"{wallet.yuan(reading.fen)} yuan left after {reading.count} purchases")

"""Purchases (充值) on the wire: the wallet is read first, the purchase is offered once, and the wallet read back is the proof.

An answer that was lost is found out about by reading, never by offering again. Before that reading the meter is made to take nothing that
was sent before (`WalletWay.bar`), so that what is proved absent stays absent and may be offered anew, with the same count.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from headend.collector.drivers import wallets_for
from headend.collector.job import Job, Looked, WireTrouble
from headend.control.facts import Refusal
from headend.control.order_state import Event, State
from headend.store import wallets
from protocols.errors import Misuse, Refused
from protocols.localtime import as_datetime
from tariffs import purchase as rules
from tariffs.money import yuan_text
from tariffs.purchase import Answer, Kind, Proof, Seen
from terminals.drivers.wallet import Purchase, Repeated, WalletWay

#: what a kWh costs at most, adders and surcharges included [1e-4 yuan]: how far a wallet may sink by itself between two looks. Steps and
#: sharp periods of all published tariffs stay below two yuan
DEAREST: Final = 50_000
#: registers show 0.01 kWh [1e-4 kWh], and fen are cut
SHOWN: Final = 100
_UNITS_PER_FEN: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class _Before:
    """The wallet just before a purchase was offered, and the register of all energy [1e-4 kWh] (refunds only)."""

    wallet: Seen
    total: int | None = None


class PurchaseAct:
    """headend.collector.job.Act."""

    async def look(self, job: Job) -> Looked:
        """The wallet as it is: it must stand where the ledger thinks it stands. A meter that is silent now is offered nothing."""
        if job.order["action"] == "read":
            return Looked()
        try:
            _way(job).able()
            before = await _before(job)
        except (Refused, Misuse) as why:
            return Looked((Refusal("wallet", str(why)),))
        said = rules.fits(before.wallet, _wanted(job))
        against = () if said is Answer.TAKEN else (Refusal("wallet", _why_not(said, job, before.wallet)),)
        # a refund is measured by it, whoever is alive to do so
        kept = {"before": {"count": before.wallet.count, "fen": before.wallet.fen, "total": before.total}}
        return Looked(against, kept=kept)

    async def send(self, job: Job, looked: Looked, asked: np.datetime64, left: float) -> None:
        if job.order["action"] == "read":
            await _read(job)
            return
        job.order["result"] |= looked.kept or {}
        told = _wanted(job)
        try:
            await job.session.run(
                _way(job).carry(job.whom, Purchase(told.kind, told.count, told.fen, told.customer)),
                attempts=1,
            )
        except Repeated as repeated:  # an earlier try has arrived after all, if the wallet says so too
            await job.step(Event.ANSWER, str(repeated), {"taken": True})
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


def _wanted(job: Job) -> rules.Purchase:
    request = job.order["request"]
    return rules.Purchase(
        Kind(job.order["action"]),
        request["count"],
        request["fen"],
        request["customer"].zfill(rules.CUSTOMER_DIGITS),
    )


async def _before(job: Job) -> _Before:
    way = _way(job)
    wallet = await job.session.run(way.read(job.whom))
    total = None
    if job.order["action"] == Kind.REFUND:
        total = await job.session.run(way.total(job.whom))
    return _Before(Seen(wallet.count, wallet.remaining_fen - wallet.overdrawn_fen, wallet.last_fen), total)


def _why_not(said: Answer, job: Job, seen: Seen) -> str:
    request = job.order["request"]
    if said is Answer.COUNT:
        return (
            f"the wallet says {seen.count} purchases, the ledger knows of {request['count'] - (job.order['action'] != Kind.REFUND)}: "
            "something was put into it past us, or it was set back; `headend purchase settle` after looking into it"
        )
    return (
        f"{said}: the wallet holds {yuan_text(seen.fen)} yuan, and {yuan_text(request['fen'])} are asked for"
    )


async def _judge(job: Job, *, answered: bool) -> None:
    """Read the wallet back and move the order by what it proves. `answered`: the meter said that it has it."""
    wanted = _wanted(job)
    then = job.order["result"].get("before")
    now = await _before(job)
    used = None
    if (
        then is not None
        and then["total"] is not None
        and now.total is not None
        and now.total >= then["total"]
    ):
        used = (now.total - then["total"] + SHOWN) * DEAREST // _UNITS_PER_FEN + 1
    seen = Seen(now.wallet.count, now.wallet.fen, now.wallet.last_fen, used)
    says = rules.proof(wanted, seen, None if then is None else Seen(then["count"], then["fen"]))
    result = {
        "wallet": {"count": seen.count, "fen": seen.fen, "last_fen": seen.last_fen},
        "read_back_at": as_datetime(job.now()).isoformat(),
    }
    shown = f"the wallet read back: {seen.count} purchases, {yuan_text(seen.fen)} yuan"
    if says is Proof.ABSENT and answered:
        says = Proof.FOREIGN  # it said yes: offered again it might take it twice
    if says is Proof.THERE:
        await job.step(Event.PROVE, shown, result)
    elif says is Proof.ABSENT:
        await job.step(Event.DISPROVE, f"not taken; {shown}", result)
    elif says is Proof.FOREIGN:
        await job.step(
            Event.DISPROVE, f"not what was to be; {shown}: a person must look", result | {"foreign": True}
        )
    elif await job.state() is State.ANSWERED:  # the energy used since hides it
        await job.step(Event.LOSE, f"not to be told yet; {shown}", result)


async def _read(job: Job) -> None:
    """The wallet and what stands beside it, kept as a reading of it."""
    way = _way(job)
    try:
        wallet = await job.session.run(way.read(job.whom))
        around = await job.session.run(way.around(job.whom))
    except WireTrouble as trouble:
        await job.step(Event.REJECT, str(trouble))
        return
    reading = wallets.Reading(
        wallet.remaining_fen,
        wallet.overdrawn_fen,
        wallet.count,
        around.registers,
        around.is_open,
        dict(around.settings),
    )
    meter, at = job.order["meter_id"], job.now()
    await job.desk.database.call(lambda conn: wallets.save(conn, meter, reading, at=at))
    await job.step(
        Event.ANSWER, "read", {"wallet": reading.document(), "read_at": as_datetime(at).isoformat()}
    )
    left = yuan_text(reading.fen)
    await job.step(Event.PROVE, f"{left} yuan left after {reading.count} purchases")

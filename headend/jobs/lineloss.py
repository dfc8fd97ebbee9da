"""Line loss of every transformer area for a day; for today: from midnight to the newest slot."""

from __future__ import annotations

import datetime as dt

import numpy as np

from headend.jobs import network
from headend.jobs.frame import Run
from headend.jobs.network import Network
from headend.store import blocks, results
from headend.store.results import Loss
from lineloss.balance import Balance, Reason, day_balance
from lineloss.technical import Technical, narrowed, technical_loss

WHY = {
    Reason.KNOWN: "",
    Reason.NO_SUPPLY_METER: "the area has no supply meter in the archive",
    Reason.NO_CUSTOMER: "the area has no customer's meter in the archive",
    Reason.MISSING_REGISTER: "registers are missing",
    Reason.REGISTER_DECREASED: "a register went down",
}
#: instants that the technical loss is worked out from
QUANTITIES = tuple(f"{what}_{phase}" for what in ("voltage", "current") for phase in "abc")
#: of an area that is known all the same
ESTIMATED = "a register at midnight is estimated"


def balance(net: Network) -> Balance:
    """The day's balance by area."""
    return day_balance(
        net.topology,
        net.imports,
        net.exports,
        freeze_imports=net.freeze_imports,
        freeze_exports=net.freeze_exports,
        roll_over=net.roll_over,
    )


def technical(net: Network) -> Technical:
    """What the network itself is expected to have lost, by area."""
    return technical_loss(
        net.topology,
        net.phases("voltage"),
        net.phases("current"),
        net.imports,
        net.exports,
        roll_over=net.roll_over,
    )


def job(run: Run, day: dt.date) -> str:
    if network.slots_due(run, day) < 1:
        return "nothing due yet"
    losses: list[Loss] = []
    complete = True
    for net in network.areas(run, day, blocks.rows(run.conn, day, run.zone), QUANTITIES):
        losses += _losses(net)
        complete = net.complete
    if not losses:
        return "nothing due yet"
    changed = results.save_losses(run.conn, day, losses, now=run.now)
    known = sum(loss.status == "known" for loss in losses)
    return f"{known} of {len(losses)} areas known, {changed} changed" + ("" if complete else ", day not over")


def _losses(net: Network) -> list[Loss]:
    """One an area: a result, not a reading."""
    told = technical(net)
    b = narrowed(balance(net), told)
    losses = []
    for k in range(len(b)):
        known = bool(b.known[k])
        reason = Reason(int(b.reason[k]))
        missing = b.missing_in(k).tolist()
        of = f" of {len(missing)} of {int(b.meters_due[k])} meters" if missing else ""
        why = (ESTIMATED if known and missing else WHY[reason]) + of
        expected = known and bool(np.isfinite(told.energy[k]))
        losses.append(
            Loss(
                area_id=int(b.area_id[k]),
                status="known" if known else "unknown",
                supplied=int(b.supplied[k]) if known else None,
                sold=int(b.sold[k]) if known else None,
                loss=int(b.loss[k]) if known else None,
                loss_low=int(b.loss_low[k]) if known else None,
                loss_high=int(b.loss_high[k]) if known else None,
                likely_low=int(b.likely_low[k]) if known else None,
                likely_high=int(b.likely_high[k]) if known else None,
                technical=round(float(told.energy[k]) * 10_000) if expected else None,
                technical_error=round(float(told.error[k]) * 10_000) if expected else None,
                rate=float(b.rate[k]) if known and b.supplied[k] > 0 else None,
                meters_due=int(b.meters_due[k]),
                meters_complete=int(b.meters_complete[k]),
                missing=missing,
                why=why,
            )
        )
    return losses

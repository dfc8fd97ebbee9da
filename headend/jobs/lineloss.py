"""Line loss of every transformer area for a day; for today: from midnight to the newest slot."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headend.jobs import network
from headend.jobs.frame import Run
from headend.jobs.network import Network
from headend.store import blocks, clocks, results, watch
from headend.store.results import Loss
from lineloss.balance import Balance, Reason, day_balance, day_ends
from lineloss.technical import Technical, narrowed, technical_loss
from protocols.localtime import as_datetime, midnight
from protocols.reading import MISSING

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
ESTIMATED = "the energy is estimated"


@dataclass(frozen=True, slots=True)
class Beside:
    """What is known of a network's meters beside its day: how far their clocks are off, float64[meter] [s], and of those whose ends of the day were
    not read, what they used on other days, int64[meter, day] [1e-4 kWh]."""

    clock: NDArray[np.float64]
    usual: NDArray[np.int64]


def beside(run: Run, day: dt.date, net: Network) -> Beside:
    meters = net.topology.meter
    ends = day_ends(net.imports, net.freeze_imports)
    # who came or went in the day has not used what others of his days say
    unread = net.block.rows.whole & ((ends[0] == MISSING) | (ends[1] == MISSING))
    open_ = np.flatnonzero(net.topology.counted() & unread)
    usual = np.full((len(meters), watch.LIKE), MISSING, dtype=np.int64)
    if len(open_):
        usual[open_] = watch.energies(run.conn, day, meters[open_])
    end = as_datetime(midnight(day + dt.timedelta(days=1), run.zone))
    return Beside(clocks.off(run.conn, meters, min(end, as_datetime(run.now))), usual)


def balance(net: Network, known: Beside | None = None) -> Balance:
    """The day's balance by area."""
    return day_balance(
        net.topology,
        net.imports,
        net.exports,
        freeze_imports=net.freeze_imports,
        freeze_exports=net.freeze_exports,
        usual=known.usual if known is not None and net.complete else None,
        clock=None if known is None else known.clock,
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
        losses += _losses(net, beside(run, day, net))
        complete = net.complete
    if not losses:
        return "nothing due yet"
    changed = results.save_losses(run.conn, day, losses, now=run.now)
    known = sum(loss.status == "known" for loss in losses)
    return f"{known} of {len(losses)} areas known, {changed} changed" + ("" if complete else ", day not over")


def _losses(net: Network, known: Beside) -> list[Loss]:
    """One an area: a result, not a reading."""
    told = technical(net)
    b = narrowed(balance(net, known), told)
    losses = []
    for k in range(len(b)):
        sure = bool(b.known[k])
        reason = Reason(int(b.reason[k]))
        missing = b.missing_in(k).tolist()
        of = f" of {len(missing)} of {int(b.meters_due[k])} meters" if missing else ""
        why = (ESTIMATED if sure and missing else WHY[reason]) + of
        expected = sure and bool(np.isfinite(told.energy[k]))
        losses.append(
            Loss(
                area_id=int(b.area_id[k]),
                status="known" if sure else "unknown",
                supplied=int(b.supplied[k]) if sure else None,
                sold=int(b.sold[k]) if sure else None,
                loss=int(b.loss[k]) if sure else None,
                loss_low=int(b.loss_low[k]) if sure else None,
                loss_high=int(b.loss_high[k]) if sure else None,
                likely_low=int(b.likely_low[k]) if sure else None,
                likely_high=int(b.likely_high[k]) if sure else None,
                technical=round(float(told.energy[k]) * 10_000) if expected else None,
                technical_error=round(float(told.error[k]) * 10_000) if expected else None,
                rate=float(b.rate[k]) if sure and b.supplied[k] > 0 else None,
                meters_due=int(b.meters_due[k]),
                meters_complete=int(b.meters_complete[k]),
                missing=missing,
                why=why,
            )
        )
    return losses

"""What must be true of a trip at the moment when it leaves. Written from the policy, without the gates: nothing of the program is imported."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator

from tests.support.order_model.world import LIMITS, Home, Order, World

MINUTE, HOUR, DAY = dt.timedelta(minutes=1), dt.timedelta(hours=1), dt.timedelta(days=1)


def broken(world: World, order: Order, epoch: int) -> list[str]:
    """Every rule that this trip breaks; `order` has just been sent for the `order.sent`-th time, by whoever had this epoch."""
    return list(_broken(world, order, order.home, epoch))


def _broken(world: World, order: Order, home: Home, epoch: int) -> Iterator[str]:
    now = world.now
    today = now.date()
    if order.sent != 1:
        yield "replayed"
    if epoch != home.epoch:
        yield "sent by a stale owner"
    if world.stopped:
        yield "under the kill switch"
    if home.protected is None or home.protected != "":
        yield "protected, or nobody knows"
    if home.keep_power:
        yield "keep-power"
    if home.shared:
        yield "with a switch that cuts off somebody else, too"
    if world.calendar.get(today) != "workday" or world.calendar.get(today + DAY) != "workday":
        yield "on a day off, its eve, or an unknown day"
    if now.hour < 8 or now.hour >= 17:
        yield "at night"
    for spared in world.spared:
        if spared.organisation in (None, home.organisation) and (
            spared.first <= today <= spared.last or spared.first <= today + DAY <= spared.last
        ):
            yield "on a day on which its organisation spares"
    if home.high is None or home.high + home.paid_since >= 0:
        yield "not certainly in debt"
    if not home.valid:
        yield "on an invalid balance"
    if (
        not dt.timedelta(0) <= now - home.as_of <= 2 * HOUR
        or not dt.timedelta(0) <= now - home.reading <= 4 * HOUR
    ):
        yield "on a stale balance"
    if world.validated < today - DAY or home.doubt or now - home.same_since < DAY:
        yield "on readings that nobody validated"
    accepted = order.accepted_by not in (None, order.who) and not str(order.accepted_by).startswith("job:")
    if not accepted and (home.usual is None or home.fall > 5 * home.usual):
        yield "on a fall that nobody looked at"
    told = [at for at in home.notices if home.last_paid is None or at > home.last_paid]
    if not told or now - max(told) < 30 * MINUTE:
        yield "without a notice in time"
    if home.grace is not None and today <= home.grace:
        yield "to somebody who was granted grace"
    yield from _caps(world, home)
    if _unusual(world, order):
        yield "in an unusual batch that nobody released"
    if order.approved_by in (None, "", order.who) or str(order.approved_by).startswith("job:"):
        yield "by one person alone"
    if order.not_before is not None and now < order.not_before:
        yield "before its time"
    if now >= order.expires:
        yield "after it expired"


def _caps(world: World, home: Home) -> Iterator[str]:
    """The log holds this trip already: so many in any window that ends now are allowed, this one included."""
    for span, name in ((MINUTE, "minute"), (HOUR, "hour"), (DAY, "day")):
        within = [other for at, other in world.log if at > world.now - span]
        for scope, count in (
            ("", len(within)),
            ("area_", sum(other.area == home.area for other in within)),
            ("line_", sum(other.line == home.line for other in within)),
            ("organisation_", sum(other.organisation == home.organisation for other in within)),
        ):
            if count > LIMITS[f"trips_per_{scope}{name}"]:
                yield f"over the cap of the {scope}{name}"


def _unusual(world: World, order: Order) -> bool:
    batch = order.batch
    if batch.asked <= LIMITS["batch_small"]:
        return False
    if batch.released >= batch.asked and batch.released_by not in ("", order.who):
        return False
    before = []
    for other in world.batches.values():
        if other is batch:
            break
        if other.who == batch.who and other.asked:
            before.append(other.asked)
    before = sorted(before[-30:])
    if len(before) < LIMITS["batch_history"]:
        return True
    return batch.asked > LIMITS["batch_times"] * before[(len(before) - 1) // 2]

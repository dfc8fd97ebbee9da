"""Campaigns go on: meters are read, what differs waits for a second person, what he approved is written, a share each quarter-hour.

Until as many have succeeded as would stop it, no more than that are under way at once: a wrong table is found out on a few meters.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from headend.control import price_policy
from headend.control.facts import Limits
from headend.control.order_state import NoSuchStep
from headend.jobs.frame import Run
from headend.store import campaigns, cluster, orders, price_tables, tariffs
from headend.store.db import StoreError
from headend.store.orders import Writing
from protocols.localtime import as_datetime, instant
from tariffs.plan import Tariff

NAME: Final = "campaigns"
#: what an order of a campaign waits for its terminal
VALID: Final = np.timedelta64(8, "h")
#: what an order has at least before the evening
SOON: Final = dt.timedelta(minutes=15)
#: after which an order that was not sent says that its terminal is away
WAITED: Final = dt.timedelta(hours=1)
#: behind what people ask for, before what jobs ask for
PRIORITY: Final = 7
QUARTERS: Final = 4
_Row = Mapping[str, Any]


def job(run: Run, day: dt.date) -> str:
    """Every campaign that runs; commits by itself."""
    told = [_Campaign(run, row).go() for row in campaigns.listing(run.conn, running=True)]
    run.conn.commit()
    return "; ".join(told) or "no campaign runs"


@dataclass(slots=True)
class _Campaign:
    run: Run
    row: dict[str, Any]
    _limits: Limits = field(init=False)

    def __post_init__(self) -> None:
        self._limits = cluster.limits(self.run.conn)

    def go(self) -> str:
        """One step of it."""
        conn, number = self.run.conn, self.row["campaign_id"]
        self._read()
        self._written()
        count = self._count()
        failed = count.get("failed", 0) - self.row["forgiven"]
        if failed >= self.row["stop_after"]:
            conn.commit()
            campaigns.stop(conn, number, who=f"job:{NAME}", why=f"{failed} writes failed", now=self.run.now)
            return f"campaign {number} stopped: {failed} failed"
        if self._at - self._now < dt.timedelta(hours=self._limits.prices_ahead_hours):
            self._too_late()
        elif (
            not price_policy.near_midnight(self._limits, self._now)
            and as_datetime(self.run.now) + SOON < self._evening
        ):
            share = max(1, self.row["per_hour"] // QUARTERS)
            self._send(self._allowed(count, failed, share))
            self._ask(share)
        return self._summary()

    @property
    def _now(self) -> dt.datetime:
        return as_datetime(self.run.now, self.run.zone).replace(tzinfo=None)

    @property
    def _at(self) -> dt.datetime:
        return dt.datetime.combine(self.row["switch_at"], dt.time())

    def _rows(self, *states: str, most: int | None = None) -> list[dict[str, Any]]:
        return campaigns.meters(self.run.conn, self.row["campaign_id"], states, most=most)

    def _count(self) -> dict[str, int]:
        (row,) = (c for c in campaigns.listing(self.run.conn) if c["campaign_id"] == self.row["campaign_id"])
        return dict(row["meters"])

    # --- what came of it ---

    def _read(self) -> None:
        """Those whose reading has ended: ready, the same, or not reached."""
        conn, ended = self.run.conn, self._ended(self._rows("reading"), "read_order")
        if not ended:
            return
        plan = tariffs.one(conn, self.row["tariff"])
        whose = {
            c.meter_id: c
            for c in price_tables.contracts(
                conn, self.run.now, tariff=plan.name, meters=[row["meter_id"] for row, _ in ended]
            )
        }
        with conn.transaction():
            for row, order in ended:
                if order["state"] != "verified":
                    campaigns.move(conn, row, "unreached", f"not read: {order['outcome']}")
                elif row["meter_id"] not in whose:
                    campaigns.move(conn, row, "unreached", "its account is on this plan no more")
                else:
                    self._propose(row, whose[row["meter_id"]], order["result"]["held"], plan)
        conn.commit()

    def _propose(
        self, row: _Row, whose: price_tables.Contract, held: Mapping[str, Any], plan: Tariff
    ) -> None:
        conn = self.run.conn
        try:
            found = price_tables.propose(
                conn, whose, held, self.row["switch_at"], self._now, self._limits, plan
            )
        except (StoreError, KeyError, TypeError, ValueError) as why:
            campaigns.move(
                conn,
                row,
                "unreached",
                str(why) if isinstance(why, StoreError) else f"its tables make no sense: {why}",
            )
            return
        if found.items:
            campaigns.move(conn, row, "ready", request=json.dumps(dict(found.writing().request)))
        else:
            campaigns.move(conn, row, "same")

    def _written(self) -> None:
        conn = self.run.conn
        with conn.transaction():
            for row, order in self._ended(self._rows("writing"), "write_order"):
                if (
                    order["state"] == "expired"
                ):  # its terminal was away: not a byte has left, and it may be tried again
                    campaigns.move(conn, row, "approved")
                elif order["state"] == "verified":
                    campaigns.move(conn, row, "done")
                else:
                    campaigns.move(conn, row, "failed", f"{order['state']}: {order['outcome']}")
        conn.commit()

    def _ended(
        self, rows: Sequence[dict[str, Any]], which: str
    ) -> list[tuple[dict[str, Any], dict[str, Any]]]:
        found = {
            row["order_id"]: row
            for row in self.run.conn.execute(
                "SELECT order_id, state, outcome, result FROM orders WHERE order_id = ANY(%s) AND NOT is_open",
                ([row[which] for row in rows],),
            )
        }
        return [(row, found[row[which]]) for row in rows if row[which] in found]

    # --- what is done next ---

    def _allowed(self, count: Mapping[str, int], failed: int, share: int) -> int:
        """How many writes more may be under way. Once it is tried, an order that has waited for its terminal for an hour holds up nobody."""
        if count.get("done", 0) >= self.row["stop_after"]:
            return max(0, share - self._busy())
        return max(0, min(share, int(self.row["stop_after"]) - failed) - count.get("writing", 0))

    def _busy(self) -> int:
        row = self.run.conn.execute(
            "SELECT count(*) AS n FROM price_campaign_meter p JOIN orders o ON o.order_id = p.write_order "
            "WHERE p.campaign_id = %s AND p.state = 'writing' AND (o.sent_at IS NOT NULL OR o.requested_at >= %s)",
            (self.row["campaign_id"], as_datetime(self.run.now) - WAITED),
        ).fetchone()
        assert row is not None
        return int(row["n"])

    def _send(self, most: int) -> None:
        """Writes of what was approved. The order is approved by the person who did."""
        conn = self.run.conn
        for row in self._rows("approved", most=most) if most else ():
            if not self._runs():
                return
            if why_not := self._outdated(row):
                self._move(row, "unreached", why_not)
                continue
            try:
                order = self._request(row, "write", self.row["requested_by"], Writing(row["request"]))
                self._approve(order, row["approved_by"])
            except orders.OrderError as why:
                conn.rollback()
                self._move(row, "failed", f"not asked for: {why}")
            else:
                self._move(row, "writing", write_order=order)
                if not self._runs():  # stopped between the order and the row that names it
                    self._withdraw(order)

    def _outdated(self, row: _Row) -> str:
        """What was approved may have waited for its turn for weeks."""
        read = orders.get(self.run.conn, row["read_order"])
        return price_tables.outdated(
            self.run.conn, row["meter_id"], row["request"]["tariff"], since=read["ended_at"], now=self.run.now
        )

    def _runs(self) -> bool:
        """Whether nobody has stopped it meanwhile."""
        return bool(campaigns.one(self.run.conn, self.row["campaign_id"])["state"] == "running")

    def _withdraw(self, order: int) -> None:
        try:
            orders.cancel(self.run.conn, order, who=f"job:{NAME}", now=self.run.now)
        except NoSuchStep:
            self.run.conn.rollback()  # it is on the wire

    def _approve(self, order: int, who: str) -> None:
        try:
            orders.approve(self.run.conn, order, who=who, now=self.run.now)
        except NoSuchStep:
            self.run.conn.rollback()  # it was, before this process was stopped

    def _ask(self, most: int) -> None:
        for row in self._rows("listed", most=most):
            if not self._runs():
                return
            try:
                order = self._request(row, "read", f"job:{NAME}", None)
            except orders.OrderError as why:
                self.run.conn.rollback()
                self._move(row, "unreached", str(why))
            else:
                self._move(row, "reading", read_order=order, write_order=None)

    def _request(self, row: _Row, action: str, who: str, writing: Writing | None) -> int:
        # the same meter may be asked again: its last orders tell one time from another
        key = f"campaign:{row['campaign_id']}:{row['meter_id']}:{action}:{row['read_order'] or 0}:{row['write_order'] or 0}"
        return orders.request(
            self.run.conn, kind="prices", action=action, asset=row["asset"], reason=f"campaign {row['campaign_id']}: {self.row['reason']}",
            who=who, now=self.run.now, expires=self._until(), writing=writing, priority=PRIORITY, request_key=key,
        )  # fmt: skip

    def _until(self) -> np.datetime64:
        """When an order is void: a write that comes near midnight would be refused by the collector, and that is no failure of the meter."""
        return min(self.run.now + VALID, instant(self._evening))

    @property
    def _evening(self) -> dt.datetime:
        """From then on nobody writes that day."""
        midnight = dt.datetime.combine(self._now.date() + dt.timedelta(days=1), dt.time(), self.run.zone)
        return midnight - dt.timedelta(minutes=self._limits.prices_midnight_minutes)

    def _move(self, row: _Row, state: str, why: str = "", **columns: Any) -> None:
        with self.run.conn.transaction():
            campaigns.move(self.run.conn, row, state, why, **columns)
        self.run.conn.commit()

    def _too_late(self) -> None:
        """Whoever has not been written by now keeps what he has."""
        why = {
            "listed": "its turn did not come in time", "reading": "not read in time", "ready": "nobody approved it in time",
            "approved": "its turn did not come in time",
        }  # fmt: skip
        with self.run.conn.transaction():
            for row in self._rows(*why):
                campaigns.move(self.run.conn, row, "unreached", why[row["state"]])
        self.run.conn.commit()

    def _summary(self) -> str:
        count, number = self._count(), self.row["campaign_id"]
        told = ", ".join(f"{n} {state}" for state, n in sorted(count.items()))
        if not any(count.get(state) for state in campaigns.OPEN):
            with self.run.conn.transaction():
                campaigns.end(self.run.conn, number, told)
        self.run.conn.commit()
        return f"campaign {number}: {told}"

"""Orders: everything that makes a wire act. Their states are headend/control/order_state.py, their gates headend/control/gates."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import dataclass
from typing import Any

import psycopg

from headend.control import gates
from headend.control.facts import Facts, Limits, Refusal
from headend.control.order_state import OPEN, Event, NoSuchStep, State, after
from headend.store import cluster, feed, leases
from headend.store.coverage import UnknownMeter
from headend.store.db import Connection, StoreError
from protocols.localtime import as_datetime

RELAY_ACTIONS = ("trip", "permit", "close", "keep-power", "end-keep-power")
#: what a read may be beside '' (registers and instants, kept as readings): everything that a diagnosis asks, or single items by name
SURVEY = "survey"
ITEMS = "items "
ACTIONS = {"relay": RELAY_ACTIONS, "read": ("", SURVEY), "clock": ("read", "set")}
#: characters of an action: two dozen items by their names
LONGEST_ACTION = 1000


class OrderError(StoreError):
    """The order cannot be made or moved."""


class UnknownOrder(OrderError):
    def __init__(self, order_id: int) -> None:
        super().__init__(f"no order {order_id}; `headend relay list` shows the newest")


class NotInstalled(OrderError):
    """The meter hangs nowhere now."""


class AlreadyOpen(OrderError):
    """The meter has a relay order that is not ended."""

    def __init__(self, order_id: int) -> None:
        self.order_id = order_id
        super().__init__(
            f"relay order {order_id} of this meter is still open; wait for its outcome or cancel it"
        )


class Refused(OrderError):
    """A gate said no. The refusal is on record as order `order_id` (None where nothing was recorded)."""

    def __init__(self, refusals: list[Refusal], order_id: int | None) -> None:
        self.refusals = refusals
        self.order_id = order_id
        super().__init__("; ".join(f"{r.gate}: {r.why}" for r in refusals))

    @property
    def reasons(self) -> list[tuple[str, str]]:
        return [(r.gate, r.why) for r in self.refusals]


class StaleOwner(OrderError):
    """The terminal's lease is no longer this collector's: it may not move the order."""


@dataclass(frozen=True, slots=True)
class Fence:
    """Who moves an order on behalf of a terminal: checked against the lease in the same transaction."""

    owner: str
    terminal_id: int
    epoch: int


def request(
    conn: Connection,
    *,
    kind: str,
    action: str,
    asset: str,
    reason: str,
    who: str,
    now: Any,
    expires: Any,
    request_key: str | None = None,
    priority: int = 5,
) -> int:
    """Ask for something to be done to a meter; commits. Returns the order's id.

    A trip waits for a second person (state wanted); everything else is approved at once. The same `request_key` again
    returns the same order. Raises UnknownMeter, NotInstalled, AlreadyOpen, Refused (recorded).
    """
    items = kind == "read" and action.startswith(ITEMS) and len(action) <= LONGEST_ACTION
    if not items and action not in ACTIONS.get(kind, ()):
        raise OrderError(
            f"no {kind} action {action!r}; there are {', '.join(a or kind for a in ACTIONS.get(kind, ()))}"
        )
    try:
        with conn.transaction():
            order_id, refusals = _request(
                conn, kind, action, asset, reason, who, now, expires, request_key, priority
            )
    except psycopg.errors.UniqueViolation as error:
        with conn.transaction():
            if (
                error.diag.constraint_name == "orders_request_key_key"
            ):  # the same request, at the same moment, elsewhere
                order_id, refusals = _request(
                    conn, kind, action, asset, reason, who, now, expires, request_key, priority
                )
            else:
                row = conn.execute(
                    "SELECT order_id FROM orders JOIN meter USING (meter_id) WHERE asset = %s AND kind = 'relay' AND is_open",
                    (asset,),
                ).fetchone()
                raise AlreadyOpen(row["order_id"] if row else 0) from None
    conn.commit()
    if refusals:
        raise Refused(refusals, order_id)
    return order_id


def _request(
    conn: Connection, kind: str, action: str, asset: str, reason: str, who: str, now: Any, expires: Any,
    request_key: str | None, priority: int,
) -> tuple[int, list[Refusal]]:  # fmt: skip
    at, until = as_datetime(now), as_datetime(expires)
    if request_key is not None:
        known = conn.execute(
            "SELECT order_id, (kind, action, asset) = (%s, %s, %s) AS same FROM orders JOIN meter USING (meter_id) WHERE request_key = %s",
            (kind, action, asset, request_key),
        ).fetchone()
        if known and not known["same"]:
            raise OrderError(
                f"request key {request_key!r} belongs to order {known['order_id']}, which is another one"
            )
        if known:
            return known["order_id"], []
    meter = conn.execute("SELECT meter_id FROM meter WHERE asset = %s", (asset,)).fetchone()
    if meter is None:
        raise UnknownMeter(asset)
    route = conn.execute(
        "SELECT terminal_id FROM installation WHERE meter_id = %s AND valid_from <= %s AND valid_to > %s",
        (meter["meter_id"], at, at),
    ).fetchone()
    if route is None:
        raise NotInstalled(f"meter {asset} is not installed anywhere at {at.isoformat()}")
    refusals: list[Refusal] = []
    state = State.APPROVED
    if (kind, action) == ("relay", "trip"):
        state = State.WANTED
        facts = _facts(conn, meter["meter_id"], at, until, who, None, sending=False)
        refusals = gates.ask(facts, cluster.limits(conn))
        if refusals:
            state = State.REFUSED
            names = ",".join(r.gate for r in refusals)
            # one record of the same refusal a day: a job asks every few minutes
            request_key = f"refused:{who}:{asset}:{facts.local.date()}:{names}"
            known = conn.execute(
                "SELECT order_id FROM orders WHERE request_key = %s", (request_key,)
            ).fetchone()
            if known:
                return known["order_id"], refusals
    outcome = "; ".join(f"{r.gate}: {r.why}" for r in refusals)
    row = conn.execute(
        """
        INSERT INTO orders (kind, action, meter_id, terminal_id, priority, state, is_open, reason, requested_by, requested_at,
                            approved_by, approved_at, expires_at, ended_at, outcome, request_key)
        VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s) RETURNING order_id
        """,
        (
            kind, action, meter["meter_id"], route["terminal_id"], priority, state, state in OPEN, reason, who, at,
            who if state is State.APPROVED else None, at if state is State.APPROVED else None, until,
            None if state in OPEN else at, outcome, request_key,
        ),
    ).fetchone()  # fmt: skip
    assert row is not None
    order_id: int = row["order_id"]
    _note(conn, order_id, at, "request", state, who, outcome or reason)
    return order_id, refusals


def approve(conn: Connection, order_id: int, *, who: str, now: Any) -> str:
    """A person approves a wanted order; commits. Returns the new state. The gates are asked again.

    Refused where the approver may not approve (the order stays wanted) or a gate says no (the order ends refused)."""
    with conn.transaction():
        row = _lock(conn, order_id)
        at = as_datetime(now)
        after(State(row["state"]), Event.APPROVE)
        facts = _facts(conn, row["meter_id"], at, row["expires_at"], row["requested_by"], who, sending=False)
        refusals = gates.ask(facts, cluster.limits(conn))
        if any(r.gate == "second_person" for r in refusals):
            state = State.WANTED
        elif refusals:
            state = _move(conn, row, Event.REFUSE, who, at, _sentence(refusals))
        else:
            conn.execute(
                "UPDATE orders SET approved_by = %s, approved_at = %s WHERE order_id = %s",
                (who, at, order_id),
            )
            state = _move(conn, row, Event.APPROVE, who, at, "")
    conn.commit()
    if refusals:
        raise Refused(refusals, order_id)
    return state


def cancel(conn: Connection, order_id: int, *, who: str, now: Any) -> str:
    """Withdraw an order that has not been sent; commits. NoSuchStep if it has."""
    with conn.transaction():
        state = _move(conn, _lock(conn, order_id), Event.CANCEL, who, as_datetime(now), f"withdrawn by {who}")
    conn.commit()
    return state


def begin(
    conn: Connection, order_id: int, *, fence: Fence, now: Any, address: str | None = None
) -> list[Refusal]:
    """approved -> sending, committed before the first byte leaves; or refused, if a gate says no now. Commits.

    `address` is where the frame will go: refused if the meter is not the one there any more.
    StaleOwner if the lease is not ours, NoSuchStep if the order is not approved (any more)."""
    with conn.transaction():
        row = _lock(conn, order_id)
        _check(conn, fence, row)
        at = as_datetime(now)
        after(State(row["state"]), Event.SEND)
        refusals = _elsewhere(conn, row, at, address)
        if not refusals and (row["kind"], row["action"]) == ("relay", "trip"):
            # one trip at a time passes the gates: two that count at once would both be the last that the cap allows
            conn.execute("SELECT pg_advisory_xact_lock(hashtext('trip'))")
            # a payment that is being booked at this moment is waited for; one that comes later comes after the sending
            conn.execute(
                "SELECT FROM account a JOIN installation i USING (point_id) WHERE i.meter_id = %s FOR NO KEY UPDATE OF a",
                (row["meter_id"],),
            )
            facts = _facts(
                conn,
                row["meter_id"],
                at,
                row["expires_at"],
                row["requested_by"],
                row["approved_by"],
                sending=True,
            )
            refusals = gates.ask(facts, cluster.limits(conn))
        if refusals:
            _move(conn, row, Event.REFUSE, fence.owner, at, _sentence(refusals))
        elif at >= row["expires_at"]:
            refusals = [Refusal("expiry", f"the order expired at {row['expires_at'].isoformat()}")]
            _move(conn, row, Event.EXPIRE, fence.owner, at, refusals[0].why)
        else:
            conn.execute(
                "UPDATE orders SET epoch = %s, sent_at = %s WHERE order_id = %s", (fence.epoch, at, order_id)
            )
            _move(conn, row, Event.SEND, fence.owner, at, "")
    conn.commit()
    return refusals


def step(
    conn: Connection,
    order_id: int,
    event: Event,
    *,
    fence: Fence,
    now: Any,
    detail: str = "",
    result: dict[str, Any] | None = None,
) -> State:
    """Move an order on behalf of its terminal's owner; commits. StaleOwner, NoSuchStep."""
    with conn.transaction():
        row = _lock(conn, order_id)
        _check(conn, fence, row)
        state = _move(conn, row, event, fence.owner, as_datetime(now), detail, result)
    conn.commit()
    return state


def expire(conn: Connection, *, now: Any, who: str) -> list[int]:
    """End the orders whose time ran out before they were sent; commits."""
    ended = []
    with conn.transaction():
        rows = conn.execute(
            "SELECT * FROM orders WHERE is_open AND state IN ('wanted', 'approved') AND expires_at <= %s FOR UPDATE SKIP LOCKED",
            (as_datetime(now),),
        ).fetchall()
        for row in rows:
            _move(
                conn, row, Event.EXPIRE, who, as_datetime(now), f"not sent by {row['expires_at'].isoformat()}"
            )
            ended.append(row["order_id"])
    conn.commit()
    return ended


def reroute(conn: Connection, *, now: Any, who: str) -> list[int]:
    """Orders that were sent and whose meter hangs behind another terminal by now are found out about there; commits."""
    with conn.transaction():
        rows = conn.execute(
            """
            SELECT o.order_id, o.state, i.terminal_id, t.code FROM orders o
            JOIN installation i ON i.meter_id = o.meter_id AND i.valid_from <= %(now)s AND i.valid_to > %(now)s
            JOIN terminal t ON t.terminal_id = i.terminal_id
            WHERE o.is_open AND o.state NOT IN ('wanted', 'approved') AND o.terminal_id <> i.terminal_id
            FOR UPDATE OF o SKIP LOCKED
            """,
            {"now": as_datetime(now)},
        ).fetchall()
        for row in rows:
            conn.execute(
                "UPDATE orders SET terminal_id = %s WHERE order_id = %s",
                (row["terminal_id"], row["order_id"]),
            )
            detail = f"the meter hangs behind terminal {row['code']} now"
            _note(conn, row["order_id"], as_datetime(now), "reroute", row["state"], who, detail)
    conn.commit()
    return [row["order_id"] for row in rows]


def after_restore(conn: Connection, *, taken: dt.datetime, now: Any, who: str) -> dict[str, list[int]]:
    """Make a restored store's open orders safe, in the caller's transaction: 'expired', 'unknown' and 'pending' -> their ids.

    Nobody knows what became of them since the backup was taken. What had not been sent may have been sent since, so it expires and must
    be asked for again; what had been sent is unknown until relay and load are read back. Nothing is ever sent again.
    """
    at = as_datetime(now)
    moved: dict[str, list[int]] = {"expired": [], "unknown": [], "pending": []}
    since = f"restored from a backup of {taken.isoformat(timespec='seconds')}: what became of it since is not known"
    for row in conn.execute("SELECT * FROM orders WHERE is_open ORDER BY order_id FOR UPDATE").fetchall():
        state = State(row["state"])
        if state in (State.WANTED, State.APPROVED):
            _move(conn, row, Event.EXPIRE, who, at, f"{since}; ask again if it is still wanted")
            moved["expired"].append(row["order_id"])
        elif state in (State.SENDING, State.ANSWERED):
            _move(conn, row, Event.LOSE, who, at, f"{since}; the relay is read back")
            moved["unknown"].append(row["order_id"])
        else:  # unknown or pending: reading alone ends it, as ever
            _note(conn, row["order_id"], at, "restore", state, who, since)
            moved["pending" if state is State.PENDING else "unknown"].append(row["order_id"])
    return moved


def work(conn: Connection, terminal_ids: list[int]) -> list[dict[str, Any]]:
    """Open orders for these terminals that a collector must act on, most urgent first: to send, or to find out about."""
    return conn.execute(
        "SELECT o.*, m.asset FROM orders o JOIN meter m USING (meter_id) "
        "WHERE o.is_open AND o.state <> 'wanted' AND o.terminal_id = ANY(%s) ORDER BY o.priority, o.order_id",
        (terminal_ids,),
    ).fetchall()


def get(conn: Connection, order_id: int) -> dict[str, Any]:
    """One order with the meter's asset number and its 'events', oldest first. UnknownOrder."""
    row = conn.execute(
        "SELECT o.*, m.asset FROM orders o JOIN meter m USING (meter_id) WHERE order_id = %s", (order_id,)
    ).fetchone()
    if row is None:
        raise UnknownOrder(order_id)
    events = conn.execute(
        "SELECT seq, at, event, state, who, detail FROM order_event WHERE order_id = %s ORDER BY seq",
        (order_id,),
    ).fetchall()
    return {**row, "events": events}


def listing(
    conn: Connection,
    *,
    limit: int,
    before: int | None = None,
    meter: str | None = None,
    open_only: bool = False,
    kind: str | None = None,
) -> list[dict[str, Any]]:
    """Orders, newest first."""
    return conn.execute(
        """
        SELECT o.*, m.asset FROM orders o JOIN meter m USING (meter_id)
        WHERE (%(before)s::bigint IS NULL OR order_id < %(before)s) AND (%(meter)s::text IS NULL OR m.asset = %(meter)s)
          AND (NOT %(open)s OR is_open) AND (%(kind)s::text IS NULL OR kind = %(kind)s)
        ORDER BY order_id DESC LIMIT %(limit)s
        """,
        {"before": before, "meter": meter, "open": open_only, "limit": limit, "kind": kind},
    ).fetchall()


def _lock(conn: Connection, order_id: int) -> dict[str, Any]:
    row = conn.execute("SELECT * FROM orders WHERE order_id = %s FOR UPDATE", (order_id,)).fetchone()
    if row is None:
        raise UnknownOrder(order_id)
    return row


def _check(conn: Connection, fence: Fence, row: dict[str, Any]) -> None:
    if row["terminal_id"] != fence.terminal_id or not leases.held(
        conn, fence.owner, fence.terminal_id, fence.epoch
    ):
        raise StaleOwner(
            f"order {row['order_id']}: terminal {row['terminal_id']} is not held by {fence.owner} "
            f"(terminal {fence.terminal_id}, epoch {fence.epoch})"
        )


def _move(
    conn: Connection,
    row: dict[str, Any],
    event: Event,
    who: str,
    at: dt.datetime,
    detail: str,
    result: dict[str, Any] | None = None,
) -> State:
    state = after(State(row["state"]), event)
    conn.execute(
        "UPDATE orders SET state = %(state)s, is_open = %(open)s, ended_at = CASE WHEN %(open)s THEN NULL ELSE %(at)s END, "
        "outcome = CASE WHEN %(detail)s = '' THEN outcome ELSE %(detail)s END, "
        "result = result || %(result)s::jsonb WHERE order_id = %(id)s",
        {
            "state": state,
            "open": state in OPEN,
            "at": at,
            "detail": detail,
            "result": json.dumps(result or {}),
            "id": row["order_id"],
        },
    )
    _note(conn, row["order_id"], at, event, state, who, detail)
    return state


def _note(
    conn: Connection, order_id: int, at: dt.datetime, event: str, state: str, who: str, detail: str
) -> None:
    conn.execute(
        "INSERT INTO order_event (order_id, seq, at, event, state, who, detail) "
        "SELECT %(id)s, coalesce(max(seq), 0) + 1, %(at)s, %(event)s, %(state)s, %(who)s, %(detail)s FROM order_event WHERE order_id = %(id)s",
        {"id": order_id, "at": at, "event": str(event), "state": str(state), "who": who, "detail": detail},
    )
    feed.publish(conn, "order", [(str(order_id), None)])


def _elsewhere(conn: Connection, row: dict[str, Any], at: dt.datetime, address: str | None) -> list[Refusal]:
    """Whether the meter that was meant is still where the order goes: behind this terminal, at this address, not installed anew."""
    there = conn.execute(
        "SELECT FROM installation WHERE meter_id = %(meter)s AND terminal_id = %(terminal)s AND valid_from <= %(asked)s "
        "AND valid_to > %(now)s AND address = coalesce(%(address)s, address)",
        {
            "meter": row["meter_id"], "terminal": row["terminal_id"], "asked": row["requested_at"], "now": at,
            "address": address,
        },
    ).fetchone()  # fmt: skip
    if there is not None:
        return []
    return [Refusal("route", "the meter was exchanged, moved or re-addressed since this was asked for")]


def _sentence(refusals: list[Refusal]) -> str:
    return "; ".join(f"{r.gate}: {r.why}" for r in refusals)


def _facts(
    conn: Connection,
    meter_id: int,
    now: dt.datetime,
    expires: dt.datetime,
    requested_by: str,
    approved_by: str | None,
    *,
    sending: bool,
) -> Facts:
    """Everything the gates ask, read at this moment."""
    zone = cluster.zone(conn)
    local = now.astimezone(zone)
    day = local.date()
    account = conn.execute(
        """
        SELECT a.account_id, a.prepaid, a.protected, b.as_of, b.valid, b.newest_reading, b.provisional_high_fen
                 + coalesce((SELECT sum(e.amount_fen) FROM ledger_entry e WHERE e.account_id = a.account_id
                             AND e.entry_id > b.ledger_entry_id AND e.amount_fen > 0), 0)::bigint AS high_fen,
               (SELECT max(n.at) FROM notice n WHERE n.account_id = a.account_id AND n.level = 'stop'
                   AND n.at > coalesce((SELECT max(p.paid_at) FROM payment p WHERE p.account_id = a.account_id), '-infinity')) AS noticed_at
        FROM installation i JOIN account a USING (point_id) LEFT JOIN balance b USING (account_id)
        WHERE i.meter_id = %(meter)s AND i.valid_from <= %(now)s AND i.valid_to > %(now)s
          AND a.valid_from <= %(now)s AND a.valid_to > %(now)s
        """,
        {"meter": meter_id, "now": now},
    ).fetchall()
    # two accounts on one point: nobody can say whose balance decides, so none does
    one = account[0] if len(account) == 1 else None
    days = {
        row["day"]: row["kind"]
        for row in conn.execute(
            "SELECT day, kind FROM calendar_day WHERE day BETWEEN %s AND %s",
            (day, day + dt.timedelta(days=1)),
        )
    }
    trips = conn.execute(
        """
        SELECT count(*) FILTER (WHERE o.sent_at > %(now)s - interval '1 hour') AS hour, count(*) AS day,
               count(*) FILTER (WHERE o.sent_at > %(now)s - interval '1 hour' AND EXISTS (
                   SELECT FROM installation i JOIN area_role r USING (point_id)
                   WHERE i.meter_id = o.meter_id AND r.area_id IN (
                       SELECT r2.area_id FROM installation i2 JOIN area_role r2 USING (point_id) WHERE i2.meter_id = %(meter)s))) AS area
        FROM orders o WHERE o.kind = 'relay' AND o.action = 'trip' AND o.sent_at > %(now)s - interval '24 hours'
        """,
        {"now": now, "meter": meter_id},
    ).fetchone()
    assert trips is not None
    return Facts(
        now=now,
        local=local,
        expires=expires,
        requested_by=requested_by,
        approved_by=approved_by,
        sending=sending,
        protected=one["protected"] if one else None,
        day_kind=days.get(day),
        next_day_kind=days.get(day + dt.timedelta(days=1)),
        prepaid=one["prepaid"] if one else None,
        balance_high_fen=one["high_fen"] if one else None,
        balance_as_of=one["as_of"] if one else None,
        balance_valid=bool(one and one["valid"]),
        newest_reading=one["newest_reading"] if one else None,
        trips_hour=trips["hour"],
        trips_day=trips["day"],
        trips_area_hour=trips["area"],
        noticed_at=one["noticed_at"] if one else None,
    )


def facts(conn: Connection, asset: str, now: Any) -> tuple[Facts, Limits]:
    """What the gates would look at if a trip of this meter were asked for now; for `headend relay check`."""
    meter = conn.execute("SELECT meter_id FROM meter WHERE asset = %s", (asset,)).fetchone()
    if meter is None:
        raise UnknownMeter(asset)
    at = as_datetime(now)
    return _facts(
        conn, meter["meter_id"], at, at + dt.timedelta(hours=1), "", None, sending=False
    ), cluster.limits(conn)


__all__ = [
    "ACTIONS", "RELAY_ACTIONS", "AlreadyOpen", "Fence", "NoSuchStep", "NotInstalled", "OrderError", "Refused", "StaleOwner",
    "UnknownMeter", "UnknownOrder", "after_restore", "approve", "begin", "cancel", "expire", "facts", "get", "listing", "request", "reroute", "step",
    "work",
]  # fmt: skip

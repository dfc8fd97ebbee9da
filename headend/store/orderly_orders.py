"""What terminals are told for a plan of orderly use: its control switched on, staggered, and off again, each an order that is proven by reading back.

An order that switches on is asked for in the name of who wrote the plan and approved in the name of who approved it, for that is what he has
approved; all gates of such orders are asked, at once and when it is sent, and whoever may not be called any more is passed over with the
reason. Switching off passes no gate, and is asked for until it is proven.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Final
from zoneinfo import ZoneInfo

import numpy as np

from headend.control import orderly
from headend.control.load_control import document
from headend.control.orderly import Call, Plan, Setpoint
from headend.control.orderly_state import Act, State
from headend.store import cluster, orders, trip_stop
from headend.store.db import Connection, StoreError
from headend.store.orderly import LEFT, CannotAct, hold, move, read
from headend.store.orderly_candidates import candidates, local
from headend.store.orders import AlreadyOpen, NoSuchStep, Refused, Writing
from protocols.localtime import as_datetime, instant

WHO: Final = "job:orderly"
#: beside the time that the staggered orders of a plan take: so long before its first period they begin. A default.
MARGIN: Final = dt.timedelta(minutes=30)
#: what was refused, failed or expired is tried again after this long, so many times in all. Defaults.
AGAIN: Final = dt.timedelta(minutes=30)
ATTEMPTS: Final = 3
#: a release that came to nothing is asked for again after this long, until one is proven; each waits so long for its terminal
RELEASE_AGAIN: Final = dt.timedelta(minutes=15)
RELEASE_LASTS: Final = np.timedelta64(24 * 3600, "s")
#: before other orders of the same terminal
URGENT: Final = 3


@dataclass(slots=True)
class Done:
    """What one run has done; notes: terminal and why it was not told."""

    started: int = 0
    ended: int = 0
    on: int = 0
    off: int = 0
    notes: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.started or self.ended or self.on or self.off or self.notes)


def carry_out(conn: Connection, *, now: np.datetime64) -> Done:
    """Start and end what is due, ask for what terminals must be told, and for what must be told again. Everything commits by itself."""
    done = Done()
    at = as_datetime(now)
    spacing, zone = every(conn), cluster.zone(conn)
    for row in conn.execute(
        "SELECT p.plan_id, p.state, p.begins, p.ends, p.first_day, p.document, "
        "(SELECT count(*) FROM orderly_participant q WHERE q.plan_id = p.plan_id)::int AS n "
        "FROM orderly_plan p WHERE p.state IN ('approved', 'running') ORDER BY p.begins, p.plan_id"
    ).fetchall():
        if at >= row["ends"]:
            if _move(conn, row["plan_id"], Act.END, at):
                done.ended += 1
                done.off += settle(
                    conn, row["plan_id"], who=WHO, now=now
                )  # before another plan tells them more
        elif row["state"] == "approved" and at >= max(
            row["begins"] - MARGIN - row["n"] * spacing, _hours_of_the_day_before(row, zone)
        ):
            done.started += _move(conn, row["plan_id"], Act.START, at)
    conn.commit()
    for number in _numbers(conn, "p.state = 'running'"):
        try:
            _go_on(conn, number, now, spacing, done)
        except StoreError as error:  # one plan's trouble must not keep others held
            conn.rollback()
            done.notes.append(f"plan {number}: {error}")
    for number in _numbers(
        conn,
        "p.state IN ('ended', 'withdrawn') AND EXISTS (SELECT FROM orderly_standing s WHERE s.plan_id = p.plan_id "
        f"AND (({LEFT}) OR s.on_state IN ('wanted', 'approved')))",
    ):
        done.off += settle(conn, number, who=WHO, now=now)
    conn.commit()
    return done


def every(conn: Connection) -> dt.timedelta:
    """Between two orders that switch on, so that the cap of an hour is not run into."""
    return dt.timedelta(hours=1) / max(1, cluster.limits(conn).controls_per_hour)


def _hours_of_the_day_before(row: dict[str, Any], zone: ZoneInfo) -> dt.datetime:
    """When they are over: a terminal that is told sooner would hold them on a day that is none of the plan's."""
    before = row["first_day"] - dt.timedelta(days=1)
    return as_datetime(local(before, orderly.periods(row["document"]["periods"])[-1][1], zone))


def settle(conn: Connection, number: int, *, who: str, now: np.datetime64) -> int:
    """A plan that is over lets everybody go: what was not sent is cancelled, what was sent, or may have been, is switched off. How many releases
    were asked for. Each commits by itself.

    An order of which it is not known whether it was obeyed is never sent again, so it is not waited for."""
    asked = 0
    for row in _participants(conn, number):
        _remember(conn, number, row, now)
        if row["on_state"] in ("wanted", "approved"):
            try:
                orders.cancel(conn, row["on_order"], who=who, now=now)
                row["on_open"] = False
            except NoSuchStep:  # it went out at this moment; the next run finds out
                conn.rollback()
        if row["touched"] or row["off_attempt"]:
            asked += _let_go(conn, number, row, who, now)
    conn.commit()
    return asked


def _let_go(conn: Connection, number: int, row: dict[str, Any], who: str, now: np.datetime64) -> int:
    """1: a release was asked for. 0: it is proven, or under way, or must wait. Commits."""
    if (
        (row["on_open"] and row["on_state"] != "unknown")
        or row["off_state"] == "verified"
        or row["off_open"]
        or row["taken_over"]
    ):
        return 0
    if row["off_at"] is not None and as_datetime(now) < row["off_at"] + RELEASE_AGAIN:
        return 0
    attempt = row["off_attempt"] + 1
    order, why = None, ""
    try:
        order = orders.request(
            conn, kind="control", action="release", terminal=row["terminal"], reason=f"orderly use, plan {number}: {row['name']}", who=who,
            now=now, expires=now + RELEASE_LASTS, writing=Writing(document(orderly.RELEASE)), priority=URGENT,
            request_key=_key(number, row, "off", attempt),
        )  # fmt: skip
    except (
        StoreError
    ) as error:  # the archive says that nobody can be told there: one terminal's trouble is not everybody's
        conn.rollback()
        why = str(error)
    _told(conn, number, row["terminal_id"], "off", attempt, now, order, why)
    return int(order is not None)


def _remember(conn: Connection, number: int, row: dict[str, Any], now: np.datetime64) -> None:
    """An order that was asked for by somebody who was killed before he could remember it."""
    attempt = row["on_attempt"] + 1
    found = conn.execute(
        "SELECT order_id, state FROM orders WHERE request_key = %s AND is_open",
        (_key(number, row, "on", attempt),),
    ).fetchone()
    if found is not None:
        _told(conn, number, row["terminal_id"], "on", attempt, now, found["order_id"])
        row |= {"on_order": found["order_id"], "on_state": found["state"], "on_open": True}


def _key(number: int, row: dict[str, Any], act: str, attempt: int) -> str:
    return f"{orders.ORDERLY}{number}:{row['terminal']}:{act}:{attempt}"


def _go_on(conn: Connection, number: int, now: np.datetime64, spacing: dt.timedelta, done: Done) -> None:
    """What a running plan must do now: let go of whoever may not be called any more, and tell whoever is still to be told."""
    rows = _participants(conn, number)
    due = [row for row in rows if _due(row, as_datetime(now))]
    waiting = [row for row in rows if row["on_state"] in ("wanted", "approved")]
    held = [row for row in rows if (row["touched"] or row["off_attempt"]) and not row["released"]]
    if not (due or waiting or held):
        return
    plan_row = conn.execute("SELECT * FROM orderly_plan WHERE plan_id = %s", (number,)).fetchone()
    assert plan_row is not None
    plan = read(plan_row["document"])
    against = _against(conn, number, plan, due + waiting, now)
    leaving = _against(conn, number, plan, held, now, held=True)
    stopped = trip_stop.why(trip_stop.state(conn))
    conn.commit()
    for row in waiting:
        if why := against[row["terminal_id"]]:
            _take_back(conn, row, why, now)
            done.notes.append(f"{row['terminal']}: {why}")
    for row in held:
        why = leaving[row["terminal_id"]]
        # a release by hand that came to nothing is asked for again, too
        if (why or row["off_attempt"]) and _let_go(conn, number, row, WHO, now):
            done.off += 1
            done.notes.append(f"{row['terminal']}: let go{': ' if why else ''}{why}")
    if stopped != "":
        return
    for row in waiting:
        if row["on_state"] == "wanted" and not against[row["terminal_id"]]:  # killed before it was approved
            _approve(conn, plan_row, row["on_order"], now)
    # another plan's terminals are let go by that first
    _switch_on(conn, plan_row, plan, [row for row in due if not row["let_go"]], against, now, spacing, done)


def _switch_on(
    conn: Connection,
    plan_row: dict[str, Any],
    plan: Plan,
    due: list[dict[str, Any]],
    against: Mapping[int, str],
    now: np.datetime64,
    spacing: dt.timedelta,
    done: Done,
) -> None:
    """Ask for the orders that are due, one after the other; `against`: who may not be called any more."""
    asked = 0
    for row in due:
        terminal, attempt, why = row["terminal_id"], row["on_attempt"] + 1, against[row["terminal_id"]]
        order = None
        if not why:
            try:
                order, why = _ask(conn, plan_row, plan, row, attempt, now, as_datetime(now) + asked * spacing)
            except AlreadyOpen:
                conn.rollback()
                continue
        # remembered before it can be sent, so that whoever withdraws the plan finds it
        _told(
            conn, plan_row["plan_id"], terminal, "on", attempt, now, order, "" if order is not None else why
        )
        if not why and order is not None:
            why = _approve(conn, plan_row, order, now)
            asked += not why
        if why:
            done.notes.append(f"{row['terminal']}: {why}")
    done.on += asked


def _ask(
    conn: Connection,
    plan_row: dict[str, Any],
    plan: Plan,
    row: dict[str, Any],
    attempt: int,
    now: np.datetime64,
    when: dt.datetime,
) -> tuple[int | None, str]:
    """The order, and why it came to nothing, or why there is none; commits. AlreadyOpen: the terminal has another one."""
    number = plan_row["plan_id"]
    try:
        order = orders.request(
            conn, kind="control", action="write", terminal=row["terminal"], reason=f"orderly use, plan {number}: {plan.name}",
            who=plan_row["created_by"], now=now, expires=instant(plan_row["ends"]), not_before=instant(when), priority=URGENT,
            writing=Writing(document(orderly.control(plan, row["setpoint_w"], row["minimum_w"]))),
            request_key=_key(number, row, "on", attempt),
        )  # fmt: skip
    except Refused as refused:
        return refused.order_id, str(refused)
    except AlreadyOpen:
        raise
    except StoreError as error:
        conn.rollback()
        return None, str(error)
    return order, ""


def _approve(conn: Connection, plan_row: dict[str, Any], order: int, now: np.datetime64) -> str:
    """In the name of who approved the plan, while the plan runs: whoever withdraws it waits, and then finds the order. Why not; commits."""
    row = conn.execute(
        "SELECT state FROM orderly_plan WHERE plan_id = %s FOR SHARE", (plan_row["plan_id"],)
    ).fetchone()
    try:
        if row is None or row["state"] != State.RUNNING:
            return "the plan runs no more"
        orders.approve(conn, order, who=plan_row["approved_by"], now=now)
    except (Refused, NoSuchStep) as error:
        return str(error)
    finally:
        conn.commit()
    return ""


def _take_back(conn: Connection, row: dict[str, Any], why: str, now: np.datetime64) -> None:
    """An order that still waits for its time or its terminal; commits."""
    with suppress(NoSuchStep), conn.transaction():  # it may have gone out at this moment
        orders.withdraw(conn, row["on_order"], who=WHO, now=now, why=why)
    conn.commit()


def _due(row: dict[str, Any], at: dt.datetime) -> bool:
    """Whether its control is still to be asked for: never was, or came to nothing and may be tried again. What a person has taken back, or switched
    off, is not."""
    if row["off_attempt"] or row["cancelled_by"] not in (None, WHO):
        return False
    if row["on_at"] is None:
        return True
    if row["on_open"] or row["on_state"] == "verified" or row["on_attempt"] >= ATTEMPTS:
        return False
    return bool(at >= row["on_at"] + AGAIN)


def _against(
    conn: Connection,
    number: int,
    plan: Plan,
    rows: list[dict[str, Any]],
    now: np.datetime64,
    *,
    held: bool = False,
) -> dict[int, str]:
    """terminal_id -> why its participant may not be called any more, or held; '': he may."""
    if not rows:
        return {}
    named = tuple(sorted({row["customer"] for row in rows}))
    only = replace(
        plan, organisation="", line="", own={}, calls=(Call("customers", named, Setpoint("minimum")),)
    )
    known = {
        (one.customer_id, one.terminal_id): one
        for one in candidates(conn, only, now, cluster.zone(conn), number=number, curves=False)
    }
    found = {}
    for row in rows:
        one = known.get((row["customer_id"], row["terminal_id"]))
        if one is None or list(one.points) != row["points"]:
            found[row["terminal_id"]] = "what hangs behind the terminal is not what was approved"
        else:
            reasons = orderly.stays(one.candidate, row["setpoint_w"], held=held)
            found[row["terminal_id"]] = "; ".join(
                f"{orderly.REASONS[code][0]} {behind}".strip() for code, behind in reasons
            )
    return found


def _move(conn: Connection, number: int, act: Act, at: dt.datetime) -> int:
    """1, or 0 where somebody else was first; commits."""
    try:
        with conn.transaction():
            move(conn, hold(conn, number), act, WHO, at, {})
    except CannotAct:
        return 0
    conn.commit()
    return 1


def _told(
    conn: Connection,
    number: int,
    terminal: int,
    act: str,
    attempt: int,
    now: np.datetime64,
    order: int | None,
    why: str = "",
) -> None:
    """Remember it; commits. Who was killed before it finds the same order again by its key."""
    conn.execute(
        "INSERT INTO orderly_order (plan_id, terminal_id, act, attempt, order_id, at, why) VALUES (%s, %s, %s, %s, %s, %s, %s) "
        "ON CONFLICT DO NOTHING",
        (number, terminal, act, attempt, order, as_datetime(now), why),
    )
    conn.commit()


def _numbers(conn: Connection, which: str) -> list[int]:
    found = [
        row["plan_id"]
        for row in conn.execute(f"SELECT p.plan_id FROM orderly_plan p WHERE {which} ORDER BY p.plan_id")
    ]
    conn.commit()
    return found


def _participants(conn: Connection, number: int) -> list[dict[str, Any]]:
    """Those of a plan and where they stand (view orderly_standing). let_go: a release of another plan is still open, or one that began before still
    runs. cancelled_by: who took the last order back that switches on."""
    rows = conn.execute(
        """
        SELECT s.*, t.code AS terminal, p.name, q.customer_id, c.number AS customer, q.points, q.setpoint_w, q.minimum_w,
               EXISTS (SELECT FROM orderly_order x JOIN orders y ON y.order_id = x.order_id AND y.is_open
                       WHERE x.terminal_id = q.terminal_id AND x.plan_id <> q.plan_id AND x.act = 'off')
               OR EXISTS (SELECT FROM orderly_participant x JOIN orderly_plan y ON y.plan_id = x.plan_id AND y.state = 'running'
                          WHERE x.terminal_id = q.terminal_id AND y.begins < p.begins) AS let_go,
               (SELECT e.who FROM order_event e WHERE e.order_id = s.on_order AND e.event = 'cancel') AS cancelled_by
        FROM orderly_participant q JOIN orderly_plan p USING (plan_id) JOIN orderly_standing s USING (plan_id, terminal_id)
        JOIN terminal t USING (terminal_id) JOIN customer c ON c.customer_id = q.customer_id
        WHERE q.plan_id = %s ORDER BY q.rank
        """,
        (number,),
    ).fetchall()
    conn.commit()
    return rows

"""Plans of orderly use (有序用电): drafted, looked at, approved by another person, withdrawn. Whom they call is control/orderly.py, what
terminals are told for them store/orderly_orders.py, what they have brought store/orderly_effect.py. Every act is an event, and in the audit."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping
from typing import Any, Final
from zoneinfo import ZoneInfo

import numpy as np

from headend.control import orderly
from headend.control.facts import is_person
from headend.control.orderly import Left, Participant, Plan, Selection, choose
from headend.control.orderly_state import Act, NoSuchAct, State, after
from headend.store import cluster, orders
from headend.store.db import Connection, StoreError
from headend.store.orderly_candidates import Known, candidates, local
from protocols.localtime import as_datetime

#: before their first period plans may begin to tell terminals, by far
LEAD: Final = dt.timedelta(days=1)


class UnknownPlan(StoreError):
    def __init__(self, number: int) -> None:
        super().__init__(f"no plan {number} of orderly use; `headend orderly list` shows them")


class BadPlan(StoreError):
    """What was written is no plan."""


class CannotAct(StoreError):
    """Not in the state in which the plan is."""


class CannotApprove(StoreError):
    """Not by this person, not now, or not this."""


def read(said: Mapping[str, Any]) -> Plan:
    """A document as a plan. BadPlan."""
    try:
        return orderly.read(said)
    except orderly.BadPlan as error:
        raise BadPlan(str(error)) from None


def draft(conn: Connection, plan: Plan, *, who: str, now: Any) -> int:
    """A new plan, and whom it would call; commits. Its number."""
    if not is_person(who):
        raise StoreError(f"{who!r} is not a person: somebody must answer for a plan")
    zone = cluster.zone(conn)
    begins = local(plan.first_day, plan.periods[0][0], zone)
    ends = local(plan.last_day, plan.periods[-1][1], zone)
    if ends <= now:
        raise BadPlan(f"the plan is over: its last period ends at {as_datetime(ends, zone).isoformat()}")
    with conn.transaction():
        row = conn.execute(
            "INSERT INTO orderly_plan (name, document, first_day, last_day, begins, ends, state, created_by, created_at) "
            "VALUES (%s, %s, %s, %s, %s, %s, 'draft', %s, %s) RETURNING plan_id",
            (
                plan.name, json.dumps(plan.document(), ensure_ascii=False), plan.first_day, plan.last_day, as_datetime(begins), as_datetime(ends),
                who, as_datetime(now),
            ),
        ).fetchone()  # fmt: skip
        assert row is not None
        number = int(row["plan_id"])
        _note(conn, number, as_datetime(now), "draft", State.DRAFT, who, plan.document())
        _look(conn, number, plan, now, zone)
    conn.commit()
    return number


def look(conn: Connection, number: int, *, who: str, now: Any) -> None:
    """Work out anew whom a draft would call; commits. UnknownPlan, CannotAct."""
    with conn.transaction():
        row = hold(conn, number)
        _after(row, Act.LOOK)
        chosen = _look(conn, number, read(row["document"]), now, cluster.zone(conn))
        move(
            conn,
            row,
            Act.LOOK,
            who,
            as_datetime(now),
            {"participants": len(chosen.participants), "reduce_kw": chosen.reduce_kw},
        )
    conn.commit()


def approve(conn: Connection, number: int, *, who: str, now: Any) -> None:
    """Another person says yes to exactly what was looked at; commits. It is worked out once more: if anybody would be called otherwise by now, the
    new answer is kept, and CannotApprove asks to look at that. UnknownPlan, CannotAct."""
    changed = False
    with conn.transaction():
        # two approvals at once would each not know of the other's participants
        conn.execute("SELECT pg_advisory_xact_lock(hashtext('orderly'))")
        row = hold(conn, number)
        _after(row, Act.APPROVE)
        if not is_person(who):
            raise CannotApprove(f"{who!r} is not a person")
        if who == row["created_by"]:
            raise CannotApprove(f"{who} wrote this plan and cannot approve it; another person must")
        if as_datetime(now) >= row["ends"]:
            raise CannotApprove(f"the plan is over since {row['ends'].isoformat()}")
        before = _standing(conn, number)
        chosen = _look(conn, number, read(row["document"]), now, cluster.zone(conn))
        found = _standing(conn, number)
        if found != before:
            changed = True
            move(
                conn,
                row,
                Act.LOOK,
                who,
                as_datetime(now),
                {"participants": len(found), "reduce_kw": chosen.reduce_kw},
            )
        else:
            most = cluster.limits(conn).controls_per_day
            if not 1 <= len(found) <= most:
                raise CannotApprove(
                    f"the plan calls {len(found)} terminals; at least 1 and at most {most} a day can be told (`headend relay limits`)"
                )
            move(
                conn,
                row,
                Act.APPROVE,
                who,
                as_datetime(now),
                {"participants": found, "reduce_kw": chosen.reduce_kw},
            )
            conn.execute(
                "UPDATE orderly_plan SET approved_by = %s, approved_at = %s, state = 'approved' WHERE plan_id = %s",
                (who, as_datetime(now), number),
            )
    conn.commit()
    if changed:
        raise CannotApprove(
            f"what plan {number} would do has changed since it was looked at; look at it again (`headend orderly show {number}`), then approve"
        )


def withdraw(conn: Connection, number: int, *, who: str, why: str, now: Any) -> None:
    """It calls nobody any more: what was not sent is not sent; commits. What was switched on is switched off by orderly_orders.settle. UnknownPlan,
    CannotAct."""
    if not why.strip():
        raise StoreError("say why the plan is withdrawn: it is kept for ever")
    with conn.transaction():
        move(conn, hold(conn, number), Act.WITHDRAW, who, as_datetime(now), {"why": why.strip()})
        # one that is being sent at this moment is waited for, and is switched off then
        for row in conn.execute(
            "SELECT order_id FROM orders WHERE order_id IN (SELECT order_id FROM orderly_order WHERE plan_id = %s AND act = 'on') "
            "AND state IN ('wanted', 'approved') ORDER BY order_id FOR UPDATE",
            (number,),
        ).fetchall():
            orders.withdraw(
                conn, row["order_id"], who=who, now=now, why=f"withdrawn by {who} with plan {number}"
            )
    conn.commit()


def after_restore(conn: Connection, *, taken: dt.datetime, now: Any, who: str) -> list[int]:
    """In a restored store's transaction: plans that may be under way are withdrawn, drafts whose time has come among them, for nobody knows what
    became of them since the backup was taken. Their controls are switched off, of whom no order is known as well: he may have been told since.
    Who still wants them drafts them again."""
    at = as_datetime(now)
    rows = conn.execute(
        "SELECT * FROM orderly_plan WHERE state IN ('approved', 'running') OR (state = 'draft' AND begins <= %s AND ends > %s) "
        "ORDER BY plan_id FOR UPDATE",
        (at + LEAD, taken),
    ).fetchall()
    for row in rows:
        conn.execute(
            "INSERT INTO orderly_order (plan_id, terminal_id, act, attempt, at, why) SELECT plan_id, terminal_id, 'off', off_attempt + 1, %s, "
            "'restored from a backup: the terminal may have been told since' FROM orderly_standing WHERE plan_id = %s AND NOT touched",
            (at, row["plan_id"]),
        )
        move(conn, row, Act.WITHDRAW, who, at, {"why": "restored from a backup"})
    return [row["plan_id"] for row in rows]


def hold(conn: Connection, number: int) -> dict[str, Any]:
    """The plan's row, held until the caller's transaction ends. UnknownPlan."""
    row = conn.execute("SELECT * FROM orderly_plan WHERE plan_id = %s FOR UPDATE", (number,)).fetchone()
    if row is None:
        raise UnknownPlan(number)
    return row


def move(
    conn: Connection, row: dict[str, Any], act: Act, who: str, at: dt.datetime, said: Mapping[str, Any]
) -> State:
    """In the caller's transaction, which holds the row."""
    state = _after(row, act)
    over = state in (State.ENDED, State.WITHDRAWN)
    if act is not Act.APPROVE:  # whose columns must be there in the same statement
        conn.execute(
            "UPDATE orderly_plan SET state = %(state)s, started_at = CASE WHEN %(start)s THEN %(at)s ELSE started_at END, "
            "over_at = CASE WHEN %(over)s THEN %(at)s ELSE over_at END WHERE plan_id = %(id)s",
            {"state": state, "start": act is Act.START, "over": over, "at": at, "id": row["plan_id"]},
        )
    _note(conn, row["plan_id"], at, act, state, who, said)
    return state


def _after(row: Mapping[str, Any], act: Act) -> State:
    try:
        return after(State(row["state"]), act)
    except NoSuchAct as error:
        raise CannotAct(str(error)) from None


def _note(
    conn: Connection, number: int, at: dt.datetime, act: str, state: State, who: str, said: Mapping[str, Any]
) -> None:
    conn.execute(
        "INSERT INTO orderly_event (plan_id, at, act, state, who, said) VALUES (%s, %s, %s, %s, %s, %s)",
        (number, at, str(act), state, who, json.dumps(said, ensure_ascii=False)),
    )


def _look(conn: Connection, number: int, plan: Plan, now: np.datetime64, zone: ZoneInfo) -> Selection:
    """Who would be called, kept as the draft's."""
    known = candidates(conn, plan, now, zone, number=number)
    chosen = choose(plan, [one.candidate for one in known])
    by_name = {(one.candidate.customer, one.candidate.terminal): one for one in known}
    conn.execute("DELETE FROM orderly_participant WHERE plan_id = %s", (number,))
    for rank, participant in enumerate(chosen.participants, 1):
        _keep(conn, number, rank, participant, by_name[participant.customer, participant.terminal])
    conn.execute(
        "UPDATE orderly_plan SET looked_at = %s, left_out = %s WHERE plan_id = %s",
        (as_datetime(now), json.dumps([_left(one) for one in chosen.left], ensure_ascii=False), number),
    )
    return chosen


def _keep(conn: Connection, number: int, rank: int, one: Participant, known: Known) -> None:
    conn.execute(
        "INSERT INTO orderly_participant (plan_id, terminal_id, rank, customer_id, points, call, usual_kw, minimum_w, setpoint_w, reduce_kw, "
        "least_kw, raised) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
        (
            number, known.terminal_id, rank, known.customer_id, list(known.points), one.call, one.usual_kw, one.minimum_w, one.setpoint_w,
            one.reduce_kw, one.least_kw, one.raised,
        ),
    )  # fmt: skip


def _left(one: Left) -> dict[str, Any]:
    return {
        "customer": one.customer,
        "terminal": one.terminal,
        "call": one.call + 1,
        "reasons": [list(reason) for reason in one.reasons],
    }


def _standing(conn: Connection, number: int) -> list[dict[str, Any]]:
    """What an approval is of."""
    return conn.execute(
        "SELECT q.rank, c.number AS customer, t.code AS terminal, q.points, q.minimum_w, q.setpoint_w FROM orderly_participant q "
        "JOIN customer c USING (customer_id) JOIN terminal t USING (terminal_id) WHERE q.plan_id = %s ORDER BY q.rank",
        (number,),
    ).fetchall()


#: of view orderly_standing s: its terminal was told to control, or may have been, and is not proven to have let go
LEFT: Final = "(s.touched OR s.off_attempt > 0) AND NOT s.released AND NOT s.taken_over"
#: a plan with how many it calls and what they would give, and how many terminals hold its control or have let it go, each proven
_PLANS: Final = """
    SELECT p.*, q.participants, q.reduce_kw, q.least_kw, q.held, q.released, q.unsure FROM orderly_plan p
    CROSS JOIN LATERAL (
        SELECT count(*)::int AS participants, coalesce(sum(q.reduce_kw), 0) AS reduce_kw, coalesce(sum(q.least_kw), 0) AS least_kw,
               count(*) FILTER (WHERE s.held)::int AS held, count(*) FILTER (WHERE s.released)::int AS released,
               count(*) FILTER (WHERE (s.touched OR s.off_attempt > 0) AND NOT s.held AND NOT s.released)::int AS unsure
        FROM orderly_participant q JOIN orderly_standing s USING (plan_id, terminal_id) WHERE q.plan_id = p.plan_id) q
"""


def listing(conn: Connection, *, limit: int) -> list[dict[str, Any]]:
    """Plans, newest first, without who is left out: `get` has that."""
    rows = conn.execute(f"{_PLANS} ORDER BY p.plan_id DESC LIMIT %s", (limit,)).fetchall()
    for row in rows:
        del row["left_out"]
    return rows


def under_way(conn: Connection) -> list[dict[str, Any]]:
    """Plans that somebody should watch: those that run or are about to, and those that are over and have not let everybody go; by their beginning."""
    rows = conn.execute(
        f"{_PLANS} WHERE p.state IN ('approved', 'running') OR (p.over_at IS NOT NULL AND EXISTS (SELECT FROM orderly_standing s "
        f"WHERE s.plan_id = p.plan_id AND {LEFT})) ORDER BY p.begins, p.plan_id"
    ).fetchall()
    for row in rows:
        del row["left_out"]
    return rows


def get(conn: Connection, number: int) -> dict[str, Any]:
    """One plan with its 'participants' in the order in which they are called, each with where its orders stand, and its 'events'. UnknownPlan."""
    row = conn.execute(f"{_PLANS} WHERE p.plan_id = %s", (number,)).fetchone()
    if row is None:
        raise UnknownPlan(number)
    participants = conn.execute(
        "SELECT q.rank, c.number AS customer, c.name, t.code AS terminal, q.call + 1 AS call, q.usual_kw, q.minimum_w, q.setpoint_w, q.reduce_kw, "
        "q.least_kw, q.raised, s.touched, s.held, s.released, s.on_order, s.on_state, s.off_order, s.off_state, s.why FROM orderly_participant q "
        "JOIN orderly_standing s USING (plan_id, terminal_id) JOIN customer c USING (customer_id) JOIN terminal t USING (terminal_id) "
        "WHERE q.plan_id = %s ORDER BY q.rank",
        (number,),
    ).fetchall()
    events = conn.execute(
        "SELECT at, act, state, who, said FROM orderly_event WHERE plan_id = %s ORDER BY orderly_event_id",
        (number,),
    ).fetchall()
    return {**row, "participants_list": participants, "events": events}


def not_let_go(conn: Connection, *, before: dt.datetime) -> list[dict[str, Any]]:
    """Plans that were over before an instant and are not finished, oldest first: state, and how many terminals are `waiting`."""
    return conn.execute(
        f"""
        SELECT p.plan_id, p.name, p.state, count(s.terminal_id)::int AS waiting FROM orderly_plan p
        LEFT JOIN orderly_standing s ON s.plan_id = p.plan_id AND {LEFT}
        WHERE (p.state IN ('approved', 'running') AND p.ends <= %(before)s) OR (p.over_at <= %(before)s AND s.terminal_id IS NOT NULL)
        GROUP BY p.plan_id ORDER BY p.plan_id
        """,
        {"before": before},
    ).fetchall()


__all__ = [
    "LEFT", "BadPlan", "CannotAct", "CannotApprove", "UnknownPlan", "after_restore", "approve", "draft", "get", "hold", "listing", "look", "move",
    "not_let_go", "read", "under_way", "withdraw",
]  # fmt: skip

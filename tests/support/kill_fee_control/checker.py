"""What must hold when the story is over, whoever was killed in it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from itertools import pairwise

from headend.control.order_state import State
from headend.jobs import recompute
from headend.jobs.frame import Run
from headend.store import audit, db, ledger
from headend.store.db import Connection
from tests.support.house import SHANGHAI, at, moment, table
from tests.support.household import fen, is_peak
from tests.support.kill_fee_control.meter import DAY, POWER, PRICES, STATUS_3, Customer, asked
from tests.support.kill_fee_control.town import PAID_FEN, Breach, Town

#: real seconds that a domain time may be off when it is turned into real time: a microsecond of the one is less than one of the other
MOMENT = 0.001


def check(town: Town, who: Customer) -> str:
    """Breach with everything that is wrong; what was counted."""
    with db.connect(town.dsn) as conn:
        wrong = [
            *_acts(town),
            *_orders(conn, town),
            *_payments(conn, town, who),
            *_balance(conn, who),
            *_notices(conn),
            *_chain(conn),
            *_money(conn, town),
        ]
        if wrong:
            raise Breach("; ".join(wrong))
        sent = len(table(conn, "SELECT FROM orders WHERE kind = 'relay' AND sent_at IS NOT NULL"))
        return f"{sent} orders sent, {len(town.teller.books)} payments told"


def _acts(town: Town) -> Iterator[str]:
    """The meter's own journal: one trip, and in the end the customer's key."""
    acts = [act.act for act in town.acts]
    if acts.count("trip") != 1:
        yield f"the meter has tripped {acts.count('trip')} times: {acts}"
    if acts[:1] != ["trip"] or acts[-1:] != ["key"] or set(acts[1:-1]) != {"permit"}:
        yield f"the relay did {acts}"


def _orders(conn: Connection, town: Town) -> Iterator[str]:
    """One trip and one permit verified, each read back by answers that the collector had after the act; nothing left open."""
    found = table(
        conn,
        "SELECT o.order_id, o.action, o.state, e.recorded FROM orders o LEFT JOIN order_event e ON e.order_id = o.order_id AND e.event = 'prove' "
        "WHERE o.kind = 'relay' ORDER BY 1, 4",
    )
    for action in ("trip", "permit"):
        if sum((row[1], row[2]) == (action, State.VERIFIED) for row in found) != 1:
            yield f"{action}: {[row[2] for row in found if row[1] == action]}"
    others = {row[2] for row in found} - {State.VERIFIED}
    if not others <= {State.FAILED, State.EXPIRED, State.CANCELLED, State.REFUSED}:
        yield f"orders are left {sorted(others)}"
    for order, action, state, recorded in found:
        if (state == State.VERIFIED) != (recorded is not None):
            yield f"order {order} is {state} and {'was' if recorded else 'was not'} proved"
        if recorded is not None:
            yield from _read_back(town, order, action, recorded)


def _read_back(town: Town, order: int, action: str, recorded: dt.datetime) -> Iterator[str]:
    """Status and load were asked for after the act, and their answers had come before it was called verified."""
    wanted = "trip" if action == "trip" else "key"
    proved = recorded.timestamp()
    done = [real for act in town.acts if act.act == wanted and (real := town.real(act.at)) <= proved + MOMENT]
    if not done:
        yield f"order {order} ({action}) was verified before the meter did it"
        return
    for what in (STATUS_3, POWER):
        if not any(
            asked(said.request) == what
            and said.asked >= done[0] - MOMENT
            and said.answered is not None
            and said.answered <= proved
            for said in town.wire.said
        ):
            yield f"order {order} ({action}) was verified, and nobody had read {what} back"


def _payments(conn: Connection, town: Town, who: Customer) -> Iterator[str]:
    """What the bank took is booked, once; the balance is what was paid, for nothing of the day is charged before it is over."""
    yield from (str(difference) for difference in ledger.payment_differences(conn))
    conn.commit()
    for paid in town.teller.books.values():
        rows = table(
            conn,
            "SELECT count(*) FROM ledger_entry WHERE kind = 'payment' AND amount_fen > 0 AND detail ->> 'serial' = %s",
            paid.payment.serial,
        )
        booked = len(table(conn, "SELECT FROM payment WHERE serial = %s", paid.payment.serial))
        if booked > 1 or rows[0][0] > 1:
            yield f"payment {paid.payment.serial} is booked {max(booked, rows[0][0])} times"
        if paid.standing and booked != 1:
            yield f"payment {paid.payment.serial} stands at the bank and is booked {booked} times"
    if sum(paid.payment.amount_fen for paid in town.teller.books.values() if paid.standing) != PAID_FEN:
        yield "the bank has taken another amount"
    sums = [total for total, _ in ledger.sums(conn).values()]
    conn.commit()
    if sums != [who.opening_fen + PAID_FEN]:
        yield f"the ledger says {sums} fen, paid were {who.opening_fen + PAID_FEN}"


def _balance(conn: Connection, who: Customer) -> Iterator[str]:
    """The running balance, from the stored curve by a few plain integers."""
    rows = table(conn, "SELECT provisional_low_fen, provisional_high_fen, newest_reading, valid FROM balance")
    if len(rows) != 1 or not rows[0][3]:
        yield f"the balance: {rows}"
        return
    low, high, newest, _ = rows[0]
    curve = table(
        conn,
        "SELECT ts, active_import FROM slot_read WHERE ts BETWEEN %s AND %s ORDER BY ts",
        moment(f"{DAY} 00:00"),
        newest,
    )
    if len(curve) != (newest - moment(f"{DAY} 00:00")) // dt.timedelta(minutes=15) + 1:
        yield f"the curve has {len(curve)} points until {newest}"
    else:
        cost = sum(
            (after - before) * who.ct * PRICES[is_peak(at(f"{when.astimezone(SHANGHAI):%Y-%m-%d %H:%M}"))]
            for (_, before), (when, after) in pairwise(curve)
        )
        left = who.opening_fen + PAID_FEN - fen(cost)
        if not low - 1 <= left <= high + 1 or high - low > 1:
            yield f"the balance is {low} to {high} fen, and {left} by the curve"


def _notices(conn: Connection) -> Iterator[str]:
    """Each level was told on the way down, once; and once more, if it still holds, after a payment that was taken back."""
    rows = table(
        conn,
        "SELECT (SELECT count(*) FROM payment p WHERE p.paid_at >= n.at), level FROM notice n ORDER BY notice_id",
    )
    for stretch in {after for after, _ in rows}:
        told = [level for after, level in rows if after == stretch]
        if told != [level for level in ("warn1", "warn2", "stop") if level in told]:
            yield f"the customer was told {told}"
    if "stop" not in [level for _, level in rows]:
        yield "the customer was not told that he is cut off"


def _chain(conn: Connection) -> Iterator[str]:
    conn.commit()
    broken = audit.verify(conn).broken
    if broken is not None:
        yield f"the audit: {broken}"


def _money(conn: Connection, town: Town) -> Iterator[str]:
    """`headend ledger recompute`: to the fen."""
    conn.commit()
    with conn.transaction():
        for difference in recompute.differences(
            Run(conn, SHANGHAI, town.clock.now()), dt.date.fromisoformat(DAY) - dt.timedelta(days=1)
        ):
            yield f"the ledger: {difference}"

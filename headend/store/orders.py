"""Orders: everything that makes a wire act. Their states are headend/control/order_state.py, their gates headend/control/gates."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import psycopg

from headend.control import gates
from headend.control.facts import Refusal
from headend.control.load_control import ControlError, check_request
from headend.control.order_state import OPEN, Event, NoSuchStep, State, after
from headend.store import batches, cluster, feed, leases, trip_buckets
from headend.store.coverage import UnknownMeter
from headend.store.db import Connection, StoreError
from headend.store.order_facts import ask_gates, facts
from headend.store.trip_buckets import Buckets
from protocols.localtime import as_datetime

RELAY_ACTIONS = ("trip", "permit", "close", "keep-power", "end-keep-power")
#: what a read may be beside '' (registers and instants, kept as readings): everything that a diagnosis asks, or single items by name
SURVEY = "survey"
ITEMS = "items "
#: what can be asked of a meter, by kind
ACTIONS = {
    "relay": RELAY_ACTIONS,
    "read": ("", SURVEY),
    "clock": ("read", "set"),
    "purchase": ("read", "open", "recharge", "refund"),
    "prices": ("read", "write"),
    "limits": ("write",),
}
#: characters of an action: two dozen items by their names
LONGEST_ACTION = 1000
#: what can be asked of a terminal itself
TERMINAL_ACTIONS = {
    "clock": ("read", "set"),
    "parameters": ("read", "write"),
    "archive": ("read", "write"),
    "tasks": ("read", "write"),
    "control": ("read", "write", "release", "purchase", "keep-power", "end-keep-power"),
}
#: what the request keys of plans of orderly use begin with
ORDERLY: Final = "orderly:"
#: how long the sending of an order waits for others' locks; then it is tried again
PATIENCE: Final = "2s"
#: Protocols in which a terminal has an address of its own. What speaks another is a line, and cannot be told anything.
STATIONS: Final = ("gdw376", "dlt698")


class OrderError(StoreError):
    """The order cannot be made or moved."""


class UnknownOrder(OrderError):
    def __init__(self, order_id: int) -> None:
        super().__init__(f"no order {order_id}; `headend relay list` shows the newest")


class NotInstalled(OrderError):
    """The meter hangs nowhere now."""


class UnknownTerminal(OrderError):
    def __init__(self, code: str) -> None:
        super().__init__(f"no terminal {code} in the archive; `headend terminal list` shows them")


class AlreadyOpen(OrderError):
    """The meter has a relay order that is not ended, or the terminal a write."""

    def __init__(self, order_id: int, of: str = "meter", kind: str = "relay") -> None:
        self.order_id = order_id
        what = f"{kind} order" if of == "meter" else "order"
        super().__init__(f"{what} {order_id} of this {of} is still open; wait for its outcome or cancel it")


class Refused(OrderError):
    """A gate said no. The refusal is on record as order `order_id` (None where nothing was recorded)."""

    def __init__(self, refusals: list[Refusal], order_id: int | None) -> None:
        self.refusals = refusals
        self.order_id = order_id
        super().__init__("; ".join(f"{r.gate}: {r.why}" for r in refusals))

    @property
    def reasons(self) -> list[tuple[str, str]]:
        return [(r.gate, r.why) for r in self.refusals]


@dataclass(frozen=True, slots=True)
class Writing:
    """What a write to a terminal puts there: `request` as it is approved, and how many entries it makes and overwrites."""

    request: Mapping[str, Any] = field(default_factory=dict)
    adds: int = 0
    replaces: int = 0


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
    reason: str,
    who: str,
    now: Any,
    expires: Any,
    asset: str = "",
    terminal: str = "",
    writing: Writing | None = None,
    request_key: str | None = None,
    priority: int = 5,
    not_before: Any = None,
    batch: int | None = None,
    purchase: int | None = None,
) -> int:
    """Ask for something to be done to a meter (`asset`) or to a terminal itself (`terminal`, its code); commits. Returns the order's id.

    A trip and a write to a terminal wait for a second person (state wanted); everything else is approved at once. The same
    `request_key` again returns the same order. `not_before`: it is not sent sooner. `batch`: the list (store/batches.py) that a trip is of;
    else it is counted to what the same requester asks for that day. `purchase`: what it carries, which the caller holds.
    Raises UnknownMeter, UnknownTerminal, NotInstalled, AlreadyOpen, Refused (recorded).
    """
    wish = _Wish(
        kind, action, asset, terminal, reason, who, as_datetime(now), as_datetime(expires), writing or Writing(), request_key, priority,
        None if not_before is None else as_datetime(not_before), batch, purchase,
    )  # fmt: skip
    _sensible(wish)
    try:
        with conn.transaction():
            order_id, refusals = _request(conn, wish)
    except psycopg.errors.UniqueViolation as error:
        with conn.transaction():
            if error.diag.constraint_name != "orders_request_key_key":
                raise _already_open(conn, wish) from None
            # the same request, at the same moment, elsewhere
            order_id, refusals = _request(conn, wish)
    conn.commit()
    if refusals:
        raise Refused(refusals, order_id)
    return order_id


@dataclass(frozen=True, slots=True)
class _Wish:
    """The arguments of `request`."""

    kind: str
    action: str
    asset: str
    terminal: str
    reason: str
    who: str
    at: dt.datetime
    until: dt.datetime
    writing: Writing
    request_key: str | None
    priority: int
    not_before: dt.datetime | None
    batch: int | None
    purchase: int | None


@dataclass(frozen=True, slots=True)
class _Target:
    meter_id: int | None
    terminal_id: int


def _sensible(wish: _Wish) -> None:
    if bool(wish.asset) == bool(wish.terminal):
        raise OrderError("an order is of a meter or of a terminal: name one of them")
    if wish.not_before is not None and wish.not_before >= wish.until:
        raise OrderError("the order would expire before it may be sent")
    if wish.kind == "purchase" and wish.action != "read" and wish.purchase is None:
        raise OrderError(
            "nothing is put into a wallet or taken out of it but a payment: book it, or `headend purchase refund`"
        )
    actions = (ACTIONS if wish.asset else TERMINAL_ACTIONS).get(wish.kind, ())
    items = wish.kind == "read" and wish.action.startswith(ITEMS) and len(wish.action) <= LONGEST_ACTION
    if wish.kind == "limits" and not wish.writing.request.get("items"):
        raise OrderError("a write of limits says which; `headend purchase limits METER` works it out")
    if (wish.kind, wish.action) == ("prices", "write") and not wish.writing.request.get("items"):
        raise OrderError("a write of hours and prices says which; `headend prices write METER` works it out")
    if wish.action not in actions and not items:
        raise OrderError(
            f"no {wish.kind} action {wish.action!r}{' of a terminal' if wish.terminal else ''}; "
            f"there are {', '.join(a or wish.kind for a in actions)}"
        )


def _already_open(conn: Connection, wish: _Wish) -> AlreadyOpen:
    row = conn.execute(
        "SELECT order_id FROM orders JOIN meter USING (meter_id) WHERE asset = %(of)s AND kind = %(kind)s AND action <> 'read' AND is_open"
        if wish.asset
        else "SELECT order_id FROM orders JOIN terminal USING (terminal_id) WHERE code = %(of)s AND meter_id IS NULL "
        "AND action = 'write' AND is_open",
        {"of": wish.asset or wish.terminal, "kind": wish.kind},
    ).fetchone()
    return AlreadyOpen(row["order_id"] if row else 0, "meter" if wish.asset else "terminal", wish.kind)


def _request(conn: Connection, wish: _Wish) -> tuple[int, list[Refusal]]:
    known = _known(conn, wish)
    if known is not None:
        return known, []
    target = _of_meter(conn, wish) if wish.asset else _of_terminal(conn, wish)
    refusals: list[Refusal] = []
    waits_for = ""
    state, request_key, batch = State.APPROVED, wish.request_key, None
    if gates.second_person.needed(wish.kind, wish.action):
        state = State.WANTED
        if wish.kind == "relay":
            batch = wish.batch or batches.of_day(conn, wish.who, wish.at)
        # as the row will be
        draft: dict[str, Any] = {
            "order_id": None, "kind": wish.kind, "action": wish.action, "meter_id": target.meter_id, "terminal_id": target.terminal_id,
            "expires_at": wish.until, "requested_by": wish.who, "adds": wish.writing.adds, "replaces": wish.writing.replaces,
            "not_before": wish.not_before, "batch_id": batch, "accepted": {},
        }  # fmt: skip
        refusals = ask_gates(conn, draft, wish.at, None, sending=False)
        if all(r.gate in gates.WAITS for r in refusals):
            waits_for, refusals = _sentence(refusals), []
        if refusals:
            state = State.REFUSED
            names = ",".join(r.gate for r in refusals)
            # one record of the same refusal a day: a job asks every few minutes
            day = wish.at.astimezone(cluster.zone(conn)).date()
            request_key = f"refused:{wish.kind}:{wish.who}:{wish.asset or wish.terminal}:{day}:{names}"
            found = conn.execute(
                "SELECT order_id FROM orders WHERE request_key = %s", (request_key,)
            ).fetchone()
            if found:
                return found["order_id"], refusals
    outcome = _sentence(refusals) or (waits_for and f"waits: {waits_for}")
    approved = state is State.APPROVED
    row = conn.execute(
        """
        INSERT INTO orders (kind, action, meter_id, terminal_id, priority, state, is_open, reason, requested_by, requested_at,
                            approved_by, approved_at, expires_at, ended_at, outcome, request_key, request, adds, replaces, not_before, batch_id,
                            purchase_id)
        VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s) RETURNING order_id
        """,
        (
            wish.kind, wish.action, target.meter_id, target.terminal_id, wish.priority, state, state in OPEN, wish.reason, wish.who, wish.at,
            wish.who if approved else None, wish.at if approved else None, wish.until, None if state in OPEN else wish.at, outcome,
            request_key, json.dumps(dict(wish.writing.request)), wish.writing.adds, wish.writing.replaces,
            wish.not_before, batch, wish.purchase,
        ),
    ).fetchone()  # fmt: skip
    assert row is not None
    order_id: int = row["order_id"]
    if batch is not None and state is State.WANTED:
        batches.grow(conn, batch)
    _note(
        conn,
        order_id,
        wish.at,
        "request",
        state,
        wish.who,
        "; ".join(filter(None, [wish.reason if waits_for else "", outcome])) or wish.reason,
    )
    if (wish.kind, wish.action) == ("control", "release"):
        _void_written(conn, wish, target.terminal_id, order_id)
        if not _of_a_plan(wish):
            _let_go(conn, wish, target.terminal_id, order_id)
    return order_id, refusals


def _void_written(conn: Connection, wish: _Wish, terminal_id: int, order_id: int) -> None:
    """A write that would switch on again what is switched off here is void: whoever says off is heard last. A plan that is over leaves what may not
    be sent yet: it is another plan's.

    One that is being sent at this moment is passed over: the terminal is told one thing after the other."""
    rows = conn.execute(
        "SELECT * FROM orders WHERE terminal_id = %s AND kind = 'control' AND action = 'write' AND state IN ('wanted', 'approved') "
        "AND (not_before IS NULL OR not_before <= %s OR %s) AND coalesce((request ->> 'group')::int, 1) = %s AND request -> 'on' ?| %s "
        "FOR UPDATE SKIP LOCKED",
        (
            terminal_id,
            wish.at,
            not _of_a_plan(wish),
            wish.writing.request.get("group", 1),
            list(wish.writing.request["off"]),
        ),
    ).fetchall()
    for row in rows:
        _move(conn, row, Event.CANCEL, wish.who, wish.at, f"void: order {order_id} switches it off")


def _of_a_plan(wish: _Wish) -> bool:
    return wish.request_key is not None and wish.request_key.startswith(ORDERLY)


def _let_go(conn: Connection, wish: _Wish, terminal_id: int, order_id: int) -> None:
    """A plan of orderly use (store/orderly_orders.py) whose control is switched off by hand remembers it as its own: it tells the terminal nothing
    more, and says no longer that it holds."""
    if "period" not in wish.writing.request["off"] or wish.writing.request.get("group", 1) != 1:
        return
    conn.execute(
        "INSERT INTO orderly_order (plan_id, terminal_id, act, attempt, order_id, at) "
        "SELECT s.plan_id, s.terminal_id, 'off', s.off_attempt + 1, %s, %s FROM orderly_standing s JOIN orderly_plan p USING (plan_id) "
        "WHERE s.terminal_id = %s AND p.state = 'running' AND s.on_order IS NOT NULL ON CONFLICT DO NOTHING",
        (order_id, wish.at, terminal_id),
    )


def _known(conn: Connection, wish: _Wish) -> int | None:
    """The order that this very request made before."""
    if wish.request_key is None:
        return None
    known = conn.execute(
        "SELECT order_id, (kind, action, coalesce(asset, ''), CASE WHEN meter_id IS NULL THEN code ELSE '' END) = (%s, %s, %s, %s) AS same "
        "FROM orders LEFT JOIN meter USING (meter_id) JOIN terminal USING (terminal_id) WHERE request_key = %s",
        (wish.kind, wish.action, wish.asset, wish.terminal, wish.request_key),
    ).fetchone()
    if known and not known["same"]:
        raise OrderError(
            f"request key {wish.request_key!r} belongs to order {known['order_id']}, which is another one"
        )
    return known["order_id"] if known else None


def _of_meter(conn: Connection, wish: _Wish) -> _Target:
    meter = conn.execute("SELECT meter_id FROM meter WHERE asset = %s", (wish.asset,)).fetchone()
    if meter is None:
        raise UnknownMeter(wish.asset)
    route = conn.execute(
        "SELECT terminal_id FROM installation WHERE meter_id = %s AND valid_from <= %s AND valid_to > %s",
        (meter["meter_id"], wish.at, wish.at),
    ).fetchone()
    if route is None:
        raise NotInstalled(f"meter {wish.asset} is not installed anywhere at {wish.at.isoformat()}")
    return _Target(meter["meter_id"], route["terminal_id"])


def _of_terminal(conn: Connection, wish: _Wish) -> _Target:
    row = conn.execute(
        "SELECT terminal_id, protocol FROM terminal WHERE code = %s", (wish.terminal,)
    ).fetchone()
    if row is None:
        raise UnknownTerminal(wish.terminal)
    if row["protocol"] not in STATIONS:
        raise OrderError(
            f"terminal {wish.terminal} speaks {row['protocol']}: it passes bytes on and has no {wish.kind} of its own; "
            f"only terminals of {' and '.join(STATIONS)} have"
        )
    if wish.kind == "control":
        try:
            check_request(wish.action, wish.writing.request, row["protocol"])
        except ControlError as error:
            raise OrderError(f"terminal {wish.terminal}: {error}") from None
    return _Target(None, row["terminal_id"])


def approve(conn: Connection, order_id: int, *, who: str, now: Any, accept: Sequence[str] = ()) -> str:
    """A person approves a wanted order; commits. Returns the new state. The gates are asked again.

    `accept`: gates whose doubt the approver has looked at and takes upon himself (gates.ACCEPTABLE).
    Refused where the approver may not approve, or a person must look first (the order stays wanted), or a gate says no (it ends refused)."""
    for gate in accept:
        if gate not in gates.ACCEPTABLE:
            raise OrderError(
                f"nobody can accept what {gate!r} says; what can be accepted: {', '.join(gates.ACCEPTABLE)}"
            )
    with conn.transaction():
        row = _lock(conn, order_id)
        at = as_datetime(now)
        after(State(row["state"]), Event.APPROVE)
        if (row["kind"], row["action"]) == ("relay", "trip"):
            _hold_account(conn, row)  # a payment that is being booked is waited for, and then voids this
        # only what there is to look at now can be accepted: not what comes later
        doubts = {r.gate for r in ask_gates(conn, row, at, who, sending=False)} if accept else set()
        accepted = {gate: who for gate in accept if gate in doubts}
        refusals = ask_gates(conn, row, at, who, sending=False, accepted=accepted)
        if any(r.gate == "second_person" for r in refusals) or (
            refusals and all(r.gate in gates.WAITS for r in refusals)
        ):
            state = State.WANTED
        elif refusals:
            state = _move(conn, row, Event.REFUSE, who, at, _sentence(refusals))
        else:
            conn.execute(
                "UPDATE orders SET approved_by = %s, approved_at = %s, accepted = accepted || %s::jsonb, outcome = '' WHERE order_id = %s",
                (who, at, json.dumps(accepted), order_id),
            )
            state = _move(
                conn, row, Event.APPROVE, who, at, f"accepts: {', '.join(accepted)}" if accepted else ""
            )
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


def withdraw(conn: Connection, order_id: int, *, who: str, now: Any, why: str) -> None:
    """The same in the caller's transaction, for a reason."""
    _move(conn, _lock(conn, order_id), Event.CANCEL, who, as_datetime(now), why)


def give_up(
    conn: Connection, order_id: int, *, who: str, now: Any, why: str, result: dict[str, Any] | None = None
) -> None:
    """An order of which no reading tells what became of it ends as not done, in the caller's transaction: a person says so."""
    _move(conn, _lock(conn, order_id), Event.DISPROVE, who, as_datetime(now), why, result)


def void_paid(
    conn: Connection, account_id: int, *, now: Any, who: str, why: str = "the customer has paid"
) -> list[int]:
    """Trips of this account that have not been sent are void: it has paid, or was granted grace. In the transaction of that, which holds the
    account.

    One that is being sent at this moment is passed over: its transaction waits for the account, and then sees the payment."""
    at = as_datetime(now)
    rows = conn.execute(
        """
        SELECT o.* FROM orders o JOIN installation i ON i.meter_id = o.meter_id AND i.valid_from <= %(now)s AND i.valid_to > %(now)s
        JOIN account a ON a.point_id = i.point_id
        WHERE a.account_id = %(account)s AND o.kind = 'relay' AND o.action = 'trip' AND o.is_open AND o.state IN ('wanted', 'approved')
        ORDER BY o.order_id FOR UPDATE OF o SKIP LOCKED
        """,
        {"account": account_id, "now": at},
    ).fetchall()
    for row in rows:
        _move(conn, row, Event.CANCEL, who, at, f"void: {why}")
    return [row["order_id"] for row in rows]


def begin(
    conn: Connection,
    order_id: int,
    *,
    fence: Fence,
    now: Any,
    address: str | None = None,
    login: str | None = None,
    switch: Sequence[str] | None = None,
    found: Sequence[Refusal] = (),
    kept: Mapping[str, Any] | None = None,
) -> list[Refusal]:
    """approved -> sending, committed before the first byte leaves; or refused, if a gate says no now. Commits.

    `address` is where the frame will go, behind a terminal that is called `login`, `switch` what it will work: refused if the meter or terminal
    is not the one there any more. `found`: what the line itself has shown against it. `kept`: goes into the order's result.
    What comes before its time is refused, and the order stays as it is. StaleOwner if the lease is not ours, NoSuchStep if the order is
    not approved (any more)."""
    with conn.transaction():
        # its terminal's lease is held meanwhile, and whoever renews all of them waits for that
        conn.execute("SELECT set_config('lock_timeout', %s, true)", (PATIENCE,))
        row = _lock(conn, order_id)
        _check(conn, fence, row)
        at = as_datetime(now)
        after(State(row["state"]), Event.SEND)
        refusals = [*_elsewhere(conn, row, at, address, login, switch), *_not_his(conn, row, at), *found]
        buckets: Buckets | None = None
        if not refusals and gates.second_person.needed(row["kind"], row["action"]):
            if row["kind"] in ("relay", "limits"):
                # a payment that is being booked at this moment is waited for; one that comes later comes after the sending
                _hold_account(conn, row)
            if row["kind"] == "relay":
                # one trip at a time looks at its tokens: two at once would both take the last; after it the kill switch is held, too
                buckets = trip_buckets.of_meter(conn, row["meter_id"], at, hold=True)
            refusals = ask_gates(conn, row, at, row["approved_by"], sending=True, buckets=buckets)
        elif not refusals and row["not_before"] is not None and at < row["not_before"]:
            refusals = [Refusal(gates.EARLY, f"it may not be sent before {row['not_before'].isoformat()}")]
        if [r.gate for r in refusals] == [gates.EARLY]:
            pass
        elif refusals:
            _move(conn, row, Event.REFUSE, fence.owner, at, _sentence(refusals))
        elif at >= row["expires_at"]:
            refusals = [Refusal("expiry", f"the order expired at {row['expires_at'].isoformat()}")]
            _move(conn, row, Event.EXPIRE, fence.owner, at, refusals[0].why)
        else:
            if buckets is not None:
                trip_buckets.take(conn, buckets, at)
            conn.execute(
                "UPDATE orders SET epoch = %s, sent_at = %s WHERE order_id = %s", (fence.epoch, at, order_id)
            )
            _move(conn, row, Event.SEND, fence.owner, at, "", dict(kept or {}))
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
            _move(conn, row, Event.LOSE, who, at, f"{since}; it is found out by reading")
            moved["unknown"].append(row["order_id"])
        else:  # unknown or pending: reading alone ends it, as ever
            _note(conn, row["order_id"], at, "restore", state, who, since)
            moved["pending" if state is State.PENDING else "unknown"].append(row["order_id"])
    return moved


def cut_off_by(conn: Connection, meter_id: int, terminal: str) -> tuple[str, ...] | None:
    """What this meter was told to be cut off by, where nothing was told to give supply back since; () is its own relay. None: it was not cut off, or
    by what another terminal switches. A command counts as `ledger.to_act_on` has it."""
    row = conn.execute(
        "SELECT action, result ->> 'terminal' AS terminal, result -> 'switch' AS switch FROM orders "
        "WHERE meter_id = %s AND kind = 'relay' AND sent_at IS NOT NULL AND action IN ('trip', 'permit', 'close') "
        "AND (state <> 'failed' OR action = 'trip' AND result #>> '{relay,open}' = 'true') "
        "ORDER BY order_id DESC LIMIT 1",
        (meter_id,),
    ).fetchone()
    if row is None or row["action"] != "trip" or row["switch"] is None:
        return None
    return tuple(row["switch"]) if not row["switch"] or row["terminal"] == terminal else None


#: an order's row with the asset number of its meter, None where it is of the terminal itself, and the terminal's code
_ORDERS: Final = (
    "SELECT o.*, m.asset, t.code AS terminal "
    "FROM orders o LEFT JOIN meter m USING (meter_id) JOIN terminal t ON t.terminal_id = o.terminal_id"
)

#: the same without what a terminal was found to hold, or shall hold: an archive of 2040 meters is half a megabyte
_BRIEF: Final = _ORDERS.replace(
    "o.*",
    "o.order_id, o.kind, o.action, o.meter_id, o.terminal_id, o.priority, o.state, o.is_open, o.reason, o.requested_by, o.requested_at, "
    "o.approved_by, o.approved_at, o.expires_at, o.epoch, o.sent_at, o.ended_at, o.outcome, o.result - 'held' AS result, o.request_key, "
    "o.request - 'items' - 'held' AS request, o.purchase_id, o.adds, o.replaces, o.not_before, o.batch_id, o.accepted",
)


def work(
    conn: Connection, terminal_ids: list[int] | None = None, *, owner: str | None = None, now: Any = None
) -> list[dict[str, Any]]:
    """Open orders for these terminals, or for those that `owner` holds, that a collector must act on, most urgent first: to send, or to
    find out about. `now`: those whose time to be sent is still to come are left out."""
    return conn.execute(
        f"{_ORDERS} WHERE o.is_open AND o.state <> 'wanted' AND (%(ids)s::int[] IS NULL OR o.terminal_id = ANY(%(ids)s)) "
        "AND (%(owner)s::text IS NULL OR EXISTS (SELECT FROM lease l WHERE l.terminal_id = o.terminal_id AND l.owner = %(owner)s)) "
        "AND (%(now)s::timestamptz IS NULL OR o.state <> 'approved' OR o.not_before IS NULL OR o.not_before <= %(now)s) "
        "ORDER BY o.priority, o.order_id",
        {"ids": terminal_ids, "owner": owner, "now": None if now is None else as_datetime(now)},
    ).fetchall()


def get(conn: Connection, order_id: int) -> dict[str, Any]:
    """One order with the meter's asset number (None: it is the terminal's own), the terminal's code and its 'events', oldest first.
    UnknownOrder."""
    row = conn.execute(f"{_ORDERS} WHERE order_id = %s", (order_id,)).fetchone()
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
    terminal: str | None = None,
    open_only: bool = False,
    kind: str | None = None,
) -> list[dict[str, Any]]:
    """Orders, newest first, without what they read of a terminal or write to it: `get` has that. `terminal`: those of that terminal itself."""
    return conn.execute(
        f"""
        {_BRIEF}
        WHERE (%(before)s::bigint IS NULL OR order_id < %(before)s) AND (%(meter)s::text IS NULL OR m.asset = %(meter)s)
          AND (%(terminal)s::text IS NULL OR (t.code = %(terminal)s AND o.meter_id IS NULL))
          AND (NOT %(open)s OR is_open) AND (%(kind)s::text IS NULL OR kind = %(kind)s)
        ORDER BY order_id DESC LIMIT %(limit)s
        """,
        {
            "before": before, "meter": meter, "terminal": terminal, "open": open_only, "limit": limit, "kind": kind,
        },
    ).fetchall()  # fmt: skip


def _hold_account(conn: Connection, row: dict[str, Any]) -> None:
    """Nobody pays into the account behind the meter until the caller's transaction ends."""
    conn.execute(
        "SELECT FROM account a JOIN installation i USING (point_id) WHERE i.meter_id = %s FOR NO KEY UPDATE OF a",
        (row["meter_id"],),
    )


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


def _elsewhere(
    conn: Connection,
    row: dict[str, Any],
    at: dt.datetime,
    address: str | None,
    login: str | None,
    switch: Sequence[str] | None,
) -> list[Refusal]:
    """Whether who was meant is still where the order goes: the meter behind this terminal, which is called so, at this address, with this switch,
    not installed anew; the terminal itself at this address."""
    if row["meter_id"] is None:
        there = conn.execute(
            "SELECT FROM terminal WHERE terminal_id = %s AND coalesce(login, '') = coalesce(%s, login, '')",
            (row["terminal_id"], address),
        ).fetchone()
        if there is not None:
            return []
        return [Refusal("route", "the archive gives the terminal another address now")]
    there = conn.execute(
        "SELECT FROM installation JOIN terminal USING (terminal_id) WHERE meter_id = %(meter)s AND terminal_id = %(terminal)s "
        "AND valid_from <= %(asked)s AND valid_to > %(now)s AND address = coalesce(%(address)s, address) "
        "AND coalesce(login, '') = coalesce(%(login)s, login, '') AND switch = coalesce(%(switch)s::text[], switch)",
        {
            "meter": row["meter_id"], "terminal": row["terminal_id"], "asked": row["requested_at"], "now": at,
            "address": address, "login": login, "switch": None if switch is None else list(switch),
        },
    ).fetchone()  # fmt: skip
    if there is not None:
        return []
    return [Refusal("route", "the meter was exchanged, moved or re-addressed since this was asked for")]


def _not_his(conn: Connection, row: dict[str, Any], at: dt.datetime) -> list[Refusal]:
    """Whether a purchase would go into a wallet that is not that of the customer who paid any more: he has moved out, or somebody else counts
    his money down by now. A refund takes out what is there, whoever lives there."""
    if row["purchase_id"] is None or row["action"] == "refund":
        return []
    his = conn.execute(
        """
        SELECT FROM purchase p JOIN account a USING (account_id) JOIN installation i USING (point_id)
        WHERE p.purchase_id = %(purchase)s AND p.settled_at IS NULL AND a.prepaid AND a.valid_from <= %(now)s AND a.valid_to > %(now)s
          AND i.valid_from <= %(now)s AND i.valid_to > %(now)s
          AND CASE WHEN %(meter)s::int IS NULL THEN a.fee_control = 'terminal' AND i.terminal_id = %(terminal)s
                   ELSE a.fee_control = 'meter' AND i.meter_id = %(meter)s END
        """,
        {"purchase": row["purchase_id"], "meter": row["meter_id"], "terminal": row["terminal_id"], "now": at},
    ).fetchone()
    if his is not None:
        return []
    return [
        Refusal("whose", "it is not the wallet of who has paid any more, or the purchase is in it already")
    ]


def _sentence(refusals: list[Refusal]) -> str:
    return "; ".join(f"{r.gate}: {r.why}" for r in refusals)


__all__ = [
    "ACTIONS", "ITEMS", "ORDERLY", "RELAY_ACTIONS", "STATIONS", "SURVEY", "TERMINAL_ACTIONS", "AlreadyOpen", "Fence", "NoSuchStep", "NotInstalled",
    "OrderError", "Refused", "StaleOwner", "UnknownMeter", "UnknownOrder", "UnknownTerminal", "Writing", "after_restore", "approve", "begin",
    "cancel", "cut_off_by", "expire", "facts", "get", "give_up", "listing", "request", "reroute", "step", "void_paid", "withdraw", "work",
]  # fmt: skip

"""What the gates look at, read from the store at this moment."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from headend.control import gates
from headend.control.facts import ControlFacts, Facts, Limits, Refusal, WriteFacts
from headend.store import batches, cluster, fee_terms, no_trip, trip_buckets, trip_stop
from headend.store.coverage import UnknownMeter
from headend.store.db import Connection
from headend.store.trip_buckets import Buckets
from protocols.localtime import as_datetime

#: what validation and the daily rules say of readings that a balance rests on: spikes, roll-overs that are none, wrong multipliers
DOUBTS: Final = (
    "vee-spike", "vee-register", "vee-negative", "vee-limits", "vee-sum", "vee-multiplier", "vee-duplicate",
    "run-away", "decreased", "wrong-ratio", "check-meter",
)  # fmt: skip
#: days before yesterday whose charges tell a usual one
USUAL: Final = 30


@dataclass(frozen=True, slots=True)
class Trip:
    """What is asked of one trip. `counted`: its batch has grown by it already. `buckets`: held by the transaction that sends it."""

    meter_id: int
    now: dt.datetime
    expires: dt.datetime
    requested_by: str
    approved_by: str | None = None
    sending: bool = False
    not_before: dt.datetime | None = None
    batch_id: int | None = None
    counted: bool = True
    fall_accepted_by: str | None = None
    buckets: Buckets | None = None


def ask_gates(
    conn: Connection,
    row: Mapping[str, Any],
    at: dt.datetime,
    approved_by: str | None,
    *,
    sending: bool,
    accepted: Mapping[str, str] | None = None,
    buckets: Buckets | None = None,
) -> list[Refusal]:
    """What the gates of this order, which needs a second person, say now. `accepted`: gate -> who takes its doubt upon himself."""
    until, who, limits = row["expires_at"], row["requested_by"], cluster.limits(conn)
    if row["kind"] in ("relay", "limits"):
        trip = Trip(
            row["meter_id"], at, until, who, approved_by, sending, row["not_before"], row["batch_id"],
            row["order_id"] is not None,
            {**row["accepted"], **(accepted or {})}.get("fall"), buckets,
        )  # fmt: skip
        ask = gates.ask if row["kind"] == "relay" else gates.ask_limits
        return ask(facts_of(conn, trip), limits)
    if row["kind"] == "control":
        return gates.ask_control(_control(conn, row, at, approved_by, sending=sending), limits)
    today = conn.execute(
        "SELECT coalesce(sum(adds), 0)::int AS adds, coalesce(sum(replaces), 0)::int AS replaces FROM orders "
        "WHERE terminal_id = %s AND meter_id IS NULL AND sent_at > %s - interval '24 hours' AND order_id IS DISTINCT FROM %s",
        (row["terminal_id"], at, row["order_id"]),
    ).fetchone()
    assert today is not None
    facts = WriteFacts(
        at, until, who, approved_by, sending, row["adds"], row["replaces"], today["adds"], today["replaces"]
    )
    return gates.ask_write(facts, limits)


def _control(
    conn: Connection, row: Mapping[str, Any], at: dt.datetime, approved_by: str | None, *, sending: bool
) -> ControlFacts:
    """Everything about one write of load control. When it is sent, one such write at a time looks at the caps, and the kill switch is held."""
    if sending:
        conn.execute("SELECT pg_advisory_xact_lock(hashtext('load control'))")
    told = conn.execute(
        """
        SELECT count(*) FILTER (WHERE terminal_id = %(terminal)s)::int AS terminal_day,
               count(*) FILTER (WHERE sent_at > %(now)s - interval '1 hour')::int AS system_hour, count(*)::int AS system_day
        FROM orders WHERE kind = 'control' AND action = 'write' AND sent_at > %(now)s - interval '24 hours'
          AND order_id IS DISTINCT FROM %(order)s
        """,
        {"terminal": row["terminal_id"], "now": at, "order": row["order_id"]},
    ).fetchone()
    assert told is not None
    behind = conn.execute(
        """
        SELECT m.meter_id, m.asset, a.account_id, a.protected, coalesce(p.kind, 'customer') AS kind
        FROM installation i JOIN meter m USING (meter_id) JOIN point p USING (point_id)
        LEFT JOIN account a ON a.point_id = i.point_id AND a.valid_from <= %(now)s AND a.valid_to > %(now)s
        WHERE i.terminal_id = %(terminal)s AND i.valid_from <= %(now)s AND i.valid_to > %(now)s ORDER BY m.asset
        """,
        {"terminal": row["terminal_id"], "now": at},
    ).fetchall()
    kept = keeps_power(conn, [each["meter_id"] for each in behind])
    return ControlFacts(
        now=at,
        expires=row["expires_at"],
        requested_by=row["requested_by"],
        approved_by=approved_by,
        sending=sending,
        not_before=row["not_before"],
        stopped=trip_stop.why(trip_stop.state(conn, hold=sending)),
        meters=len(behind),
        strangers=tuple(
            each["asset"] for each in behind if each["account_id"] is None and each["kind"] == "customer"
        ),
        protected=tuple(
            f"meter {each['asset']}, {each['protected']}" for each in behind if each["protected"]
        ),
        kept=tuple(each["asset"] for each in behind if kept.get(each["meter_id"], False) is not False),
        **told,
    )


def facts_of(conn: Connection, trip: Trip) -> Facts:
    """Everything the gates ask, read at this moment."""
    now, limits = trip.now, cluster.limits(conn)
    local = now.astimezone(cluster.zone(conn))
    day = local.date()
    account = _account(conn, trip)
    days = {
        row["day"]: row["kind"]
        for row in conn.execute(
            "SELECT day, kind FROM calendar_day WHERE day BETWEEN %s AND %s",
            (day, day + dt.timedelta(days=1)),
        )
    }
    taken = (trip.buckets or trip_buckets.of_meter(conn, trip.meter_id, now)).taken
    batch = batches.standing(conn, trip.batch_id, limits, more=0 if trip.counted else 1)
    usual, fall = _fall(conn, account, day, limits)
    terms = fee_terms.one(conn, account["account_id"], now=now) if account else None
    return Facts(
        now=now,
        local=local,
        expires=trip.expires,
        requested_by=trip.requested_by,
        approved_by=trip.approved_by,
        sending=trip.sending,
        protected=account["protected"] if account else None,
        day_kind=days.get(day),
        next_day_kind=days.get(day + dt.timedelta(days=1)),
        prepaid=account["prepaid"] if account else None,
        balance_high_fen=account["high_fen"] if account else None,
        balance_as_of=account["as_of"] if account else None,
        balance_valid=bool(account and account["valid"]),
        newest_reading=account["newest_reading"] if account else None,
        trips_minute=taken["system", "minute"],
        trips_hour=taken["system", "hour"],
        trips_day=taken["system", "day"],
        trips_area_minute=taken["area", "minute"],
        trips_area_hour=taken["area", "hour"],
        trips_area_day=taken["area", "day"],
        trips_line_minute=taken["line", "minute"],
        trips_line_hour=taken["line", "hour"],
        trips_line_day=taken["line", "day"],
        trips_organisation_minute=taken["organisation", "minute"],
        trips_organisation_hour=taken["organisation", "hour"],
        trips_organisation_day=taken["organisation", "day"],
        stop_below_fen=fee_terms.stop_below(conn, {account["account_id"]: terms})[account["account_id"]]
        if account and terms
        else None,
        grace_until=fee_terms.grace_until(
            account["told_at"], terms.grace_days, account["promised"], account["granted"], cluster.zone(conn)
        )
        if account and terms
        else None,
        noticed_at=account["noticed_at"] if account else None,
        stopped=trip_stop.why(trip_stop.state(conn, hold=trip.sending)),
        keep_power=_kept(conn, trip),
        cuts_also=_cuts_also(conn, trip),
        no_trip=no_trip.why(conn, trip.meter_id, day, now),
        validated_until=_validated(conn),
        doubts=_doubts(conn, trip.meter_id, day - dt.timedelta(days=limits.doubt_days)),
        same_since=_same_since(conn, trip.meter_id, now),
        usual_day_fen=usual,
        fall_fen=fall,
        fall_accepted_by=trip.fall_accepted_by,
        batch_size=batch.size,
        batch_usual=batch.usual,
        batch_released=batch.released,
        batch_released_by=batch.released_by,
        not_before=trip.not_before,
    )


def _account(conn: Connection, trip: Trip) -> Mapping[str, Any] | None:
    """Whose balance decides; None: nobody can say."""
    rows = conn.execute(
        """
        SELECT a.account_id, a.prepaid AND a.fee_control = 'master' AS prepaid, a.protected, b.as_of, b.valid, b.newest_reading,
               b.ledger_fen - b.provisional_low_fen AS since_fen,
               b.provisional_high_fen
                 + coalesce((SELECT sum(e.amount_fen) FROM ledger_entry e WHERE e.account_id = a.account_id
                             AND e.entry_id > b.ledger_entry_id
                             AND (e.amount_fen > 0 OR e.kind IN ('reversal', 'debt', 'deferral'))), 0)::bigint AS high_fen,
               told_at(a.account_id) AS noticed_at,
               (SELECT min(notice_reached(n)) FROM notice n
                WHERE n.account_id = a.account_id AND n.level = 'stop' AND n.at >= b.stop_since) AS told_at,
               (SELECT max(n.until) FROM notice n
                WHERE n.account_id = a.account_id AND n.level = 'stop' AND n.at >= b.stop_since) AS promised,
               (SELECT max(g.last_day) FROM grace g WHERE g.account_id = a.account_id AND g.revoked_at IS NULL) AS granted
        FROM installation i JOIN account a USING (point_id) LEFT JOIN balance b USING (account_id)
        WHERE i.meter_id = %(meter)s AND i.valid_from <= %(now)s AND i.valid_to > %(now)s
          AND a.valid_from <= %(now)s AND a.valid_to > %(now)s
        """,
        {"meter": trip.meter_id, "now": trip.now},
    ).fetchall()
    # two accounts on one point: nobody can say whose balance decides, so none does
    return rows[0] if len(rows) == 1 else None


def _fall(
    conn: Connection, account: Mapping[str, Any] | None, day: dt.date, limits: Limits
) -> tuple[int | None, int | None]:
    """(what a usual day costs, by how much the balance has fallen since the midnight that began yesterday), in fen.

    The usual day is the median of the charged ones before yesterday, as they stood then: what is looked at must not tell what is usual. What was
    posted since then counts as fallen, whichever days it is for: a price or a ratio that was put in wrong corrects days gone by."""
    if account is None or account["since_fen"] is None:
        return None, None
    yesterday = day - dt.timedelta(days=1)
    row = conn.execute(
        """
        WITH charge AS (SELECT period, amount_fen, period >= %(yesterday)s OR at >= %(midnight)s AS since FROM ledger_entry
                        WHERE account_id = %(account)s AND kind = 'charge'),
        charged AS (SELECT period, -sum(amount_fen)::bigint AS fen FROM charge WHERE NOT since AND period >= %(first)s GROUP BY period)
        SELECT count(*) FILTER (WHERE fen > 0) AS days, percentile_disc(0.5) WITHIN GROUP (ORDER BY fen) FILTER (WHERE fen > 0) AS usual,
               (SELECT coalesce(-sum(amount_fen), 0)::bigint FROM charge WHERE since) AS settled
        FROM charged
        """,
        {
            "account": account["account_id"], "yesterday": yesterday.isoformat(),
            "midnight": dt.datetime.combine(yesterday, dt.time(), cluster.zone(conn)),
            "first": (yesterday - dt.timedelta(days=USUAL)).isoformat(),
        },
    ).fetchone()  # fmt: skip
    assert row is not None
    usual = row["usual"] if row["days"] >= limits.usual_days else None
    return usual, row["settled"] + account["since_fen"]


def _kept(conn: Connection, trip: Trip) -> bool | None:
    """Of the meter itself, and of the terminal where its rounds cut off: either is enough, and so is either's doubt."""
    kept = [keeps_power(conn, [trip.meter_id]).get(trip.meter_id, False)]
    route = _switched_by(conn, trip)
    if route is not None and any(part.startswith("round") for part in route["switch"]):
        kept.append(terminal_keeps_power(conn, route["terminal_id"], trip.now))
    return True if True in kept else None if None in kept else False


def _switched_by(conn: Connection, trip: Trip) -> Mapping[str, Any] | None:
    return conn.execute(
        "SELECT terminal_id, switch FROM installation WHERE meter_id = %s AND valid_from <= %s AND valid_to > %s",
        (trip.meter_id, trip.now, trip.now),
    ).fetchone()


def _cuts_also(conn: Connection, trip: Trip) -> tuple[str, ...] | None:
    """Whom else the archive gives what cuts this meter off. An import refuses that behind one terminal; who else writes to the archive may not, and
    a coil hangs on the line, of which there may be two terminals."""
    route = _switched_by(conn, trip)
    if route is None:
        return None
    if not route["switch"]:
        return ()
    rows = conn.execute(
        """
        SELECT m.asset FROM terminal here
        JOIN terminal t ON t.terminal_id = here.terminal_id
                        OR %(line)s AND replace(t.endpoint, 'tcp://', '') = replace(here.endpoint, 'tcp://', '')
        JOIN installation i ON i.terminal_id = t.terminal_id JOIN meter m USING (meter_id)
        WHERE here.terminal_id = %(terminal)s AND i.meter_id <> %(meter)s AND i.valid_from <= %(now)s AND i.valid_to > %(now)s
          AND EXISTS (SELECT FROM unnest(i.switch) theirs JOIN unnest(%(switch)s::text[]) ours
                      ON split_part(theirs, '/', 1) = split_part(ours, '/', 1)) ORDER BY m.asset
        """,
        {
            "terminal": route["terminal_id"],
            "meter": trip.meter_id,
            "switch": route["switch"],
            "line": route["switch"][0].startswith("coil"),
            "now": trip.now,
        },
    ).fetchall()
    return tuple(row["asset"] for row in rows)


def keeps_power(conn: Connection, meter_ids: Sequence[int]) -> dict[int, bool | None]:
    """Whether each meter is in keep-power, by the newest order that read it back; one that told it so and has not been disproved counts too.
    Who was never told anything is not in it."""
    rows = conn.execute(
        """
        SELECT DISTINCT ON (meter_id) meter_id,
               coalesce((result #>> '{relay,keep_power}')::boolean, true) AS on FROM orders
        WHERE meter_id = ANY(%s) AND kind = 'relay' AND sent_at IS NOT NULL
          AND (result #>> '{relay,keep_power}' IS NOT NULL OR (action = 'keep-power' AND state <> 'failed')) ORDER BY meter_id, order_id DESC
        """,
        (list(meter_ids),),
    ).fetchall()
    return {row["meter_id"]: row["on"] for row in rows}


def terminal_keeps_power(conn: Connection, terminal_id: int, at: dt.datetime) -> bool | None:
    """Whether the terminal itself was told to keep power (保电), which suspends its controls, and for how long; None: it was told to end that, and
    nobody has read it back."""
    row = conn.execute(
        "SELECT action, state, sent_at + coalesce((request ->> 'half_hours')::int, 0) * interval '30 minutes' AS until, "
        "coalesce((request ->> 'half_hours')::int, 0) > 0 AS ends FROM orders WHERE terminal_id = %s AND meter_id IS NULL AND kind = 'control' "
        "AND action IN ('keep-power', 'end-keep-power') AND sent_at IS NOT NULL AND state <> 'failed' ORDER BY order_id DESC LIMIT 1",
        (terminal_id,),
    ).fetchone()
    if row is None:
        return False
    if row["action"] == "keep-power":
        return not row["ends"] or bool(at < row["until"])
    return False if row["state"] == "verified" else None


def _validated(conn: Connection) -> dt.date | None:
    row = conn.execute("SELECT max(day) AS day FROM job_run WHERE job = 'vee' AND ok").fetchone()
    return row["day"] if row else None


def _doubts(conn: Connection, meter_id: int, since: dt.date) -> str:
    """Open findings against readings of the meter's point since then."""
    rows = conn.execute(
        """
        SELECT DISTINCT f.rule, f.day FROM finding f
        WHERE f.subject_kind = 'meter' AND f.rule = ANY(%(rules)s) AND f.day >= %(since)s
          AND f.state IN ('new', 'recurred', 'acknowledged', 'work-order')
          AND f.subject_id IN (SELECT i.meter_id FROM installation i JOIN installation mine USING (point_id)
                               WHERE mine.meter_id = %(meter)s AND i.valid_to > %(since)s)
        ORDER BY f.day, f.rule
        """,
        {"rules": list(DOUBTS), "since": since, "meter": meter_id},
    ).fetchall()
    return ", ".join(f"{row['rule']} on {row['day']}" for row in rows)


def _same_since(conn: Connection, meter_id: int, now: dt.datetime) -> dt.datetime | None:
    """Since when this meter with these transformers is on its point; another route or password changes nothing of what its registers mean.
    Where nothing was on the point before, nothing was exchanged: as if for ever."""
    row = conn.execute(
        """
        WITH RECURSIVE span AS (
            SELECT meter_id, point_id, ct, pt, valid_from AS since FROM installation
            WHERE meter_id = %(meter)s AND valid_from <= %(now)s AND valid_to > %(now)s
            UNION ALL
            SELECT s.meter_id, s.point_id, s.ct, s.pt, i.valid_from FROM span s JOIN installation i
            ON (i.meter_id, i.point_id, i.ct, i.pt, i.valid_to) = (s.meter_id, s.point_id, s.ct, s.pt, s.since))
        SELECT CASE WHEN EXISTS (SELECT FROM installation b JOIN span s USING (point_id) WHERE b.valid_from < (SELECT min(since) FROM span))
               THEN min(since) ELSE least(min(since), timestamptz '1970-01-01 00:00:00+00') END AS since FROM span
        """,
        {"meter": meter_id, "now": now},
    ).fetchone()
    return row["since"] if row else None


def facts(conn: Connection, asset: str, now: Any) -> tuple[Facts, Limits]:
    """What the gates would look at if a trip of this meter were asked for now; for `headend relay check`."""
    meter = conn.execute("SELECT meter_id FROM meter WHERE asset = %s", (asset,)).fetchone()
    if meter is None:
        raise UnknownMeter(asset)
    at = as_datetime(now)
    return facts_of(conn, Trip(meter["meter_id"], at, at + dt.timedelta(hours=1), "")), cluster.limits(conn)

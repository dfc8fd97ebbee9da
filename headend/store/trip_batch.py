"""A list of trips, asked for and approved together: each an order of its own, staggered, each before every gate."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from headend.control import gates
from headend.store import batches, cluster, orders
from headend.store.coverage import UnknownMeter
from headend.store.db import Connection, StoreError
from headend.store.orders import Refused
from protocols.localtime import as_datetime


@dataclass(frozen=True, slots=True)
class Plan:
    """`every`: seconds between two of its trips, so that caps of a minute and an hour are not run into. `key`: the same again is the same batch."""

    meters: Sequence[str]
    reason: str
    who: str
    now: np.datetime64
    expires: np.datetime64
    every: float
    key: str

    def not_before(self, k: int) -> np.datetime64:
        return self.now + np.timedelta64(round(k * self.every * 1e6), "us")


@dataclass(frozen=True, slots=True)
class Answer:
    """Of one meter: its order (None: none was made), and what the gates say. Not refused and with reasons: a person must look at it."""

    meter: str
    order: int | None
    not_before: dt.datetime | None
    refused: bool
    reasons: tuple[tuple[str, str], ...] = ()


def _staggered(plan: Plan) -> None:
    if plan.every < 0 or plan.not_before(len(plan.meters) - 1) >= plan.expires:
        raise StoreError(
            f"{len(plan.meters)} trips, one every {plan.every:g} s, do not fit before the orders expire; "
            "give them more hours, or less time between them"
        )


def dry_run(conn: Connection, plan: Plan) -> list[Answer]:
    """What would be refused, and why, if all of them were asked for now. Nothing is ordered."""
    _staggered(plan)
    limits = cluster.limits(conn)
    told = []
    for k, meter in enumerate(plan.meters):
        when = as_datetime(plan.not_before(k))
        try:
            facts, _ = orders.facts(conn, meter, plan.now)
        except UnknownMeter as error:
            told.append(Answer(meter, None, when, True, (("meter", str(error)),)))
            continue
        facts = replace(
            facts, requested_by=plan.who, expires=as_datetime(plan.expires), batch_size=len(plan.meters)
        )
        noes = gates.ask(facts, limits)
        reasons = tuple((no.gate, no.why) for no in noes)
        told.append(Answer(meter, None, when, any(no.gate not in gates.WAITS for no in noes), reasons))
    conn.rollback()
    return told


def ask(conn: Connection, plan: Plan) -> tuple[int, list[Answer]]:
    """The batch's number, and an order for each that the gates let wait for approval; each commits by itself."""
    _staggered(plan)
    number = batches.of_list(conn, plan.key, who=plan.who, reason=plan.reason, now=plan.now)
    told = []
    for k, meter in enumerate(plan.meters):
        when = plan.not_before(k)
        try:
            order = orders.request(
                conn, kind="relay", action="trip", asset=meter, reason=plan.reason, who=plan.who, now=plan.now, expires=plan.expires,
                request_key=f"batch:{number}:{meter}", not_before=when, batch=number,
            )  # fmt: skip
        except Refused as refused:
            told.append(Answer(meter, refused.order_id, as_datetime(when), True, tuple(refused.reasons)))
        except StoreError as error:
            conn.rollback()
            told.append(Answer(meter, None, as_datetime(when), True, (("order", str(error)),)))
        else:
            made = orders.get(conn, order)
            conn.rollback()
            waits = (("waits", made["outcome"].removeprefix("waits: ")),) if made["outcome"] else ()
            told.append(Answer(meter, order, made["not_before"], not made["is_open"], waits))
    return number, told


def approve(conn: Connection, number: int, *, who: str, now: Any, accept: Sequence[str] = ()) -> list[Answer]:
    """A second person approves all that waits of it; each commits by itself."""
    told = []
    waiting = batches.waiting(conn, number)
    conn.rollback()
    for order in waiting:
        row = orders.get(conn, order)
        conn.rollback()
        try:
            orders.approve(conn, order, who=who, now=now, accept=accept)
        except Refused as refused:
            told.append(Answer(row["asset"], order, row["not_before"], True, tuple(refused.reasons)))
        except orders.NoSuchStep as error:  # somebody else moved it, or its customer has paid
            conn.rollback()
            told.append(Answer(row["asset"], order, row["not_before"], True, (("order", str(error)),)))
        else:
            told.append(Answer(row["asset"], order, row["not_before"], False))
    return told

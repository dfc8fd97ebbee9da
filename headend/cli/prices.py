"""`headend prices`: hours and prices in meters: read, written into the spare set with a switch date, compared with what is billed."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

import numpy as np
import rich_click as click
from click.exceptions import Exit

from headend.cli import orders as shown
from headend.cli.campaign import command as campaign
from headend.cli.common import App, Day, json_option, pass_app, person_option, print_json
from headend.cli.orders import finish, moved
from headend.cli.tables import spelled
from headend.store import calendar, cluster, orders, price_tables, tariffs
from headend.store.db import StoreError
from headend.store.orders import Writing
from headend.store.price_tables import Contract, Proposal
from tariffs.days import CalendarError
from tariffs.timetable import Clash, clashes

#: how long a write waits for its second person, and then for its terminal
VALID = np.timedelta64(8, "h")
#: a meter is asked some sixty things: longer than one answer takes
wait_option = click.option(
    "--wait", default=120.0, show_default=True, help="Seconds to wait for the reading, or the outcome."
)
yes_option = click.option("--yes", is_flag=True, help="Ask for it. Without: show what would be written.")
reason_option = click.option(
    "--reason", default="", help="Why; kept with the order for ever. Needed with --yes."
)
#: days that a comparison looks ahead
AHEAD = dt.timedelta(days=30)


@click.group(name="prices")
def command() -> None:
    """Hours and prices in meters (时段表, 费率电价): into the spare set (备用套), with a switch date, read back, compared with what is billed."""


@command.command()
@click.argument("meter")
@person_option
@wait_option
@json_option
@pass_app
def read(app: App, meter: str, person: str, wait: float, as_json: bool) -> None:
    """Read the tables that METER holds, present and spare, and compare its hours with its account's plan. Exit code 1 if they differ."""
    order = _read(app, meter, person, wait)
    held = order["result"]["held"]
    found, note = _compared(app, meter, held)
    if as_json:
        print_json(
            {
                "meter": meter,
                "read_at": order["result"]["read_at"],
                "held": held,
                "differences": [c._asdict() for c in found],
                "note": note,
            }
        )
    else:
        app.show(f"meter {meter}", ("", "~present", "~spare"), _tables(held), note)
        if found:
            app.show(
                "where it counts otherwise than is billed",
                ("from", ">days", "hours", "tariff", "plan"),
                [_row(c) for c in found],
            )
    if found:
        raise Exit(1)


@command.command()
@click.argument("meter")
@click.option(
    "--at",
    "at",
    type=Day(),
    default=None,
    help="The day at whose beginning they come into force. Without: the next that is far enough ahead.",
)
@yes_option
@reason_option
@person_option
@wait_option
@json_option
@pass_app
def write(
    app: App, meter: str, at: dt.date | None, yes: bool, reason: str, person: str, wait: float, as_json: bool
) -> None:  # fmt: skip
    """Write the hours, and of a meter that counts money the prices and steps, of METER's plan into its spare set. Without --yes nothing is asked for.

    The order waits for another person's `headend prices approve`. Where the meter then holds anything else than what is shown here, or its
    clock is off, nothing is written. The time of the switch goes last: what breaks off never comes into force.
    """
    whose = price_tables.contract(app.conn, meter, app.clock.now())
    limits, now = cluster.limits(app.conn), app.local_now().replace(tzinfo=None)
    if at is None:
        at = (
            now + dt.timedelta(hours=limits.prices_ahead_hours) + VALID.item() + dt.timedelta(days=1)
        ).date()
    held = _read(app, meter, person, wait)["result"]["held"]
    found = price_tables.propose(app.conn, whose, held, at, now, limits)
    if not yes:
        _tell(app, found, as_json)
        return
    if not found.items:
        raise StoreError(f"meter {meter} holds it so already: there is nothing to write")
    _ask(app, found, reason, person, as_json)


@command.command("take-back")
@click.argument("meter")
@yes_option
@reason_option
@person_option
@wait_option
@json_option
@pass_app
def take_back(app: App, meter: str, yes: bool, reason: str, person: str, wait: float, as_json: bool) -> None:
    """Take a switch back that is programmed in METER and has not come yet. What stands in its spare set stays there, and does not come into force."""
    whose = price_tables.contract(app.conn, meter, app.clock.now())
    held = _read(app, meter, person, wait)["result"]["held"]
    found = price_tables.taking_back(whose, held, app.local_now().replace(tzinfo=None))
    if not yes:
        _tell(app, found, as_json)
        return
    _ask(app, found, reason, person, as_json)


@command.command("list")
@click.option("--meter", default=None, help="Of this meter alone.")
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1, 500), help="At most so many.")
@json_option
@pass_app
def list_(app: App, meter: str | None, limit: int, as_json: bool) -> None:
    """The newest orders that read or write hours and prices."""
    rows = orders.listing(app.conn, limit=limit, meter=meter, kind="prices")
    if as_json:
        print_json(rows)
        return
    app.show(
        "orders of hours and prices",
        (">order", "meter", "action", "state", "into force", "~by", "~outcome"),
        [
            (r["order_id"], r["asset"], r["action"], r["state"], r["request"].get("at", ""), r["requested_by"], r["outcome"] or r["reason"])
            for r in rows
        ],
    )  # fmt: skip


command.add_command(shown.approve)
command.add_command(shown.cancel)
command.add_command(shown.one, "order")
command.add_command(campaign)


# --- orders ---


def _read(app: App, meter: str, person: str, wait: float) -> dict[str, Any]:
    """Order a read of what the meter holds and wait for it: the verified order."""
    return shown.read_first(app, "prices", meter, "read at the command line", person, wait)


def _ask(app: App, found: Proposal, reason: str, person: str, as_json: bool) -> None:
    if not reason:
        raise click.UsageError("--yes needs --reason: it is kept with the order")
    asset, now = found.contract.asset, app.clock.now()
    writing: Writing = found.writing()
    order_id = moved(
        lambda: orders.request(
            app.conn,
            kind="prices",
            action="write",
            asset=asset,
            reason=reason,
            who=person,
            now=now,
            expires=now + VALID,
            writing=writing,
        ),
        f"write of hours and prices into meter {asset}",
    )
    finish(app, orders.get(app.conn, order_id), as_json)


# --- what is shown ---


def _compared(app: App, meter: str, held: Mapping[str, Any]) -> tuple[list[Clash], str]:
    """Where the present hours are not those that are billed, and what could not be compared."""
    today = app.today()
    try:
        whose: Contract = price_tables.contract(app.conn, meter, app.clock.now())
        plan = tariffs.one(app.conn, whose.tariff)
        days = calendar.days(app.conn, today, today + AHEAD)
        found = clashes(plan.name, plan.on(today), held, today, today + AHEAD, days)
    except (price_tables.NoContract, LookupError, CalendarError) as why:
        return [], f"not compared: {why}"
    except (KeyError, TypeError):
        return [], "not compared: the meter tells of no zone table"
    return (
        found,
        f"plan {whose.tariff}: {'its hours are others' if found else 'the same hours'} in the next {AHEAD.days + 1} days",
    )


def _tell(app: App, found: Proposal, as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "meter": found.contract.asset,
                "at": found.at,
                "tariff": found.contract.tariff,
                "version": found.version,
                "items": list(found.items),
            }
        )
        return
    app.show(
        f"meter {found.contract.asset}: {len(found.items)} writes, in force from {found.at} on",
        ("", "~is", "~becomes"),
        [
            (item["key"], spelled(item["key"], item["was"]), spelled(item["key"], item["becomes"]))
            for item in found.items
        ],
        "nothing is written without --yes" if found.items else "it holds that already",
    )


def _tables(held: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Its tables; day tables that are named by no zone on either side are left out."""
    named = {number for side in ("", "spare ") for *_, number in held.get(f"{side}zones") or ()}
    named |= {row[3] for row in held.get("holidays") or ()}
    keys = ["zones", *(f"day {n}" for n in sorted(named)), "prices", "steps"]
    rows = [(key, spelled(key, held.get(key)), spelled(key, held.get(f"spare {key}"))) for key in keys]
    rows += [
        (key, "", spelled(key, held.get(key)))
        for key in ("switch zones", "switch days", "switch prices", "switch steps")
    ]
    return [*rows, ("holidays", spelled("holidays", held.get("holidays")), "")]


def _row(clash: Clash) -> tuple[Any, ...]:
    begin, end = (f"{minute // 60:02d}:{minute % 60:02d}" for minute in (clash.begin, clash.end))
    return (
        clash.day,
        clash.days,
        f"{begin}-{end}",
        f"T{clash.tariff}" if clash.tariff else "no table",
        clash.period,
    )

"""`headend prepaid grace`: one customer is not cut off until a day."""

from __future__ import annotations

import datetime as dt

import rich_click as click

from headend.cli.common import App, Day, json_option, pass_app, person_option, print_json
from headend.store import accounts, grace


@click.group(name="grace")
def command() -> None:
    """Grace (宽限): one account is not cut off until a day, whoever approved a trip before."""


@command.command()
@click.argument("customer")
@click.argument("until", type=Day())
@click.option("--point", default="", help="Which of the customer's points, if there are several.")
@click.option("--reason", required=True, help="Why; it stays in the audit.")
@person_option
@pass_app
def grant(app: App, customer: str, until: dt.date, point: str, reason: str, person: str) -> None:
    """CUSTOMER (户号) is not cut off up to the end of the day UNTIL. Trips that were not sent are void."""
    now = app.clock.now()
    account = accounts.of_customer(app.conn, customer, now=now, point=point)
    number, void = grace.grant(app.conn, account, until, reason=reason, who=person, now=now, zone=app.zone)
    click.echo(
        f"grace {number}: customer {customer} is not cut off up to {until}"
        + "".join(f"; order {order} is void" for order in void)
    )


@command.command()
@click.argument("number", type=int)
@person_option
@pass_app
def revoke(app: App, number: int, person: str) -> None:
    """Take grace NUMBER back."""
    grace.revoke(app.conn, number, who=person, now=app.clock.now())
    click.echo(f"grace {number} holds no more")


@command.command(name="list")
@click.option("--since", type=Day(), default="today", show_default=True, help="What reaches beyond this day.")
@json_option
@pass_app
def list_(app: App, since: dt.date, as_json: bool) -> None:
    """What is granted."""
    rows = grace.listing(app.conn, since=since)
    if as_json:
        print_json(rows)
        return
    app.show(
        "grace",
        (">number", "customer", "until", "~reason", "~by", "~revoked by"),
        [(r["id"], r["customer"], r["last_day"], r["reason"], r["who"], r["revoked_by"] or "") for r in rows],
    )

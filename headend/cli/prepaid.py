"""`headend prepaid`: balances, the entries behind them, payments."""

from __future__ import annotations

import datetime as dt
from typing import Any

import rich_click as click

from headend.cli import debt, grace, notices, terms
from headend.cli.common import App, Day, Yuan, json_option, pass_app, print_json, yuan
from headend.jobs.frame import Run, run
from headend.jobs.schedule import JOBS
from headend.store import accounts, ledger, reclose
from headend.store.db import StoreError


@click.group(name="prepaid")
def command() -> None:
    """Prepaid balances: sums of ledger entries, and what has been used since."""


for _part in (grace.command, debt.command, terms.terms, notices.listing, notices.told):
    command.add_command(_part)


@command.command()
@json_option
@pass_app
def balances(app: App, as_json: bool) -> None:
    """Every prepaid account: ledger, running balance with bounds, level."""
    who = accounts.load(app.conn, now=app.clock.now(), zone=app.zone, prepaid_only=True)
    rows = []
    for k, account in enumerate(who.account_id.tolist()):
        row = ledger.balance(app.conn, account) or {}
        rows.append({"customer": who.customer[k], "name": who.name[k], "meter": who.asset[k], **row})
    if as_json:
        print_json(rows)
        return
    read = [r["newest_reading"] for r in rows if r["newest_reading"]]
    app.show(
        "prepaid balances (yuan)",
        ("customer", "~name", "meter", ">ledger", "~>now", "~level"),
        [
            (
                r["customer"], r["name"], r["meter"], yuan(r["ledger_fen"]), _now(r),
                (r["level"] or "–") + (f"; protected: {r['protected']}" if r["protected"] else ""),
            )
            for r in rows
        ],
        note="'ledger': payments less settled days. 'now': less what was used since, two bounds where it cannot be told by period"
        + (f".\nNewest readings from {app.local(min(read))} to {app.local(max(read))}" if read else ""),
    )  # fmt: skip


def _now(row: dict[str, Any]) -> str:
    low, high = row["provisional_low_fen"], row["provisional_high_fen"]
    return yuan(high) if low == high else f"{yuan(low)} … {yuan(high)}"


@command.command()
@click.argument("customer")
@json_option
@pass_app
def show(app: App, customer: str, as_json: bool) -> None:
    """The ledger entries of CUSTOMER (户号), newest first, and what each was derived from."""
    who = accounts.load(app.conn, now=app.clock.now(), zone=app.zone)
    if customer not in who.customer:
        raise ledger.UnknownCustomer(customer)
    account = int(who.account_id[list(who.customer).index(customer)])
    rows = ledger.entries(app.conn, account, 100)
    balance = ledger.balance(app.conn, account)
    if as_json:
        print_json({"balance": balance, "entries": rows})
        return
    app.show(
        f"ledger of {customer}: {yuan(balance['ledger_fen'] if balance else 0)} yuan",
        (">entry", "kind", "~period", ">rev", ">yuan", "~derived from"),
        [
            (r["entry_id"], r["kind"], r["period"], r["revision"], yuan(r["amount_fen"]), _from(r["detail"]))
            for r in rows
        ],
    )


def _from(detail: dict[str, Any]) -> str:
    if "debt" in detail:
        return f"debt {detail['debt']}"
    if "taken_back" in detail:
        return f"the account's days are {detail['opened']} to before {detail['closed'] or '…'}"
    if "registers_to" not in detail:
        return f"{detail.get('channel')} {detail.get('serial')}"
    total = detail["registers_to"][0] - detail["registers_from"][0]
    return f"{total * detail['multiplier'] / 10_000:.2f} kWh since {detail['from'][:16]}Z, {detail['tariff']}"


@command.command()
@click.argument("customer")
@click.argument("amount", type=Yuan())
@click.option("--channel", default="counter", show_default=True, help="Where it was paid.")
@click.option(
    "--serial",
    required=True,
    help="The channel's own number: the same payment is booked once however often it is sent.",
)
@json_option
@pass_app
def pay(app: App, customer: str, amount: int, channel: str, serial: str, as_json: bool) -> None:
    """Book a payment of AMOUNT yuan for CUSTOMER."""
    now = app.clock.now()
    booked = ledger.pay(
        app.conn,
        customer=customer,
        channel=channel,
        accounting_date=app.today(),
        serial=serial,
        amount_fen=amount,
        paid_at=now,
        now=now,
    )
    asked, _ = reclose.after_payment(app.conn, [booked.account_id], now=now)
    if as_json:
        print_json({"entry": booked.entry_id, "duplicate": booked.duplicate, "reclose": asked})
        return
    click.echo(
        f"{yuan(amount)} yuan for {customer}: "
        + ("booked before, nothing done" if booked.duplicate else f"entry {booked.entry_id}")
        + "".join(f"; order {order} permits to close" for order in asked)
    )


@command.command(name="run")
@pass_app
def run_(app: App) -> None:
    """Compute the running balances now, notify, and ask for the trips and permits that follow."""
    click.echo(run("prepaid", JOBS["prepaid"], app.conn, app.zone, app.clock, app.today()))
    from headend.jobs import prepaid  # noqa: PLC0415 - the job's second half, after its transaction

    trips, permits, refusals = prepaid.act(Run(app.conn, app.zone, app.clock.now()))
    click.echo(f"{trips} trips and {permits} permits asked for")
    for refusal in refusals:
        click.echo(f"not asked for: {refusal}")


@command.command()
@click.argument("day", type=Day(), default="yesterday")
@pass_app
def settle(app: App, day: dt.date) -> None:
    """Derive the month's charges up to DAY again; only what differs makes an entry."""
    if day >= app.today():
        raise StoreError(f"{day} is not over yet")
    click.echo(run("settle", JOBS["settle"], app.conn, app.zone, app.clock, day))

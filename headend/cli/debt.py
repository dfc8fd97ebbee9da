"""`headend prepaid debt`: debts, their instalments, early payment and early end."""

from __future__ import annotations

import datetime as dt
from typing import Any

import rich_click as click

from headend.cli.common import App, Day, Yuan, json_option, pass_app, person_option, print_json, yuan
from headend.jobs.frame import run
from headend.jobs.schedule import JOBS
from headend.store import accounts, debts
from headend.store.db import StoreError
from tariffs.instalments import KINDS


@click.group(name="debt")
def command() -> None:
    """Debts in instalments (欠费分期): agreed by persons, taken out of what balances hold."""


@command.command()
@click.argument("customer")
@click.argument("amount", type=Yuan())
@click.option("--point", default="", help="Which of the customer's points, if there are several.")
@click.option("--kind", type=click.Choice(KINDS), required=True, help="旧欠、窃电追补、电费退补、欠费.")
@click.option(
    "--months", type=click.IntRange(1, debts.MOST_MONTHS), help="So many equal instalments, a month apart."
)
@click.option("--monthly", type=Yuan(), help="So many yuan a month.")
@click.option("--daily", type=Yuan(), help="So many yuan a day.")
@click.option("--share", type=click.IntRange(1, 100), help="So many per cent of each payment.")
@click.option("--due-day", type=click.IntRange(1, 28), default=1, show_default=True, help="Day of the month.")
@click.option(
    "--from",
    "first",
    type=Day(),
    default="today",
    show_default=True,
    help="First day on which one may fall due.",
)
@click.option("--reason", required=True, help="Why; it stays in the audit.")
@person_option
@json_option
@pass_app
def add(
    app: App, customer: str, amount: int, point: str, kind: str, months: int | None, monthly: int | None, daily: int | None,
    share: int | None, due_day: int, first: dt.date, reason: str, person: str, as_json: bool,
) -> None:  # fmt: skip
    """CUSTOMER (户号) owes AMOUNT yuan besides his supply, and pays it in instalments. A large one waits for another person's `agree`."""
    ways = {"months": months, "monthly": monthly, "daily": daily, "share": share}
    chosen = [(way, part) for way, part in ways.items() if part is not None]
    if len(chosen) != 1:
        raise click.UsageError("choose one of --months, --monthly, --daily and --share")
    now = app.clock.now()
    (way, part), account = chosen[0], accounts.of_customer(app.conn, customer, now=now, point=point)
    wish = debts.Wish(kind, amount, way, part, due_day, first, reason)
    _tell(debts.ask(app.conn, account, wish, who=person, now=now, zone=app.zone), as_json, "holds")


@command.command()
@click.argument("number", type=int)
@click.option("--reason", default="seen and agreed", show_default=True, help="Why; it stays in the audit.")
@person_option
@json_option
@pass_app
def agree(app: App, number: int, reason: str, person: str, as_json: bool) -> None:
    """Be the second person of debt NUMBER."""
    _tell(
        debts.agree(app.conn, number, who=person, reason=reason, now=app.clock.now(), zone=app.zone), as_json, "holds"
    )  # fmt: skip


@command.command()
@click.argument("number", type=int)
@click.argument("amount", type=Yuan())
@click.option("--reason", default="early payment", show_default=True, help="Why; it stays in the audit.")
@person_option
@pass_app
def repay(app: App, number: int, amount: int, reason: str, person: str) -> None:
    """Take AMOUNT yuan more of debt NUMBER out of the balance, with today's instalments."""
    debts.repay(app.conn, number, amount, who=person, reason=reason, now=app.clock.now(), zone=app.zone)
    click.echo(f"{yuan(amount)} yuan of debt {number} are taken with today")


@command.command()
@click.argument("number", type=int)
@click.option("--reason", required=True, help="Why; it stays in the audit.")
@person_option
@json_option
@pass_app
def end(app: App, number: int, reason: str, person: str, as_json: bool) -> None:
    """Give up what is left of debt NUMBER; arrears go back to the balance. A large rest needs another person who says the same."""
    _tell(
        debts.end(app.conn, number, who=person, reason=reason, now=app.clock.now(), zone=app.zone), as_json, "is ended"
    )  # fmt: skip


def _tell(done: debts.Done, as_json: bool, what: str) -> None:
    if as_json:
        print_json(
            {"debt": done.number, "waits_for_second_person": done.waits, "void_orders": list(done.void)}
        )
        return
    click.echo(
        f"debt {done.number} "
        + ("waits for another person" if done.waits else what)
        + "".join(f"; order {order} is void" for order in done.void)
    )


@command.command(name="list")
@click.option("--customer", default="", help="Only this 户号.")
@click.option("--point", default="", help="Which of the customer's points, if there are several.")
@json_option
@pass_app
def list_(app: App, customer: str, point: str, as_json: bool) -> None:
    """Debts, what is left of them, and who is behind."""
    now = app.clock.now()
    account = accounts.of_customer(app.conn, customer, now=now, point=point) if customer else None
    rows = debts.listing(app.conn, account=account, today=app.today())
    if as_json:
        print_json(rows)
        return
    app.show(
        "debts (yuan)",
        (">number", "customer", "kind", ">amount", ">left", "instalments", "state", "~behind", "~why"),
        [
            (
                row["id"], row["customer"], " ".join(debts.WORDS[row["kind"]]), yuan(row["amount_fen"]), yuan(row["left_fen"]),
                _way(row), row["state"], f"{yuan(row['behind_fen'])} since {row['behind_since']}" if row["behind_fen"] else "",
                f"{row['reason']} ({row['who']})",
            )
            for row in rows
        ],
    )  # fmt: skip


def _way(row: dict[str, Any]) -> str:
    return {
        "months": f"{row['part']} months, day {row['due_day']}",
        "monthly": f"{yuan(row['part'])} a month, day {row['due_day']}",
        "daily": f"{yuan(row['part'])} a day",
        "share": f"{row['part']} % of payments",
    }[str(row["way"])]


@command.command()
@click.argument("day", type=Day(), default="yesterday")
@pass_app
def take(app: App, day: dt.date) -> None:
    """Take what falls due up to DAY now, as each night's job does."""
    if day >= app.today():
        raise StoreError(f"{day} is not over yet")
    click.echo(run("instalments", JOBS["instalments"], app.conn, app.zone, app.clock, day))

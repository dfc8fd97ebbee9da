"""`headend purchase`: wallets of meters that execute their own fee control, what was carried into them, and what they say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import rich_click as click

from headend.cli import orders as order_commands
from headend.cli.common import App, Yuan, json_option, pass_app, person_option, print_json, yuan
from headend.cli.limits import limits
from headend.jobs import wallets as job
from headend.jobs.frame import Run, run
from headend.jobs.schedule import JOBS
from headend.store import cards, customers, orders, purchases, wallet_rules, wallets
from headend.store.db import StoreError
from tariffs.card import CardError, Image, level
from tariffs.money import price_of, text_of

#: how long a reading that a person asks for may wait for its meter
_NOW = np.timedelta64(900, "s")


@click.group(name="purchase")
def command() -> None:
    """Purchases (充值) into meters that count the money down by themselves (本地费控), and their wallets."""


@command.command()
@click.argument("customer")
@json_option
@pass_app
def show(app: App, customer: str, as_json: bool) -> None:
    """The wallet of CUSTOMER (户号): what the meter said last, what we have proof of, what is on its way."""
    now = app.clock.now()
    told = wallets.of_accounts(app.conn, customers.one(app.conn, customer, now=now)["accounts"], limit=7)
    if not told:
        raise StoreError(
            f"customer {customer} has no account whose fee control the meter executes; `headend prepaid show {customer}`"
        )
    if as_json:
        print_json(told)
        return
    for one in told:
        app.show(
            f"wallet of {customer} in meter {one['meter']}: {one['proved']} purchases proved",
            ("read", ">remaining", ">overdrawn", ">purchases", "relay", "~limits"),
            [
                (
                    app.local(r["at"]), yuan(r["remaining_fen"]), yuan(r["overdrawn_fen"]), r["count"], _relay(r["is_open"]),
                    ", ".join(f"{name} {yuan(fen)}" for name, fen in r["settings"].items()),
                )
                for r in one["readings"]
            ],
            note="what the meter says; the ledger is not made from it",
        )  # fmt: skip
    _table(app, purchases.listing(app.conn, limit=20, customer=customer))


def _relay(is_open: bool | None) -> str:
    return "–" if is_open is None else "open" if is_open else "closed"


@command.command(name="list")
@click.option("--customer", help="Only of this one (户号).")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="At most so many.")
@json_option
@pass_app
def list_(app: App, customer: str | None, limit: int, as_json: bool) -> None:
    """Purchases, newest first: waiting, under way, carried, refused, reversed, refunded."""
    rows = purchases.listing(app.conn, limit=limit, customer=customer)
    if as_json:
        print_json(rows)
        return
    _table(app, rows)


def _table(app: App, rows: Sequence[dict[str, Any]]) -> None:
    app.show(
        "purchases (yuan)",
        (">id", "customer", ">yuan", "paid", "standing", "meter", ">count", ">order", "~why"),
        [
            (
                r["purchase_id"], r["customer"], yuan(r["amount_fen"]), app.local(r["at"]), r["standing"], r["meter"] or "–",
                "–" if r["count"] is None else r["count"], r["order_id"] or "–",
                f"{r['settled_by']}: {r['settled_why']}" if r["settled_by"] else r["outcome"] or "",
            )
            for r in rows
        ],
    )  # fmt: skip


@command.command()
@click.argument("meter")
@person_option
@order_commands.wait_option
@json_option
@pass_app
def read(app: App, meter: str, person: str, wait: float, as_json: bool) -> None:
    """Have the wallet of METER (asset number) read now, by the collector that owns its line."""
    now = app.clock.now()
    order = orders.request(
        app.conn,
        kind="purchase",
        action="read",
        asset=meter,
        reason="asked for",
        who=person,
        now=now,
        expires=now + _NOW,
        priority=1,
    )
    order_commands.finish(app, order_commands.wait_for(app, order, wait), as_json)


@command.command()
@click.argument("purchase", type=int)
@person_option
@pass_app
def again(app: App, purchase: int, person: str) -> None:
    """Ask once more for PURCHASE, which the meter has refused, or whose wallet was not where it should be: look into why first."""
    click.echo(f"order {purchases.again(app.conn, purchase, who=person, now=app.clock.now())}")


@command.command()
@click.argument("purchase", type=int)
@click.option("--reason", required=True, help="Why; kept for ever.")
@person_option
@pass_app
def refund(app: App, purchase: int, reason: str, person: str) -> None:
    """Ask for PURCHASE, the newest of its wallet, to come out again (退费). Another person approves; the payment is taken back when it is proved."""
    order = purchases.refund(app.conn, purchase, reason=reason, who=person, now=app.clock.now())
    click.echo(f"order {order} waits for another person: `headend purchase approve {order} --person …`")


@command.command()
@click.argument("meter")
@click.option(
    "--count",
    type=click.IntRange(0, 9999),
    required=True,
    help="Where the wallet stands: its count of purchases.",
)
@click.option(
    "--carried",
    type=int,
    multiple=True,
    help="A purchase that is in it, by whatever way it came there; repeatable.",
)
@click.option("--reason", required=True, help="What was looked at; kept for ever.")
@person_option
@pass_app
def settle(app: App, meter: str, count: int, carried: tuple[int, ...], reason: str, person: str) -> None:
    """A person's word on the wallet of METER, after a card, a restored backup or a meter set back: counts go on from here. Changes no meter.

    A refund of it that is unknown, because nobody can tell whether it came out, is given up."""
    given_up = purchases.settle(
        app.conn, meter, count=count, carried=carried, why=reason, who=person, now=app.clock.now()
    )
    for order in given_up:
        click.echo(
            f"refund order {order} is given up: if it did come out, its money is still to be paid back"
        )
    click.echo(f"the wallet of {meter} stands at {count}; {len(carried)} purchases are in it by your word")


@command.command()
@pass_app
def reconcile(app: App) -> None:
    """Ask for purchases that are due and for readings, and compare wallets with the ledger now; what differs is a finding."""
    asked, refunds, failed = job.act(Run(app.conn, app.zone, app.clock.now()))
    click.echo(f"{asked} purchases asked for, {refunds} refunds booked")
    for why in failed:
        click.echo(f"not asked for: {why}")
    click.echo(run(job.NAME, JOBS[job.NAME], app.conn, app.zone, app.clock, app.today(), stepwise=True))


@command.command()
@click.argument("changes", nargs=-1)
@person_option
@json_option
@pass_app
def rules(app: App, changes: tuple[str, ...], person: str, as_json: bool) -> None:
    """Show by what wallets are judged, or change some: tolerance=1.00 age_hours=48 alarm1=20 alarm2=5 overdraft=0 hoarding=9999 permit=0.

    The last five are what the meters' own limits shall be; alarm1=- compares it no more."""
    if changes:
        wallet_rules.set_rules(app.conn, dict(_pair(change) for change in changes), person)
        app.conn.commit()
    current = wallet_rules.rules(app.conn)
    told = {name: getattr(current, name) for name in type(current).__slots__}
    if as_json:
        print_json(told)
        return
    app.show(
        "rules for wallets",
        ("rule", "value"),
        [(name, _value(name, value)) for name, value in told.items()],
        note="amounts in yuan; –: not compared",
    )


def _pair(change: str) -> tuple[str, int | None]:
    name, sign, value = change.partition("=")
    if not sign:
        raise click.UsageError(f"{change!r} is not NAME=VALUE")
    if value == "-":
        return name, None
    if name == "age_hours":
        if not value.isdecimal():
            raise click.UsageError(f"age_hours: {value!r} is no whole number of hours")
        return name, int(value)
    return name, Yuan().convert(value, None, None)


def _value(name: str, value: int | None) -> str:
    if value is None:
        return "–"
    return str(value) if name == "age_hours" else yuan(value)


class Places4(click.ParamType[int]):
    """kWh or yuan per kWh with at most four decimals, exactly."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        try:
            return price_of(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


_REGISTER = click.option(
    "--register", type=Places4(), required=True, help="What the meter's register shows, kWh."
)


@command.group()
def card() -> None:
    """Meters that hold kWh bought by card (卡表): the image of what is left. Warnings come of it, and never a trip."""


@card.command(name="open")
@click.argument("customer")
@_REGISTER
@click.option("--price", type=Places4(), required=True, help="Yuan per kWh at which money becomes energy.")
@click.option("--left", type=Places4(), default="0", help="What the meter shows as left now, kWh.")
@person_option
@pass_app
def open_(app: App, customer: str, register: int, price: int, left: int, person: str) -> None:
    """Begin the image of CUSTOMER's card; what is paid from now on is added to it."""
    _noted(
        cards.add(
            app.conn,
            customer,
            "open",
            who=person,
            now=app.clock.now(),
            register=register,
            price=price,
            energy=left,
        )
    )


@card.command()
@click.argument("customer")
@_REGISTER
@click.option("--price", type=Places4(), required=True, help="The price from now on, yuan per kWh.")
@person_option
@pass_app
def price(app: App, customer: str, register: int, price: int, person: str) -> None:
    """Another price for CUSTOMER from this register on: what remains is converted by its value."""
    _noted(
        cards.add(
            app.conn, customer, "reprice", who=person, now=app.clock.now(), register=register, price=price
        )
    )


@card.command(name="settle")
@click.argument("customer")
@_REGISTER
@click.option(
    "--next",
    "following",
    type=Places4(),
    help="The register that counts from then on, where the meter was exchanged.",
)
@person_option
@pass_app
def settle_card(app: App, customer: str, register: int, following: int | None, person: str) -> None:
    """Take off what CUSTOMER has used up to this register."""
    _noted(
        cards.add(
            app.conn, customer, "settle", who=person, now=app.clock.now(), register=register, energy=following
        )
    )


def _noted(image: Image) -> None:
    click.echo(
        f"{text_of(image.energy)} kWh as of register {text_of(image.settled)}, at {text_of(image.price)} yuan"
    )


@card.command(name="show")
@click.argument("customer", required=False)
@json_option
@pass_app
def show_cards(app: App, customer: str | None, as_json: bool) -> None:
    """What is left on the card of CUSTOMER, or on all, by the newest register that we have."""
    found = cards.every(app.conn, now=app.clock.now(), customer=customer)
    rows = [(one, *_left(one)) for one in found]
    if as_json:
        print_json(
            [
                {
                    "customer": one.customer, "meter": one.asset, "remaining_kwh": None if left is None else text_of(left), "level": level,
                    "settled_register": text_of(one.image.settled), "price": text_of(one.image.price), "read_at": one.read_at,
                }
                for one, left, level in rows
            ]
        )  # fmt: skip
        return
    app.show(
        "cards",
        ("customer", "meter", ">left kWh", "level", ">settled at", ">yuan/kWh", "register of"),
        [
            (one.customer, one.asset, "–" if left is None else text_of(left), level, text_of(one.image.settled), text_of(one.image.price),
             app.local(one.read_at))
            for one, left, level in rows
        ],
        note="bought less used, as far as we know; the meter counts by itself",
    )  # fmt: skip


def _left(one: cards.Card) -> tuple[int | None, str]:
    try:
        return one.remaining, level(one.remaining)
    except CardError as why:
        return None, str(why)


command.add_command(limits)
command.add_command(order_commands.approve)
command.add_command(order_commands.cancel)

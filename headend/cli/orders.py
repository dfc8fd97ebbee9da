"""Orders at the command line: ask, then wait for the proven outcome."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

import numpy as np
import rich_click as click
from click.exceptions import Exit
from rich.markup import escape

from headend.cli.common import App, json_option, pass_app, person_option, print_json, yuan
from headend.cli.tables import spelled
from headend.control import gates
from headend.control.load_steps import steps
from headend.store import orders
from headend.store.db import StoreError

T = TypeVar("T")

#: states in which nothing more will happen without somebody else: a person, or the customer's key
RESTING = ("wanted", "pending")


def wait_for(app: App, order_id: int, seconds: float) -> dict[str, Any]:
    """The order as it stands when it has ended, rests, or `seconds` are over."""
    until = time.monotonic() + seconds
    while True:
        order = orders.get(app.conn, order_id)
        app.conn.rollback()
        if not order["is_open"] or order["state"] in RESTING or time.monotonic() > until:
            return order
        time.sleep(0.1)


#: how long a reading that something else waits for may wait for its terminal
READING: Final = np.timedelta64(15, "m")


def read_first(app: App, kind: str, meter: str, reason: str, person: str, wait: float) -> dict[str, Any]:
    """Order a read of the meter, by the collector that owns its line, and wait for it: the verified order. StoreError: it did not come to that."""
    now = app.clock.now()
    order_id = orders.request(
        app.conn, kind=kind, action="read", asset=meter, reason=reason, who=person, now=now, expires=now + READING, priority=3
    )  # fmt: skip
    order = wait_for(app, order_id, wait)
    if order["state"] != "verified":
        raise StoreError(failure(order, wait))
    return order


#: kind -> how a value of one of its keys is said
_SPELLED: Final[Mapping[str, Callable[[str, Any], str]]] = {
    "prices": spelled,
    "limits": lambda _, fen: yuan(fen),
}


def show(app: App, order: dict[str, Any]) -> None:
    """One order and its history."""
    whom = f"meter {order['asset']}" if order["asset"] else f"terminal {order['terminal']}"
    app.console.print(
        f"[bold]order {order['order_id']}[/bold] {order['kind']} {order['action']} of {whom}: "
        f"[bold]{order['state']}[/bold] – {escape(said(order))}",
        highlight=False,
    )
    for item in order["request"].get("items", ()):
        was, becomes = (
            _SPELLED[order["kind"]](item["key"], item[side])
            if order["kind"] in _SPELLED
            else _short(item[side])
            for side in ("was", "becomes")
        )
        app.console.print(
            f"  {item['key']}: {escape(was)} → {escape(becomes)}",
            highlight=False,
        )
    if order["kind"] == "control" and order["action"] != "read":
        for name, value in steps(order["action"], order["request"]):
            app.console.print(f"  {name}: {escape(words(value))}", highlight=False)
    for event in order["events"]:
        app.console.print(
            f"  {app.local(event['at'])}  {event['event']:<9} → {event['state']:<9} {escape(event['who'])}  {escape(event['detail'])}",
            highlight=False,
        )


def said(order: dict[str, Any]) -> str:
    """What came of it; before anything has, why it was asked for and what it waits for."""
    if order["state"] == "wanted" and order["outcome"]:
        return f"{order['reason']}; {order['outcome']}"
    return str(order["outcome"] or order["reason"])


def _short(value: Any) -> str:
    """An item of a write as people compare it: who approves must see what."""
    if value is None:
        return "nothing"
    if isinstance(value, dict):
        return ", ".join(f"{name} {value[name]}" for name in ("point", "address", "protocol", "port", "baud"))
    return str(value)


def words(value: Mapping[str, Any]) -> str:
    """What a terminal is told, or says, under one name."""
    return ", ".join(f"{name} {_list(each)}" for name, each in value.items())


def _list(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def failure(order: dict[str, Any], wait: float) -> str:
    """Why an order that was waited for has brought nothing, and what to do."""
    if order["is_open"]:
        return (
            f"no answer within {wait:.0f} s: order {order['order_id']} is {order['state']}; is a collector running, and is the terminal online? "
            f"`headend why {order['asset']}`"
        )
    return f"order {order['order_id']} {order['state']}: {order['outcome']}"


accept_option = click.option(
    "--accept",
    multiple=True,
    type=click.Choice(gates.ACCEPTABLE),
    help="You have looked at what this gate of a trip doubts, and take it upon yourself.",
)

wait_option = click.option("--wait", default=15.0, show_default=True, help="Seconds to wait for the outcome.")


def moved(move: Callable[[], T], what: str) -> T:
    """Move an order; a refusal and a step that is none are said in one line."""
    try:
        return move()
    except orders.Refused as refused:
        record = f"; on record as order {refused.order_id}" if refused.order_id else ""
        hint = (
            "; `headend relay check` asks every gate"
            if what.startswith(("trip", "approval of relay"))
            else ""
        )
        raise StoreError(f"{what} refused: {refused}{record}{hint}") from None
    except orders.NoSuchStep as error:
        raise StoreError(str(error)) from None


def finish(app: App, order: dict[str, Any], as_json: bool) -> None:
    """Show the order; exit code 1 where it came to nothing."""
    if as_json:
        print_json(order)
    else:
        show(app, order)
    if order["state"] in ("failed", "refused", "expired"):
        raise Exit(1)


# --- what can be done with any order; the groups of its kinds have these ---


@click.command()
@click.argument("order", type=int)
@accept_option
@person_option
@wait_option
@json_option
@pass_app
def approve(app: App, order: int, accept: tuple[str, ...], person: str, wait: float, as_json: bool) -> None:
    """Approve what somebody else asked for, and wait for its outcome."""
    kind = orders.get(app.conn, order)["kind"]
    moved(
        lambda: orders.approve(app.conn, order, who=person, now=app.clock.now(), accept=accept),
        f"approval of {kind} order {order}",
    )
    finish(app, wait_for(app, order, wait), as_json)


@click.command()
@click.argument("order", type=int)
@person_option
@json_option
@pass_app
def cancel(app: App, order: int, person: str, as_json: bool) -> None:
    """Withdraw an order that has not been sent."""
    moved(
        lambda: orders.cancel(app.conn, order, who=person, now=app.clock.now()),
        f"withdrawal of order {order}",
    )
    finish(app, orders.get(app.conn, order), as_json)


@click.command(name="show")
@click.argument("order", type=int)
@json_option
@pass_app
def one(app: App, order: int, as_json: bool) -> None:
    """One order, with all that it would write, and step by step."""
    finish(app, orders.get(app.conn, order), as_json)

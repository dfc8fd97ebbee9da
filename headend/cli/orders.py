"""Orders at the command line: ask, then wait for the proven outcome."""

from __future__ import annotations

import time
from typing import Any

import rich_click as click
from rich.markup import escape

from headend.cli.common import App
from headend.store import orders

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


def show(app: App, order: dict[str, Any]) -> None:
    """One order and its history."""
    whom = f"meter {order['asset']}" if order["asset"] else f"terminal {order['terminal']}"
    app.console.print(
        f"[bold]order {order['order_id']}[/bold] {order['kind']} {order['action']} of {whom}: "
        f"[bold]{order['state']}[/bold] – {escape(order['outcome'] or order['reason'])}",
        highlight=False,
    )
    for item in order["request"].get("items", ()):
        app.console.print(
            f"  {item['key']}: {escape(_short(item['was']))} → {escape(_short(item['becomes']))}",
            highlight=False,
        )
    for event in order["events"]:
        app.console.print(
            f"  {app.local(event['at'])}  {event['event']:<9} → {event['state']:<9} {escape(event['who'])}  {escape(event['detail'])}",
            highlight=False,
        )


def _short(value: Any) -> str:
    """An item of a write as people compare it: who approves must see what."""
    if value is None:
        return "nothing"
    if isinstance(value, dict):
        return ", ".join(f"{name} {value[name]}" for name in ("point", "address", "protocol", "port", "baud"))
    return str(value)


def failure(order: dict[str, Any], wait: float) -> str:
    """Why an order that was waited for has brought nothing, and what to do."""
    if order["is_open"]:
        return (
            f"no answer within {wait:.0f} s: order {order['order_id']} is {order['state']}; is a collector running, and is the terminal online? "
            f"`headend why {order['asset']}`"
        )
    return f"order {order['order_id']} {order['state']}: {order['outcome']}"


wait_option = click.option("--wait", default=15.0, show_default=True, help="Seconds to wait for the outcome.")

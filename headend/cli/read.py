"""`headend read METER`: a live reading, as an order to the collector that owns the meter's terminal."""

from __future__ import annotations

from typing import Any

import numpy as np
import rich_click as click

from headend.cli import orders as shown
from headend.cli.common import App, json_option, pass_app, person_option, print_json
from headend.store import orders
from headend.store.db import StoreError
from protocols.quantity import quantities


@click.command(name="read")
@click.argument("meter")
@click.argument("items", nargs=-1, metavar="[ITEM]...")
@person_option
@shown.wait_option
@json_option
@pass_app
def command(app: App, meter: str, items: tuple[str, ...], person: str, wait: float, as_json: bool) -> None:
    """Read METER now: registers by tariff, voltages, currents, power. ITEM: quantity codes such as voltage_a (default: all)."""
    names = {code: (q.name_en, q.name_zh) for code, q in quantities().items()}
    unknown = [item for item in items if item not in names]
    if unknown:
        raise click.UsageError(f"unknown item {unknown[0]!r}; there are {', '.join(names)}")
    order = live(app, meter, person, wait)
    values = {code: v for code, v in order["result"]["values"].items() if not items or code in items}
    if as_json:
        print_json(
            {
                "meter": meter,
                "read_at": order["result"]["read_at"],
                "order": order["order_id"],
                "values": values,
            }
        )
        return
    app.show(
        f"meter {meter}, read {app.local(order['sent_at'], '%Y-%m-%d %H:%M:%S')}",
        ("quantity", "", "OBIS", ">value", "unit"),
        [(names[code][0], names[code][1], v["obis"], v["value"], v["unit"]) for code, v in values.items()],
    )


def live(app: App, meter: str, person: str, wait: float) -> dict[str, Any]:
    """Order a reading and wait for it: the verified order. StoreError says why there is none."""
    now = app.clock.now()
    order_id = orders.request(
        app.conn, kind="read", action="", asset=meter, reason="read at the command line", who=person, now=now,
        expires=now + np.timedelta64(600, "s"), priority=3,
    )  # fmt: skip
    order = shown.wait_for(app, order_id, wait)
    if order["state"] == "verified":
        return order
    if order["is_open"]:
        raise StoreError(
            f"no answer within {wait:.0f} s: order {order_id} is {order['state']}; is a collector running, and is the terminal online? "
            f"`headend why {meter}`"
        )
    raise StoreError(f"order {order_id} {order['state']}: {order['outcome']}")

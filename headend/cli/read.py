"""`headend read METER ITEM...`: a live reading, as an order to the collector that owns the meter's terminal."""

from __future__ import annotations

from typing import Any

import numpy as np
import rich_click as click

from headend.cli import orders as shown
from headend.cli.common import App, json_option, pass_app, person_option, print_json
from headend.collector.drivers import drivers
from headend.store import orders
from headend.store.db import StoreError
from headend.store.orders import ITEMS
from headend.store.whereabouts import whereabouts
from protocols.errors import Misuse
from protocols.quantity import quantities
from terminals.diagnose.diagnosis import Trip
from terminals.items.catalogues import catalogue_of, find_all, known
from terminals.items.item import UnknownItem


@click.command(name="read")
@click.argument("meter")
@click.argument("items", nargs=-1, metavar="[ITEM]...")
@click.option("--frames", is_flag=True, help="Show the frames of the items asked for.")
@person_option
@shown.wait_option
@json_option
@pass_app
def command(
    app: App, meter: str, items: tuple[str, ...], frames: bool, person: str, wait: float, as_json: bool
) -> None:
    """Read METER now. Without ITEM: registers by tariff, voltages, currents, power, kept as readings.

    ITEM is a quantity (voltage_a), its Chinese name (A相电压), an OBIS code (1-0:32.7.0), or the identifier of the meter's own protocol: DI
    02010100, OAD 20000200, CLASS,OBIS,ATTRIBUTE, the row of a register map. Items are shown, not kept.
    """
    if items:
        _items(app, meter, items, frames, person, wait, as_json)
        return
    names = {code: (q.name_en, q.name_zh) for code, q in quantities().items()}
    order = live(app, meter, person, wait)
    values = order["result"]["values"]
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


def _items(
    app: App, meter: str, items: tuple[str, ...], frames: bool, person: str, wait: float, as_json: bool
) -> None:
    order = live(app, meter, person, wait, action=ITEMS + " ".join(_codes(app, meter, items)))
    result = order["result"]
    if as_json:
        told = {
            "meter": meter,
            "read_at": result["read_at"],
            "order": order["order_id"],
            "items": result["items"],
        }
        print_json(told | {"frames": result["frames"]})
        return
    app.show(
        f"meter {meter}, read {app.local(order['sent_at'], '%Y-%m-%d %H:%M:%S')}",
        ("item", "", "", ">value", "unit"),
        [
            (
                row["code"],
                _name(row["name_en"], row["part"]),
                _name(row["name_zh"], row["part_zh"]),
                "–" if row["value"] is None else row["value"],
                row["unit"] if not row["refused"] else row["refused"],
            )
            for row in result["items"]
        ],
    )
    for trip in (Trip(**row) for row in result["frames"]) if frames else ():
        for arrow, data in (("→", trip.sent), ("←", trip.received or "(nothing)")):
            app.console.print(f"  {arrow} {data}", highlight=False, soft_wrap=True, style="dim")
        app.console.print(f"    {trip.seconds:.3f} s", highlight=False, style="dim")


def _codes(app: App, meter: str, items: tuple[str, ...]) -> list[str]:
    """The items as the meter's protocol writes them. A usage error names the nearest ones, before anything is ordered."""
    try:
        for item in items:
            known(item)
    except UnknownItem as error:
        raise click.UsageError(str(error)) from None
    found = whereabouts(app.conn, meter, app.clock.now())
    app.conn.rollback()
    driver = drivers().get(found.protocol)
    if driver is None:
        raise StoreError(
            f"terminal {found.terminal}: no driver for protocol {found.protocol!r}; correct the archive"
        )
    try:
        return [item.code for item in find_all(catalogue_of(driver, found.address), items)]
    except (UnknownItem, Misuse) as error:
        raise click.UsageError(str(error)) from None


def _name(name: str, part: str) -> str:
    return f"{name}: {part}" if part else name


def live(app: App, meter: str, person: str, wait: float, action: str = "") -> dict[str, Any]:
    """Order a reading and wait for it: the verified order. StoreError says why there is none."""
    now = app.clock.now()
    order_id = orders.request(
        app.conn, kind="read", action=action, asset=meter, reason="read at the command line", who=person, now=now,
        expires=now + np.timedelta64(600, "s"), priority=3,
    )  # fmt: skip
    order = shown.wait_for(app, order_id, wait)
    if order["state"] == "verified":
        return order
    raise StoreError(shown.failure(order, wait))

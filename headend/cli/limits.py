"""`headend purchase limits`: the amounts at which a meter warns, opens and closes by itself (报警、透支、囤积、合闸允许金额)."""

from __future__ import annotations

from typing import Any

import rich_click as click

from headend.cli import orders as shown
from headend.cli.common import App, Yuan, json_option, pass_app, person_option, print_json, yuan
from headend.cli.prices import VALID, reason_option, wait_option, yes_option
from headend.control import wallet_limits
from headend.control.wallet_limits import NAMES
from headend.store import orders, wallet_rules
from headend.store.db import StoreError
from headend.store.orders import Writing


@click.command()
@click.argument("meter")
@click.argument("changes", nargs=-1)
@yes_option
@reason_option
@person_option
@wait_option
@json_option
@pass_app
def limits(
    app: App, meter: str, changes: tuple[str, ...], yes: bool, reason: str, person: str, wait: float, as_json: bool
) -> None:  # fmt: skip
    """Show METER's own limits and write some of them: alarm1=20 alarm2=5 overdraft=0 hoarding=9999 permit=0, in yuan; without any, what the rules
    (`headend purchase rules`) say. Without --yes nothing is asked for.

    The order waits for another person's `headend purchase approve`. Nobody who has supply loses it by that: what is left in the wallet is read
    again before the first byte."""
    wanted = _wanted(app, changes)
    why = "before its limits are written"
    wallet = shown.read_first(app, "purchase", meter, why, person, wait)["result"]["wallet"]
    held: dict[str, int] = wallet["settings"]
    if not held:
        raise StoreError(f"meter {meter} tells of no limits")
    if not changes:
        wanted = {name: fen for name, fen in wanted.items() if name in held}
    left = wallet["remaining_fen"] - wallet["overdrawn_fen"]
    why_not = wallet_limits.against(wanted, held, left, is_open=wallet["is_open"])
    if why_not is not None:
        raise StoreError(f"meter {meter}: {why_not}")
    items = [
        {"key": name, "was": held[name], "becomes": wanted[name]}
        for name in NAMES
        if name in wanted and held[name] != wanted[name]
    ]
    if not yes:
        _tell(app, meter, held, items, as_json)
        return
    if not items:
        raise StoreError(f"meter {meter} holds them so already: there is nothing to write")
    _ask(app, meter, items, reason, person, as_json)


def _wanted(app: App, changes: tuple[str, ...]) -> dict[str, int]:
    if not changes:
        rules = wallet_rules.rules(app.conn)
        return {name: fen for name in NAMES if (fen := getattr(rules, name)) is not None}
    wanted = {}
    for change in changes:
        name, sign, value = change.partition("=")
        if not sign or name not in NAMES:
            raise click.UsageError(f"{change!r} is not NAME=YUAN; names are {', '.join(NAMES)}")
        wanted[name] = Yuan().convert(value, None, None)
    return wanted


def _tell(app: App, meter: str, held: dict[str, int], items: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        print_json({"meter": meter, "held": held, "items": items})
        return
    becomes = {item["key"]: item["becomes"] for item in items}
    app.show(
        f"limits of the wallet in meter {meter}, yuan",
        ("", ">is", ">becomes"),
        [
            (name, yuan(held[name]), yuan(becomes[name]) if name in becomes else "")
            for name in NAMES
            if name in held
        ],
        "nothing is written without --yes" if items else "there is nothing to write",
    )


def _ask(app: App, meter: str, items: list[dict[str, Any]], reason: str, person: str, as_json: bool) -> None:
    if not reason:
        raise click.UsageError("--yes needs --reason: it is kept with the order")
    now = app.clock.now()
    order_id = shown.moved(
        lambda: orders.request(
            app.conn, kind="limits", action="write", asset=meter, reason=reason, who=person, now=now, expires=now + VALID,
            writing=Writing({"items": items}),
        ),
        f"write of limits into meter {meter}",
    )  # fmt: skip
    shown.finish(app, orders.get(app.conn, order_id), as_json)

"""`headend control`: load control (定值控制) and keep-power (保电) of terminals: read, written by two persons, proven by reading back."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import rich_click as click

from headend.cli import orders as shown
from headend.cli.common import App, json_option, pass_app, person_option, print_json
from headend.cli.orders import finish, moved, words
from headend.control.load_control import (
    CONTROLS,
    ControlError,
    ControlOrder,
    KeepPower,
    check_for,
    document,
    order_of,
)
from headend.control.load_steps import steps
from headend.store import orders, stations
from headend.store.db import StoreError
from headend.store.orders import Writing

#: for which an order may still be sent: a write waits for its second person first
VALID = np.timedelta64(8, "h")
AT_ONCE = np.timedelta64(10, "m")

reason_option = click.option("--reason", default="", help="Why; kept with the order for ever.")
group_option = click.option(
    "--group", type=click.IntRange(1, 8), default=1, show_default=True, help="Aggregate group (总加组)."
)


@click.group(name="control")
def command() -> None:
    """Load control (定值控制) and keep-power (保电) of terminals. What is in the customer's favour is told at once, the rest by two persons."""


@command.command()
@click.argument("code")
@group_option
@person_option
@shown.wait_option
@json_option
@pass_app
def read(app: App, code: str, group: int, person: str, wait: float, as_json: bool) -> None:
    """Read what terminal CODE is set to, what is on, and what it does now."""
    order_id = _request(app, code, "read", {"group": group}, "read at the command line", person, AT_ONCE)
    order = shown.wait_for(app, order_id, wait)
    if order["state"] != "verified":
        raise StoreError(
            f"no answer within {wait:.0f} s: order {order_id} is {order['state']}; `headend terminal show {code}`"
            if order["is_open"]
            else f"order {order_id} {order['state']}: {order['outcome']}"
        )
    held: Mapping[str, Mapping[str, Any]] = order["result"]["held"]
    if as_json:
        print_json({"terminal": code, "group": group, "order": order_id, "held": held})
        return
    app.show(
        f"terminal {code}, group {group}: keep-power {_onoff(held.get('keep-power'))}",
        ("", "", "~"),
        [(name, _zh(name), words(value)) for name, value in held.items()],
    )


@command.command(name="keep-power")
@click.argument("code")
@click.option(
    "--half-hours",
    type=click.IntRange(0, 255),
    default=0,
    show_default=True,
    help="For so long; 0: until it is ended. DL/T 698.45 knows no time.",
)
@reason_option
@person_option
@shown.wait_option
@json_option
@pass_app
def keep_power(
    app: App, code: str, half_hours: int, reason: str, person: str, wait: float, as_json: bool
) -> None:
    """Tell terminal CODE to cut nobody off (保电投入). No second person, no gate; with an end it is refused where it stands already and a control is
    on, which would act then."""
    _at_once(app, code, "keep-power", document(KeepPower(half_hours)), reason, person, wait, as_json)


@command.command(name="end-keep-power")
@click.argument("code")
@reason_option
@person_option
@shown.wait_option
@json_option
@pass_app
def end_keep_power(app: App, code: str, reason: str, person: str, wait: float, as_json: bool) -> None:
    """End it (保电解除). Refused while any control is on in the terminal, for it would act at once."""
    _at_once(app, code, "end-keep-power", {}, reason, person, wait, as_json)


@command.command()
@click.argument("code")
@click.argument("controls", nargs=-1, required=True, type=click.Choice(list(CONTROLS)))
@group_option
@reason_option
@person_option
@shown.wait_option
@json_option
@pass_app
def off(
    app: App, code: str, controls: tuple[str, ...], group: int, reason: str, person: str, wait: float, as_json: bool
) -> None:  # fmt: skip
    """Switch controls of terminal CODE off. No second person, no gate."""
    try:
        order = ControlOrder(off=controls, group=group)
    except ControlError as error:
        raise click.UsageError(str(error)) from None
    _at_once(app, code, order.action, document(order), reason, person, wait, as_json)


@command.command()
@click.argument("code")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@click.option("--yes", is_flag=True, help="Ask for it. Without: show what would be written.")
@reason_option
@person_option
@json_option
@pass_app
def write(app: App, code: str, file: Path, yes: bool, reason: str, person: str, as_json: bool) -> None:
    """Write what FILE, a TOML, says to terminal CODE; without --yes it is shown, and nothing is asked for.

    on and off name controls, [set.period] and its like have their parameters: period, factory-rest, suspension, reduction, monthly-energy, purchase;
    group, power_rounds, energy_rounds, alarm_minutes, security_w and sliding_minutes stand before the tables. The order waits for another
    person's `headend control approve`.
    """
    (row,) = stations.listing(app.conn, app.clock.now(), code)
    try:
        order = order_of(tomllib.loads(file.read_text(encoding="utf-8")))
        check_for(order, row["protocol"])
    except ValueError as error:  # ControlError is one, and so is what is no TOML
        raise StoreError(f"{file}: {error}") from None
    # a purchase at the command line has no payment behind it: it is a write like any other
    action = "release" if order.action == "release" else "write"
    if yes:
        order_id = _request(app, code, action, document(order), _said(reason), person, VALID)
        finish(app, orders.get(app.conn, order_id), as_json)
        return
    told = steps(action, document(order))
    if as_json:
        print_json({"terminal": code, "action": action, "request": document(order), "steps": told})
        return
    needs = "waits for a second person" if action == "write" else "needs no second person"
    app.show(
        f"terminal {code} would be told this, each read back before the next; it {needs}",
        ("", "", "~"),
        [(name, _zh(name), words(value)) for name, value in told],
    )


def _at_once(
    app: App, code: str, action: str, request: dict[str, Any], reason: str, person: str, wait: float, as_json: bool
) -> None:  # fmt: skip
    order_id = _request(app, code, action, request, _said(reason), person, AT_ONCE)
    finish(app, shown.wait_for(app, order_id, wait), as_json)


def _request(
    app: App, code: str, action: str, request: dict[str, Any], reason: str, person: str, valid: np.timedelta64
) -> int:
    now = app.clock.now()
    return moved(
        lambda: orders.request(
            app.conn, kind="control", action=action, terminal=code, reason=reason, who=person, now=now, expires=now + valid,
            priority=3, writing=Writing(request),
        ),
        f"{action} of terminal {code}",
    )  # fmt: skip


def _said(reason: str) -> str:
    if not reason:
        raise click.UsageError("--reason is needed: it is kept with the order")
    return reason


def _onoff(held: Mapping[str, Any] | None) -> str:
    return "–" if held is None else "on" if held["on"] else "off"


#: names of what is no control by itself
_FRAME_ZH = {
    "keep-power": "保电", "security": "保安定值", "slots": "功控时段", "alarms": "功控告警时间", "power-rounds": "功控轮次",
    "energy-rounds": "电控轮次", "sliding": "滑差时间", "state": "当前状态",
}  # fmt: skip


def _zh(name: str) -> str:
    words = [word for word in name.split(".") if not word.isdecimal() and word != "on"]
    zh = _FRAME_ZH.get(words[0]) or CONTROLS[words[0]].zh
    return f"{zh}投入" if name.startswith("on.") else zh


command.add_command(shown.approve)
command.add_command(shown.cancel)
command.add_command(shown.one)

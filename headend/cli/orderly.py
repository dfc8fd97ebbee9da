"""`headend orderly`: orderly use of electricity: plans, what they would bring, their approval, where they stand, and what they have brought."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import rich_click as click

from headend.cli.common import App, json_option, pass_app, person_option, print_json
from headend.control.orderly import REASONS
from headend.store import orderly, orderly_effect, orderly_orders
from headend.store.db import StoreError


@click.group(name="orderly")
def command() -> None:
    """Orderly use of electricity (有序用电): a shortage is found by setpoints, in the order in which customers are called."""


@command.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@person_option
@json_option
@pass_app
def draft(app: App, file: Path, person: str, as_json: bool) -> None:
    """Write a plan down from FILE (TOML), and tell what it would bring. Nobody is told anything before another person approves it."""
    try:
        said = tomllib.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise StoreError(f"{file} cannot be read: {error}") from None
    number = orderly.draft(app.conn, orderly.read(said), who=person, now=app.clock.now())
    _show(app, number, as_json)


@command.command()
@click.argument("number", type=int)
@person_option
@json_option
@pass_app
def look(app: App, number: int, person: str, as_json: bool) -> None:
    """Work out anew whom draft NUMBER would call."""
    orderly.look(app.conn, number, who=person, now=app.clock.now())
    _show(app, number, as_json)


@command.command()
@click.argument("number", type=int)
@json_option
@pass_app
def show(app: App, number: int, as_json: bool) -> None:
    """Plan NUMBER: who is called, down to what, where his terminal stands; who is left out, and every reason why."""
    _show(app, number, as_json)


@command.command(name="list")
@json_option
@pass_app
def list_(app: App, as_json: bool) -> None:
    """Plans, newest first."""
    rows = orderly.listing(app.conn, limit=100)
    if as_json:
        print_json(rows)
        return
    app.show(
        "orderly use",
        (">plan", "~name", "state", "first day", "last day", ">kW short", ">called", ">kW expected", ">held", ">let go", ">not known", "~by",
         "~approved by"),
        [(r["plan_id"], r["name"], r["state"], r["first_day"], r["last_day"], f"{r['document']['shortage_kw']:g}", r["participants"],
          f"{r['reduce_kw']:.0f}", r["held"], r["released"], r["unsure"], r["created_by"], r["approved_by"] or "") for r in rows],
        note="held, let go: read back; not known: told, and not read back yet",
    )  # fmt: skip


@command.command()
@click.argument("number", type=int)
@person_option
@pass_app
def approve(app: App, number: int, person: str) -> None:
    """Approve exactly what `show` tells of plan NUMBER. Another person than who wrote it."""
    orderly.approve(app.conn, number, who=person, now=app.clock.now())
    plan = orderly.get(app.conn, number)
    click.echo(
        f"plan {number} is approved by {person}: {plan['participants']} terminals are told before {app.local(plan['begins'], '%m-%d %H:%M')}"
    )


@command.command()
@click.argument("number", type=int)
@click.option("--why", required=True, help="Kept for ever.")
@person_option
@pass_app
def withdraw(app: App, number: int, why: str, person: str) -> None:
    """Take plan NUMBER back: what was not sent is cancelled, what was switched on is switched off, each proven by reading back."""
    orderly.withdraw(app.conn, number, who=person, why=why, now=app.clock.now())
    asked = orderly_orders.settle(app.conn, number, who=person, now=app.clock.now())
    click.echo(
        f"plan {number} is withdrawn; {asked} terminals are let go now, and the jobs ask until each is proven"
    )


@command.command()
@click.argument("number", type=int)
@json_option
@pass_app
def effect(app: App, number: int, as_json: bool) -> None:
    """What each day of plan NUMBER has brought: baseline, actual load, reduction and its limits, share of what was asked, who did not follow."""
    days = orderly_effect.effects(app.conn, number)
    if as_json:
        print_json(days)
        return
    if not days:
        click.echo(
            f"no day of plan {number} has been measured: that is done in the night after it, when its curves are in"
        )
    for day in days:
        app.show(
            f"{day['day']}, kWh within its periods",
            ("~customer", "terminal", ">baseline", ">taken", ">reduced", ">within", ">asked", ">share", "followed", "~what is missing"),
            [(f"{p['customer']} {p['name']}", p["terminal"], *_energies(p), _followed(p), p["why"]) for p in day["participants_list"]]
            + [(f"all: {day['known']} of {day['participants']}", "", *_energies(day), f"{day['followed']} of {day['participants']}", "")],
            note="within: where the truth lies, 19 times in 20; all: of those who are known",
        )  # fmt: skip


def _energies(row: dict[str, Any]) -> tuple[str, ...]:
    if row["reduced_kwh"] is None:
        return ("–", "–", "–", "–", f"{row['asked_kwh']:.1f}", "–")
    return (
        f"{row['baseline_kwh']:.1f}", f"{row['taken_kwh']:.1f}", f"{row['reduced_kwh']:.1f}", f"{row['low_kwh']:.1f} … {row['high_kwh']:.1f}",
        f"{row['asked_kwh']:.1f}", "–" if row["share"] is None else f"{row['share']:.0%}",
    )  # fmt: skip


def _followed(row: dict[str, Any]) -> str:
    if not row["told"]:
        return "was not told"
    if row["followed"] is None:
        return "not known"
    return "yes" if row["followed"] else f"no: {row['above']} of {row['slots']} quarter-hours above"


def _show(app: App, number: int, as_json: bool) -> None:
    plan = orderly.get(app.conn, number)
    if as_json:
        print_json(plan)
        return
    said = plan["document"]
    click.echo(
        f"plan {number}: {plan['name']}, {plan['state']}; {', '.join(said['periods'])} from {plan['first_day']} to {plan['last_day']}"
    )
    click.echo(
        f"short of {said['shortage_kw']:g} kW; {plan['participants']} terminals would give {plan['reduce_kw']:.0f} kW, "
        f"each on the day when it gives least {plan['least_kw']:.0f} kW; looked at {app.local(plan['looked_at'])}"
    )
    if plan["reduce_kw"] < said["shortage_kw"]:
        click.echo(f"{said['shortage_kw'] - plan['reduce_kw']:.0f} kW are not found")
    app.show(
        "called, in this order",
        (">call", "~customer", "terminal", ">usual kW", ">minimum kW", ">setpoint kW", ">reduction kW", "stands", "~why"),
        [(p["call"], f"{p['customer']} {p['name']}", p["terminal"], f"{p['usual_kw']:.1f}", f"{p['minimum_w'] / 1000:g}",
          f"{p['setpoint_w'] / 1000:g}{' (raised)' if p['raised'] else ''}", f"{p['reduce_kw']:.1f}", _stands(p), p["why"])
         for p in plan["participants_list"]],
        note="raised: to his protected minimum (保安负荷)",
    )  # fmt: skip
    if plan["left_out"]:
        app.show(
            "not called",
            (">call", "customer", "terminal", "~why"),
            [(one["call"], one["customer"], one["terminal"], _reasons(one["reasons"])) for one in plan["left_out"]],
        )  # fmt: skip
    for event in plan["events"]:
        click.echo(
            f"{app.local(event['at'])} {event['act']} by {event['who']} {event['said'].get('why', '')}".rstrip()
        )


def _reasons(reasons: list[list[str]]) -> str:
    return "; ".join(f"{' '.join(REASONS[code])} {behind}".strip() for code, behind in reasons)


def _stands(p: dict[str, Any]) -> str:
    for name, words in (("released", "let go"), ("held", "holds")):
        if p[name]:
            return words
    order, state = (p["off_order"], p["off_state"]) if p["off_order"] else (p["on_order"], p["on_state"])
    return f"order {order} {state}" if order else "not told"

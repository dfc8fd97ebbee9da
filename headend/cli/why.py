"""`headend why METER DAY`: the chain of reasons."""

from __future__ import annotations

import datetime as dt

import rich_click as click
from rich.markup import escape

from headend.cli.common import App, Day, json_option, pass_app, print_json
from headend.plans import REASONS
from headend.store import clocks, coverage
from headend.store.coverage import Hole, PlanDay, Why
from protocols.localtime import as_datetime


@click.command(name="why")
@click.argument("meter")
@click.argument("day", type=Day(), default="today")
@json_option
@pass_app
def command(app: App, meter: str, day: dt.date, as_json: bool) -> None:
    """Explain METER's DAY: what was expected, what came and when, and for every hole its cause."""
    told = coverage.why(app.conn, asset=meter, day=day, now=app.clock.now(), zone=app.zone)
    cut = clocks.disturbed_day(app.conn, meter, day, app.zone)
    if as_json:
        print_json({**told.to_dict(), "clock_sets": cut})
        return
    show(app, told)
    for set_ in cut:
        app.console.print(
            f"  [bold]clock set 校时[/bold] between {app.local(set_['from'])} and {app.local(set_['to'])} ({set_['code']}): "
            "the intervals it touches are not whole",
            highlight=False,
        )


def show(app: App, told: Why) -> None:
    """For people."""
    out = app.console
    out.print(
        f"[bold]meter {told.asset}[/bold], day {told.day} (asked {told.now:%Y-%m-%d %H:%M})", highlight=False
    )
    if not told.commissioned:
        out.print("  not installed on that day: nothing is expected of it")
        return
    state = "online" if told.terminal_online else "OFFLINE"
    out.print(
        f"  point {told.point} · area {told.area} · terminal {told.terminal} ({state}, last heard {app.local(told.terminal_last_seen)}) "
        f"· {told.protocol} address {told.address}",
        highlight=False,
    )
    for plan in told.plans:
        _print_plan(app, plan)


def _print_plan(app: App, plan: PlanDay) -> None:
    out = app.console
    mark = (
        "[green]complete[/green]"
        if plan.present >= plan.due
        else f"[yellow]{plan.due - plan.present} missing[/yellow]"
    )
    out.print(
        f"  [bold]{plan.plan.name} {plan.plan.name_zh}[/bold]: expected {plan.expected}, due {plan.due}, present {plan.present} "
        f"({plan.late} late), not recorded {plan.absent}: {mark}",
        highlight=False,
    )
    out.print(
        f"    {plan.attempts} attempts, first {app.local(plan.first_at)}, last {app.local(plan.last_at)}"
        + (f"; {plan.revisions} values read again with another result" if plan.revisions else ""),
        highlight=False,
    )
    for hole in plan.holes:
        out.print("    " + _sentence(app, hole), highlight=False)


def _sentence(app: App, hole: Hole) -> str:
    first, last = (as_datetime(t, app.zone).strftime("%H:%M") for t in (hole.first, hole.last))
    en, zh = REASONS[hole.reason]
    text = f"{first}" if hole.points == 1 else f"{first} to {last}"
    text += f" ({hole.points} point{'s' if hole.points != 1 else ''}): [bold]{en}[/bold] {zh}"
    if hole.attempts:
        text += f", {hole.attempts} attempts since {app.local(hole.since)}, last {app.local(hole.last_at)}"
    return text + (f" – {escape(hole.detail)}" if hole.detail else "")

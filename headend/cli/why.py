"""`headend why METER DAY`: the chain of reasons."""

from __future__ import annotations

import dataclasses
import datetime as dt

import rich_click as click
from rich.markup import escape

from headend.cli.common import App, Day, json_option, pass_app, print_json
from headend.cli.story import story
from headend.store import clocks, coverage
from headend.store.coverage import PlanDay, Why


@click.command(name="why")
@click.argument("meter")
@click.argument("day", type=Day(), default="today")
@click.option("--lang", type=click.Choice(["en", "zh"]), default="en", show_default=True)
@json_option
@pass_app
def command(app: App, meter: str, day: dt.date, lang: str, as_json: bool) -> None:
    """Explain METER's DAY: what was expected, what came and when, and for every hole its cause and what happens next."""
    told = coverage.why(app.conn, asset=meter, day=day, now=app.clock.now(), zone=app.zone)
    cut = clocks.disturbed_day(app.conn, meter, day, app.zone)
    sentences = story(told, app.zone)
    if as_json:
        said = [dataclasses.asdict(sentence) for sentence in sentences]
        print_json({**told.to_dict(), "story": said, "clock_sets": cut})
        return
    _head(app, told)
    for set_ in cut:
        app.console.print(
            f"  [bold]clock set 校时[/bold] between {app.local(set_['from'])} and {app.local(set_['to'])} ({set_['code']}): "
            "the intervals it touches are not whole",
            highlight=False,
        )
    for sentence in sentences:
        app.console.print(
            escape(sentence.zh if lang == "zh" else sentence.en), highlight=False, soft_wrap=True
        )


def _head(app: App, told: Why) -> None:
    """The numbers, for who knows them."""
    out = app.console
    out.print(
        f"[bold]meter {told.asset}[/bold], day {told.day} (asked {told.now:%Y-%m-%d %H:%M})", highlight=False
    )
    if told.commissioned:
        out.print(
            f"  point {told.point} · area {told.area} · terminal {told.terminal} · {told.protocol} address {told.address}",
            highlight=False,
        )
    for plan in told.plans:
        _plan(app, plan)


def _plan(app: App, plan: PlanDay) -> None:
    mark = (
        "[green]complete[/green]"
        if plan.present >= plan.due
        else f"[yellow]{plan.due - plan.present} missing[/yellow]"
    )
    app.console.print(
        f"  [bold]{plan.plan.name} {plan.plan.name_zh}[/bold]: expected {plan.expected}, due {plan.due}, present {plan.present} "
        f"({plan.late} late), not recorded {plan.absent}: {mark}; {plan.attempts} attempts, first {app.local(plan.first_at)}, "
        f"last {app.local(plan.last_at)}",
        highlight=False,
        soft_wrap=True,
    )

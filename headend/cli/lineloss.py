"""`headend lineloss`: loss by transformer area, with bounds, and unknown where it is unknown."""

from __future__ import annotations

import datetime as dt
from typing import Any

import rich_click as click

from headend.cli.common import App, Day, json_option, kwh, pass_app, print_json
from headend.jobs.frame import run
from headend.jobs.schedule import JOBS
from headend.store import results


@click.group(name="lineloss")
def command() -> None:
    """Line loss (线损) of transformer areas by day."""


@command.command()
@click.argument("day", type=Day(), default="today")
@json_option
@pass_app
def show(app: App, day: dt.date, as_json: bool) -> None:
    """Losses of DAY, highest rate first, unknown areas last."""
    rows = results.losses(app.conn, day)
    if as_json:
        print_json(rows)
        return
    if not rows:
        click.echo(f"no losses computed for {day}; `headend lineloss run {day}` computes them")
        return
    unknown = [f"{r['area']} unknown: {_why(r)}" for r in rows if r["status"] == "unknown"]
    app.show(
        f"line loss {day} (kWh)",
        ("area", "~name", ">supplied", ">sold", ">loss", ">rate", ">technical", ">likely within", ">meters"),
        [_row(r) for r in rows],
        note="\n".join(
            [
                "'technical': what voltages and currents explain; 'likely within': 19 times in 20, by class of accuracy and register digits",
                *unknown,
            ]
        ),
    )


def _why(r: dict[str, Any]) -> str:
    missing = ", ".join(r["missing_assets"][:3]) + (" …" if len(r["missing_assets"]) > 3 else "")
    return f"{r['why']}: {missing}" if missing else str(r["why"])


def _row(r: dict[str, Any]) -> tuple[Any, ...]:
    meters = f"{r['meters_complete']}/{r['meters_due']}"
    if r["status"] == "unknown":
        return r["area"], r["name"], "–", "–", "–", "unknown", "–", "–", meters
    rate = f"{r['rate']:.2%}" if r["rate"] is not None else "–"
    low, high = ("loss_low", "loss_high") if r["likely_low"] is None else ("likely_low", "likely_high")
    within = f"{kwh(r[low], 1)} … {kwh(r[high], 1)}"
    technical = "–" if r["technical"] is None else kwh(r["technical"], 1)
    return (
        r["area"],
        r["name"],
        kwh(r["supplied"]),
        kwh(r["sold"]),
        kwh(r["loss"]),
        rate,
        technical,
        within,
        meters,
    )


@command.command(name="run")
@click.argument("day", type=Day(), default="today")
@pass_app
def run_(app: App, day: dt.date) -> None:
    """Compute the losses of DAY now."""
    click.echo(run("lineloss", JOBS["lineloss"], app.conn, app.zone, app.clock, day))

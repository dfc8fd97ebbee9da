"""`headend diagnose URL|METER`: what a field technician runs at the meter, or an engineer for a meter behind a terminal."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import rich_click as click
from click.exceptions import Exit
from rich.markup import escape

from headend.cli import why as chain
from headend.cli.common import App, Zone, json_option, pass_app, print_json
from headend.cli.loop import run_loop
from headend.cli.read import live
from headend.cli.trust import trust_of
from headend.clock import parse
from headend.store import coverage
from headend.store.db import StoreError
from protocols.localtime import as_datetime
from terminals.diagnose.candidates import known_candidates
from terminals.diagnose.diagnosis import Diagnosis, State, Step
from terminals.diagnose.engine import diagnose
from terminals.links.link import BadAddress, Link
from terminals.links.tap import Tap
from terminals.links.url import Opener
from terminals.links.url import parse as opener

MARK = {
    State.OK: "[green]ok[/green]    ",
    State.FAILED: "[red]failed[/red]",
    State.UNKNOWN: "[yellow]?[/yellow]     ",
}


@click.command(name="diagnose")
@click.argument("target", metavar="URL|METER")
@click.option("--address", help="The meter's address, where several share the line.")
@click.option(
    "--password", "passwords", multiple=True, help="Password to try (at most two are tried: meters lock)."
)
@click.option(
    "--zone", type=Zone(), default="Asia/Shanghai", show_default=True, help="Civil time of the meter's clock."
)
@click.option("--frames", is_flag=True, help="Show every frame.")
@click.option(
    "--record",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write the conversation to FILE in the form of hw-fixtures/, passwords included. A serial URL names its settings then.",
)
@click.option("--lang", type=click.Choice(["en", "zh"]), default="en", show_default=True)
@json_option
@pass_app
def command(
    app: App,
    target: str,
    address: str | None,
    passwords: tuple[str, ...],
    zone: ZoneInfo,
    frames: bool,
    record: Path | None,
    lang: str,
    as_json: bool,
) -> None:
    """Find out what is wrong.

    URL (tcp://host:port, tls://host:port, serial:///dev/ttyUSB0?baud=2400&parity=E) talks to the line directly and needs no database. METER (asset
    number) explains what the head-end knows of it and reads it through the collector that owns its terminal.
    """
    if "://" not in target:
        if record is not None:
            raise click.UsageError(
                "--record needs a URL: the lines of the head-end's own terminals are the collector's"
            )
        _through_the_store(app, target, as_json)
        return
    try:
        line = opener(target, trust_of(app.settings))
    except BadAddress as error:
        raise click.UsageError(str(error)) from None
    told: list[Diagnosis] = []

    def report(step: Step) -> None:
        if not as_json:
            _show(app, step, frames, lang)

    async def run() -> None:
        clock = parse(app.settings.clock, zone)
        # of a serial port without settings the usual ones are tried in turn
        direct = target if line.port is not None else line
        url = direct if record is None else _tapped(line, record, str(as_datetime(clock.now(), zone)))
        told.append(
            await diagnose(url, address, known_candidates(), passwords, report, now=clock.now, zone=zone)
        )

    run_loop(run())
    diagnosis = told[0]
    if as_json:
        print_json(_document(diagnosis, frames))
    else:
        app.console.print(f"[bold]{escape(getattr(diagnosis.verdict, lang))}[/bold]", highlight=False)
    if not diagnosis.ok:
        raise Exit(1)


def _tapped(line: Opener, path: Path, date: str) -> Opener:
    async def opened(timeout: float) -> Link:
        link = await line.open(timeout)
        try:
            return Tap(link, path, date)
        except OSError:
            await link.close()
            raise

    return Opener(line.url, opened, line.port)


def _document(diagnosis: Diagnosis, frames: bool) -> dict[str, Any]:
    return {
        "url": diagnosis.url,
        "protocol": diagnosis.protocol,
        "address": diagnosis.address,
        "clock_offset_seconds": diagnosis.clock_offset,
        "steps": [
            {
                "step": step.key,
                "state": step.state.value,
                "cause": step.cause.value,
                "en": step.detail.en,
                "zh": step.detail.zh,
                "seconds": round(step.seconds, 3),
                "frames": [dataclasses.asdict(trip) for trip in step.trips] if frames else len(step.trips),
            }
            for step in diagnosis.steps
        ],
        "verdict_en": diagnosis.verdict.en,
        "verdict_zh": diagnosis.verdict.zh,
    }


def _show(app: App, step: Step, frames: bool, lang: str) -> None:
    app.console.print(
        f"{MARK[step.state]}  {getattr(step.name, lang):<22} {escape(getattr(step.detail, lang))}  [dim]{step.seconds:.2f} s[/dim]",
        highlight=False,
    )
    for trip in step.trips if frames else ():
        app.console.print(
            f"      → {trip.sent}\n      ← {trip.received or '(nothing)'}  {trip.seconds:.3f} s",
            highlight=False,
            style="dim",
        )


def _through_the_store(app: App, meter: str, as_json: bool) -> None:
    told = coverage.why(app.conn, asset=meter, day=app.today(), now=app.clock.now(), zone=app.zone)
    app.conn.rollback()
    try:
        values, error = live(app, meter, "diagnose", 15.0)["result"]["values"], None
    except StoreError as failed:
        values, error = None, str(failed)
    if as_json:
        print_json({"why": told.to_dict(), "live": values, "live_error": error})
    else:
        chain.show(app, told)
        if values is not None:
            app.show(
                "read now",
                ("quantity", ">value", "unit"),
                [(code, v["value"], v["unit"]) for code, v in values.items()],
            )
        else:
            app.console.print(f"[red]read now failed[/red]: {escape(error or '')}", highlight=False)
    if error:
        raise Exit(1)

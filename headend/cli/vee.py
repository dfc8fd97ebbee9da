"""`headend vee`: what of a day's curve can be believed, what was estimated and how, and a person's word over both."""

from __future__ import annotations

import datetime as dt
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import rich_click as click

from headend.cli.common import App, Day, json_option, pass_app, person_option, print_json
from headend.cli.evidence import Moment
from headend.jobs import frame, vee, vee_day, vee_holes
from headend.jobs.frame import Run
from headend.jobs.vee_holes import Worked
from headend.store import blocks, edits, trace
from headend.store import vee as store
from headend.store.edits import Cell
from headend.store.reads import Note
from headend.store.tables import SOURCES
from lineloss.vee.estimate import WHY, Left
from lineloss.vee.finding import value
from lineloss.vee.methods import WORDS
from lineloss.vee.rules import RULES, validate
from lineloss.vee.verdict import Severity, Verdict
from protocols.localtime import Times, as_datetime, instant
from protocols.quantity import quantities


@click.group(name="vee")
def command() -> None:
    """Validation, estimation and editing (数据校核与拟合) of the load curve."""


@command.command()
@click.option(
    "--day", type=Day(), default="yesterday", show_default=True, help="The local day, which must be over."
)
@pass_app
def run(app: App, day: dt.date) -> None:
    """Validate a day and estimate what is missing of it; then follow what came late."""
    if day >= app.today():
        raise vee.NotOver(day)
    click.echo(frame.run(vee.JOB, vee.job, app.conn, app.zone, app.clock, day, stepwise=True))
    told = vee.MORE
    while told.endswith(vee.MORE):
        told = frame.run(vee.LATE, vee.late, app.conn, app.zone, app.clock, app.today(), stepwise=True)
        click.echo(f"late: {told}")


@dataclass(frozen=True, slots=True)
class _Said:
    """One verdict for people."""

    rule: str
    severity: str
    first: dt.datetime
    last: dt.datetime
    evidence: dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Stays:
    """A hole that nothing may stand in."""

    first: dt.datetime
    last: dt.datetime
    quantity: str
    why: str
    why_zh: str


@command.command()
@click.argument("meter")
@click.argument("day", type=Day())
@json_option
@pass_app
def show(app: App, meter: str, day: dt.date, as_json: bool) -> None:
    """What the rules say about METER's DAY, what stands that was not read, by which method or whom, and what stays missing, and why."""
    number = trace.meter_id(app.conn, meter)
    given = Run(app.conn, app.zone, app.clock.now(), app.clock)
    ids = np.array([number], dtype=np.int64)
    block = blocks.load(
        app.conn, day, app.zone, vee_day.CODES, meters=ids, until=given.now, freezes=(), estimates="others"
    )
    if not len(block.rows):
        raise edits.BadEdit(
            f"meter {meter} was not installed on {day}; `headend archive show {meter}` tells where it was"
        )
    tile = vee_day.facts(given, block, vee_day.around(given, day))
    said = [one for verdict in validate(tile.facts).values() for one in _said(verdict, block.times, app)]
    versions = [
        replace(version, time=version.time.astimezone(app.zone))
        for version in store.versions(app.conn, number, block.times[0], block.times[-1])
    ]
    stays = [
        hole for worked in vee_holes.around(given, day, ids) for hole in _stays(worked, block.times, app)
    ]
    app.conn.rollback()
    if as_json:
        print_json(
            {
                "meter": meter,
                "day": day,
                "verdicts": [asdict(one) for one in said],
                "versions": [asdict(one) for one in versions],
                "missing": [asdict(one) for one in stays],
            }
        )
        return
    _show(app, meter, day, said, versions, stays)


def _said(verdict: Verdict, times: Times, app: App) -> list[_Said]:
    return [
        _Said(
            verdict.rule,
            Severity(int(verdict.severity[k])).name.lower(),
            as_datetime(times[verdict.first[k]], app.zone),
            as_datetime(times[verdict.last[k]], app.zone),
            {name: value(column[k]) for name, column in verdict.evidence.items()},
        )
        for k in range(len(verdict))
    ]


def _stays(worked: Worked, times: Times, app: App) -> list[_Stays]:
    """The holes of the day that are left, as far as they lie in it."""
    left, made = worked.estimates.left, []
    for k in range(len(left)):
        first, last = (worked.times[at] for at in (left.first[k], left.last[k]))
        if last <= times[0] or first > times[-1]:
            continue
        en, zh = WHY[Left(int(worked.estimates.why[k]))]
        first = max(first, times[1])
        made.append(
            _Stays(
                as_datetime(first, app.zone), as_datetime(min(last, times[-1]), app.zone), worked.code, en, zh
            )
        )
    return made


def _show(
    app: App, meter: str, day: dt.date, said: list[_Said], versions: list[store.Version], stays: list[_Stays]
) -> None:
    app.show(
        f"meter {meter}, {day}: what the rules say",
        ("rule", "severity", "first slot", "last slot", "~meaning", "~evidence"),
        [
            (one.rule, one.severity, f"{one.first:%H:%M}", f"{one.last:%H:%M}", " ".join(RULES[one.rule].WORDS), _evidence(one.evidence))
            for one in said
        ],
        note="a slot is named by its end" if said else "nothing",
    )  # fmt: skip
    if versions:
        app.show(
            "what stands that was not read first",
            ("slot", "quantity", ">value", "method", "~how, or why", "who", "made"),
            [
                (app.local(v.time, "%H:%M"), v.quantity, _shown(v), v.method, _reason(v), v.who, app.local(v.at))
                for v in versions
            ],
        )  # fmt: skip
    if stays:
        app.show(
            "what stays missing",
            ("first slot", "last slot", "quantity", "~why"),
            [(f"{h.first:%H:%M}", f"{h.last:%H:%M}", h.quantity, f"{h.why} {h.why_zh}") for h in stays],
        )


def _evidence(found: dict[str, Any]) -> str:
    return ", ".join(f"{name} {number}" for name, number in found.items() if number is not None)


def _reason(version: store.Version) -> str:
    return " ".join(WORDS[version.method]) if version.method in WORDS else version.reason


def _shown(version: store.Version) -> str:
    if quantities()[version.quantity].kind == "register":
        return f"{version.value / 10_000:.4f}"
    return str(version.value)


quantity_option = click.option(
    "--quantity", default="active_import", show_default=True, help="Which quantity of that instant."
)
source_option = click.option(
    "--source",
    type=click.Choice([name for name in SOURCES if name != "spot"]),
    default="curve",
    show_default=True,
    help="Load curve, day freezes or month freezes. What is billed comes from the freezes.",
)
why_option = click.option("--why", required=True, help="The reason, which stays beside the value.")


# a value below zero is no option
@command.command(context_settings={"ignore_unknown_options": True})
@click.argument("meter")
@click.argument("when", type=Moment())
@click.argument("number", metavar="VALUE")
@why_option
@quantity_option
@source_option
@person_option
@pass_app
def edit(
    app: App, meter: str, when: dt.datetime, number: str, why: str, quantity: str, source: str, person: str
) -> None:
    """Lay VALUE (kWh for a register) over what METER said at WHEN, or did not say. What it said stays beneath; the edit can be taken back."""
    cell = _cell(app, meter, when, quantity, source)
    made = edits.edit(app.conn, cell, number, Note(app.clock.now(), why, person), app.zone)
    app.conn.commit()
    where = f"{quantity} of meter {meter} at {as_datetime(cell.when, app.zone):%Y-%m-%d %H:%M}"
    click.echo(f"{where} is {number} now, by {person}" if made else f"{where} is {number} by an edit already")


@command.command()
@click.argument("meter")
@click.argument("when", type=Moment())
@why_option
@quantity_option
@source_option
@person_option
@pass_app
def undo(app: App, meter: str, when: dt.datetime, why: str, quantity: str, source: str, person: str) -> None:
    """Take the edit of METER at WHEN back: its own word stands again, or an estimate after the next run."""
    cell = _cell(app, meter, when, quantity, source)
    edits.take_back(app.conn, cell, Note(app.clock.now(), why, person), app.zone)
    app.conn.commit()
    click.echo(
        f"the edit of {quantity} of meter {meter} at {as_datetime(cell.when, app.zone):%Y-%m-%d %H:%M} is taken back"
    )


def _cell(app: App, meter: str, when: dt.datetime, quantity: str, source: str) -> Cell:
    if quantity not in quantities():
        raise click.UsageError(f"there is no quantity {quantity!r}; they are {', '.join(quantities())}")
    return Cell(meter, instant(when if when.tzinfo else when.replace(tzinfo=app.zone)), quantity, source)

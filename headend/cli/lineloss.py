"""`headend lineloss`: loss by area, line, bus, transformer, region and voltage, with bounds, and unknown where it is unknown."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import numpy as np
import rich_click as click

from headend.cli.common import App, Day, json_option, kwh, pass_app, print_json, write_whole
from headend.export import loss_html, loss_report, loss_xlsx
from headend.export.loss_report import Entry, Report
from headend.jobs.frame import run
from headend.jobs.schedule import JOBS
from headend.store import loss_curve, network, results, splits
from headend.store.db import StoreError
from lineloss.hierarchy import KINDS
from protocols.localtime import as_datetime
from protocols.reading import MISSING


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
        ("area", "~name", ">supplied", ">loss", ">rate", ">technical", ">likely within", ">meters"),
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
        return r["area"], r["name"], "–", "–", "unknown", "–", "–", meters
    rate = f"{r['rate']:.2%}" if r["rate"] is not None else "–"
    low, high = ("loss_low", "loss_high") if r["likely_low"] is None else ("likely_low", "likely_high")
    within = f"{kwh(r[low], 1)} … {kwh(r[high], 1)}"
    technical = "–" if r["technical"] is None else kwh(r["technical"], 1)
    return (
        r["area"],
        r["name"],
        kwh(r["supplied"]),
        kwh(r["loss"]),
        rate,
        technical,
        within,
        meters,
    )


by_option = click.option(
    "--by",
    "kind",
    type=click.Choice(KINDS),
    default="area",
    show_default=True,
    help="What kind of loss object (分台区, 分线, 分区, 分压 …).",
)
_file = click.Path(dir_okay=False, path_type=Path)


@command.command()
@by_option
@click.option("--day", type=Day(), help="A local day. Without it and without --month: the last one computed.")
@click.option("--month", help="A month, such as 2026-03.")
@click.option("--xlsx", type=_file, help="Write a workbook.")
@click.option("--html", type=_file, help="Write a page with charts that needs nothing from outside.")
@json_option
@pass_app
def report(
    app: App,
    kind: str,
    day: dt.date | None,
    month: str | None,
    xlsx: Path | None,
    html: Path | None,
    as_json: bool,
) -> None:
    """Losses ranked, judged by their limits, compared with before.

    A rate marked ≈ has bounds that reach into those of the next one: the two may stand the other way round. A bounded loss has limits and no
    number: a part of it is missing, and no more than so much."""
    period = "day" if month is None else "month"
    if day is not None and month is not None:
        raise click.UsageError("--day and --month are two reports; choose one")
    first = _month(month) if month else day or network.newest_day(app.conn, kind, "day")
    told = loss_report.build(app.conn, kind, period, first, app.zone) if first else None
    if told is None or not told.entries:
        raise StoreError(
            f"no losses by {kind} of {first or 'any day'}; `headend lineloss run DAY` computes them"
        )
    if xlsx is not None:
        write_whole(xlsx, lambda handle: loss_xlsx.write(handle, told))
    if html is not None:
        write_whole(html, lambda handle: handle.write(loss_html.page(told, app.zone).encode()))
    if as_json:
        print_json(_document(told))
    elif xlsx is None and html is None:
        _print(app, told)


def _month(text: str) -> dt.date:
    try:
        return dt.datetime.strptime(text, "%Y-%m").date()
    except ValueError:
        raise click.UsageError(f"--month {text!r} is not a month such as 2026-03") from None


def _print(app: App, told: Report) -> None:
    unknown = [
        f"{e.name} {e.row['status']}: {_missing(e)}" for e in told.entries if e.row["status"] != "known"
    ]
    names = [
        ">",
        "code",
        "~name",
        ">supplied",
        ">loss",
        ">rate",
        ">truth within",
        ">before",
        ">week ago",
        ">points",
    ]
    if told.kind == "transformer":
        names += [">iron", ">copper", ">load"]
    app.show(
        f"{told.title} (kWh)", names, [_entry(e, told.kind) for e in told.entries],
        note="\n".join(["≈: may stand the other way round with the next one; !: certainly beyond its limits, ?: perhaps", *unknown]),
    )  # fmt: skip


def _missing(e: Entry) -> str:
    codes = e.row["missing_points"]
    return str(e.row["why"]) + (f": {', '.join(codes[:3])}{' …' if len(codes) > 3 else ''}" if codes else "")


def _entry(e: Entry, kind: str) -> tuple[Any, ...]:
    row = e.row
    mark = {"over": "!", "under": "!", "perhaps": "?"}.get(e.judged, "")
    rate = row["status"] if np.isnan(e.rate) else f"{e.rate:.2%}"
    within = "–" if np.isnan(e.low) else f"{e.low:.2%} … {e.high:.2%}"
    cells = (
        f"{e.rank}{'≈' if e.uncertain else ''}" if e.rank else "", e.name, row["name"], kwh(row["supplied"]), kwh(row["loss"]), rate + mark,
        within, _percent(e.before) + ("*" if e.moved else ""), _percent(e.week), f"{row['points_have']}/{row['points_due']}",
    )  # fmt: skip
    if kind != "transformer":
        return cells
    return *cells, kwh(row["iron"]), kwh(row["copper"]), "–" if row["load"] is None else f"{row['load']:.0%}"


def _percent(share: float) -> str:
    return "–" if np.isnan(share) else f"{share:.2%}"


def _document(told: Report) -> dict[str, Any]:
    """Energies in kWh, shares as fractions; None where not known."""

    def share(value: float) -> float | None:
        return None if np.isnan(value) else value

    return {
        "by": told.kind, "period": told.period, "first_day": told.first, "unit": "kWh",
        "objects": [
            {
                "rank": e.rank or None, "code": e.name, "name": e.row["name"], "status": e.row["status"],
                **{name: None if e.row[name] is None else kwh(e.row[name], 4)
                   for name in ("supplied", "sold", "loss", "loss_low", "loss_high", "unmetered", "iron", "copper")},
                "rate": share(e.rate), "rate_low": share(e.low), "rate_high": share(e.high), "uncertain": e.uncertain, "judged": e.judged or None,
                "before": share(e.before), "week_ago": share(e.week), "moved": e.moved, "load": e.row["load"], "method": e.row["method"],
                "points_due": e.row["points_due"], "points_have": e.row["points_have"], "missing": e.row["missing_points"], "why": e.row["why"],
            }
            for e in told.entries
        ],
    }  # fmt: skip


@command.command()
@click.argument("code")
@click.argument("day", type=Day(), default="yesterday")
@by_option
@json_option
@pass_app
def curve(app: App, code: str, day: dt.date, kind: str, as_json: bool) -> None:
    """One object's loss by quarter-hour (同期). CODE of a voltage level: REGION@KV."""
    key = splits.object_of(app.conn, kind, code)
    found = loss_curve.curves(app.conn, kind, [key], day, app.zone).get(key)
    if found is None:
        raise StoreError(
            f"{kind} {code} has no metering points on {day}; `headend archive show {code}` tells what it has"
        )
    ends = [as_datetime(when, app.zone) for when in found.times]
    rows = list(
        zip(
            *(
                [kwh(_known(cell), 4) for cell in c.tolist()]
                for c in (found.supplied, found.sold, found.loss)
            ),
            strict=True,
        )
    )
    if as_json:
        names = ("supplied", "sold", "loss")
        print_json(
            [
                {"slot_end": end}
                | {name: None if cell == "–" else cell for name, cell in zip(names, row, strict=True)}
                for end, row in zip(ends, rows, strict=True)
            ]
        )
        return
    app.show(
        f"loss of {kind} {code} {day} (kWh)", ("until", ">supplied", ">sold", ">loss"),
        [(f"{end:%H:%M}", *row) for end, row in zip(ends, rows, strict=True)],
        note="–: one of its points is not known in that quarter-hour",
    )  # fmt: skip


def _known(units: int) -> int | None:
    return None if units == MISSING else units


@command.command(name="run")
@click.argument("day", type=Day(), default="today")
@pass_app
def run_(app: App, day: dt.date) -> None:
    """Compute the losses of DAY now; of a day that is over those of lines, buses, regions … as well."""
    for name in ("lineloss", "splits") if day < app.today() else ("lineloss",):
        click.echo(run(name, JOBS[name], app.conn, app.zone, app.clock, day))

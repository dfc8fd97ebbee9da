"""`headend statistics`: collection rates, loads, voltages, key users, forecasts, demand response, outages, customer segments, groups."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any, TypeVar

import rich_click as click

from headend.cli.common import App, Day, json_option, pass_app, print_json
from headend.cli.evidence import Moment
from headend.jobs import outages as outages_job
from headend.jobs import segments as segments_job
from headend.jobs import statistics as job
from headend.jobs.frame import run
from headend.jobs.schedule import JOBS
from headend.store import forecasts, key_users, outages, point_groups, response, segments, statistics
from headend.store.members import DIMENSIONS
from lineloss.statistics.groups import ALL
from lineloss.statistics.voltage import CLASSES
from protocols.localtime import instant

F = TypeVar("F", bound=Callable[..., Any])

by_option = click.option(
    "--by", type=click.Choice((ALL, *DIMENSIONS)), default=ALL, show_default=True, help="What the figures are told apart by."
)  # fmt: skip
key_option = click.option("--key", help="Only this region, industry, line, area, maker or group.")


def period_options(default: str = "yesterday") -> Callable[[F], F]:
    def both(command: F) -> F:
        last = click.option(
            "--to", "last", type=Day(), default=default, show_default=True, help="The last local day."
        )
        first = click.option(
            "--from", "first", type=Day(), help="The first local day; without it: the last one alone."
        )
        return first(last(command))

    return both


@click.group(name="statistics")
def command() -> None:
    """Statistics (统计): what was collected, how it was used and supplied, what tomorrow takes, where it was dark, what kind of customers."""


@command.command(name="run")
@click.argument("day", type=Day(), default="yesterday")
@pass_app
def run_(app: App, day: dt.date) -> None:
    """Compute all figures of DAY, which must be over; of today its outages so far."""
    name = job.NAME if day < app.today() else outages_job.NAME
    click.echo(run(name, JOBS[name], app.conn, app.zone, app.clock, day, stepwise=True))


@command.command()
@by_option
@key_option
@period_options()
@json_option
@pass_app
def success(app: App, by: str, key: str | None, first: dt.date | None, last: dt.date, as_json: bool) -> None:
    """Collection rates (一次, 周期采集成功率, 完整率), operation, on-line and coverage rates (投运率, 在线率, 覆盖率)."""
    rows = statistics.success(app.conn, by, first or last, last, key)
    if as_json:
        print_json(rows)
        return
    app.show(
        f"collection by {by}, {first or last} to {last}",
        ("key", "~name", ">once", ">cycle", ">integrity", ">operation", ">on line", ">coverage", ">freezes due", ">days"),
        [
            (
                r["key"] or "everybody", r["name"],
                *(_percent(r[name]) for name in ("once", "cycle", "integrity", "operation", "online", "coverage")), r["freeze_due"], r["days"],
            )
            for r in rows
        ],
        note="" if rows else f"nothing was counted; `headend statistics run {last}` counts a day",
    )  # fmt: skip


def _percent(share: float | None, digits: int = 2) -> str:
    return "–" if share is None else f"{share:.{digits}%}"


def _number(value: float | None, digits: int = 1) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


@command.command()
@by_option
@key_option
@period_options()
@json_option
@pass_app
def load(app: App, by: str, key: str | None, first: dt.date | None, last: dt.date, as_json: bool) -> None:
    """Load factor (负荷率), peak-valley difference (峰谷差) and simultaneity (同时率) of the customers by day."""
    rows = statistics.load(app.conn, by, first or last, last, key)
    if as_json:
        print_json(rows)
        return
    app.show(
        f"loads by {by} (kW)",
        ("key", "day", ">kWh", ">mean", ">highest", "until", ">lowest", "until", ">factor", ">difference", ">simultaneity", ">known"),
        [
            (
                r["key"] or "everybody", f"{r['day']:%m-%d}", _number(r["energy"]), _number(r["mean"]), _number(r["high"]),
                app.local(r["high_at"], "%H:%M"), _number(r["low"]), app.local(r["low_at"], "%H:%M"), _percent(r["factor"], 1),
                _percent(r["difference_rate"], 1), _percent(r["simultaneity"], 1), f"{r['whole']}/{r['members']}",
            )
            for r in rows
        ],
        note="–: too few customers are known with all their quarter-hours",
    )  # fmt: skip


@command.command()
@by_option
@key_option
@period_options()
@json_option
@pass_app
def voltage(app: App, by: str, key: str | None, first: dt.date | None, last: dt.date, as_json: bool) -> None:
    """Voltage qualification (电压合格率) by class: A buses, B customers from 35 kV, C at 6 to 20 kV, D at 380/220 V."""
    rows = statistics.voltage(app.conn, by, first or last, last, key)
    if as_json:
        print_json(rows)
        return

    def cell(row: dict[str, Any], name: str) -> str:
        told = row["classes"].get(name)
        return f"{_percent(told['rate'], 3)} ({told['meters']})" if told else "–"

    app.show(
        f"voltage qualification by {by}, {first or last} to {last}",
        ("key", "~name", *(f">{name}" for name in CLASSES), ">index"),
        [
            (
                r["key"] or "everybody",
                r["name"],
                *(cell(r, name) for name in CLASSES),
                _percent(r["index"], 3),
            )
            for r in rows
        ],
        note="in brackets: meters; index = 0.5 A + 0.5 (B + C + D) / 3, of the classes that are there",
    )


@command.command(name="key-users")
@period_options()
@click.option("--capacity", type=float, default=None, help="kVA of contract from which a customer is one.")
@json_option
@pass_app
def key_users_(app: App, first: dt.date | None, last: dt.date, capacity: float | None, as_json: bool) -> None:
    """Key users (重点用户): named, of a large contract, or among the few who take most; without --from of 30 days."""
    first = first or last - dt.timedelta(days=29)
    more = {} if capacity is None else {"least": capacity}
    rows = key_users.listing(app.conn, first, last, app.zone, **more)
    if as_json:
        print_json(rows)
        return
    app.show(
        f"{len(rows)} key users, {first} to {last}",
        ("customer", "~name", "~industry", ">kVA", ">kWh", ">share", ">highest kW", ">integrity", ">days", "~because"),
        [
            (
                r["customer"], r["name"], r["industry"], _number(r["capacity_kva"], 0), _number(r["kwh"]), _percent(r["share"], 1),
                _number(r["high_kw"]), _percent(r["integrity"], 1), r["days_known"], ", ".join(en for en, _ in r["because"]),
            )
            for r in rows
        ],
    )  # fmt: skip


@command.command()
@click.argument("area", required=False)
@click.argument("day", type=Day(), required=False)
@period_options()
@json_option
@pass_app
def forecast(
    app: App, area: str | None, day: dt.date | None, first: dt.date | None, last: dt.date, as_json: bool
) -> None:
    """What AREA will take on DAY (default: tomorrow) by quarter-hour; without AREA how wrong forecasts were, beside the week before."""
    if area is None:
        rows = forecasts.errors(app.conn, first or last - dt.timedelta(days=29), last)
        if as_json:
            print_json(rows)
            return
        app.show(
            "errors of forecasts: differences as a share of the energy",
            ("area", "~name", ">days", ">forecast", ">week before", ">better"),
            [
                (
                    r["area"],
                    r["name"],
                    r["days"],
                    _percent(r["error"], 1),
                    _percent(r["naive_error"], 1),
                    f"{r['better']}/{r['days']}",
                )
                for r in rows
            ],
        )
        return
    row = forecasts.one(app.conn, area, day or app.today() + dt.timedelta(days=1))
    if as_json:
        print_json(row)
        return
    naive = row["naive"] or [None] * len(row["energy"])
    hours = [row["energy"][k : k + 4] for k in range(0, len(row["energy"]), 4)]
    weeks = [naive[k : k + 4] for k in range(0, len(naive), 4)]
    app.show(
        f"area {area} on {row['day']} (kWh an hour)",
        (">hour", ">forecast", ">week before"),
        [
            (k, _number(sum(hour), 2), _number(None if None in week else sum(week), 2))
            for k, (hour, week) in enumerate(zip(hours, weeks, strict=True))
        ],
        note=f"median of {row['like_days']} like days × {row['level']:.3f}; made {app.local(row['made_at'])}"
        + (
            ""
            if row["error"] is None
            else f"; was wrong by {row['error']:.1%}, the week before by {_percent(row['naive_error'], 1)}"
        ),
    )


@command.command(name="response")
@click.argument("group")
@click.argument("begin", type=Moment())
@click.argument("end", type=Moment())
@click.option(
    "--without",
    type=Day(),
    multiple=True,
    help="A day that is no like day: another event (may be given several times).",
)
@json_option
@pass_app
def response_(
    app: App, group: str, begin: dt.datetime, end: dt.datetime, without: tuple[dt.date, ...], as_json: bool
) -> None:
    """What a call to GROUP to save electricity (需求响应) between BEGIN and END has brought, with how wrong that may be."""
    first, last = (instant(when if when.tzinfo else when.replace(tzinfo=app.zone)) for when in (begin, end))
    told = response.effect(app.conn, group, first, last, app.zone, without)
    if as_json:
        print_json({"group": group, **told.to_dict()})
        return
    found = told.effect
    click.echo(
        f"reduced: {found.reduced:.2f} kWh, 19 times in 20 within {found.low:.2f} … {found.high:.2f} kWh"
    )
    click.echo(
        f"of {told.whole} of {told.points} points, beside {len(told.days)} like days: {', '.join(map(str, told.days))}"
    )
    click.echo(f"the hours before moved the baseline by {found.moved - 1:+.1%}")
    if not found.certain:
        click.echo("that is not more than a day without a call may show: nothing is proven")


@command.command(name="outages")
@click.option("--area", help="Only this transformer area.")
@period_options("today")
@json_option
@pass_app
def outages_(app: App, area: str | None, first: dt.date | None, last: dt.date, as_json: bool) -> None:
    """Outages (停电) and restorations (复电) of transformer areas, inferred from meters and terminals, the newest first."""
    rows = outages.listing(app.conn, first or last - dt.timedelta(days=6), last, area)
    if as_json:
        print_json(rows)
        return
    app.show(
        f"{len(rows)} outages",
        ("area", "~name", "began", "ended", "sure", ">dark", ">heard of", ">customers", "own meter", ">areas of the line"),
        [
            (
                r["area"], r["name"], _when(app, r["began"], r["exact"][0]),
                "lasts" if r["ended"] is None else _when(app, r["ended"], r["exact"][1]), r["sure"], r["dark"], r["heard"], r["customers"],
                r["supply"], r["together"],
            )
            for r in rows
        ],
        note="~: to a quarter-hour; else as meters noted it",
    )  # fmt: skip


def _when(app: App, when: dt.datetime, exact: bool) -> str:
    return app.local(when, "%m-%d %H:%M:%S") if exact else f"~{app.local(when, '%m-%d %H:%M')}"


@command.group(name="segment")
def segment() -> None:
    """What kind each customer is: load profile, payment behaviour, theft risk, peak-shift potential."""


@segment.command(name="run")
@click.argument("day", type=Day(), default="yesterday")
@pass_app
def segment_run(app: App, day: dt.date) -> None:
    """Look at all customers by what is known up to DAY."""
    click.echo(
        run(segments_job.NAME, JOBS[segments_job.NAME], app.conn, app.zone, app.clock, day, stepwise=True)
    )


@segment.command(name="show")
@click.option(
    "--what", type=click.Choice(("profile", "payment", "theft", "shift")), help="Only this question."
)
@click.option("--label", help="Only this answer.")
@click.option("--customer", help="Only this customer.")
@click.option(
    "--limit", type=click.IntRange(1, 10_000), default=200, show_default=True, help="Customers at most."
)
@json_option
@pass_app
def segment_show(
    app: App, what: str | None, label: str | None, customer: str | None, limit: int, as_json: bool
) -> None:
    """The answers of customers, by number."""
    rows, following = segments.page(app.conn, what, label, number=customer, limit=limit)
    if as_json:
        print_json(rows)
        return
    app.show(
        "customer segments",
        ("customer", "~name", "what", "label", ">score", ">version", "~facts"),
        [
            (
                r["customer"], r["name"], r["what"], r["label"], _number(r["score"], 2), r["version"],
                ", ".join(f"{n} {v}" for n, v in r["facts"].items()),
            )
            for r in rows
        ],
        note=f"more follow {following}; --limit shows more" if following else "",
    )  # fmt: skip


@segment.command(name="count")
@json_option
@pass_app
def segment_count(app: App, as_json: bool) -> None:
    """How many customers each answer has."""
    rows = segments.counts(app.conn)
    if as_json:
        print_json(rows)
        return
    app.show(
        "customer segments", ("what", "label", ">customers", ">version", "up to"),
        [(r["what"], r["label"], r["customers"], r["version"], r["last_day"]) for r in rows],
    )  # fmt: skip


@command.group(name="group")
def group() -> None:
    """Groups of metering points (群组) that figures can be asked for by."""


@group.command(name="put")
@click.argument("code")
@click.argument("members", nargs=-1, required=True)
@click.option("--name", default="", help="What people call it.")
@click.option("--key-users", "named", is_flag=True, help="Its customers are key users.")
@pass_app
def group_put(app: App, code: str, members: tuple[str, ...], name: str, named: bool) -> None:
    """Make the group CODE, or make it anew, of MEMBERS: metering points, or customers with all their points."""
    with app.conn.transaction():
        count = point_groups.put(app.conn, code, name or code, members, key_users=named)
    app.conn.commit()
    click.echo(f"group {code} has {count} points; figures of it begin with the next run")


@group.command(name="list")
@json_option
@pass_app
def group_list(app: App, as_json: bool) -> None:
    """All groups."""
    rows = point_groups.listing(app.conn)
    if as_json:
        print_json(rows)
        return
    app.show(
        "groups",
        ("code", "~name", ">points", "key users"),
        [(r["code"], r["name"], r["points"], r["key_users"]) for r in rows],
    )


@group.command(name="show")
@click.argument("code")
@json_option
@pass_app
def group_show(app: App, code: str, as_json: bool) -> None:
    """The metering points of a group."""
    codes = point_groups.codes(app.conn, code)
    if as_json:
        print_json(codes)
        return
    for one in codes:
        click.echo(one)


@group.command(name="remove")
@click.argument("code")
@pass_app
def group_remove(app: App, code: str) -> None:
    """Forget a group; figures that were kept of it stay."""
    with app.conn.transaction():
        point_groups.remove(app.conn, code)
    app.conn.commit()
    click.echo(f"group {code} is gone")

"""`headend simulate`: a fleet of terminals and meters on real sockets, with its truth written down first."""

from __future__ import annotations

import asyncio
import datetime as dt
import gc
import secrets
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, get_args

import numpy as np
import rich_click as click

from headend.cli.common import App, HostPort, pass_app
from headend.cli.loop import run_loop
from headend.clock import parse
from headend.config import host_port
from protocols.localtime import local_day
from tariffs import plan as tariff_plan
from terminals.simulator import control
from terminals.simulator.fleet import Fleet
from terminals.simulator.scenario import (
    ZONE,
    Group,
    LinkName,
    Plan,
    ProtocolName,
    Scenario,
    Tariff,
    large,
    small,
)

#: the tariff that the simulated customers are on
TARIFF = "zhejiang-residential-peak-valley"
PROTOCOLS: Final = get_args(ProtocolName)
LINKS: Final = get_args(LinkName)
#: files open beside the terminals' sockets
_FILES: Final = 100


def tariff(day: dt.date) -> Tariff:
    """The shipped tariff as plain hours and prices, for meters that switch by it and a truth that is charged by it.

    A register that the tariff does not name counts nothing; what it would cost is the remainder's price, so that the truth's
    total minus the others is charged as the tariff charges its remainder."""
    version = tariff_plan.shipped()[TARIFF].on(day)
    register = {period: k + 1 for k, period in enumerate(version.registers) if period is not None}
    quarters = version.schedule_array[day.month - 1]
    rest = version.prices[version.remainder] or 0
    prices = [version.prices[k] if version.prices[k] is not None else rest for k in range(4)]
    return Tariff(
        TARIFF,
        tuple(register[int(quarters[4 * hour])] for hour in range(24)),
        tuple(int(price or 0) for price in prices),  # type: ignore[arg-type]
    )


def scenario(seed: int, size: str) -> Scenario:
    """The demo's fleet: 24 terminals of 20 meters, or 4 of 6."""
    spent = tariff(dt.date(2026, 3, 11))
    return small(seed, tariff=spent) if size == "small" else Scenario(seed, tariff=spent)


@dataclass(frozen=True, slots=True)
class Load:
    """What --areas and --group ask for."""

    groups: tuple[Group, ...]
    customers: int
    dead: int
    commissioned: dt.datetime | None

    def scenario(self, seed: int, now: np.datetime64) -> Scenario:
        """ValueError: more dead meters than areas. Without another word points are owed since yesterday evening."""
        since = self.commissioned
        if since is None:
            since = dt.datetime.combine(local_day(now, ZONE) - dt.timedelta(days=1), dt.time(23))
        plan = Plan(self.dead, 0, 0, 0, 0, 0, 0.0, 0.0, 0)
        return large(seed, self.groups, self.customers, since, plan=plan, tariff=tariff(since.date()))


class GroupText(click.ParamType[Group]):
    """PROTOCOL:LINK:COUNT."""

    name = "group"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Group:
        if isinstance(value, Group):
            return value
        protocol, _, rest = str(value).partition(":")
        link, _, count = rest.partition(":")
        if protocol not in PROTOCOLS or link not in LINKS or not count.isdecimal() or not int(count):
            self.fail(f"{value!r} is not PROTOCOL:LINK:COUNT, such as dlt645:dial-in:8000", param, ctx)
        return Group(protocol, link, int(count))  # type: ignore[arg-type]


def _open_files(needed: int) -> None:
    """Each terminal has a socket. ClickException where the machine allows too few."""
    if sys.platform == "win32":
        return
    import resource  # noqa: PLC0415 - not on every platform

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise click.ClickException(
            f"{needed} open files are needed and {hard} allowed; raise the limit (`ulimit -Hn {needed}`) or simulate fewer terminals"
        )
    if soft != resource.RLIM_INFINITY and soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


@click.command(name="simulate")
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False))
@click.option("--seed", type=click.IntRange(0), help="Same seed, same fleet (default: random, printed).")
@click.option(
    "--size",
    type=click.Choice(["full", "small"]),
    default="full",
    show_default=True,
    help="24 terminals of 20 meters, or 4 of 6.",
)
@click.option("--areas", type=click.IntRange(1, 65_000), help="Instead: so many terminals of one kind.")
@click.option("--protocol", type=click.Choice(PROTOCOLS), default="dlt645", show_default=True, help="Theirs.")
@click.option("--link", type=click.Choice(LINKS), default="dial-in", show_default=True, help="Theirs.")
@click.option(
    "--group",
    "groups",
    type=GroupText(),
    multiple=True,
    metavar="PROTOCOL:LINK:COUNT",
    help="Instead: terminals of several kinds (repeatable).",
)
@click.option(
    "--customers",
    type=click.IntRange(5, 500),
    default=7,
    show_default=True,
    help="Meters behind each of them beside the area's own.",
)
@click.option("--dead", type=click.IntRange(0), default=0, help="Meters that never answer, one a terminal.")
@click.option(
    "--commissioned",
    type=click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M"]),
    help="Local time from which their meters are there (default: yesterday 23:00).",
)
@click.option(
    "--head-end",
    "listener",
    type=HostPort(),
    metavar="HOST:PORT",
    default="127.0.0.1:7040",
    show_default=True,
    help="Where terminals that dial in find the collector.",
)
@click.option(
    "--first-port",
    type=click.IntRange(0, 65000),
    default=0,
    help="First port of terminals that wait (default: any free ones).",
)
@click.option(
    "--dial-rate",
    type=click.FloatRange(0.1, 10_000),
    default=200.0,
    show_default=True,
    help="Terminals that dial in a second.",
)
@click.option(
    "--heartbeat",
    type=click.FloatRange(1, 3600),
    default=30.0,
    show_default=True,
    help="Seconds between their heartbeats.",
)
@click.option(
    "--bare",
    is_flag=True,
    help="Concentrators (gdw376, dlt698) come from the factory: they collect nothing until `headend terminal` has told them.",
)
@click.option("--tell", metavar="LINE", help="Tell the fleet that runs in DIRECTORY, such as 'reconnect 30'.")
@pass_app
def command(
    app: App,
    directory: Path,
    seed: int | None,
    size: str,
    areas: int | None,
    protocol: ProtocolName,
    link: LinkName,
    groups: tuple[Group, ...],
    customers: int,
    dead: int,
    commissioned: dt.datetime | None,
    listener: str,
    first_port: int,
    dial_rate: float,
    heartbeat: float,
    bare: bool,
    tell: str | None,
) -> None:
    """Run a fleet of simulated terminals and meters until stopped.

    DIRECTORY receives the truth (written before the first byte is sent), the archive to import, and the simulator's own record of
    what its relays did. Of a large fleet the truth is the scenario, from which every area's is worked out again when somebody asks.

    The DL/T 645 meters cut nobody off by password: give the collector HEADEND_CIPHER_MACHINE=terminals.simulator.standin:StandInMachine.

    A running fleet obeys --tell: status; reconnect [SECONDS] (all that dial in hang up and come back).
    """
    if tell is not None:
        _tell(directory, tell)
        return
    if areas is not None and groups:
        raise click.UsageError("--areas is one group; give --areas or --group")
    if areas is not None:
        groups = (Group(protocol, link, areas),)
    if seed is None:
        seed = secrets.randbelow(2**32)
    directory.mkdir(parents=True, exist_ok=True)
    clock = parse(app.settings.clock, ZONE)
    try:
        load = Load(groups, customers, dead, commissioned)
        wanted = load.scenario(seed, clock.now()) if groups else scenario(seed, size)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    _open_files(wanted.areas + _FILES)
    fleet = Fleet(
        wanted, directory, clock, host_port(listener), first_port, heartbeat=heartbeat, dial_rate=dial_rate, bare=bare
    )  # fmt: skip

    async def run() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        await fleet.start()
        # A large fleet is a million objects that stay: the collector of garbage need not look at them again and again.
        gc.collect()
        gc.freeze()
        click.echo(
            f"{len(fleet.terminals)} terminals, {fleet.scenario.meters} meters, seed {seed}; truth {fleet.sha256[:16]}… and archive in {directory}",
            err=True,
        )
        await stop.wait()
        await fleet.stop()

    run_loop(run())


def _tell(directory: Path, line: str) -> None:
    try:
        click.echo(control.tell(directory, line))
    except control.NotTold as why:
        raise click.ClickException(str(why)) from None

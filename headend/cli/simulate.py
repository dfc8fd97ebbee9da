"""`headend simulate`: a fleet of terminals and meters on real sockets, with its truth written down first."""

from __future__ import annotations

import asyncio
import datetime as dt
import gc
import secrets
import signal
import sys
from dataclasses import dataclass, replace
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
from tariffs.days import WORKDAY
from terminals.simulator import control
from terminals.simulator.fleet import Fleet
from terminals.simulator.journal import Damaged
from terminals.simulator.scenario import (
    NOTHING,
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
from terminals.simulator.troubles import KINDS, Impossible
from terminals.simulator.truth import BadTruth, scenario_of

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
    quarters = version.schedule_array[day.month - 1, WORKDAY]
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
    plan: Plan
    commissioned: dt.datetime | None

    def scenario(self, seed: int, now: np.datetime64) -> Scenario:
        """ValueError: more faults than areas. Without another word points are owed since yesterday evening."""
        since = self.commissioned
        if since is None:
            since = dt.datetime.combine(local_day(now, ZONE) - dt.timedelta(days=1), dt.time(23))
        return large(seed, self.groups, self.customers, since, plan=self.plan, tariff=tariff(since.date()))


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


#: kind, value (None: the kind's own), whom
Fault = tuple[str, float | None, str]


class FaultText(click.ParamType[Fault]):
    """KIND[=VALUE][@WHO]; WHO is all, a share, or names."""

    name = "fault"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Fault:
        if isinstance(value, tuple):
            return value
        head, _, who = str(value).partition("@")
        kind, _, number = head.partition("=")
        rule = KINDS.get(kind)
        if rule is None:
            self.fail(f"{kind!r} is none of {', '.join(KINDS)}", param, ctx)
        try:
            settled = float(number) if number else None
        except ValueError:
            self.fail(f"{number!r} in {value!r} is no number", param, ctx)
        if settled is not None and not rule.least <= settled <= rule.most:
            self.fail(f"{kind} takes a number between {rule.least:g} and {rule.most:g}", param, ctx)
        return kind, settled, who or "all"


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
@click.option(
    "--fault",
    "faults",
    type=FaultText(),
    multiple=True,
    metavar="KIND[=VALUE][@WHO]",
    help="Begin with a trouble (repeatable): loss=0.3, delay=2, dead@10%, silence@33000007.",
)
@click.option(
    "--theft", type=click.IntRange(0), default=0, help="Of --areas: customers who bypass their meter."
)
@click.option("--stuck", type=click.IntRange(0), default=0, help="Of --areas: registers that stand still.")
@click.option(
    "--swapped", type=click.IntRange(0), default=0, help="Of --areas: interchanged current transformers."
)
@click.option(
    "--wallets",
    is_flag=True,
    help="Prepaid customers' DL/T 645 meters count the money down and cut off by themselves.",
)
@click.option(
    "--resume", is_flag=True, help="Go on with the fleet that DIRECTORY holds, whatever it was made of."
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
    faults: tuple[Fault, ...],
    theft: int,
    stuck: int,
    swapped: int,
    wallets: bool,
    resume: bool,
    tell: str | None,
) -> None:
    """Run a fleet of simulated terminals and meters until stopped.

    DIRECTORY receives the truth (written before the first byte is sent), the archive to import, and the simulator's own record of
    what its relays did. Of a large fleet the truth is the scenario, from which every area's is worked out again when somebody asks.

    The DL/T 645 meters cut nobody off by password: give the collector HEADEND_CIPHER_MACHINE=terminals.simulator.standin:StandInMachine.

    A running fleet obeys --tell: status; reconnect [SECONDS] (all that dial in hang up and come back); fault KIND WHO [VALUE]
    [for SECONDS]; mend KIND WHO; faults. Kinds are loss, garble, split, glue, noise, stale, foreign, duplicate (probabilities), delay,
    jitter (seconds), silence, away, reboot, move, and of meters dead, clock (seconds), drift (seconds a day), overwrite (hours kept);
    WHO is all, a share such as 5%, or names with commas between. troubles.jsonl says what was done to whom and when.
    """
    if tell is not None:
        _tell(directory, tell)
        return
    if areas is not None and groups:
        raise click.UsageError("--areas is one group; give --areas or --group")
    if areas is not None:
        groups = (Group(protocol, link, areas),)
    planted = replace(NOTHING, dead=dead, thieves=theft, stuck=stuck, swapped=swapped)
    if not groups and (planted != NOTHING or commissioned is not None):
        raise click.UsageError(
            "--dead, --theft, --stuck, --swapped and --commissioned go with --areas or --group"
        )
    if resume and (groups or wallets or seed is not None):
        raise click.UsageError(
            "--resume goes on with what is there: no --seed, --areas, --group or --wallets beside it"
        )
    if seed is None:
        seed = secrets.randbelow(2**32)
    directory.mkdir(parents=True, exist_ok=True)
    clock = parse(app.settings.clock, ZONE)
    try:
        if resume:
            wanted = scenario_of(directory)
        elif groups:
            wanted = Load(groups, customers, planted, commissioned).scenario(seed, clock.now())
        else:
            wanted = scenario(seed, size)
        if wallets:
            wanted = replace(wanted, wallets=True)
    except BadTruth as error:
        raise click.ClickException(str(error)) from None
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    _open_files(wanted.areas + _FILES)
    fleet = Fleet(
        wanted,
        directory,
        clock,
        host_port(listener),
        first_port,
        heartbeat=heartbeat,
        dial_rate=dial_rate,
        faults=faults,
        bare=bare,
    )

    async def run() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        try:
            await fleet.start()
        except Damaged as why:
            raise click.ClickException(str(why)) from None
        except Impossible as why:
            raise click.UsageError(str(why)) from None
        # A large fleet is a million objects that stay: the collector of garbage need not look at them again and again.
        gc.collect()
        gc.freeze()
        click.echo(
            f"{len(fleet.terminals)} terminals, {wanted.meters} meters, seed {wanted.seed}; truth {fleet.sha256[:16]}… and archive in {directory}",
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

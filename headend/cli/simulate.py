"""`headend simulate`: a fleet of terminals and meters on real sockets, with its truth written down first."""

from __future__ import annotations

import asyncio
import datetime as dt
import secrets
import signal
from pathlib import Path

import rich_click as click

from headend.cli.common import App, HostPort, pass_app
from headend.cli.loop import run_loop
from headend.clock import parse
from headend.config import host_port
from tariffs import plan
from terminals.simulator.fleet import Fleet
from terminals.simulator.scenario import ZONE, Scenario, Tariff, small

#: the tariff that the simulated customers are on
TARIFF = "zhejiang-residential-peak-valley"


def tariff(day: dt.date) -> Tariff:
    """The shipped tariff as plain hours and prices, for meters that switch by it and a truth that is charged by it.

    A register that the tariff does not name counts nothing; what it would cost is the remainder's price, so that the truth's
    total minus the others is charged as the tariff charges its remainder."""
    version = plan.shipped()[TARIFF].on(day)
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
@pass_app
def command(app: App, directory: Path, seed: int | None, size: str, listener: str, first_port: int) -> None:
    """Run a fleet of simulated terminals and meters (DL/T 645, DLMS) until stopped.

    DIRECTORY receives the truth (written before the first byte is sent), the archive to import, and the simulator's own record of
    what its relays did.

    The DL/T 645 meters cut nobody off by password: give the collector HEADEND_CIPHER_MACHINE=terminals.simulator.standin:StandInMachine.
    """
    if seed is None:
        seed = secrets.randbelow(2**32)
    directory.mkdir(parents=True, exist_ok=True)
    clock = parse(app.settings.clock, ZONE)
    fleet = Fleet(scenario(seed, size), directory, clock, host_port(listener), first_port)

    async def run() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        await fleet.start()
        click.echo(
            f"{len(fleet.terminals)} terminals, {fleet.scenario.meters} meters, seed {seed}; truth {fleet.sha256[:16]}… and archive in {directory}",
            err=True,
        )
        await stop.wait()
        await fleet.stop()

    run_loop(run())

"""`headend collect`: the collector process."""

from __future__ import annotations

import asyncio
import datetime as dt
import signal
import ssl
import sys

import rich_click as click

from headend.cli.common import App, HostPort, pass_app
from headend.cli.loop import run_loop
from headend.cli.trust import trust_of
from headend.collector import garbage
from headend.collector.daemon import Daemon, Options
from headend.collector.database import Database
from headend.collector.drivers import drivers
from headend.collector.subscriber import Subscription
from headend.config import ConfigError, Settings, host_port
from headend.store.db import pool
from protocols.errors import Misuse
from protocols.published.topic import Template
from terminals.links.link import BadAddress
from terminals.links.mqtt import parse_broker
from terminals.links.tls import server_context
from terminals.pace import Timing

#: seconds after which a thread that works for the store gives way to the loop: with Python's 5 ms each byte that comes in waits that long
#: whenever one works, and many come in during one turn of the loop
GIVE_WAY = 0.0005
#: seconds: the longest that our own work between two statements takes on a machine that is busy
LEAST_IDLE = 5.0


@click.command(name="collect")
@click.option(
    "--listen",
    type=HostPort(also="none"),
    metavar="HOST:PORT",
    help="Where terminals dial in (default HEADEND_LISTEN, 0.0.0.0:7040); 'none' for no listener.",
)
@click.option("--answer-seconds", type=float, help="First guess of a line's answer time; it adapts.")
@pass_app
def command(app: App, listen: str | None, answer_seconds: float | None) -> None:
    """Read meters until stopped: keep leases on terminals, close gaps, carry out orders. Start as many as you like.

    While the database is away the readings are kept on the disk, in HEADEND_HOME/spool, and no order is sent."""
    settings = app.settings
    address = listen or settings.listen
    first = answer_seconds or settings.answer_seconds
    tls = _tls(settings)
    options = Options(
        listen=None if address == "none" else host_port(address),
        spool=settings.spool,
        spool_bytes=settings.spool_mib << 20,
        lease_seconds=settings.lease_seconds,
        quota=settings.quota,
        dial_rate=settings.dial_rate,
        cell_dial_rate=settings.cell_dial_rate,
        poll_seconds=settings.poll_seconds,
        timing=Timing(first=first, floor=first / 4, attempts=settings.retries + 1),
        heartbeat=settings.heartbeat_seconds,
        drivers=drivers(settings.cipher_machine, dt.timedelta(seconds=settings.sample_seconds)),
        tls=tls,
        trust=trust_of(settings),
        subscription=_subscription(settings),
    )
    garbage.one_heap()
    zone, clock = app.zone, app.clock
    app.conn.close()  # the collector has a pool of its own; one that idles for hours would be cut off

    async def run() -> None:
        # a collector that stands still in the middle of a transaction must not keep its terminals locked for whoever takes them over
        idle = max(LEAST_IDLE, settings.lease_seconds)
        with pool(app.dsn, size=4, idle=idle) as opened:
            daemon = Daemon(Database(app.dsn, opened, zone, idle), clock, options)
            loop = asyncio.get_running_loop()
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, daemon.stop)
            searching = asyncio.create_task(garbage.keep_short(lambda: daemon.calm))
            try:
                await daemon.run()
            finally:
                searching.cancel()

    sys.setswitchinterval(GIVE_WAY)
    run_loop(run())


def _tls(settings: Settings) -> ssl.SSLContext | None:
    """The listener's, if there is a certificate. BadCertificate names the file."""
    certificate = settings.tls_certificate
    if certificate is None:
        alone = [name for name in ("tls_key", "tls_client_ca") if getattr(settings, name) is not None]
        if alone:
            raise ConfigError(
                f"HEADEND_{alone[0].upper()} is of no use without HEADEND_TLS_CERTIFICATE: set that too"
            )
        return None
    return server_context(certificate, settings.tls_key or certificate, settings.tls_client_ca)


def _subscription(settings: Settings) -> Subscription | None:
    """ConfigError if the settings name no broker, or no topics."""
    if not settings.mqtt:
        return None
    try:
        broker = parse_broker(settings.mqtt, trust_of(settings))
        template = Template(settings.mqtt_topic)
    except BadAddress as error:
        raise ConfigError(f"HEADEND_MQTT: {error}") from None
    except Misuse as error:
        raise ConfigError(f"HEADEND_MQTT_TOPIC: {error}") from None
    return Subscription(broker, settings.mqtt_client, template, settings.mqtt_status)

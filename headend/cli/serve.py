"""`headend serve`: REST for the CRM and the console, one process."""

from __future__ import annotations

import errno
import socket

import rich_click as click
import uvicorn

from headend.cli.common import App, HostPort, pass_app
from headend.config import host_port
from headend.server import ServerSettings, build
from terminals.links.link import CannotListen


@click.command(name="serve")
@click.option(
    "--listen",
    type=HostPort(),
    metavar="HOST:PORT",
    help="Where to listen (default HEADEND_API, 127.0.0.1:7080).",
)
@pass_app
def command(app: App, listen: str | None) -> None:
    """Serve the REST API under /api/v1 and the console page at /."""
    host, port = host_port(listen or app.settings.api)
    sock = _bound(host, port)
    application = build(ServerSettings(dsn=app.dsn, zone=app.zone, clock=app.clock))
    app.conn.close()
    click.echo(
        f"console http://{host}:{sock.getsockname()[1]}/  API http://{host}:{sock.getsockname()[1]}/api/v1",
        err=True,
    )
    server = uvicorn.Server(uvicorn.Config(application, log_level="warning", access_log=False, loop="uvloop"))
    with sock:
        server.run(sockets=[sock])


def _bound(host: str, port: int) -> socket.socket:
    """The listening socket, made here so that a port in use is one line and not a traceback."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host.strip("[]"), port))
        sock.listen(128)
    except OSError as error:
        sock.close()
        in_use = error.errno == errno.EADDRINUSE
        raise CannotListen(
            f"http://{host}:{port}",
            "the port is in use" if in_use else (error.strerror or str(error)),
            "stop the program that holds it or choose another with --listen"
            if in_use
            else "check the address",
        ) from None
    return sock

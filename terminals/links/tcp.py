"""Dialling out over TCP."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket

from terminals.links.link import CannotConnect
from terminals.links.pipe import Pipe

#: Seconds that sent bytes may stay unacknowledged before the kernel gives the connection up: a GPRS hole of
#: half a minute is common, longer ones end in a new dial-in anyway.
UNACKNOWLEDGED = 30


def tune(sock: socket.socket) -> None:
    """Notice a dead peer within two minutes even when nothing is said (the default is two hours)."""
    options = (
        ("SO_KEEPALIVE", socket.SOL_SOCKET, 1),
        ("TCP_NODELAY", socket.IPPROTO_TCP, 1),
        ("TCP_KEEPIDLE", socket.IPPROTO_TCP, 60),
        ("TCP_KEEPINTVL", socket.IPPROTO_TCP, 15),
        ("TCP_KEEPCNT", socket.IPPROTO_TCP, 4),
        ("TCP_USER_TIMEOUT", socket.IPPROTO_TCP, UNACKNOWLEDGED * 1000),
    )
    for option, level, value in options:
        # Not every platform has every option; a link without it works, it only notices death later.
        with contextlib.suppress(AttributeError, OSError):
            sock.setsockopt(level, getattr(socket, option), value)


def tcp_name(host: str, port: int) -> str:
    """tcp://host:port, with brackets round an IPv6 address."""
    return f"tcp://[{host}]:{port}" if ":" in host else f"tcp://{host}:{port}"


async def connect(host: str, port: int, timeout: float) -> Pipe:
    """Dial. CannotConnect says what to look at."""
    name = tcp_name(host, port)
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(timeout):
            transport, pipe = await loop.create_connection(lambda: Pipe(name), host, port)
    except TimeoutError as error:
        advice = "check that the terminal is powered and no firewall drops the packets"
        raise CannotConnect(name, f"no answer within {timeout:g} s", advice) from error
    except OSError as error:
        raise CannotConnect(name, *_explain(error)) from error
    sock = transport.get_extra_info("socket")
    if sock is not None:
        tune(sock)
    return pipe


def _explain(error: OSError) -> tuple[str, str]:
    if isinstance(error, socket.gaierror):
        return "the host name is not known", "check its spelling or use the IP address"
    if isinstance(error, ConnectionRefusedError):
        return (
            "connection refused",
            "the machine answers but nothing listens on that port: check the port number",
        )
    if error.errno in (errno.EHOSTUNREACH, errno.ENETUNREACH):
        return "no route to it", "check the address and the network"
    return str(error), "check the address and the network"

"""Dialling out over TCP, in the clear or in TLS."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import ssl

from terminals.links.link import CannotConnect
from terminals.links.pipe import Pipe
from terminals.links.trust import Trust

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


def tcp_name(host: str, port: int, scheme: str = "tcp") -> str:
    """tcp://host:port, with brackets round an IPv6 address."""
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


async def connect(host: str, port: int, timeout: float, trust: Trust | None = None) -> Pipe:
    """Dial; in TLS if there is a `trust`. CannotConnect says what to look at."""
    name = tcp_name(host, port, "tcp" if trust is None else "tls")
    loop = asyncio.get_running_loop()
    context = None if trust is None else tls_context(name, trust)
    try:
        async with asyncio.timeout(timeout):
            transport, pipe = await loop.create_connection(lambda: Pipe(name), host, port, ssl=context)
    except TimeoutError as error:
        advice = "check that the terminal is powered and no firewall drops the packets"
        if trust is not None:
            advice += ", and that it speaks TLS on that port"
        raise CannotConnect(name, f"no answer within {timeout:g} s", advice) from error
    except OSError as error:
        raise CannotConnect(name, *explain(error, tls=trust is not None)) from error
    sock = transport.get_extra_info("socket")
    if sock is not None:
        tune(sock)
    return pipe


def tls_context(name: str, trust: Trust) -> ssl.SSLContext:
    """CannotConnect if a file of ours is missing or no certificate."""
    try:
        return trust.context()
    except OSError as error:
        said = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        raise CannotConnect(
            name, f"our own TLS files: {said}", "check the HEADEND_DIAL_* settings"
        ) from error


def explain(error: OSError, *, tls: bool = False) -> tuple[str, str]:
    """Reason and advice."""
    if isinstance(error, socket.gaierror):
        return "the host name is not known", "check its spelling or use the IP address"
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"its certificate is not believed: {error.verify_message}",
            "name the authority that signed it (HEADEND_DIAL_CA), or the host as the certificate has it",
        )
    if isinstance(error, ConnectionRefusedError):
        return (
            "connection refused",
            "the machine answers but nothing listens on that port: check the port number",
        )
    if isinstance(error, ssl.SSLError) or (tls and isinstance(error, ConnectionError)):
        return (
            f"no TLS came about: {getattr(error, 'reason', None) or error}",
            "check that the peer speaks TLS on that port, and whether it wants a certificate of ours",
        )
    if error.errno in (errno.EHOSTUNREACH, errno.ENETUNREACH):
        return "no route to it", "check the address and the network"
    return str(error), "check the address and the network"

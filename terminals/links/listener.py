"""Terminals dialling in: accepts, hands the link over, and lets nobody stay without having said who he is."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ssl
from collections.abc import Awaitable, Callable
from typing import Final

from terminals.links.link import CLOSE_LIMIT, CannotListen, LinkLost
from terminals.links.pipe import Pipe
from terminals.links.tcp import tcp_name, tune

#: Connections that have not said who they are. Ten thousand terminals coming back within a minute, each known
#: after a second, are some 170 at a time; 2,000 leaves room for a slow database and bounds what a port
#: scanner can hold.
UNIDENTIFIED: Final = 2000
#: Seconds until a connection must have said who it is: a DTU sends its registration at once, GPRS adds
#: seconds.
AGE: Final = 30.0
#: Connections the kernel holds before we accept them: a power cut's worth of terminals arrives in one second.
BACKLOG: Final = 1024
#: Seconds for a TLS handshake: two round trips of GPRS and a slow terminal's arithmetic. Until it is done the connection is not yet
#: among the unidentified: only this and the process's limit of open files bound how many there are.
HANDSHAKE: Final = 15.0

OnLink = Callable[[Pipe], Awaitable[bool]]


class Listener:
    """Listens on host:port. `on_link` gets each new link and returns True once somebody owns it.

    Until then the connection counts as unidentified: it is closed when `on_link` returns False, raises, or
    takes longer than `age` seconds. With `limit` of them open a new connection is closed at once, and
    counted. With `tls` (see tls.py) every caller must speak TLS.
    """

    def __init__(
        self,
        host: str,
        port: int,
        on_link: OnLink,
        *,
        limit: int = UNIDENTIFIED,
        age: float = AGE,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.host = host
        self.port = port
        self.accepted = 0
        self.turned_away = 0
        self.expired = 0
        self._on_link = on_link
        self._limit = limit
        self._age = age
        self._tls = tls
        self._server: asyncio.Server | None = None
        self._pending: set[asyncio.Task[None]] = set()

    @property
    def name(self) -> str:
        return tcp_name(self.host, self.port)

    @property
    def unidentified(self) -> int:
        """Connections that have not yet said who they are."""
        return len(self._pending)

    async def start(self) -> None:
        """Listen. CannotListen when the port is taken; port 0 takes a free one and sets `port`."""
        loop = asyncio.get_running_loop()
        try:
            self._server = await loop.create_server(
                lambda: Pipe("tcp://?", self._opened),
                self.host,
                self.port,
                backlog=BACKLOG,
                ssl=self._tls,
                ssl_handshake_timeout=HANDSHAKE if self._tls else None,
                ssl_shutdown_timeout=CLOSE_LIMIT if self._tls else None,
            )
        except OverflowError as error:
            raise CannotListen(self.name, "there is no such port", "choose one from 1 to 65535") from error
        except OSError as error:
            raise CannotListen(self.name, *_explain(error)) from error
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Stop listening and drop who has not been identified.

        Links already handed over stay with their owner.
        """
        if self._server is not None:
            self._server.close()
            self._server = None
        pending = list(self._pending)
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)

    def _opened(self, pipe: Pipe) -> None:
        transport = pipe.transport
        peer = transport.get_extra_info("peername")
        pipe.name = tcp_name(peer[0], peer[1]) if peer else self.name
        if self._server is None or len(self._pending) >= self._limit:
            self.turned_away += 1
            transport.abort()
            return
        self.accepted += 1
        sock = transport.get_extra_info("socket")
        if sock is not None:
            tune(sock)
        task = asyncio.get_running_loop().create_task(self._hand_over(pipe))
        self._pending.add(task)
        task.add_done_callback(self._pending.discard)

    async def _hand_over(self, pipe: Pipe) -> None:
        owned = False
        try:
            # LinkLost here is a caller who hung up before he was known: nothing is lost by it.
            with contextlib.suppress(TimeoutError, LinkLost):
                async with asyncio.timeout(self._age) as limit:
                    owned = await self._on_link(pipe)
            self.expired += limit.expired()
        finally:
            if not owned:
                await pipe.close()


def _explain(error: OSError) -> tuple[str, str]:
    if error.errno == errno.EADDRINUSE:
        return (
            "the port is in use",
            "stop the program that holds it (ss -ltnp shows which) or choose another port",
        )
    if error.errno == errno.EACCES:
        return "permission denied", "ports below 1024 belong to root: choose a higher one"
    if error.errno == errno.EADDRNOTAVAIL:
        return "this machine has no such address", "use one of its own addresses, or 0.0.0.0 for all"
    return error.strerror or str(error), "check host and port"

"""What every link is: a byte pipe that knows no protocol. Its errors name the endpoint and the next step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

#: Received bytes kept for a reader. Twice the longest message of any protocol here (a DLMS wrapper APDU:
#: 65,535 + 8 bytes), so that nothing legal is ever cut; a peer that sends more without being read is
#: babbling.
RECEIVE_LIMIT: Final = 128 * 1024
#: Bytes waiting to be sent. Requests are below 2 KiB and one is outstanding: a peer with 64 KiB unread is
#: gone.
SEND_LIMIT: Final = 64 * 1024
#: Seconds for a closing link to flush; after that the transport is cut.
CLOSE_LIMIT: Final = 1.0


class LinkError(Exception):
    """Something is wrong with the wire itself. The message is one line: endpoint, reason, next step."""

    def __init__(self, name: str, reason: str, message: str) -> None:
        super().__init__(message)
        self.name = name
        self.reason = reason


class BadAddress(LinkError):
    """The text does not name an endpoint."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(name, reason, f"{name!r} is not a link address: {reason}")


class CannotConnect(LinkError):
    """The endpoint could not be opened."""

    def __init__(self, name: str, reason: str, advice: str) -> None:
        super().__init__(name, reason, f"cannot connect to {name}: {reason}; {advice}")


class CannotListen(LinkError):
    """The port could not be opened for terminals that dial in."""

    def __init__(self, name: str, reason: str, advice: str) -> None:
        super().__init__(name, reason, f"cannot listen on {name}: {reason}; {advice}")


class LinkLost(LinkError):
    """The link was open and is no more."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(name, reason, f"link {name} lost: {reason}; it has to be opened again")


#: Bytes of IPv4 and TCP headers without options, and as many for the acknowledgement of each piece.
OVERHEAD: Final = 2 * 40
#: Three packets to open a connection and four to close it.
CONNECTION: Final = 7 * 40


@dataclass(slots=True)
class Volume:
    """Bytes that have passed, and in how many pieces. Counts only rise."""

    sent: int = 0
    received: int = 0
    pieces: int = 0

    @property
    def on_air(self) -> int:
        """What a radio network counts of a TCP connection, about: the bytes with their headers and acknowledgements, not what was repeated.

        0 while nothing has passed."""
        return self.sent + self.received + self.pieces * OVERHEAD + (CONNECTION if self.pieces else 0)


class Link(Protocol):
    """A byte pipe. One reader at a time; writing never blocks."""

    @property
    def name(self) -> str:
        """The endpoint, for messages: tcp://10.1.2.3:7001."""

    @property
    def closed(self) -> bool:
        """No further byte will be taken."""

    @property
    def volume(self) -> Volume:
        """What has passed since it was opened, frames of the terminal's own included."""

    def write(self, data: bytes) -> None:
        """Send. LinkLost if the link is closed or the peer takes nothing."""

    async def read(self, timeout: float) -> bytes:
        """All that has arrived, at least one byte. TimeoutError after `timeout` seconds, or LinkLost."""

    def discard(self) -> bytes:
        """Throw away what has arrived and return it, so that it can be counted."""

    async def close(self) -> None:
        """Close and wait until the endpoint is free. May be called twice."""


class Receiver(Protocol):
    """Who is told of bytes as they come, instead of asking for them. Called by the event loop; must not block."""

    def received(self, data: bytes) -> None:
        """What has arrived, at least one byte."""

    def lost(self, reason: str) -> None:
        """No byte will come any more; told once."""


class Wrapper:
    """A link around a link that changes nothing: the base of the tap and of the faults."""

    def __init__(self, link: Link) -> None:
        self.link = link

    @property
    def name(self) -> str:
        return self.link.name

    @property
    def closed(self) -> bool:
        return self.link.closed

    @property
    def volume(self) -> Volume:
        return self.link.volume

    def write(self, data: bytes) -> None:
        self.link.write(data)

    async def read(self, timeout: float) -> bytes:
        return await self.link.read(timeout)

    def discard(self) -> bytes:
        return self.link.discard()

    async def close(self) -> None:
        await self.link.close()

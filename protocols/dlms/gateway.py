"""Many logical devices behind one connection."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from protocols.dlms import frame as frames
from protocols.dlms.device import ServerEvent
from protocols.dlms.frame import Receiver
from protocols.dlms.server import Server
from protocols.exchange import NEED_DATA, Ignored


class Gateway:
    """Many logical devices behind one connection: cuts the stream and hands each frame to the Server of its
    wPort.

    `find(port)` returns the Server of a wPort (always the same one on this connection), or None for nobody.
    """

    def __init__(self, find: Callable[[int], Server | None]) -> None:
        self._find = find
        self._receiver = Receiver()
        self._ready: deque[Server] = deque()

    def receive_data(self, data: bytes) -> None:
        """Take bytes as they arrive."""
        self._receiver.feed(data)

    def next_event(self) -> tuple[Server | None, ServerEvent]:
        """The next event and the Server it belongs to; (None, NEED_DATA) when all is dealt with.

        A Server with a request pending keeps its further frames until that is answered; the others go on.
        """
        for _ in range(len(self._ready)):
            server = self._ready.popleft()
            if server.pending:
                self._ready.append(server)
                continue
            return self._event(server)
        while (frame := self._receiver.next()) is not None:
            found = self._find(frame.destination)
            if found is None:
                return None, Ignored(f"nobody at wPort {frame.destination}", frames.encode(frame))
            if not found.take(frame):
                return found, Ignored("too many requests at once", frames.encode(frame))
            if found.pending:
                self._ready.append(found)
                continue
            return self._event(found)
        return None, NEED_DATA

    def _event(self, server: Server) -> tuple[Server, ServerEvent]:
        """One event; a server that has more to say (further items or pieces) stays in the queue."""
        event = server.next_event()
        if server.busy:
            self._ready.append(server)
        return server, event

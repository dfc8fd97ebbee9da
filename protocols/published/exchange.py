"""Listening as an exchange: nothing is asked, one message comes, and that is the answer."""

from __future__ import annotations

from dataclasses import dataclass

from protocols.errors import Misuse
from protocols.exchange import NEED_DATA, Answer, Event


@dataclass(frozen=True, slots=True)
class Listen:
    """The next message. -> bytes"""


class Listener:
    """protocols.exchange.Exchange, for which `receive_data` is given one whole message at a time: what carries it keeps them apart."""

    def __init__(self) -> None:
        self._waits = False
        self._message: bytes | None = None

    def send(self, request: Listen) -> bytes:
        """Nothing goes out. Misuse if somebody waits already."""
        if self._waits:
            raise Misuse("a message is waited for already")
        self._waits, self._message = True, None
        return b""

    def receive_data(self, data: bytes) -> None:
        self._message = data

    def next_event(self) -> Event:
        if not self._waits or self._message is None:
            return NEED_DATA
        message, self._message, self._waits = self._message, None, False
        return Answer(message)

    def abandon(self) -> None:
        self._waits, self._message = False, None

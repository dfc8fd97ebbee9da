"""A master that answers reports: a terminal may begin one at any time, and repeats it until somebody has taken it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np

from protocols.dlt698 import apdu as apdus
from protocols.dlt698.apdu import Apdu
from protocols.dlt698.exchange import Inbox, Master
from protocols.dlt698.frame import FUNCTION, LINK, decode
from protocols.errors import FrameError
from protocols.exchange import Event, Ignored, Send

#: Reports are answered without a time; only a LINK-Response has one.
_NO_TIME: Final = np.datetime64("NaT", "us")


class AttentiveMaster(Master):
    """Master whose terminal's reports come out as Send, the acknowledgement, whether or not a request is running.

    Logins and heartbeats stay Ignored: whoever keeps the connection answers them, with a clock. `on_report` is given each report that is
    acknowledged, once it is whole; a repeated one again.
    """

    def __init__(
        self, *arguments: Any, on_report: Callable[[Apdu], None] | None = None, **options: Any
    ) -> None:
        super().__init__(*arguments, **options)
        self._reports = Inbox(self.client)
        self._on_report = on_report

    def next_event(self) -> Event:
        event = super().next_event()
        if not isinstance(event, Ignored):
            return event
        reply = self._acknowledgement(event.frame)
        return Send(reply) if reply else event

    def _acknowledgement(self, raw: bytes) -> bytes:
        """b'' where the frame is no report of this terminal, or cannot be read: then it comes again."""
        frame = decode(raw)
        unasked = frame.from_server and not frame.client_started and frame.control & FUNCTION != LINK
        if not unasked or not self.server.matches(frame.server.digits):
            return b""
        try:
            taken = self._reports.take(raw, _NO_TIME, _NO_TIME)
        except FrameError:
            return b""
        told = taken.apdu
        if self._on_report is not None and told is not None and told.code == apdus.REPORT | apdus.SERVER:
            self._on_report(told)
        return taken.reply

"""General block transfer: an APDU of any kind in numbered pieces, a window of them at a time (IEC 62056-5-3, GBT; Green Book 9.4.6.13).

The receiver answers a piece that does not stream with the number of the last one that came in order; the sender goes on behind
that, so what was lost is sent again. The library has none of it.
"""

from __future__ import annotations

from typing import Final

from protocols.dlms.frame import WrapperTransport
from protocols.dlms.messages import GeneralBlock
from protocols.dlms.transport import Transport
from protocols.errors import FrameError, Misuse

TAG: Final = 0xE0
#: Pieces that we take in one go. More saves turns only on long lines, and each lost one costs the rest of the window.
WINDOW: Final = 6
#: Tag, control, two numbers, a length of at most three bytes.
OVERHEAD: Final = 9
MAX_NUMBER: Final = 0xFFFF


def window_for(transport: Transport) -> int:
    """Pieces in one go: streams need a line on which one side may speak twice."""
    return WINDOW if isinstance(transport, WrapperTransport) else 1


class Transfer:
    """Both directions of one exchange of APDUs: a request in pieces, and its answer in pieces.

    window  pieces we take, and send, in one go: 1 where the line gives each side its turn (HDLC)
    limit   bytes joined; beyond is a FrameError
    """

    def __init__(self, limit: int, window: int = WINDOW) -> None:
        self.window = window
        self.limit = limit
        self._out: list[bytes] = []
        self._acked = 0  # of ours, by the peer
        self._sent = 0
        self._peer_window = 1  # what the peer takes is not known before it has said so
        self._in: list[bytes] = []
        self._size = 0
        self._gap = False

    @property
    def sending(self) -> bool:
        """Pieces of ours are not yet acknowledged."""
        return self._acked < len(self._out)

    @property
    def receiving(self) -> bool:
        """Pieces of the peer's have come, and more must."""
        return bool(self._in)

    def begin(self, raw: bytes, max_pdu: int) -> list[GeneralBlock]:
        """The first window of `raw` in pieces that fit `max_pdu`. Misuse: it would take too many."""
        size = max_pdu - OVERHEAD
        if size < 1 or len(raw) > size * MAX_NUMBER:
            raise Misuse(f"general-block-transfer: {len(raw)} bytes do not fit pieces of {size}")
        self._out = [raw[at : at + size] for at in range(0, len(raw), size)]
        self._acked = self._sent = 0
        return self._window()

    def take(self, block: GeneralBlock) -> tuple[list[GeneralBlock], bytes | None]:
        """What must be sent now, and the whole APDU if this was its last piece. FrameError: too long, a
        general-block-transfer inside, an acknowledgement of what was not sent.
        """
        if block.acked > self._sent:
            raise FrameError(
                f"general-block-transfer: piece {block.acked} acknowledged, {self._sent} were sent", 4
            )
        self._peer_window = max(block.window, 1)
        was_sending = self.sending
        if was_sending:
            self._acked = max(self._acked, block.acked)
        if block.raw:
            whole = self._piece(block)
            if whole is not None:
                self._out = []
                return [], whole
        elif was_sending:
            return self._window(), None
        if block.streaming:
            return [], None
        if self.sending:
            return self._window(), None
        return ([self.acknowledgement()] if block.raw else []), None

    def acknowledgement(self) -> GeneralBlock:
        """An empty piece that says how far we are."""
        self._gap = False
        return GeneralBlock(True, False, self.window, min(len(self._out) + 1, MAX_NUMBER), len(self._in), b"")

    def again(self) -> list[GeneralBlock]:
        """What to repeat when nothing comes any more."""
        if self.sending:
            return self._window()
        return [self.acknowledgement()] if self._in else []

    def _piece(self, block: GeneralBlock) -> bytes | None:
        if block.number == 1 and self._in and self._in[0] != block.raw:  # the peer began anew
            self._in, self._size = [], 0
        expected = len(self._in) + 1
        if block.number != expected:  # before: repeated; behind: one is missing, and will be sent again
            self._gap = self._gap or block.number > expected
            return None
        if not self._in and block.raw[0] == TAG:  # each layer would be taken apart inside the one around it
            raise FrameError(
                "general-block-transfer: holds a general-block-transfer, must be another APDU", 6
            )
        if self._size + len(block.raw) > self.limit:
            self._in, self._size = [], 0
            raise FrameError(f"general-block-transfer: more than {self.limit} bytes", 6)
        self._size += len(block.raw)
        self._in.append(block.raw)
        if not block.last:
            return None
        whole = b"".join(self._in)
        self._in, self._size = [], 0
        return whole

    def _window(self) -> list[GeneralBlock]:
        """The pieces behind what is acknowledged; all but the last of a window stream."""
        end = min(self._acked + min(self._peer_window, self.window), len(self._out))
        self._sent = max(self._sent, end)
        return [
            GeneralBlock(
                number == len(self._out),
                number < end,
                self.window,
                number,
                len(self._in),
                self._out[number - 1],
            )
            for number in range(self._acked + 1, end + 1)
        ]

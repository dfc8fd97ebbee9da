"""How APDUs travel between a client and a server: the one seam between COSEM and its lower layers.

`frame.WrapperTransport` (TCP and UDP, IEC 62056-4-7) and `hdlc.HdlcTransport` (IEC 62056-46) are the two. Both sides of an
association use the same class; who connects is the client.
"""

from __future__ import annotations

from typing import Protocol

from protocols.exchange import Event


class Transport(Protocol):
    """Sans-I/O. Bounded: an APDU longer than `limit` is a FrameError, never memory."""

    #: The longest APDU that is accepted from the peer.
    limit: int

    @property
    def skipped(self) -> int:
        """Bytes dropped because they could not belong to a frame."""

    def connect(self) -> bytes:
        """What must be sent before the first APDU (HDLC: SNRM); b'' where there is nothing to say (wrapper).

        If there is, `next_event` gives Answer(None) when the peer has agreed, and raises Refused when it will not (DM).
        """

    def disconnect(self) -> bytes:
        """What must be sent after the last APDU (HDLC: DISC); b'' where there is nothing. Answered like `connect`."""

    def send(self, apdu: bytes) -> bytes:
        """The bytes of one APDU. HDLC sends the first window of segments; the rest follow as Send events."""

    def receive_data(self, data: bytes) -> None:
        """Take bytes as they arrive, in pieces of any size."""

    def next_event(self) -> Event:
        """NEED_DATA; Send: write this now (an acknowledgement, the next segments); Ignored: stale, foreign;

        Answer(bytes): a whole APDU has come; Answer(None): connected, or disconnected. FrameError: corrupt.
        """

    def resume(self) -> bytes:
        """The caller's wait timed out: what the lower layer itself would repeat now (HDLC: the unacknowledged segments, or
        RR with the poll bit); b'' where that is the application's business (wrapper)."""

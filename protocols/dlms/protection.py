"""What an association asks of its keys: the one seam between COSEM services and cryptography.

`security.py` has the real ones for clients and servers. `exchange.Client` and `exchange.Server` call them, and know no key.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

#: Application contexts (IEC 62056-5-3, application context name): logical or short names, plain or ciphered.
LN, SN, LN_CIPHERED, SN_CIPHERED = 1, 2, 3, 4


@dataclass(frozen=True, slots=True)
class Opening:
    """What goes into (client) or came from (server) the AARQ, besides the InitiateRequest; and likewise for the AARE.

    mechanism  0 none, 1 LLS, 2 HLS by manufacturer, 3 MD5, 4 SHA-1, 5 GMAC, 6 SHA-256, 7 ECDSA
    title      the speaker's system title, 8 bytes, or None
    secret     the calling (AARQ) or responding (AARE) authentication value: the LLS password or the HLS challenge
    certificate  public key certificate in the AE qualifier (suites 1 and 2), or None
    dedicated  the key for this association alone: the client says it in its InitiateRequest, the server takes it from there
    """

    context: int = LN
    mechanism: int = 0
    title: bytes | None = None
    secret: bytes | None = field(default=None, repr=False)  # never reaches a log
    certificate: bytes | None = None
    dedicated: bytes | None = field(default=None, repr=False)


class Protection(Protocol):
    """One side of one association. FrameError: an authentication tag or counter does not fit; the message says which, never the key.

    Send counters are the caller's to keep: `seal` asks its `next_counter` callable, which persists before it returns. The
    challenge and every other random number come from the caller as well.
    """

    def opening(self) -> Opening:
        """What this side says of itself in the AARQ or AARE."""

    def meet(self, peer: Opening) -> None:
        """What the other side said of itself. Refused, with the AARE diagnostic as `code`, if that will not do
        (11 mechanism not recognised, 13 authentication failure, 14 authentication required)."""

    @property
    def high(self) -> bool:
        """Whether both sides must still prove themselves by reply_to_HLS_authentication (mechanisms 2 to 7)."""

    def prove(self) -> bytes:
        """f(the peer's challenge): the argument (client) or return value (server) of reply_to_HLS_authentication."""

    def verify(self, proof: bytes) -> None:
        """The peer's f(our challenge). FrameError if it is wrong: nothing it says is to be believed."""

    def seal(self, apdu: bytes) -> bytes:
        """A plain xDLMS APDU -> what goes on the wire: glo-, ded- or general-glo/ded ciphered, or as it is."""

    def open(self, raw: bytes) -> bytes:
        """What came from the wire -> the plain xDLMS APDU. FrameError: not protected as agreed, tag, counter not above the last."""

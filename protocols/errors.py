"""Who is at fault: the wire, the peer, or the caller. Incomplete input is not an error at all."""

from __future__ import annotations


class ProtocolError(Exception):
    """Anything a codec complains about. The message is one line and names field, offset and rule."""


class FrameError(ProtocolError):
    """The bytes are corrupt: checksum, length, shape or a value outside its format."""


class Refused(ProtocolError):
    """The peer understood and said no.

    `code` is the peer's own code as it came (an error byte, a data-access-result, ...); `absent` is True when
    that code means "I do not have this record", which is proof that asking again is useless.
    """

    def __init__(self, message: str, *, code: int, absent: bool = False) -> None:
        super().__init__(message)
        self.code = code
        self.absent = absent


class Misuse(ProtocolError):
    """We asked for something impossible (a value that does not fit its field, two requests at once)."""

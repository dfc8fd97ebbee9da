"""Who is at fault: the wire, the peer, or the caller. Incomplete input is not an error at all."""

from __future__ import annotations


class ProtocolError(Exception):
    """Anything a codec complains about. The message is one line and names field, offset and rule."""


class FrameError(ProtocolError):
    """The bytes are corrupt: checksum, length, shape or a value outside its format.

    The message names the field and the rule. `offset` counts from the first byte of what was given to the function that
    raises; who cut a piece out of a frame and passes the complaint on says `moved(where the piece began)`.
    """

    def __init__(self, message: str, offset: int | None = None) -> None:
        super().__init__(message if offset is None else f"{message}, at offset {offset}")
        self.message = message
        self.offset = offset

    def moved(self, by: int) -> FrameError:
        """The same complaint, its offset counted from `by` bytes earlier."""
        return FrameError(self.message, by + (self.offset or 0))


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

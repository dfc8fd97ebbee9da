"""How one frame is looked at: whether secrets are shown, and each of its values decoded once, however often it is told."""

from __future__ import annotations

from dataclasses import dataclass, field

from protocols.dlms import values, wire
from protocols.dlms.values import Data
from protocols.part import MASK


@dataclass(frozen=True, slots=True)
class View:
    """Lives as long as the frame is looked at, so nothing of it is kept. `secret` values are told by their type alone.

    seen  values that are decoded already, by their bytes
    """

    reveal: bool
    seen: dict[bytes, Data] = field(repr=False)

    def data(self, raw: bytes) -> Data:
        """A-XDR bytes -> their value. FrameError: corrupt."""
        found = self.seen.get(raw)
        if found is None:
            found = self.seen[raw] = values.decode(raw)
        return found

    def hides(self, secret: bool) -> bool:
        """Whether a value must not be shown."""
        return secret and not self.reveal

    def password(self, value: bytes) -> str:
        """A password or challenge, as text where it is some."""
        if not self.reveal:
            return MASK
        plain = value.isascii() and value.decode("ascii").isprintable()
        return f'"{value.decode("ascii")}"' if plain else value.hex()

    def value(self, raw: bytes, *, secret: bool = False) -> str:
        """A value in words; of a big one its size."""
        data = self.data(raw)
        if self.hides(secret):
            return MASK
        return wire.shown(data) or values.NAMES.get(data.tag, str(data.tag))

    def typed(self, raw: bytes, *, secret: bool = False) -> str:
        """Its type and the value."""
        data = self.data(raw)
        kind = values.NAMES.get(data.tag, str(data.tag))
        if self.hides(secret):
            return f"{kind} {MASK}"
        if isinstance(data.value, tuple):
            return f"{kind} of {len(data.value)} elements"
        return f"{kind} {wire.shown(data)}".rstrip()

    def sized(self, raw: bytes) -> str:
        """Its type and how long it is; short ones as they are."""
        data = self.data(raw)
        if isinstance(data.value, bytes):
            return f"{values.NAMES[data.tag]} of {len(data.value)} bytes"
        return self.typed(raw)

"""Topic templates: hes/v1/{org}/{terminal}/{meter}/{kind}. MQTT 5.0 clause 4.7: levels between slashes, + and # are wildcards."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from protocols.errors import FrameError, Misuse

DEFAULT: Final = "hes/v1/{org}/{terminal}/{meter}/{kind}"
FIELDS: Final = ("org", "terminal", "meter", "kind")
KINDS: Final = ("data", "event", "status")
#: Bytes of a topic: the archive's names are far shorter, and MQTT's own limit (65,535) is nothing to keep in lists.
LONGEST: Final = 512


@dataclass(frozen=True, slots=True)
class Topic:
    """`org` is for the broker's access lists; who it is the terminal's name says, which the archive has once."""

    org: str
    terminal: str
    meter: str
    kind: str


@dataclass(frozen=True, slots=True)
class Template:
    """A checked template. Misuse, when made, says what is wrong with it."""

    text: str = DEFAULT

    def __post_init__(self) -> None:
        levels = self.text.split("/")
        for name in FIELDS[1:]:
            if levels.count(f"{{{name}}}") != 1:
                raise Misuse(f"topic: {self.text!r} needs {{{name}}} as a level of its own, once")
        for level in levels:
            if level.strip("{}") != level and level not in [f"{{{name}}}" for name in FIELDS]:
                raise Misuse(f"topic: {level!r} is no level; the fields are {', '.join(FIELDS)}")
            if not level or set(level) & set("+#\0") or levels.count("{org}") > 1:
                raise Misuse(f"topic: {self.text!r} has an empty level, a wildcard, or {{org}} twice")

    @property
    def filter(self) -> str:
        """What to subscribe to."""
        return "/".join("+" if level.startswith("{") else level for level in self.text.split("/"))

    def match(self, topic: str) -> Topic:
        """FrameError if the topic is none of this template."""
        if len(topic.encode()) > LONGEST or not topic.isprintable():
            raise FrameError("topic: too long, or with characters that cannot be printed")
        want, have = self.text.split("/"), topic.split("/")
        if len(want) != len(have):
            raise FrameError(f"topic: {len(have)} levels, {len(want)} are wanted")
        found = {"org": ""}
        for wanted, level in zip(want, have, strict=True):
            if wanted.startswith("{"):
                found[wanted.strip("{}")] = level
            elif wanted != level:
                raise FrameError(f"topic: {level!r} where {wanted!r} is wanted")
        if found["kind"] not in KINDS:
            raise FrameError(f"topic: {found['kind']!r} is not one of {', '.join(KINDS)}")
        if not found["terminal"] or not found["meter"]:
            raise FrameError("topic: terminal and meter have names")
        return Topic(**found)

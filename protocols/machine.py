"""A question that belongs to a conversation and goes to somebody off the line: the utility's cipher machine."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class AskMachine:
    """What a driver's script yields instead of a request. The session asks, since asking is I/O; the codec never does.

    `question.ask(machine)` is the answer sent back into the script. It may block. If it raises, the script ends in Misuse:
    nothing that depended on the answer has been sent.
    """

    machine: Any = field(repr=False)
    question: Any

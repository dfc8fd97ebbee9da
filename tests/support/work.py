"""How much a call has to do, counted and not timed: the same on every machine, however busy it is.

scripts/fuzz measures processor time; a test that did would fail on a busy machine and say nothing on a fast one.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any, Final

from protocols.errors import FrameError

#: Calls, of Python and of C functions, for one input of 16 KiB: sixteen a byte. Half of it is 4 to 10 ms on a machine of today; what
#: looks at bytes again and again is far above it.
MOST: Final = 16 * 16_384


def work(call: Callable[..., object], *arguments: Any) -> int:
    """The number of calls below this one. A FrameError is an answer like any other."""
    count = 0

    def seen(frame: FrameType, event: str, argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(seen)
    try:
        with contextlib.suppress(FrameError):
            call(*arguments)
    finally:
        sys.setprofile(before)
    return count

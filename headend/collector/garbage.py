"""Memory of a process that serves ten thousand terminals: Python's search for garbage kept short, and one heap for all threads.

Objects that refer to each other in a circle are found by a search through all that there are: with ten thousand terminals they are millions,
and the loop stands still for a second or two each time. So what has lived for a moment is taken out of the search; once a day, in a quiet
moment, everything is searched.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import time
from collections.abc import Callable
from typing import Final

#: seconds between looks: what is allocated meanwhile is searched in some ten milliseconds, in the busiest of times too; at 0.25 it took up to 73
EVERY: Final = 0.1
#: seconds after which everything is searched again, if nobody is at work; and after which that is done all the same
WHOLE, AT_LAST = 24 * 3600.0, 30 * 3600.0


#: mallopt's M_ARENA_MAX (malloc.h of glibc)
_ARENA_MAX: Final = -8


def one_heap() -> None:
    """Ask the C library for one heap. It gives each thread one of its own otherwise, and what several threads have freed is not given to others:
    5 KiB a terminal. Where it is another library, nothing happens."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_ARENA_MAX, 1)


async def keep_short(calm: Callable[[], bool], clock: Callable[[], float] = time.monotonic) -> None:
    """Until cancelled; then everything is searched again as Python does. `calm`: nobody is at work.

    For a process that does nothing else: the whole process's objects are meant.
    """
    searched = clock()
    try:
        while True:
            age = clock() - searched
            if age > AT_LAST or (age > WHOLE and calm()):
                gc.unfreeze()
                searched = clock()
            gc.collect()
            gc.freeze()
            await asyncio.sleep(EVERY)
    finally:
        gc.unfreeze()

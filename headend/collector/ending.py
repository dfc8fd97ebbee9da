"""The end of tasks, in bounded time."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, Final

import structlog

log = structlog.get_logger()

#: seconds until somebody who is still there is cancelled again, and how often
PATIENCE: Final = 2.0
TIMES: Final = 5


async def end(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel them and wait until they are over.

    One whose own wait ran out in the very moment of a cancellation may take it for that, and go on: it is cancelled again. Who does not end at
    all is left behind, so that a service that was told to stop does.
    """
    left = {task for task in tasks if not task.done()}
    for _ in range(TIMES):
        for task in left:
            task.cancel()
        if left:
            over, left = await asyncio.wait(left, timeout=PATIENCE)
            for task in over:
                if not task.cancelled():
                    task.exception()  # looked at; whoever fails while he ends has nobody left to tell
    if left:
        log.error(
            "tasks that do not end", names=sorted(task.get_name() for task in left)[:10], count=len(left)
        )

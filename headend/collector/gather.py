"""Many small questions to the store asked as one: ten thousand terminals that wake at the same quarter-hour are a few queries, not ten thousand."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Generic, TypeVar

Q = TypeVar("Q")
A = TypeVar("A")

#: seconds a question may wait for company: nothing to a terminal on a radio link, and enough for the others that wake with it
COMPANY: Final = 0.02


#: callers that go on in one turn of the loop
AT_ONCE: Final = 8


class Gather(Generic[Q, A]):
    """Asks `together` what several callers want to know; it gives an answer for each question, in order. One lot is under way at a time,
    so what comes meanwhile makes the next one larger: the slower the store, the fewer questions it is asked.

    `most`: questions in one lot, so that none makes the others wait long. The queue is as long as there are callers, who each wait for one
    answer."""

    def __init__(
        self,
        together: Callable[[Sequence[Q]], Awaitable[Sequence[A]]],
        most: int,
        company: float = COMPANY,
    ) -> None:
        self._together = together
        self._most = most
        self._company = company
        self._waiting: deque[tuple[Q, asyncio.Future[A]]] = deque()
        self._asking: asyncio.Task[None] | None = None

    async def ask(self, question: Q) -> A:
        """The answer; whatever `together` raises is raised to all who asked with it."""
        answer: asyncio.Future[A] = asyncio.get_running_loop().create_future()
        self._waiting.append((question, answer))
        if self._asking is None:
            self._asking = asyncio.create_task(self._ask_all())
        return await answer

    async def _ask_all(self) -> None:
        try:
            await asyncio.sleep(self._company)
            while self._waiting:
                await self._ask_some()
        finally:
            self._asking = None
            for _, answer in self._waiting:  # only if we are cancelled
                answer.cancel()
            self._waiting.clear()

    async def _ask_some(self) -> None:
        lot: list[tuple[Q, asyncio.Future[A]]] = []
        while self._waiting and len(lot) < self._most:
            question, answer = self._waiting.popleft()
            if not answer.done():  # else whoever asked has left
                lot.append((question, answer))
        if not lot:
            return
        try:
            answers = await self._together([question for question, _ in lot])
        except Exception as error:
            for _, answer in lot:
                if not answer.done():
                    answer.set_exception(error)
        except BaseException:
            for _, answer in lot:
                answer.cancel()
            raise
        else:
            for place, ((_, answer), value) in enumerate(zip(lot, answers, strict=True)):
                if not answer.done():
                    answer.set_result(value)
                if place % AT_ONCE == AT_ONCE - 1:
                    await asyncio.sleep(0)  # what they do with it takes its time too

"""Questions asked together: each gets its own answer, and none waits for one that failed or left."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from headend.collector.gather import Gather


class Store:
    """Answers with the square; notes what was asked together."""

    def __init__(self) -> None:
        self.lots: list[list[int]] = []
        self.free = asyncio.Event()
        self.free.set()

    async def __call__(self, questions: Sequence[int]) -> list[int]:
        self.lots.append(list(questions))
        await self.free.wait()
        if 13 in questions:
            raise OSError("away")
        return [question**2 for question in questions]


async def test_what_is_asked_at_once_is_asked_together() -> None:
    store = Store()
    gather: Gather[int, int] = Gather(store, 100)
    assert await asyncio.gather(*map(gather.ask, range(13))) == [n**2 for n in range(13)]
    assert store.lots == [list(range(13))]


async def test_a_lot_is_bounded_and_what_comes_meanwhile_makes_the_next() -> None:
    store = Store()
    store.free.clear()
    gather: Gather[int, int] = Gather(store, 4)
    first = [asyncio.create_task(gather.ask(n)) for n in range(3)]
    while not store.lots:
        await asyncio.sleep(0.01)
    later = [asyncio.create_task(gather.ask(n)) for n in range(3, 9)]
    await asyncio.sleep(0)
    store.free.set()
    assert await asyncio.gather(*first, *later) == [n**2 for n in range(9)]
    assert store.lots == [[0, 1, 2], [3, 4, 5, 6], [7, 8]]


async def test_an_error_is_told_to_those_who_asked_with_it_and_to_nobody_else() -> None:
    gather: Gather[int, int] = Gather(Store(), 2)
    told = await asyncio.gather(*map(gather.ask, (12, 13, 14, 15)), return_exceptions=True)
    assert [type(one) for one in told] == [OSError, OSError, int, int]
    assert await gather.ask(3) == 9


async def test_who_leaves_is_not_asked_for() -> None:
    store = Store()
    gather: Gather[int, int] = Gather(store, 100)
    leaves, stays = asyncio.create_task(gather.ask(1)), asyncio.create_task(gather.ask(2))
    await asyncio.sleep(0)
    leaves.cancel()
    assert await stays == 4
    assert store.lots == [[2]]
    with pytest.raises(asyncio.CancelledError):
        await leaves

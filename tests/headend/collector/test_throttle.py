from __future__ import annotations

import asyncio

import pytest

from headend.collector import throttle as module
from headend.collector.throttle import EASY, FIRST, FLOOR, LATE, MOST, NoPlace, Throttle


async def test_no_more_than_the_limit_are_at_work_and_all_come_to_it() -> None:
    throttle = Throttle()
    peak, done = 0, 0

    async def work() -> None:
        nonlocal peak, done
        async with throttle.turn():
            peak = max(peak, throttle.active)
            await asyncio.sleep(0)
            done += 1

    await asyncio.gather(*(work() for _ in range(500)))
    assert (peak, done, throttle.active) == (FIRST, 500, 0)


async def test_who_leaves_the_queue_takes_no_place() -> None:
    throttle = Throttle()
    throttle.limit.value = 1
    free = asyncio.Event()

    async def work() -> None:
        async with throttle.turn():
            await free.wait()

    first, second, third = (asyncio.create_task(work()) for _ in range(3))
    await asyncio.sleep(0)
    second.cancel()
    free.set()
    async with asyncio.timeout(1):
        await asyncio.gather(first, third)
    assert throttle.active == 0


async def test_who_is_cancelled_just_as_he_is_admitted_gives_his_place_on() -> None:
    throttle = Throttle()
    throttle.limit.value = 1
    order = []

    async def work(name: str) -> None:
        async with throttle.turn():
            order.append(name)
            await asyncio.sleep(0)

    first, second, third = (asyncio.create_task(work(name)) for name in "abc")
    await asyncio.sleep(0)
    await asyncio.sleep(0)  # the first has gone, the second is admitted and has not run yet
    second.cancel()
    async with asyncio.timeout(1):
        await asyncio.gather(first, second, third, return_exceptions=True)
    assert order == ["a", "c"]
    assert throttle.active == 0


def test_it_narrows_when_the_loop_is_late_and_widens_where_somebody_waits() -> None:
    limit = Throttle().limit
    for _ in range(50):
        limit.note(LATE * 2, 8, crowded=True)
    assert limit.value == FLOOR
    limit.note(EASY / 2, 8, crowded=False)
    assert limit.value == FLOOR
    limit.note((EASY + LATE) / 2, 8, crowded=True)
    assert limit.value == FLOOR
    for _ in range(20):
        limit.note(EASY / 2, 8, crowded=True)
    assert limit.value == FLOOR + 20  # one by one: more was too much before
    for _ in range(20_000):
        limit.note(EASY / 2, 8, crowded=True)
    assert limit.value == MOST


def test_slow_lines_are_soon_under_way_by_the_thousand() -> None:
    """Where the loop has never been late, the number grows by a tenth at each look."""
    limit = Throttle().limit
    for _ in range(60):
        limit.note(EASY / 2, 8, crowded=True)
    assert limit.value > 5000


def test_what_is_not_used_is_not_kept_for_the_next_flood() -> None:
    limit = Throttle().limit
    for _ in range(500):
        limit.note(EASY / 2, 2000, crowded=True)
    assert limit.value > 3000
    for _ in range(500):
        limit.note(EASY / 2, 2000, crowded=False)
    assert limit.value == 2000
    for _ in range(500):
        limit.note(EASY / 2, 0, crowded=False)
    assert limit.value == FIRST


async def test_who_waits_for_a_dead_meter_takes_nobodys_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SLOW", 0.01)
    throttle = Throttle()
    throttle.limit.value = 1
    answer = asyncio.Event()
    order = []

    async def work(name: str, until: asyncio.Event | None) -> None:
        async with throttle.turn():
            order.append(name)
            if until is not None:
                await until.wait()

    dead = asyncio.create_task(work("dead", answer))
    await asyncio.sleep(0)
    async with asyncio.timeout(5):
        await asyncio.gather(work("a", None), work("b", None))  # while the dead one has not given up
    assert order == ["dead", "a", "b"]
    assert not dead.done()
    assert (throttle.active, throttle.at_work) == (0, 1)
    answer.set()
    await dead
    assert (throttle.active, throttle.at_work) == (0, 0)  # left once


async def test_who_was_silent_comes_after_all_others() -> None:
    throttle = Throttle()
    throttle.limit.value = 1
    order: list[str] = []

    async def work(name: str, *, silent: bool) -> None:
        async with throttle.turn(silent=silent):
            order.append(name)
            await asyncio.sleep(0)

    async with asyncio.timeout(5):
        await asyncio.gather(
            work("first", silent=True), work("x silent", silent=True), work("y silent", silent=True),
            work("a", silent=False), work("b", silent=False),
        )  # fmt: skip
    assert order == ["first", "a", "b", "x silent", "y silent"]
    assert (throttle.active, throttle.at_work) == (0, 0)


async def test_who_leaves_while_he_waits_among_the_silent_takes_nobodys_place() -> None:
    throttle = Throttle()
    throttle.limit.value = 1
    async with throttle.turn():
        gone = asyncio.create_task(_once(throttle, silent=True))
        stays = asyncio.create_task(_once(throttle, silent=True))
        await asyncio.sleep(0)
        gone.cancel()
    async with asyncio.timeout(5):
        await stays
    assert (throttle.active, throttle.at_work) == (0, 0)


async def test_one_turn_in_so_many_is_for_the_silent_however_many_others_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "SHARE", 4)
    throttle = Throttle()
    throttle.limit.value = 1
    order: list[str] = []

    async def work(name: str, *, silent: bool) -> None:
        async with throttle.turn(silent=silent):
            order.append(name)
            await asyncio.sleep(0)

    async with asyncio.timeout(5):
        await asyncio.gather(
            work("0", silent=False), work("x", silent=True), work("y", silent=True),
            *(work(str(k), silent=False) for k in range(1, 9)),
        )  # fmt: skip
    assert order == ["0", "1", "2", "3", "x", "4", "5", "6", "y", "7", "8"]


async def test_who_finds_no_place_in_time_goes_away_and_takes_none() -> None:
    throttle = Throttle()
    throttle.limit.value = 1
    async with throttle.turn():
        with pytest.raises(NoPlace):
            async with throttle.turn(silent=True, patience=0.01):
                raise AssertionError
    async with asyncio.timeout(5):
        await _once(throttle, silent=True)
    assert (throttle.active, throttle.at_work) == (0, 0)


async def _once(throttle: Throttle, *, silent: bool) -> None:
    async with throttle.turn(silent=silent):
        pass

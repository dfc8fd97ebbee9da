"""Whoever is told to end ends, and who does not is not waited for."""

from __future__ import annotations

import asyncio
import contextlib

from structlog.testing import capture_logs

from headend.collector import ending


async def test_one_who_takes_a_cancellation_for_the_end_of_a_wait_is_cancelled_again(monkeypatch) -> None:
    monkeypatch.setattr(ending, "PATIENCE", 0.01)
    ended = []

    async def obedient() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append("obedient")

    async def hard_of_hearing() -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(60)
        try:
            await asyncio.sleep(60)
        finally:
            ended.append("hard of hearing")

    async def failing() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            raise OSError("gone")

    tasks = [asyncio.create_task(work()) for work in (obedient, hard_of_hearing, failing)]
    await asyncio.sleep(0)
    await ending.end(tasks)
    assert sorted(ended) == ["hard of hearing", "obedient"]
    assert all(task.done() for task in tasks)
    await ending.end(tasks)
    await ending.end([])


async def test_one_who_never_ends_is_left_behind_and_named(monkeypatch) -> None:
    monkeypatch.setattr(ending, "PATIENCE", 0.01)
    free = asyncio.Event()

    async def deaf() -> None:
        while not free.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await free.wait()

    task = asyncio.create_task(deaf(), name="worker T1")
    await asyncio.sleep(0)
    with capture_logs() as said:
        await ending.end([task])
    assert [(line["event"], line["names"]) for line in said] == [("tasks that do not end", ["worker T1"])]
    free.set()
    await task

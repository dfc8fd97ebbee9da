from __future__ import annotations

import asyncio
import gc
import time

import pytest

from headend.collector.pulse import Pulse


def test_shares_are_upper_bounds_within_a_twentieth() -> None:
    pulse = Pulse()
    for k in range(1000):
        pulse.note(k / 1000)
    beat = pulse.take()
    assert beat.looks == 1000
    assert 0.5 <= beat.median <= 0.525
    assert 0.99 <= beat.p99 <= 0.999 == beat.worst
    assert pulse.take().looks == 0


def test_the_tail_is_seen() -> None:
    pulse = Pulse()
    for _ in range(98):
        pulse.note(0.0)
    for _ in range(2):
        pulse.note(500.0)
    beat = pulse.take()
    assert beat.median == pytest.approx(0.001)
    assert beat.p99 == beat.worst == 500.0


async def test_a_loop_that_stands_still_is_found_out() -> None:
    pulse = Pulse()
    task = asyncio.create_task(pulse.run())
    await asyncio.sleep(0.06)
    time.sleep(0.3)
    await asyncio.sleep(0.06)
    task.cancel()
    assert pulse.take().worst > 0.2


async def test_the_search_for_garbage_is_measured_while_it_runs() -> None:
    pulse, before = Pulse(), len(gc.callbacks)
    task = asyncio.create_task(pulse.run())
    await asyncio.sleep(0)
    gc.collect()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert pulse.take().collecting > 0.0
    assert pulse.take().collecting == 0.0
    assert len(gc.callbacks) == before

"""In a process of its own: what is done to Python's search for garbage is done to all of a process."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import asyncio, gc, weakref
from headend.collector import garbage

class Circle:
    def __init__(self):
        self.me = self

now = 0.0
calm = False
garbage.EVERY = 0.01

async def main():
    global now, calm
    gc.disable()  # nobody searches but keep_short
    searching = asyncio.create_task(garbage.keep_short(lambda: calm, lambda: now))
    await asyncio.sleep(0.05)
    assert gc.get_freeze_count() > 1000
    young = weakref.ref(Circle())
    old = Circle()
    await asyncio.sleep(0.05)
    told = [young() is None]  # what has not lived long is found at once
    old = weakref.ref(old)
    await asyncio.sleep(0.05)
    told.append(old() is None)  # what has is not searched
    now = garbage.WHOLE + 1
    await asyncio.sleep(0.05)
    told.append(old() is None)  # somebody is at work
    calm = True
    await asyncio.sleep(0.05)
    told.append(old() is None)  # the day is over and nobody is
    calm, last = False, Circle()
    await asyncio.sleep(0.05)
    last = weakref.ref(last)
    now += garbage.AT_LAST + 1
    await asyncio.sleep(0.05)
    told.append(last() is None)  # it is put off no longer
    searching.cancel()
    await asyncio.gather(searching, return_exceptions=True)
    told.append(gc.get_freeze_count() == 0)
    print(told)

asyncio.run(main())
"""


def test_what_has_lived_is_searched_once_a_day_when_nobody_is_at_work() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.stdout.strip() == str([True, False, False, True, True, True])

"""The bounded box between the loop and the reader."""

import pytest

from terminals.links.inbox import Inbox


async def test_the_oldest_bytes_go_when_the_box_is_full_and_are_counted():
    box = Inbox(limit=4)
    box.put(b"abc")
    assert not box.full
    box.put(b"def")
    assert box.full
    assert box.dropped == 2
    assert await box.read(1.0) == b"cdef"


async def test_one_piece_larger_than_the_box():
    box = Inbox(limit=4)
    box.put(b"0123456789")
    assert await box.read(1.0) == b"6789"


async def test_a_timeout_leaves_the_box_usable():
    box = Inbox()
    with pytest.raises(TimeoutError):
        await box.read(0.001)
    box.put(b"x")
    assert await box.read(0.001) == b"x"

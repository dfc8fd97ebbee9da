"""Terminals dialling in, on real sockets."""

import asyncio

import pytest

from terminals.links.link import CannotListen, LinkLost
from terminals.links.listener import Listener
from terminals.links.tcp import connect


async def _until(condition, seconds=2.0):
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.002)


async def _refuse(link):
    return False


async def test_a_link_is_handed_over_and_stays_with_its_owner(closing):
    links = []

    async def own(link):
        assert await link.read(1.0) == b"hello"
        links.append(closing(link))
        return True

    listener = Listener("127.0.0.1", 0, own)
    await listener.start()
    caller = closing(await connect("127.0.0.1", listener.port, 1.0))
    await _until(lambda: listener.unidentified == 1)
    caller.write(b"hello")
    await _until(lambda: links)
    await _until(lambda: listener.unidentified == 0)
    await listener.close()
    assert links[0].name.startswith("tcp://127.0.0.1:")
    links[0].write(b"still here")
    assert await caller.read(1.0) == b"still here"


async def test_who_does_not_say_who_he_is_is_closed(closing):
    async def wait(link):
        await link.read(10.0)
        return True

    listener = Listener("127.0.0.1", 0, wait, age=0.02)
    await listener.start()
    caller = closing(await connect("127.0.0.1", listener.port, 1.0))
    with pytest.raises(LinkLost):
        await caller.read(2.0)
    await _until(lambda: listener.unidentified == 0)
    assert listener.expired == 1
    await listener.close()


async def test_whom_nobody_wants_is_closed(closing):
    listener = Listener("127.0.0.1", 0, _refuse)
    await listener.start()
    caller = closing(await connect("127.0.0.1", listener.port, 1.0))
    with pytest.raises(LinkLost):
        await caller.read(2.0)
    await listener.close()


async def test_the_number_of_unidentified_connections_is_limited(closing):
    async def wait(link):
        await link.read(10.0)
        return False

    listener = Listener("127.0.0.1", 0, wait, limit=2)
    await listener.start()
    first, second = [closing(await connect("127.0.0.1", listener.port, 1.0)) for _ in range(2)]
    await _until(lambda: listener.unidentified == 2)
    third = closing(await connect("127.0.0.1", listener.port, 1.0))
    with pytest.raises(LinkLost):
        await third.read(2.0)
    assert (listener.accepted, listener.turned_away) == (2, 1)
    assert not first.closed
    assert not second.closed
    await listener.close()
    for caller in (first, second):
        with pytest.raises(LinkLost):
            await caller.read(2.0)


async def test_a_caller_who_hangs_up_early_is_no_error(closing):
    async def wait(link):
        await link.read(10.0)
        return True

    listener = Listener("127.0.0.1", 0, wait)
    await listener.start()
    caller = await connect("127.0.0.1", listener.port, 1.0)
    await _until(lambda: listener.unidentified == 1)
    await caller.close()
    await _until(lambda: listener.unidentified == 0)
    await listener.close()


async def test_a_port_in_use_says_so():
    first = Listener("127.0.0.1", 0, _refuse)
    await first.start()
    second = Listener("127.0.0.1", first.port, _refuse)
    with pytest.raises(
        CannotListen, match=f"tcp://127.0.0.1:{first.port}: the port is in use; stop the program"
    ):
        await second.start()
    await first.close()


async def test_an_address_that_is_not_ours_says_so():
    with pytest.raises(CannotListen, match="this machine has no such address"):
        await Listener("192.0.2.1", 0, _refuse).start()


async def test_an_impossible_port_says_so():
    with pytest.raises(CannotListen, match="no such port"):
        await Listener("127.0.0.1", 70000, _refuse).start()

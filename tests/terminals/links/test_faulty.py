"""The bad lines do what they say."""

import asyncio
from random import Random

import pytest

from terminals.links.faulty import Delayed, Dribble, Echoing, Foreign, Lossy, Noisy, Stale
from terminals.links.link import LinkLost
from terminals.links.tcp import connect


@pytest.fixture
async def link(server, closing):
    return closing(await connect("127.0.0.1", server.port, 1.0))


async def test_dribble(link):
    bad = Dribble(link)
    bad.write(b"abc")
    assert [await bad.read(1.0) for _ in range(3)] == [b"a", b"b", b"c"]
    bad.write(b"de")
    assert await bad.read(1.0) == b"d"
    assert bad.discard() == b"e"


async def test_loss_both_ways(link):
    for bad in (Lossy(link, Random(1), sent=1.0), Lossy(link, Random(1), received=1.0)):
        bad.write(b"abc")
        with pytest.raises(TimeoutError):
            await bad.read(0.02)
    half = Lossy(link, Random(1), sent=0.5)
    for _ in range(100):
        half.write(b".")
    await asyncio.sleep(0.02)
    assert 30 < len(half.discard()) < 70


async def test_delay_keeps_the_order_and_the_time_out(link):
    bad = Delayed(link, Random(1), 0.03)
    now = asyncio.get_running_loop().time
    begun = now()
    bad.write(b"a")
    with pytest.raises(TimeoutError):
        await bad.read(0.01)
    assert bad.discard() == b""
    assert await bad.read(1.0) == b"a"
    assert now() - begun >= 0.03


async def test_noise_changes_one_bit_or_comes_before(link):
    bad = Noisy(link, Random(1), flip=1.0)
    bad.write(b"\x00\x00")
    assert int.from_bytes(await bad.read(1.0), "big").bit_count() == 1
    bad = Noisy(link, Random(1), junk=1.0)
    bad.write(b"abc")
    data = await bad.read(1.0)
    assert data.endswith(b"abc")
    assert 4 <= len(data) <= 8


async def test_stale_and_foreign(link):
    bad = Stale(link, Random(1), 1.0)
    bad.write(b"one")
    assert await bad.read(1.0) == b"one"
    bad.write(b"two")
    assert await bad.read(1.0) == b"onetwo"
    bad = Foreign(link, Random(1), 1.0, b"other")
    bad.write(b"mine")
    assert await bad.read(1.0) == b"othermine"


async def test_echo(link):
    bad = Echoing(link)
    bad.write(b"ask")
    assert await bad.read(1.0) == b"ask"
    assert await bad.read(1.0) == b"ask"  # the server's answer


async def test_wrappers_pass_on_name_state_and_close(link):
    bad = Dribble(Noisy(link, Random(1)))
    assert bad.name == link.name
    assert not bad.closed
    await bad.close()
    assert bad.closed
    assert link.closed
    with pytest.raises(LinkLost):
        await bad.read(1.0)

"""TCP links on real sockets."""

import asyncio
import socket

import pytest

from terminals.links import pipe as pipe_module
from terminals.links.link import CannotConnect, LinkLost
from terminals.links.tcp import connect


async def test_bytes_go_out_and_come_back(server, closing):
    link = closing(await connect("127.0.0.1", server.port, 1.0))
    assert link.name == server.url
    link.write(b"abc")
    assert await link.read(1.0) == b"abc"
    assert not link.closed


async def test_silence_is_a_timeout_and_the_link_stays_usable(server, closing):
    server.answer = lambda data: b""
    link = closing(await connect("127.0.0.1", server.port, 1.0))
    with pytest.raises(TimeoutError):
        await link.read(0.01)
    server.transports[0].write(b"late")
    assert await link.read(1.0) == b"late"


async def test_what_arrived_before_the_end_is_read_before_the_loss(server, closing):
    link = closing(await connect("127.0.0.1", server.port, 1.0))
    await asyncio.sleep(0)
    server.transports[0].write(b"last words")
    server.transports[0].close()
    await asyncio.sleep(0.02)
    assert await link.read(1.0) == b"last words"
    for _ in range(2):
        with pytest.raises(LinkLost, match="the peer closed it; it has to be opened again"):
            await link.read(1.0)
    assert link.closed
    with pytest.raises(LinkLost):
        link.write(b"x")


async def test_a_reset_wakes_the_reader(server, closing):
    link = closing(await connect("127.0.0.1", server.port, 1.0))
    reading = asyncio.ensure_future(link.read(5.0))
    await asyncio.sleep(0.01)
    server.transports[0].abort()
    with pytest.raises(LinkLost):
        await reading


async def test_closing_wakes_the_reader_and_may_be_repeated(server):
    link = await connect("127.0.0.1", server.port, 1.0)
    reading = asyncio.ensure_future(link.read(5.0))
    await asyncio.sleep(0.01)
    await link.close()
    with pytest.raises(LinkLost, match="closed here"):
        await reading
    await link.close()


async def test_discard_returns_what_it_threw_away(server, closing):
    link = closing(await connect("127.0.0.1", server.port, 1.0))
    link.write(b"stale")
    await asyncio.sleep(0.02)
    assert link.discard() == b"stale"
    with pytest.raises(TimeoutError):
        await link.read(0.01)


async def test_a_babbling_peer_is_slowed_down_and_nothing_is_lost(server, closing, monkeypatch):
    monkeypatch.setattr(pipe_module, "RECEIVE_LIMIT", 1000)
    link = closing(await connect("127.0.0.1", server.port, 1.0))
    await asyncio.sleep(0)
    flood = bytes(range(256)) * 40_000  # 10 MB: more than the kernel's buffers take
    server.transports[0].write(flood)
    await asyncio.sleep(0.05)
    assert len(link._inbox) <= 1000 + pipe_module.PIECE_LIMIT
    got = bytearray()
    while len(got) < len(flood):
        got += await link.read(5.0)
    assert got == flood


async def test_a_peer_that_takes_nothing_is_given_up(server, closing, monkeypatch):
    monkeypatch.setattr(pipe_module, "SEND_LIMIT", 1000)
    link = closing(await connect("127.0.0.1", server.port, 1.0))
    await asyncio.sleep(0)
    server.transports[0].pause_reading()

    def flood():
        for _ in range(100_000):
            link.write(b"x" * 1000)

    with pytest.raises(LinkLost, match="takes no bytes"):
        flood()
    assert link.closed


async def test_a_refused_connection_says_what_to_look_at():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, not listening
        port = taken.getsockname()[1]
        with pytest.raises(
            CannotConnect, match=rf"tcp://127.0.0.1:{port}: connection refused; .* port number"
        ):
            await connect("127.0.0.1", port, 1.0)


async def test_an_unknown_host_says_so(monkeypatch):
    async def unknown(*args, **kwargs):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(asyncio.get_running_loop(), "create_connection", unknown)
    with pytest.raises(CannotConnect, match="the host name is not known; check its spelling"):
        await connect("nowhere.invalid", 1, 1.0)


async def test_a_host_that_drops_packets_is_a_timeout(monkeypatch):
    async def never(*args, **kwargs):
        await asyncio.sleep(10)

    monkeypatch.setattr(asyncio.get_running_loop(), "create_connection", never)
    with pytest.raises(CannotConnect, match=r"no answer within 0.01 s"):
        await connect("192.0.2.1", 1, 0.01)


async def test_two_readers_on_one_link_are_a_bug(server, closing):
    link = closing(await connect("127.0.0.1", server.port, 1.0))
    first = asyncio.ensure_future(link.read(0.05))
    await asyncio.sleep(0)
    with pytest.raises(RuntimeError, match="two readers"):
        await link.read(0.01)
    with pytest.raises(TimeoutError):
        await first


class Ear:
    """A receiver that writes down what it is told."""

    def __init__(self):
        self.told = []

    def received(self, data):
        self.told.append(data)

    def lost(self, reason):
        self.told.append(reason)


async def test_a_receiver_is_told_what_is_here_what_comes_and_the_end_once(server, closing):
    link = closing(await connect("127.0.0.1", server.port, 1.0))
    link.write(b"before")
    await asyncio.sleep(0.02)
    ear = Ear()
    link.attach(ear)
    assert ear.told == [b"before"]
    link.write(b"after")
    await asyncio.sleep(0.02)
    server.transports[0].close()
    await asyncio.sleep(0.02)
    await link.close()
    assert ear.told == [b"before", b"after", "the peer closed it"]


async def test_a_receiver_of_a_link_that_is_lost_is_told_so(server):
    link = await connect("127.0.0.1", server.port, 1.0)
    await link.close()
    ear = Ear()
    link.attach(ear)
    assert ear.told == ["it was closed here"]

"""The real DL/T 645 exchange over real wires: TCP, a terminal that dialled in, a serial port, and bad ones."""

import asyncio
import os
from contextlib import contextmanager
from random import Random

import pytest

from protocols.dlt645.exchange import Master, Read
from protocols.errors import Refused
from terminals.greetings.dtu import DtuGreeting
from terminals.links.faulty import Dribble, Foreign, Lossy, Noisy, Stale
from terminals.links.listener import Listener
from terminals.links.serialport import Port, open_port
from terminals.links.tcp import connect
from terminals.pace import Timing
from terminals.roster import Roster
from terminals.session import NoAnswer, Session

HERE, THERE = "000000000012", "000000000034"
VOLTAGE, ENERGY, LONG = 0x02010100, 0x00010000, 0x0001FF00
QUICK = Timing(first=0.1, floor=0.05, ceiling=0.3, gap=0.03, attempts=3, pause=0.0, whole=3.0)


@pytest.fixture
def meters(meter645):
    meters = meter645(HERE, THERE)
    meters.data = {VOLTAGE: b"\x05\x23", ENERGY: b"\x78\x56\x34\x12", LONG: bytes(range(250)) * 2}
    return meters


@pytest.fixture
async def link(server, meters, closing):
    server.answer = meters.answer
    return closing(await connect("127.0.0.1", server.port, 1.0))


async def _exercise(link, timing=QUICK, rounds=1):
    session = Session(link, Master(), timing)
    for _ in range(rounds):
        assert (await session.request(Read(HERE, VOLTAGE))).data == b"\x05\x23"
        assert (await session.request(Read(HERE, ENERGY))).data == b"\x78\x56\x34\x12"
        assert (await session.request(Read(HERE, LONG))).data == bytes(range(250)) * 2
    return session


async def test_over_tcp(link):
    session = await _exercise(link)
    assert session.counts.answered == 3
    with pytest.raises(Refused) as told:
        await session.request(Read(HERE, 0x04000101))
    assert told.value.absent
    with pytest.raises(NoAnswer, match="no byte came"):
        await session.request(Read("000000000099", VOLTAGE), attempts=1)


async def test_one_byte_at_a_time(link):
    await _exercise(Dribble(link))


async def test_with_loss(link):
    timing = Timing(first=0.03, floor=0.02, ceiling=0.3, gap=0.02, attempts=20, pause=0.0, whole=10.0)
    session = await _exercise(Lossy(link, Random(3), sent=0.1, received=0.1), timing, rounds=3)
    assert session.counts.attempts > 9


async def test_with_noise_before_and_flipped_bits(link):
    timing = Timing(first=0.03, floor=0.02, ceiling=0.3, gap=0.02, attempts=20, pause=0.0, whole=10.0)
    session = await _exercise(Noisy(link, Random(3), flip=0.2, junk=0.3), timing, rounds=3)
    assert session.counts.garbled > 0


async def test_stale_answers_and_another_meter_s_are_not_taken(link, meters):
    foreign = meters.devices[1]
    foreign.receive_data(Master().send(Read(THERE, VOLTAGE)))
    foreign.next_event()
    frame = foreign.answer(b"\x99\x09")
    session = await _exercise(Foreign(Stale(link, Random(3), 1.0), Random(3), 1.0, frame), rounds=3)
    assert session.counts.ignored > 9


async def test_behind_a_dtu_that_dialled_in(meters, closing):
    logins = []

    async def resolve(identity, kind):
        return 1

    roster = Roster(resolve, lambda: 0.0, [DtuGreeting()], on_login=logins.append)
    listener = Listener("127.0.0.1", 0, roster.admit)
    await listener.start()
    dtu = closing(await connect("127.0.0.1", listener.port, 1.0))
    dtu.write(b"REG,dtu-7\r\n")

    async def serve():
        while True:
            answer = meters.answer(await dtu.read(10.0))
            half = len(answer) // 2
            dtu.write(answer[:half] + b"HB,dtu-7\r\n" + answer[half:])

    serving = asyncio.ensure_future(serve())
    async with asyncio.timeout(2.0):
        while not logins:
            await asyncio.sleep(0.002)
    session = await _exercise(logins[0].link)
    assert session.counts.ignored == session.counts.garbled == 0
    serving.cancel()
    await listener.close()
    await roster.close()


@contextmanager
def _on_the_far_end(far, meters, *, echo):
    """The meters (and a careless adapter) at the other end of the serial line."""
    loop = asyncio.get_running_loop()

    def heard():
        data = os.read(far, 4096)
        os.write(far, (data if echo else b"") + meters.answer(data))

    loop.add_reader(far, heard)
    yield
    loop.remove_reader(far)


@pytest.mark.parametrize("echo", [False, True])
async def test_over_a_serial_port(pty, meters, closing, echo):
    far, device = pty
    link = closing(await open_port(Port(device, parity="N", echo=echo)))
    with _on_the_far_end(far, meters, echo=echo):
        session = await _exercise(link)
    assert session.counts.ignored == 0


async def test_an_echo_nobody_takes_out_is_ignored_by_the_protocol(pty, meters, closing):
    far, device = pty
    link = closing(await open_port(Port(device, parity="N", echo=False)))
    with _on_the_far_end(far, meters, echo=True):
        session = await _exercise(link)
    assert session.counts.ignored > 0


def test_on_uvloop(meters):
    """Listener, roster, dial-out and session on the loop that production runs."""
    uvloop = pytest.importorskip("uvloop")
    links = []

    async def own(link):
        links.append(link)
        return True

    async def main():
        listener = Listener("127.0.0.1", 0, own)
        await listener.start()
        far = await connect("127.0.0.1", listener.port, 1.0)
        while not links:
            await asyncio.sleep(0.001)

        async def serve():
            while True:
                links[0].write(meters.answer(await links[0].read(10.0)))

        serving = asyncio.ensure_future(serve())
        await _exercise(far)
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
        await far.close()
        await links[0].close()
        await listener.close()

    uvloop.run(main())

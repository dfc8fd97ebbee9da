"""Serial links on a pty pair."""

import asyncio
import os

import pytest

from terminals.links.link import CannotConnect, LinkLost
from terminals.links.serialport import Port, SerialPipe, open_port


async def _far_read(far, size):
    data = b""
    async with asyncio.timeout(2.0):
        while len(data) < size:
            try:
                data += os.read(far, 1024)
            except OSError:
                await asyncio.sleep(0.002)
    return data


async def test_bytes_go_out_and_come_back(pty, closing):
    far, device = pty
    link = closing(await open_port(Port(device, parity="N")))
    assert not link.closed
    assert link.name == f"serial://{device}?baud=2400&parity=N"
    link.write(b"\x68\x00\xff")
    assert await _far_read(far, 3) == b"\x68\x00\xff"
    os.write(far, b"\x16\x11\x13")
    assert await link.read(2.0) == b"\x16\x11\x13"


async def test_the_local_echo_is_taken_out(pty, closing):
    far, device = pty
    link = closing(await open_port(Port(device, parity="N", echo=True)))
    link.write(b"request")
    for byte in b"requestanswer":
        os.write(far, bytes([byte]))
    got = b""
    while len(got) < 6:
        got += await link.read(2.0)
    assert got == b"answer"
    link.write(b"again")
    with pytest.raises(TimeoutError):
        await link.read(0.01)


async def test_a_pulled_plug_is_a_lost_link(pty, closing):
    far, device = pty
    link = closing(await open_port(Port(device, parity="N")))
    spare = os.dup(far)
    os.close(far)
    os.close(spare)
    try:
        with pytest.raises(LinkLost):
            await link.read(2.0)
    finally:
        # The fixture closes `far`: give it something to close.
        assert os.open("/dev/null", os.O_RDONLY) == far


async def test_one_program_per_port(pty, closing):
    _, device = pty
    closing(await open_port(Port(device, parity="N")))
    with pytest.raises(CannotConnect, match="another program uses it"):
        await open_port(Port(device, parity="N"))


async def test_a_closed_port_can_be_opened_again(pty, closing):
    _, device = pty
    await (await open_port(Port(device, parity="N"))).close()
    closing(await open_port(Port(device, parity="N")))


async def test_a_missing_device_says_what_to_look_at():
    with pytest.raises(CannotConnect, match="there is no such device; check the cable"):
        await open_port(Port("/dev/ttyNoSuchPort"))


async def test_settings_the_device_refuses_are_told(pty):
    _, device = pty
    with pytest.raises(CannotConnect, match=r"refuses these settings; .*parity=N"):
        await open_port(Port(device, parity="E"))


async def test_a_file_is_no_serial_port(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"")
    with pytest.raises(CannotConnect, match="check that it is a serial device"):
        await open_port(Port(str(path)))


class _Sink:
    def is_closing(self):
        return False

    def get_write_buffer_size(self):
        return 0

    def write(self, data):
        pass


def _echoing():
    pipe = SerialPipe(Port("x", echo=True))
    pipe.connection_made(_Sink())
    return pipe


@pytest.mark.parametrize("cut", range(1, 12))
async def test_an_adapter_without_echo_loses_nothing_of_the_answer(cut):
    """The answer begins like the request, in any two pieces: it is not swallowed as an echo."""
    pipe = _echoing()
    pipe.write(b"\xfe\xfe\xfe\xfe\x68ADDR\x11")
    answer = b"\xfe\xfe\xfe\xfe\x68ADDR\x91data"
    assert pipe.arrived(answer[:cut]) + pipe.arrived(answer[cut:]) == answer


async def test_echo_and_answer_in_one_piece():
    pipe = _echoing()
    pipe.write(b"ask")
    assert pipe.arrived(b"askanswer") == b"answer"
    assert pipe.arrived(b"more") == b"more"


async def test_a_missing_echo_is_not_awaited_after_a_discard():
    pipe = _echoing()
    pipe.write(b"ask")
    assert pipe.arrived(b"a") == b""
    assert pipe.discard() == b"a"
    assert pipe.arrived(b"sk") == b"sk"

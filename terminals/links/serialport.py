"""Serial ports: RS-485 buses, optical heads, USB adapters. Through pyserial."""

from __future__ import annotations

import asyncio
import errno
import termios
from dataclasses import dataclass
from typing import Final

import serial
import serial_asyncio_fast

from terminals.links.link import CannotConnect, Link, Wrapper
from terminals.links.pipe import Pipe

PARITIES: Final = {"E": serial.PARITY_EVEN, "O": serial.PARITY_ODD, "N": serial.PARITY_NONE}
STOP_BITS: Final = {1: serial.STOPBITS_ONE, 2: serial.STOPBITS_TWO}
#: Seconds in which the lock of a port that was just closed may still hold: seen to outlast `close` for a moment,
#: and a search of settings opens the same port again at once.
RELEASE: Final = 0.2

_BUSY: Final = "another program uses it"


@dataclass(frozen=True, slots=True)
class Port:
    """A device and how to talk on it. The defaults are DL/T 645's: 2400 Bd, 8 bits, even parity, 1 stop bit.

    `echo`: the RS-485 adapter returns what we send (its receiver stays on); the copy is taken out again.
    """

    device: str
    baud: int = 2400
    parity: str = "E"
    stop_bits: int = 1
    echo: bool = False

    @property
    def name(self) -> str:
        unusual = f"&stop={self.stop_bits}" if self.stop_bits != 1 else ""
        unusual += "&echo=1" if self.echo else ""
        return f"serial://{self.device}?baud={self.baud}&parity={self.parity}{unusual}"


class SerialPipe(Pipe):
    """A pipe over a serial port that takes out the local echo when it is told that there is one."""

    def __init__(self, port: Port) -> None:
        super().__init__(port.name)
        self._echo = port.echo
        self._expected = bytearray()  # sent and not yet come back; bounded by what `write` accepts
        self._swallowed = (
            bytearray()
        )  # came back so far; given to the reader if it turns out not to be our echo

    def write(self, data: bytes) -> None:
        super().write(data)
        if self._echo:
            self._expected += data

    def arrived(self, data: bytes) -> bytes:
        if not self._expected:
            return data
        same = _common_prefix(data, self._expected)
        self._swallowed += data[:same]
        del self._expected[:same]
        if not self._expected:
            self._swallowed.clear()
            return data[same:]
        if same == len(data):
            return b""
        # Something else than we sent: a collision, or an adapter without echo whose answer begins like our
        # request (FE FE FE FE 68 and the address do). All of it goes to the reader.
        unlike = bytes(self._swallowed) + data[same:]
        self._expected.clear()
        self._swallowed.clear()
        return unlike

    def discard(self) -> bytes:
        self._expected.clear()
        swallowed = bytes(self._swallowed)
        self._swallowed.clear()
        return super().discard() + swallowed


async def retune(link: Link, baud: int, pause: float) -> None:
    """Set a serial link to another speed, `pause` seconds after what was written: it must have left by then. Other links, and recordings,
    have no speed and no pause."""
    while isinstance(link, Wrapper):
        link = link.link
    if isinstance(link, SerialPipe):
        await asyncio.sleep(pause)
        link.transport.serial.baudrate = baud  # type: ignore[attr-defined]  # pyserial's transport


async def open_port(port: Port) -> SerialPipe:
    """Open the device for us alone. CannotConnect says what to look at."""
    deadline = asyncio.get_running_loop().time() + RELEASE
    while True:
        try:
            return await _open(port)
        except CannotConnect as error:
            if error.reason != _BUSY or asyncio.get_running_loop().time() > deadline:
                raise
            await asyncio.sleep(RELEASE / 10)


async def _open(port: Port) -> SerialPipe:
    loop = asyncio.get_running_loop()
    try:
        _, pipe = await serial_asyncio_fast.create_serial_connection(
            loop,
            lambda: SerialPipe(port),
            port.device,
            baudrate=port.baud,
            bytesize=serial.EIGHTBITS,
            parity=PARITIES[port.parity],
            stopbits=STOP_BITS[port.stop_bits],
            exclusive=True,  # two masters on one bus break each other's frames
        )
    except (OSError, ValueError, termios.error) as error:  # SerialException is an OSError
        raise CannotConnect(port.name, *_explain(error)) from error
    assert isinstance(pipe, SerialPipe)
    await asyncio.sleep(0)  # pyserial's transport calls connection_made in the next turn of the loop
    return pipe


def _common_prefix(left: bytes | bytearray, right: bytes | bytearray) -> int:
    length = min(len(left), len(right))
    return next((i for i in range(length) if left[i] != right[i]), length)


def _explain(error: Exception) -> tuple[str, str]:
    if isinstance(error, termios.error):
        return "it refuses these settings", "try other ones; a pseudo terminal has no parity: use parity=N"
    code = getattr(error, "errno", None)
    if code == errno.ENOENT:
        return "there is no such device", "check the cable; ls /dev/tty* shows the ports of this machine"
    if code == errno.EACCES:
        return "permission denied", "add the user to the group that owns the device (dialout on Debian)"
    if code in (errno.EBUSY, errno.EAGAIN, errno.EWOULDBLOCK) or "exclusively lock" in str(error):
        return _BUSY, "close that program (fuser -v shows which)"
    return str(error), "check that it is a serial device and supports this baud and parity"

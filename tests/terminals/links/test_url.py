"""Text to link."""

import pytest

from terminals.links.link import BadAddress, CannotConnect
from terminals.links.serialport import Port
from terminals.links.url import parse


async def test_tcp(server, closing):
    link = closing(await parse(server.url).open(1.0))
    link.write(b"x")
    assert await link.read(1.0) == b"x"


@pytest.mark.parametrize(
    ("url", "port"),
    [
        ("serial:///dev/ttyUSB0", Port("/dev/ttyUSB0", 2400, "E", 1, False)),
        ("serial:///dev/ttyS1?baud=9600&parity=n&echo=1", Port("/dev/ttyS1", 9600, "N", 1, True)),
        ("serial:///dev/ttyS1?stop=2&parity=O", Port("/dev/ttyS1", 2400, "O", 2, False)),
    ],
)
def test_serial(url, port):
    assert parse(url).port == port


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("", "use tcp://HOST:PORT"),
        ("10.1.2.3:7001", "use tcp://HOST:PORT"),
        ("tcp://10.1.2.3", "host and port are needed"),
        ("tcp://10.1.2.3:99999", "out of range"),
        ("tcp://:7001", "host and port are needed"),
        ("serial://ttyUSB0", "after three slashes"),
        ("serial:///dev/ttyUSB0?speed=1", "unknown option 'speed'"),
        ("serial:///dev/ttyUSB0?baud=fast", "baud 'fast'"),
        ("serial:///dev/ttyUSB0?parity=X", "parity 'X'"),
        ("serial:///dev/ttyUSB0?stop=3", "stop '3'"),
        ("serial:///dev/ttyUSB0?echo=yes", "echo 'yes'"),
        ("recording://x", "after three slashes"),
    ],
)
def test_bad_addresses_say_what_is_wrong(url, why):
    with pytest.raises(BadAddress, match=why):
        parse(url)


async def test_a_missing_recording_cannot_be_opened(tmp_path):
    with pytest.raises(CannotConnect, match="check the file"):
        await parse(f"recording://{tmp_path}/none.toml").open(1.0)

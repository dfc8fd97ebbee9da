"""Text to link: tcp://host:port, tls://host:port, serial:///dev/ttyUSB0?baud=2400&parity=E&echo=1, recording:///case.toml."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, parse_qsl, urlsplit

from terminals.links import recording
from terminals.links.link import BadAddress, CannotConnect, Link
from terminals.links.script import ScriptLink
from terminals.links.serialport import PARITIES, STOP_BITS, Port, open_port
from terminals.links.tcp import connect
from terminals.links.trust import Trust

FORMS = "use tcp://HOST:PORT, tls://HOST:PORT, serial:///dev/NAME?baud=2400&parity=E&stop=1&echo=0 or recording:///FILE.toml"


@dataclass(frozen=True, slots=True)
class Opener:
    """A checked address: `await opener.open(timeout)` gives the link. `port` is set for serial ones."""

    url: str
    open: Callable[[float], Awaitable[Link]]
    port: Port | None = None


def parse(url: str, trust: Trust | None = None) -> Opener:
    """BadAddress says what is wrong and which forms there are. `trust`: for tls://; None: the system's authorities."""
    try:
        parts = urlsplit(url)
        number = parts.port
    except ValueError as error:
        raise BadAddress(url, f"{error}; {FORMS}") from None
    if parts.scheme == "tcp":
        return _tcp(url, parts, number, None)
    if parts.scheme == "tls":
        return _tcp(url, parts, number, trust or Trust())
    if parts.scheme == "serial":
        return serial_opener(_port(url, parts))
    if parts.scheme == "recording":
        return _recording(url, parts)
    raise BadAddress(url, FORMS)


def serial_opener(port: Port) -> Opener:
    """The opener of a port whose settings are already known."""

    async def opened(timeout: float) -> Link:
        return await open_port(port)

    return Opener(port.name, opened, port)


def _tcp(url: str, parts: SplitResult, number: int | None, trust: Trust | None) -> Opener:
    host = parts.hostname
    if not host or number is None or parts.path not in ("", "/") or parts.query:
        raise BadAddress(url, f"host and port are needed, and nothing else; {FORMS}")

    async def opened(timeout: float) -> Link:
        return await connect(host, number, timeout, trust)

    return Opener(url, opened)


def _port(url: str, parts: SplitResult) -> Port:
    if not parts.path or parts.netloc:
        raise BadAddress(url, f"the device comes after three slashes; {FORMS}")
    options = dict(parse_qsl(parts.query))
    unknown = set(options) - {"baud", "parity", "stop", "echo"}
    if unknown:
        raise BadAddress(url, f"unknown option {sorted(unknown)[0]!r}; {FORMS}")
    baud, stop = options.get("baud", "2400"), options.get("stop", "1")
    parity, echo = options.get("parity", "E").upper(), options.get("echo", "0")
    if not baud.isdecimal() or not 0 < int(baud) <= 4_000_000:
        raise BadAddress(url, f"baud {baud!r} is not a speed")
    if parity not in PARITIES:
        raise BadAddress(url, f"parity {parity!r} is not one of E, O, N")
    if not stop.isdecimal() or int(stop) not in STOP_BITS:
        raise BadAddress(url, f"stop {stop!r} is not 1 or 2")
    if echo not in ("0", "1"):
        raise BadAddress(url, f"echo {echo!r} is not 0 or 1")
    return Port(parts.path, int(baud), parity, int(stop), echo == "1")


def _recording(url: str, parts: SplitResult) -> Opener:
    if not parts.path or parts.netloc:
        raise BadAddress(url, f"the file comes after three slashes; {FORMS}")

    async def opened(timeout: float) -> Link:
        try:
            return ScriptLink(recording.load(Path(parts.path)).moments, url)
        except (OSError, ValueError) as error:
            raise CannotConnect(url, str(error), "check the file") from error

    return Opener(url, opened)

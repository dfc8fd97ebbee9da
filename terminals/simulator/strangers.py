"""Answers of somebody else: the same frame, whole and sound, with another's address in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from protocols.dlt645 import frame as dlt645
from protocols.dlt698 import frame as dlt698
from protocols.errors import FrameError
from protocols.gdw376 import frame as gdw376
from protocols.modbus.rtu import frame as modbus_rtu
from protocols.modbus.tcp import frame as modbus_tcp
from terminals.simulator.weather import Readdress


def readdress(protocol: str) -> Readdress:
    """For the answers of terminals that speak this protocol."""
    change = _CHANGES[protocol]

    def changed(answer: bytes) -> bytes:
        try:
            return change(answer)
        except FrameError:
            return answer  # more than one frame, or a piece of one: it stays what it is

    return changed


def _dlt645(answer: bytes) -> bytes:
    wake = len(answer) - len(answer.lstrip(bytes((dlt645.WAKE_UP,))))
    frame = dlt645.decode(answer)
    return replace(frame, address=_other(frame.address)).encode(wake)


def _gdw376(answer: bytes) -> bytes:
    frame = gdw376.decode(answer)
    terminal = frame.address.terminal % 0xFFFE + 1
    return replace(frame, address=replace(frame.address, terminal=terminal)).encode()


def _dlt698(answer: bytes) -> bytes:
    frame = dlt698.decode(answer.lstrip(b"\xfe"))
    return replace(frame, server=replace(frame.server, digits=_other(frame.server.digits))).encode()


def _dlms(answer: bytes) -> bytes:
    """The wrapper's source port (IEC 62056-4-7): version, source, destination, length, two bytes each."""
    source = int.from_bytes(answer[2:4], "big") ^ 0x4000
    return answer[:2] + source.to_bytes(2, "big") + answer[4:]


def _modbus_tcp(answer: bytes) -> bytes:
    frame = modbus_tcp.decode(answer)
    return modbus_tcp.encode(replace(frame, unit=frame.unit % 247 + 1))


def _modbus_rtu(answer: bytes) -> bytes:
    frame = modbus_rtu.decode(answer)
    return modbus_rtu.encode(replace(frame, unit=frame.unit % 247 + 1))


def _other(digits: str) -> str:
    return digits[:-2] + f"{(int(digits[-2:]) + 1) % 100:02d}"


_CHANGES: Final[Mapping[str, Readdress]] = {
    "dlt645": _dlt645,
    "gdw376": _gdw376,
    "dlt698": _dlt698,
    "dlms": _dlms,
    "modbus-tcp": _modbus_tcp,
    "modbus-rtu": _modbus_rtu,
}

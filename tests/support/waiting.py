"""Masters that have asked something and wait for the answer: what the fuzzer feeds."""

from __future__ import annotations

from collections import deque
from itertools import count
from typing import Any

from protocols.dlms import exchange as dlms
from protocols.dlms.ciphering import Control, Form, seal
from protocols.dlms.hdlc import HdlcTransport
from protocols.dlms.hdlc_frame import client_address, server_address
from protocols.dlms.keys import Keys
from protocols.dlms.policy import BOTH
from protocols.dlms.security import ClientSecurity, Side
from protocols.dlt645 import exchange as dlt645
from protocols.dlt645.edition1997 import exchange as dlt645_1997
from protocols.dlt698 import exchange as dlt698
from protocols.dlt698 import frame as dlt698_frame
from protocols.dlt698.requests import GetList
from protocols.exchange import NEED_DATA, Answer, Event, Exchange
from protocols.gdw376 import exchange as gdw376
from protocols.gdw376.frame import Address
from protocols.iec62056_21 import exchange as iec

ANYBODY = "AAAAAAAAAAAA"
METER_TITLE = b"MMM\x00\x00\xbcaN"
KEYS = Keys(0, bytes(range(16)), bytes(range(0xD0, 0xE0)))
ENERGY = dlms.Get(3, "1.0.1.8.0.255", 2)


class Bare:
    """A protocols.dlms.transport.Transport on which whole APDUs come, one at a time."""

    limit = 1 << 16
    skipped = 0

    def __init__(self) -> None:
        self._come: deque[bytes] = deque(maxlen=1)

    def connect(self) -> bytes:
        return b""

    def disconnect(self) -> bytes:
        return b""

    def send(self, apdu: bytes) -> bytes:
        return apdu

    def receive_data(self, data: bytes) -> None:
        self._come.append(data)

    def next_event(self) -> Event:
        return Answer(self._come.popleft()) if self._come else NEED_DATA

    def resume(self) -> bytes:
        return b""


def dlms_wrapper() -> Exchange:
    client = dlms.Client(2, 1)
    client.send(ENERGY)
    return client


def dlms_hdlc() -> Exchange:
    """Connected, and waiting for the AARE."""
    us, meter = client_address(16), server_address(1, 17)
    client = dlms.Client(16, 1, transport=HdlcTransport(us, meter, client=True))
    device = HdlcTransport(meter, None, client=False)
    device.receive_data(client.send(dlms.Associate()))
    said: Any = device.next_event()
    client.receive_data(said.data)
    client.next_event()
    return client


def dlms_apdu() -> Exchange:
    client = dlms.Client(2, 1, transport=Bare())
    client.send(dlms.GetMany((ENERGY, ENERGY)))
    return client


def dlms_sealed() -> Exchange:
    """Under keys that `sealed` has too."""
    numbers = count(1)
    side = Side(title=b"CLI\x00\x00\x00\x00\x01", keys=KEYS, policy=BOTH)
    protection = ClientSecurity(side, next_counter=lambda: next(numbers), peer_title=METER_TITLE)
    client = dlms.Client(2, 1, transport=Bare(), protection=protection)
    client.send(ENERGY)
    return client


def sealed(raw: bytes) -> bytes:
    """Any bytes as the meter would seal them."""
    return seal(
        raw or b"\0", Form.GENERAL_GLO, Control(), 1,
        title=METER_TITLE, key=KEYS.unicast, authentication=KEYS.authentication,
    )  # fmt: skip


def dlt645_2007() -> Exchange:
    master = dlt645.Master()
    master.send(dlt645.Read(ANYBODY, 0x00010000))
    return master


def dlt645_of_1997() -> Exchange:
    master = dlt645_1997.Master()
    master.send(dlt645_1997.Read(ANYBODY, 0x9010))
    return master


def gdw376_read() -> Exchange:
    master = gdw376.Master()
    master.send(gdw376.Read(Address("4403", 0x1234), (1,), (25,)))
    return master


def dlt698_get() -> Exchange:
    master = dlt698.Master(dlt698_frame.Address(ANYBODY, dlt698_frame.WILDCARD), 0)
    master.send(GetList((0x00100200, 0x40010200)))
    return master


def iec_sign_on() -> Any:
    reader = iec.Reader()
    reader.send(iec.SignOn())
    return reader

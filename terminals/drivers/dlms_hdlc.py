"""DLMS/COSEM meters over HDLC (IEC 62056-46): the same as over the wrapper, with the link made first."""

from __future__ import annotations

import re
from typing import Final

from protocols.dlms.exchange import MANAGEMENT_CLIENT, PUBLIC_CLIENT, Client
from protocols.dlms.hdlc import HdlcTransport, client_address, server_address
from protocols.errors import Misuse
from terminals.drivers.dlms import DlmsDriver
from terminals.drivers.driver import Meter

_ADDRESS: Final = re.compile(r"([0-9]{1,5})(?:/([0-9]{1,5}))?")


class DlmsHdlcDriver(DlmsDriver):
    """`Meter.address` is LOGICAL or LOGICAL/PHYSICAL, the upper and lower HDLC address of the server: 1, 1/17."""

    name = "dlms-hdlc"

    def exchange(self, meter: Meter) -> Client:
        """Fresh protocol state; associating makes the link, releasing closes it. Misuse: the address is none."""
        found = _ADDRESS.fullmatch(meter.address)
        if not found or len(meter.address) > 11:
            raise Misuse(
                f"{meter.address!r} is no HDLC address: LOGICAL or LOGICAL/PHYSICAL, such as 1 or 1/17"
            )
        logical, physical = int(found[1]), int(found[2]) if found[2] else None
        usual = MANAGEMENT_CLIENT if "password" in meter.secrets else PUBLIC_CLIENT
        client = int(meter.secrets.get("client", usual))
        transport = HdlcTransport(client_address(client), server_address(logical, physical))
        return Client(client, logical, transport=transport)

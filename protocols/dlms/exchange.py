"""Who may speak next: the client (master) and the server (device) of one association.

The sides are in `client`, `device` and `server`, what they ask of each other in `requests`; this is where the rest of the program finds them.
"""

from __future__ import annotations

from protocols.dlms.client import MANAGEMENT_CLIENT, PUBLIC_CLIENT, Client, Listener, Push
from protocols.dlms.gateway import Gateway
from protocols.dlms.requests import (
    ABSENT,
    DEFAULT_MAX_PDU,
    MAX_VALUE,
    Act,
    ActMany,
    ActRequest,
    Associate,
    Get,
    GetMany,
    GetRequest,
    Release,
    Request,
    Set,
    SetMany,
    SetRequest,
    refusal,
)
from protocols.dlms.selector import EntrySelector, RangeSelector
from protocols.dlms.server import QUEUE, Server, ServerEvent

__all__ = [
    "ABSENT", "DEFAULT_MAX_PDU", "MANAGEMENT_CLIENT", "MAX_VALUE", "PUBLIC_CLIENT", "QUEUE", "Act", "ActMany",
    "ActRequest", "Associate", "Client", "EntrySelector", "Gateway", "Get", "GetMany", "GetRequest", "Listener", "Push",
    "RangeSelector", "Release", "Request", "Server", "ServerEvent", "Set", "SetMany", "SetRequest", "refusal",
]  # fmt: skip

"""The protocols a diagnosis tries, in the order of what is met most."""

from __future__ import annotations

from protocols.dlt645.exchange import Master, ReadAddress
from terminals.diagnose.engine import Candidate
from terminals.drivers.dlms import DlmsDriver
from terminals.drivers.dlt645 import Dlt645Driver


def known_candidates() -> tuple[Candidate, ...]:
    """DL/T 645 asks the line for its address; every DLMS meter has a logical device on port 1."""
    return (
        Candidate(Dlt645Driver(), find=lambda: (Master(), ReadAddress())),
        Candidate(DlmsDriver(), addresses=("1",)),
    )

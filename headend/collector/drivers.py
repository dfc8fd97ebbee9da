"""Protocol name in the archive -> driver."""

from __future__ import annotations

from collections.abc import Mapping

from terminals.drivers.dlms import DlmsDriver
from terminals.drivers.dlt645 import Dlt645Driver
from terminals.drivers.driver import Driver


def drivers() -> Mapping[str, Driver]:
    """One instance each: drivers keep no state of a meter's conversation."""
    return {"dlt645": Dlt645Driver(), "dlms": DlmsDriver()}

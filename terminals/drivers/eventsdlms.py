"""The event log of a DLMS meter: a profile whose rows are a time and a code (IEC 62056-6-1, 0.0.99.98.0.255)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np

from protocols.dlms import bulk, model
from protocols.dlms.exchange import Get, RangeSelector
from protocols.errors import FrameError, Refused
from terminals.drivers.driver import Meter, Script
from terminals.drivers.happening import Happening

#: Event codes are the maker's. These are those that companion specifications of the IDIS family use, a default that a meter's own
#: document must confirm; any other code is kept by its number alone.
KINDS: Final[Mapping[int, str]] = {
    1: "power-down", 2: "power-up", 4: "clock-set", 5: "clock-set", 6: "clock-wrong", 8: "battery-low", 40: "terminal-cover-open",
    42: "magnetic-field", 44: "cover-open", 47: "programmed", 76: "under-voltage", 79: "over-voltage", 82: "voltage-loss",
}  # fmt: skip
#: Rows of one answer that are kept: ten a day for a year; a log that grows faster says the same over and over.
MOST: Final = 4096


def events(meter: Meter, since: np.datetime64, now: np.datetime64) -> Script[tuple[Happening, ...]]:
    """The rows of the log from `since` on; none where the meter has no such log."""
    selector = RangeSelector(
        since, now + np.timedelta64(1, "D"), meter.zone
    )  # its clock may be ahead of ours
    try:
        raw: bytes = yield Get(model.PROFILE_CLASS, model.EVENT_LOG, model.BUFFER, selector, raw=True)
    except Refused as refused:
        if refused.absent:
            return ()
        raise
    columns = bulk.decode(raw)
    if not columns:
        return ()
    if len(columns) != 2:
        raise FrameError(f"event log: {len(columns)} columns where a time and a code must be")
    times = bulk.instants(columns[0], meter.zone)[-MOST:]
    codes = bulk.reals(columns[1], 0)[-MOST:]
    return tuple(
        Happening(f"dlms.{int(code)}", KINDS.get(int(code), ""), time.astype("datetime64[us]"))
        for time, code in zip(times, codes, strict=True)
        if not np.isnat(time) and not np.isnan(code)
    )

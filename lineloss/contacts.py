"""How terminals have been reached: columns for the rules that look at the line and not at what came over it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Contacts:
    """One row a terminal that was ever heard of; one that never was is not in service.

    terminal   int64[row]
    online     bool[row]            now
    last_seen  datetime64[us][row]  UTC, its last exchange
    meters     int64[row]           installed behind it
    listened   datetime64[us][row]  UTC, since when somebody would have heard of it; NaT: nobody listens
    logins     int64[row]           how often it has come (back) within the day
    """

    terminal: NDArray[np.int64]
    online: NDArray[np.bool_]
    last_seen: NDArray[np.datetime64]
    meters: NDArray[np.int64]
    listened: NDArray[np.datetime64]
    logins: NDArray[np.int64]

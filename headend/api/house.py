"""What every request handler needs: the database, the zone, the clock. Held by the application, handed over
per request.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated
from zoneinfo import ZoneInfo

import numpy as np
from fastapi import Depends, Request
from psycopg_pool import ConnectionPool

from headend.clock import Clock
from headend.store import coverage
from headend.store.db import Connection


@dataclass(frozen=True, slots=True)
class House:
    """`now` is domain time: in the demo it is not the time of day."""

    pool: ConnectionPool[Connection]
    zone: ZoneInfo
    clock: Clock

    @property
    def now(self) -> np.datetime64:
        return self.clock.now()

    @property
    def today(self) -> dt.date:
        return coverage.today(self.clock.now(), self.zone)

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """A connection for one transaction: committed at the end of the block, before the response leaves."""
        with self.pool.connection(timeout=5) as conn:  # a caller would rather have a 503 than wait longer
            yield conn


def of(request: Request) -> House:
    """The house of the application that serves this request."""
    house = request.app.state.house
    assert isinstance(house, House)
    return house


Here = Annotated[House, Depends(of)]

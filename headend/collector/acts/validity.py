"""Until when a command may act: no later than its order, and no later than we hold the terminal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from headend.collector.job import Job
from protocols.localtime import instant


class TooLate(Exception):
    """The command's time ran out before it was written: not a byte of it has left."""


@dataclass(frozen=True, slots=True)
class Validity:
    """The order's expiry, or the end of the lease if that comes first.

    last   in domain time
    shown  the same instant as the other side's own clock will show it: what stands in the frame
    """

    last: np.datetime64
    shown: np.datetime64


def validity(job: Job, ahead: np.timedelta64 | None, asked: np.datetime64, left: float) -> Validity:
    """`ahead`: by how much the other side's clock is; None: it has none. `left` are the real seconds that the lease had at `asked`."""
    expires = instant(job.order["expires_at"])
    lease = np.timedelta64(int(left * getattr(job.desk.clock, "rate", 1.0) * 1e6), "us")
    last = min(expires, asked + lease)
    return Validity(last, expires if ahead is None else last + ahead)


@contextmanager
def in_time(job: Job, last: np.datetime64) -> Iterator[None]:
    """Nothing is written inside once `last` has come: TooLate. For whoever knows no expiry a command acts when it arrives."""
    guard = job.session.guard

    def check() -> None:
        if job.now() >= last:
            raise TooLate("its time ran out before it was written")
        job.desk.guard()

    job.session.guard = check
    try:
        yield
    finally:
        job.session.guard = guard

"""A clock that is set by hand, and a small fleet on real sockets."""

import datetime as dt
from dataclasses import replace

import numpy as np
import pytest

from protocols.localtime import instant
from terminals.simulator import truth
from terminals.simulator.fleet import Fleet
from terminals.simulator.scenario import ZONE, Plan, small

QUIET = Plan(dead=1, missing=1, thieves=1, excursions=1, unbalanced=0, prepaid=5, lost=0.0, garbled=0.0)


def civil(text):
    """'2026-03-11 11:07' in the fleet's civil time -> UTC."""
    return instant(dt.datetime.fromisoformat(text).replace(tzinfo=ZONE))


class HandClock:
    """Stands still until told otherwise; a domain second takes a thousandth of a real one to wait for."""

    def __init__(self, now):
        self.time = now

    def now(self):
        return self.time

    def seconds_until(self, when):
        return max(0.0, float((when - self.time) / np.timedelta64(1, "s")) / 1000)


@pytest.fixture
def at():
    """at('2026-03-11 11:07') -> the instant."""
    return civil


@pytest.fixture
def quiet_world():
    """A small world whose lines lose nothing."""
    return truth.build(small(7, plan=QUIET))


@pytest.fixture
def make_fleet(tmp_path):
    """make_fleet(now, listener=..., **changes of the scenario) -> Fleet, not yet started."""

    def make(now, listener=("127.0.0.1", 9), heartbeat=30.0, seed=7, dial_rate=200.0, faults=(), **changes):
        scenario = replace(small(seed, plan=QUIET), **changes)
        clock = HandClock(civil(now))
        return Fleet(
            scenario, tmp_path, clock, listener, heartbeat=heartbeat, dial_rate=dial_rate, faults=faults
        )

    return make

"""A sample of what scripts/kill-fee-control does for each step and victim; and that its checks notice what they are there for."""

from __future__ import annotations

import datetime as dt
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests.support.kill_fee_control import checker
from tests.support.kill_fee_control.line import Said
from tests.support.kill_fee_control.meter import asked

REPOSITORY = Path(__file__).resolve().parents[2]

#: seconds after the beginning: trip, status and load read back, verified
ACT, READ, PROVED = 10.0, 11.0, 12.0
STATUS_3 = bytes.fromhex("68 11 11 11 11 11 11 68 11 04 36 38 33 37 00 16")
POWER = bytes.fromhex("68 11 11 11 11 11 11 68 11 04 33 33 36 35 00 16")


@pytest.mark.skipif(
    "embedded" not in os.environ.get("HEADEND_TEST_SERVERS", "embedded"),
    reason="the database that is killed is an embedded one, whatever the others are",
)
@pytest.mark.timeout(400)
def test_three_kills_at_the_command_itself() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.kill_fee_control", "--only", "request 4", "--cases", "3", "--seconds", "300"],
        cwd=REPOSITORY, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    last = done.stdout.splitlines()[-1]
    assert re.match(
        r"kill-fee-control: seed 7, 3 stories, a kill -9 in each \(.+\), \d+ s: 0 breaches;", last
    )


def test_a_request_is_known() -> None:
    assert (asked(STATUS_3), asked(POWER)) == ("04000503", "02030000")
    assert asked(bytes.fromhex("FE FE 68 11 11 11 11 11 11 68 1C 10 00")) == "1C"


def town(*acts: str, said: Any = ()) -> Any:
    """One whose meter did this, a second each, from ACT on."""
    done = [SimpleNamespace(act=act, at=np.datetime64(int(ACT) + k, "s")) for k, act in enumerate(acts)]
    return SimpleNamespace(
        acts=done,
        wire=SimpleNamespace(said=list(said)),
        real=lambda when: float(when.astype("datetime64[s]").astype(int)),
    )


@pytest.mark.parametrize(
    ("acts", "right"),
    [
        (("trip", "permit", "key"), True),
        (("trip", "permit", "permit", "key"), True),
        (("trip", "trip", "permit", "key"), False),
        (("trip", "permit"), False),
        (("trip", "close", "key"), False),
        ((), False),
    ],
)
def test_what_the_relay_did_is_looked_at(acts: tuple[str, ...], right: bool) -> None:
    assert (list(checker._acts(town(*acts))) == []) == right


@pytest.mark.parametrize(
    ("said", "right"),
    [
        ([Said(READ, STATUS_3, READ + 0.1), Said(READ + 0.2, POWER, READ + 0.3)], True),
        ([Said(READ, STATUS_3, READ + 0.1)], False),  # no load
        ([Said(READ, STATUS_3, READ + 0.1), Said(READ + 0.2, POWER)], False),  # its answer never came
        (
            [Said(READ, STATUS_3, READ + 0.1), Said(READ + 0.2, POWER, PROVED + 0.1)],
            False,
        ),  # it came too late
        ([Said(ACT - 1, STATUS_3, ACT - 0.9), Said(READ, POWER, READ + 0.1)], False),  # read before the act
    ],
)
def test_verified_needs_to_have_been_read(said: list[Said], right: bool) -> None:
    proved = dt.datetime.fromtimestamp(PROVED, dt.UTC)
    assert (list(checker._read_back(town("trip", said=said), 1, "trip", proved)) == []) == right


def test_verified_before_it_was_done() -> None:
    proved = dt.datetime.fromtimestamp(ACT - 1, dt.UTC)
    assert list(checker._read_back(town("trip"), 1, "trip", proved)) == [
        "order 1 (trip) was verified before the meter did it"
    ]

"""The stage of a terminal follows from facts, and from nothing else."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from headend.control.commissioning import ZH, Stage, Told, stage

T = [dt.datetime(2026, 3, 11, hour, tzinfo=dt.UTC) for hour in range(6)]


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({}, Stage.UNCONFIGURED),
        ({"parameters": T[0]}, Stage.PARAMETERS),
        ({"parameters": T[0], "archive": T[1]}, Stage.ARCHIVE),
        ({"archive": T[1]}, Stage.ARCHIVE),
        ({"archive": T[1], "tasks": T[2]}, Stage.TASKS),
        ({"tasks": T[2]}, Stage.UNCONFIGURED),  # tasks over an archive that nobody has written
        ({"archive": T[1], "tasks": T[2], "bringing": 7}, Stage.FIRST_DATA),
        ({"archive": T[1], "tasks": T[2], "bringing": 8}, Stage.COMMISSIONED),
        ({"bringing": 8}, Stage.COMMISSIONED),  # another system has told it everything
        ({"bringing": 8, "emptied": T[4]}, Stage.UNCONFIGURED),  # another box hangs there
        ({"bringing": 8, "emptied": T[4], "parameters": T[1]}, Stage.UNCONFIGURED),
        ({"bringing": 8, "emptied": T[4], "parameters": T[5]}, Stage.PARAMETERS),
        ({"bringing": 8, "emptied": T[4], "archive": T[3]}, Stage.UNCONFIGURED),
        ({"bringing": 8, "emptied": T[4], "archive": T[5]}, Stage.COMMISSIONED),
        ({"emptied": T[0], "archive": T[1]}, Stage.ARCHIVE),
    ],
)
def test_the_stage_of_a_terminal(facts: dict[str, Any], expected: Stage) -> None:
    assert stage(Told(True, meters=8, **facts)) is expected
    assert stage(Told(False, meters=8, **facts)) is Stage.LINE


def test_a_terminal_without_meters_is_not_commissioned() -> None:
    assert stage(Told(True, archive=T[0], tasks=T[1])) is Stage.TASKS


def test_each_stage_has_its_word() -> None:
    assert set(ZH) == set(Stage)
    assert len(set(ZH.values())) == len(Stage)

"""`headend tariff`: files at the door, revisions, and what is shown."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from headend.store.db import Connection
from tests.headend.store.test_tariffs import FIRST, NEXT, offered
from tests.support.cli import Shell, environment


@pytest.fixture
def server_kind() -> str:
    return "embedded"


@pytest.fixture
def shell(store_dsn: str, store: Connection, tmp_path: Path) -> Shell:
    store.commit()
    return Shell(
        environment(
            HEADEND_HOME=str(tmp_path / "home"), HEADEND_DSN=store_dsn, HEADEND_CLOCK=f"2026-03-11T10:00:00+08:00@{time.time()!r}x1.0"
        )
    )  # fmt: skip


def written(folder: Path, name: str, text: str) -> str:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_a_file_is_checked_kept_and_shown(shell: Shell, tmp_path: Path) -> None:
    path = written(tmp_path, "ours.toml", offered(FIRST, NEXT).text)
    assert "2 versions from 2024-01-01 on: nothing is wrong with it" in shell("tariff", "check", path).out
    assert "revision 1, from 2024-01-01 on" in shell("tariff", "put", path, "--reason", "notice 7").out
    assert "it says what stands already" in shell("tariff", "put", path, "--reason", "notice 7").out
    listed = shell("tariff", "list").out
    assert "ours" in listed
    assert "shipped" in listed
    assert "on 2026-03-11, version of 2024-01-01" in shell("tariff", "show", "ours").out
    told = shell("tariff", "show", "ours", "--on", "2026-05-01", "--json").json()
    assert told["version"]["valid_from"] == "2026-04-01"
    assert [row["reason"] for row in told["revisions"]] == ["notice 7"]


def test_a_bad_file_is_one_line_and_nothing_is_kept(shell: Shell, tmp_path: Path) -> None:
    good = written(tmp_path, "ours.toml", offered(FIRST).text)
    bad = written(tmp_path, "bad.toml", offered(FIRST, name="bad").text.replace("22:00-24:00", "21:00-24:00"))
    said = shell("tariff", "put", good, bad, "--reason", "notice 7")
    assert said.code == 1
    assert said.line.startswith(
        "headend: bad.toml: version[0].schedule[0].hours.valley: 21:00 already belongs to peak"
    )
    assert said.line.endswith("nothing was kept")
    assert "ours" not in shell("tariff", "list").out
    assert "no tariff 'ours'" in shell("tariff", "show", "ours").line


def test_the_past_stays_as_it_was_unless_somebody_says_so(shell: Shell, tmp_path: Path) -> None:
    shell("tariff", "put", written(tmp_path, "ours.toml", offered(FIRST).text), "--reason", "notice 7")
    other = written(tmp_path, "ours.toml", offered(("2024-01-01", "0.9")).text)
    assert "--past" in shell("tariff", "put", other, "--reason", "a mistake").line
    assert (
        "revision 2, from 2024-01-01 on"
        in shell("tariff", "put", other, "--reason", "a mistake", "--past").out
    )

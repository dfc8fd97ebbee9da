"""Tariffs: those that come with the program, and the utility's own, kept as the text that was checked at the door.

A tariff is never overwritten: who puts another text makes a further revision, and says why where days gone by become other money. What
had been charged for them is then corrected by entries, as after a late reading.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from headend.store.db import Connection, StoreError
from protocols.localtime import as_datetime
from tariffs import plan
from tariffs.plan import Tariff, parse


class UnknownTariff(StoreError):
    def __init__(self, name: str) -> None:
        super().__init__(
            f"no tariff {name!r}; `headend tariff list` shows them, `headend tariff put FILE` brings one"
        )


class ChangesThePast(StoreError):
    """The text would make money of days gone by another, and nobody said that it shall."""


@dataclass(frozen=True, slots=True)
class Offered:
    """A tariff file that has passed the door: the text, and the name that messages give it."""

    text: str
    tariff: Tariff

    @classmethod
    def of(cls, text: str, file: str) -> Offered:
        """TariffError says which key of which file is wrong."""
        return cls(text, parse(text, file))


@dataclass(frozen=True, slots=True)
class Put:
    """What became of one file. `revision` 0: it says what stands already. `changes_from`: the first day that may cost something else."""

    name: str
    revision: int
    changes_from: dt.date | None


def load(conn: Connection) -> dict[str, Tariff]:
    """Every tariff that accounts may have, by name."""
    rows = conn.execute(
        "SELECT DISTINCT ON (name) name, revision, toml FROM tariff ORDER BY name, revision DESC"
    )
    return plan.shipped() | {
        row["name"]: parse(row["toml"], f"{row['name']} (revision {row['revision']})") for row in rows
    }


def one(conn: Connection, name: str) -> Tariff:
    """UnknownTariff."""
    row = conn.execute(
        "SELECT revision, toml FROM tariff WHERE name = %s ORDER BY revision DESC LIMIT 1", (name,)
    ).fetchone()
    if row is not None:
        return parse(row["toml"], f"{name} (revision {row['revision']})")
    found = plan.shipped().get(name)
    if found is None:
        raise UnknownTariff(name)
    return found


def revisions(conn: Connection, name: str) -> list[dict[str, Any]]:
    """The utility's own texts of a tariff, newest first."""
    return conn.execute(
        "SELECT revision, toml, encode(sha256, 'hex') AS sha256, changes_from, reason, who, at FROM tariff WHERE name = %s "
        "ORDER BY revision DESC",
        (name,),
    ).fetchall()


def put(
    conn: Connection,
    offered: Sequence[Offered],
    *,
    who: str,
    reason: str,
    now: Any,
    today: dt.date,
    past: bool = False,
) -> list[Put]:
    """Keep tariffs, all or none, in the caller's transaction.

    past  days before `today` may become other money; without it ChangesThePast names the first such tariff
    """
    # one at a time: two that read the same newest revision would both write the next
    conn.execute("SELECT pg_advisory_xact_lock(hashtext('tariff'))")
    standing = load(conn)
    done = []
    for text, tariff in ((each.text, each.tariff) for each in offered):
        begin = changed_from(standing.get(tariff.name), tariff)
        if begin is None:
            done.append(Put(tariff.name, 0, None))
            continue
        if begin < today and tariff.name in standing and not past:
            raise ChangesThePast(
                f"tariff {tariff.name} would change from {begin} on, which is over: bills and entries since then would be corrected. "
                "Give the new version a later valid_from, or say that the past shall change: --past"
            )
        row = conn.execute(
            "INSERT INTO tariff (name, revision, toml, sha256, changes_from, reason, who, at) "
            "SELECT %(name)s, coalesce(max(revision), 0) + 1, %(toml)s, %(sha)s, %(begin)s, %(reason)s, %(who)s, %(at)s "
            "FROM tariff WHERE name = %(name)s RETURNING revision",
            {
                "name": tariff.name, "toml": text, "sha": hashlib.sha256(text.encode()).digest(), "begin": begin, "reason": reason,
                "who": who, "at": as_datetime(now),
            },
        ).fetchone()  # fmt: skip
        assert row is not None
        standing[tariff.name] = tariff
        done.append(Put(tariff.name, row["revision"], begin))
    return done


def changed_from(before: Tariff | None, after: Tariff) -> dt.date | None:
    """The first local day on which the two charge differently; None: on none. A new tariff changes from its first day on."""
    if before is None:
        return after.versions[0].valid_from
    days = sorted({version.valid_from for tariff in (before, after) for version in tariff.versions})
    return next((day for day in days if _on(before, day) != _on(after, day)), None)


def _on(tariff: Tariff, day: dt.date) -> dict[str, Any] | None:
    """What a day's money depends on but for the day from which it holds."""
    try:
        facts = tariff.on(day).facts()
    except LookupError:
        return None
    return {key: value for key, value in facts.items() if key != "valid_from"}

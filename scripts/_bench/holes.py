"""Bad lines, and what the ledger says of them: half of a fleet behind 30 % of loss and two seconds of delay, the other half with everything else
that can go wrong, planted at random; then every hole's cause beside what was planted.

There is no peer. Domain time runs faster than time and the delay does not, so a line has `--rate` times less time for its points than a real one.
"""

from __future__ import annotations

import csv
import datetime as dt
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import psycopg
from stage import Lines, Stage, stage

from headend.clock import ScaledClock
from headend.plans import CURVE, points
from headend.store import coverage
from headend.store.db import connect
from protocols.localtime import as_datetime
from terminals.simulator import troubles
from terminals.simulator.scenario import ZONE
from terminals.simulator.troubles import KINDS, Trouble

#: domain time: meters are there from the first hour on, so that two hours are owed when the clock begins to run at the second
COMMISSIONED, START = "2026-03-11T08:00", "2026-03-11 10:01"
CUSTOMERS = 7
#: protocol and link, and which share of the terminals they are
KIND = (
    ("dlt645", "dial-in", 0.4), ("dlt645", "dial-out", 0.1), ("gdw376", "dial-in", 0.2), ("dlt698", "dial-in", 0.2), ("dlms", "dial-out", 0.1),
)  # fmt: skip
#: what a mobile network does on a bad day: answers lost, and seconds that each comes late
LOSS, DELAY = 0.3, 2.0
#: a point that is younger has not been asked for yet by everybody
HEARD: Final = np.timedelta64(15 * 60, "s")
#: after that a point must be there, and the share of points that must
IN_TIME, SHARE = np.timedelta64(4 * 3600, "s"), 0.985
#: troubles of the other half, in turn: kind and value of terminals; then of one meter behind each
OF_TERMINALS = (
    ("silence", 1.0), ("away", 1.0), ("loss", 1.0), ("foreign", 1.0), ("garble", 1.0),
    ("noise", 0.2), ("stale", 0.3), ("duplicate", 0.3), ("split", 0.3),
)  # fmt: skip
OF_METERS = (("dead", 1.0), ("overwrite", 1.0))


def run(kind: str, terminals: int, hours: float, rate: float, seed: int) -> list[str]:
    """What was seen, line by line. `hours` of points are followed for four hours each."""
    with stage(kind, START, rate) as scene:
        return [] if scene is None else _run(scene, terminals, hours, rate, seed)


def _run(scene: Stage, terminals: int, hours: float, rate: float, seed: int) -> list[str]:
    lines = Lines()
    groups = [
        word
        for protocol, link, share in KIND
        for word in ("--group", f"{protocol}:{link}:{max(1, round(share * terminals))}")
    ]
    fleet = (*groups, "--seed", str(seed), "--customers", str(CUSTOMERS), "--commissioned", COMMISSIONED)
    scene.clock = ScaledClock(scene.start_at, time.time(), rate)
    scene.simulate(*fleet)  # once: those who wait for a call have the ports that the archive says
    scene.install()
    codes = _terminals(scene)
    chance = np.random.default_rng(seed)
    order = [list(codes)[k] for k in chance.permutation(len(codes))]
    rough, other = order[: len(order) // 2], order[len(order) // 2 :]
    _plant(scene, codes, rough, other)
    scene.collect()
    lines.append(
        f"holes: seed {seed}, {len(codes)} terminals of {CUSTOMERS + 1} meters; {len(rough)} lose {LOSS:.0%} of the answers and get the others "
        f"{DELAY:g} s late, of the others each has one of {len(OF_TERMINALS) + len(OF_METERS)} troubles; {rate:g} times as fast as time"
    )
    lines.append(_in_time(scene, rough, hours))
    lines += _causes(scene, codes)
    return lines


def _terminals(scene: Stage) -> dict[str, list[str]]:
    """Code -> the asset numbers behind it."""
    with (scene.fleet / "archive" / "meters.csv").open(encoding="utf-8") as rows:
        found: dict[str, list[str]] = {}
        for row in csv.DictReader(rows):
            found.setdefault(row["terminal"], []).append(row["meter"])
    return found


def _plant(
    scene: Stage, codes: Mapping[str, Sequence[str]], rough: Sequence[str], other: Sequence[str]
) -> None:
    scene.tell(f"fault loss {','.join(rough)} {LOSS}")
    scene.tell(f"fault delay {','.join(rough)} {DELAY}")
    kinds = OF_TERMINALS + OF_METERS
    for k, (kind, value) in enumerate(kinds):
        mine = other[k :: len(kinds)]
        whom = [codes[code][-1] for code in mine] if KINDS[kind].of == "meter" else mine
        if whom:
            scene.tell(f"fault {kind} {','.join(whom)} {value}")


def _in_time(scene: Stage, rough: Sequence[str], hours: float) -> str:
    """When so many points of the rough lines as must be were in the store; no longer than they have time for."""
    begun = scene.clock.now()
    times = points(CURVE, coverage.today(begun, ZONE), ZONE)
    followed = times[(times > begun) & (times <= begun + np.timedelta64(round(hours * 3600), "s"))]
    worst, least = np.timedelta64(0, "s"), 1.0
    with psycopg.connect(scene.dsn, autocommit=True) as conn:
        for slot in followed:
            scene.rest(scene.clock.seconds_until(slot))
            share = 0.0
            while share < SHARE and scene.clock.now() < slot + IN_TIME:
                scene.rest(1.0)
                row = conn.execute(
                    "SELECT count(s.meter_id)::float8 / count(*) FROM installation i JOIN terminal t USING (terminal_id) "
                    "LEFT JOIN slot_read s ON s.meter_id = i.meter_id AND s.ts = %s WHERE t.code = ANY(%s)",
                    (as_datetime(slot), list(rough)),
                ).fetchone()
                share = row[0] if row else 0.0
            worst, least = max(worst, scene.clock.now() - slot), min(least, share)
    return (
        f"rough lines: of each of {len(followed)} quarter-hours {least:.2%} or more were here {worst / np.timedelta64(1, 'm'):.0f} minutes after it, "
        f"or earlier; goal {SHARE:.2%} within 240"
    )


def _causes(scene: Stage, codes: Mapping[str, Sequence[str]]) -> list[str]:
    """Every hole of the day beside what was planted there."""
    terminal_of = {asset: code for code, assets in codes.items() for asset in assets}
    record = troubles.read(scene.fleet / "troubles.jsonl")
    of: dict[str, list[Trouble]] = {}
    for trouble in record:
        of.setdefault(trouble.who, []).append(trouble)
    now = scene.clock.now()
    seen: Counter[tuple[str, str]] = Counter()
    right = bare = 0
    with connect(scene.dsn) as conn:
        asset_of = {
            row["meter_id"]: row["asset"] for row in conn.execute("SELECT meter_id, asset FROM meter")
        }
        matrix = coverage.day_matrix(
            conn, CURVE, dt.date.fromisoformat(START[:10]), now=now - HEARD, zone=ZONE
        )
    cause, names = coverage.causes(matrix)
    for k, j in zip(*np.nonzero((cause >= 0) & matrix.due), strict=True):
        asset = asset_of[int(matrix.meters[k])]
        whom = (asset, terminal_of[asset])
        mine = [trouble for name in whom for trouble in of.get(name, ())]
        reason = names[cause[k, j]]
        right += reason in troubles.causes(mine, whom, matrix.times[j], now)
        bare += reason == "not-asked"
        seen["+".join(sorted({trouble.kind for trouble in mine})) or "nothing planted", reason] += 1
    total = sum(seen.values())
    return [
        f"holes: {total} of {int((matrix.expected & matrix.due).sum())} points; the cause is one that was planted there in {right} "
        f"({right / max(1, total):.2%}; goal 99 %), {bare} without a cause (goal 0)",
        *(f"  {planted:<16} {reason:<18} {count}" for (planted, reason), count in sorted(seen.items())),
    ]

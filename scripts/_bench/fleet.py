"""Ten thousand terminals on one collector: everybody dials in anew; two quarter-hours of points as they fall due; where asked for, two more of
which in the first some meters fall silent; then everybody dials in anew once more, in the midst of the next one.

There is no peer; what is measured is the share of the machine, and whether anything is lost. The simulator, the collector and the
database share it, so each one's processor time is told apart.
"""

from __future__ import annotations

import time

import numpy as np
import psycopg
from stage import PATIENCE, Lines, Stage, stage

from protocols.localtime import as_datetime
from terminals.simulator.scenario import ZONE

SEED = 698
#: domain time: meters are there from the hour on, and the clock runs from START on while terminals dial in
COMMISSIONED, START = "2026-03-11T10:00", "2026-03-11 10:01"
SLOT = np.timedelta64(15, "m")
#: the first of the two points that are counted comes so long after all are in
CALM = np.timedelta64(1, "m")
#: domain seconds a second: a round has its quarter-hour in five minutes
RATE = 3.0
#: after the point a meter has it stored
SETTLE = np.timedelta64(60, "s")
#: seconds until a round must have ended
ROUND = 290.0
#: seconds in which all hang up, and until all must be back
AGAIN, BACK = 60.0, 120.0
#: seconds until the collector has told how its loop was
PULSE = 65


def _ceiling(when: np.datetime64) -> np.datetime64:
    """The end of the quarter-hour that `when` is in."""
    return np.datetime64(
        -(-int(when.astype("datetime64[us]").astype(np.int64)) // 900_000_000) * 900_000_000, "us"
    )


def run(kind: str, terminals: int, customers: int, protocol: str, dead: int) -> list[str]:
    """What was seen, line by line."""
    with stage(kind, START, RATE) as scene:
        return [] if scene is None else _run(scene, terminals, customers, protocol, dead)


def _run(stage: Stage, terminals: int, customers: int, protocol: str, dead: int) -> list[str]:
    meters = terminals * (customers + 1)
    lines = Lines()
    lines.append(f"fleet: {terminals} terminals ({protocol}, dial-in) of {customers + 1} meters")
    fleet = (
        "--seed", str(SEED), "--areas", str(terminals), "--customers", str(customers), "--protocol", protocol, "--link", "dial-in",
        "--commissioned", COMMISSIONED, "--dial-rate", "400",
    )  # fmt: skip
    lines.append(f"archive imported in {stage.prepare(*fleet):.0f} s")
    collector = stage.collect()
    alone = collector.memory()
    stage.simulate(*fleet)
    took = stage.wait(lambda: stage.status()["online"] == terminals, PATIENCE, "not all terminals are in")
    lines.append(f"all in after {took:.0f} s")
    idle = collector.memory()
    lines.append(f"apart from a round: {_again(stage, terminals)}")
    with psycopg.connect(stage.dsn, autocommit=True) as conn:
        first = _ceiling(stage.clock.now() + CALM)
        for slot in (first, first + SLOT):
            lines.append(_round(stage, conn, slot, meters))
        if dead:
            stage.tell(f"fault dead {100 * dead / meters:.9f}%")
            for k, what in ((2, "newly dead"), (3, "dead since")):
                lines.append(_round(stage, conn, first + k * SLOT, meters - dead) + f"; {dead} meters {what}")
    lines.append(f"in the midst of a round: {_again(stage, terminals)}")
    busy = collector.memory()
    lines.append(
        f"collector's memory: {alone / 1024:.0f} MiB alone, {idle / 1024:.0f} MiB with all in "
        f"({(idle - alone) / terminals:.0f} KiB a terminal), {busy / 1024:.0f} MiB at the end "
        f"({(busy - alone) / terminals:.0f} KiB a terminal)"
    )
    return lines


def _complete(
    stage: Stage, conn: psycopg.Connection[tuple[int]], slot: np.datetime64, expected: int
) -> tuple[int, float, float]:
    """(points that came, seconds until the last of them, until nine in ten) from when they are due on, for as long as a round may take."""
    stage.rest(stage.clock.seconds_until(slot + SETTLE))
    begun, at = time.monotonic(), as_datetime(slot)
    found, last, ninety = 0, 0.0, 0.0
    while found < expected and time.monotonic() - begun < ROUND:
        now = _count(conn, at)
        if now > found:
            found, last = now, time.monotonic() - begun
            if not ninety and found >= 0.9 * expected:
                ninety = last
        stage.rest(0.5)
    return found, last, ninety


def _round(stage: Stage, conn: psycopg.Connection[tuple[int]], slot: np.datetime64, expected: int) -> str:
    stage.rest(stage.clock.seconds_until(slot + SETTLE))
    cpu, said = stage.cpu(), stage.programs["collector"].log.stat().st_size
    found, seconds, ninety = _complete(stage, conn, slot, expected)
    spent = {name: now - cpu[name] for name, now in stage.cpu().items()}
    values = found * _values(conn, as_datetime(slot))
    shares = ", ".join(f"{name} {used / seconds:.2f}" for name, used in spent.items())
    stage.rest(PULSE)
    lag = stage.lag(said)
    return (
        f"{as_datetime(slot, ZONE):%H:%M}: {found} of {expected} points in {seconds:.0f} s (90 % in {ninety:.0f} s); cores used: {shares}; "
        f"{found / spent['collector']:.0f} points and {values / spent['collector']:.0f} values a second of the collector's core; "
        f"loop late by p99 {lag[0]:.0f} ms, at worst {lag[1]:.0f} ms"
    )


def _again(stage: Stage, terminals: int) -> str:
    before, said = stage.status(), stage.programs["collector"].log.stat().st_size
    cpu, begun = stage.cpu(), time.monotonic()
    stage.tell(f"reconnect {AGAIN:g}")
    while time.monotonic() - begun < BACK:
        now = stage.status()
        if now["online"] == terminals and now["logins"] >= before["logins"] + terminals:
            break
        stage.rest(0.25)
    took = time.monotonic() - begun
    spent = {name: now - cpu[name] for name, now in stage.cpu().items()}
    time.sleep(PULSE)
    after = stage.status()
    more = int(after["logins"] - before["logins"] - terminals)
    lag = stage.lag(said)
    confirmed = (
        f"; login confirmed p99 {after['login_p99']:.2f} s, at worst {after['login_worst']:.2f} s"
        if "login_p99" in after
        else ""
    )
    return (
        f"all hung up within {AGAIN:.0f} s and were back after {took:.0f} s (given up after {BACK:.0f}), {more} logins too many, "
        f"{terminals - int(after['online'])} missing afterwards{confirmed}; cores used: "
        f"{', '.join(f'{name} {used / took:.2f}' for name, used in spent.items())}; "
        f"loop late by p99 {lag[0]:.0f} ms, at worst {lag[1]:.0f} ms"
    )


def _count(conn: psycopg.Connection[tuple[int]], at: object) -> int:
    row = conn.execute("SELECT count(*) FROM slot_read WHERE ts = %s", (at,)).fetchone()
    return row[0] if row else 0


def _values(conn: psycopg.Connection[tuple[int]], at: object) -> float:
    """Values in a row, on average of a thousand."""
    row = conn.execute(
        "SELECT avg((SELECT count(*) FROM jsonb_object_keys(jsonb_strip_nulls(to_jsonb(s)) - 'meter_id' - 'ts' - 'evidence')))::float8 "
        "FROM (SELECT * FROM slot_read WHERE ts = %s LIMIT 1000) s",
        (at,),
    ).fetchone()
    return float(row[0]) if row and row[0] is not None else 0.0

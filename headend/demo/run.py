"""Runs the demo: simulator, collector, jobs and server as processes of their own, and the people who act in it."""

from __future__ import annotations

import csv
import ctypes
import datetime as dt
import json
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from headend.clock import Clock, parse
from headend.demo.rest import Rest, RestError
from headend.demo.world import CRM, DAY, PEOPLE, SUPERVISOR, ZONE, World
from headend.plans import COLLECTED, CURVE
from headend.store import archive, calendar, coverage, fee_terms, keys, orders, results
from headend.store.db import Connection, StoreError, connect
from headend.store.embedded import Embedded
from headend.store.migrate import migrate
from protocols.localtime import as_datetime, instant, midnight
from tariffs import plan

#: domain time at which the day is over, its freezes read, and the night's jobs have run
END: Final = dt.datetime(2026, 3, 12, 0, 50, tzinfo=ZONE)
#: domain time that people take
APPROVE_AFTER: Final = np.timedelta64(2 * 60, "s")
PAY_AFTER: Final = np.timedelta64(45 * 60, "s")
PAYS_FEN: Final = 20_000
#: real seconds the ending may take after END: slow machines lag behind the clock and catch up by themselves
PATIENCE: Final = 240.0

#: how actions and states are told to somebody who sees them for the first time
WORDS: Final = {
    "trip": "cut off",
    "permit": "permit the key to close",
    "wanted": "wanted, waits for a second person",
    "verified": "done and proven",
}

Say = Callable[[str], None]


class DemoError(StoreError):
    """The demo cannot go on."""


def _end_with_parent() -> None:
    """In the child: a demo that is killed must not leave its fleet behind (Linux; elsewhere nothing is asked for)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


_PR_SET_PDEATHSIG: Final = 1


@dataclass(slots=True)
class Cast:
    """The processes, by name."""

    env: dict[str, str]
    logs: Path
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, name: str, *arguments: str) -> None:
        """Start `headend ARGUMENTS`; what it says goes to NAME.log."""
        with (self.logs / f"{name}.log").open("ab") as log:
            self.running[name] = subprocess.Popen(
                [sys.executable, "-m", "headend", *arguments], env=self.env, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                start_new_session=True, preexec_fn=_end_with_parent,  # noqa: PLW1509 - the demo has one thread
            )  # fmt: skip

    def check(self) -> None:
        """DemoError if one has died."""
        for name, process in self.running.items():
            if process.poll() is not None:
                raise DemoError(f"the {name} process ended with {process.returncode}: {self.tail(name)}")

    def tail(self, name: str) -> str:
        """The last line of a log."""
        lines = (self.logs / f"{name}.log").read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it said nothing"

    def kill(self, name: str) -> None:
        """kill -9."""
        self.running[name].kill()
        self.running[name].wait()

    def stop(self) -> None:
        """Ask all to leave, the readers first; kill who does not."""
        for name in ("collector", "jobs", "server", "simulator"):
            process = self.running.get(name)
            if process is not None and process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in self.running.values():
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextmanager
def stage(world: World, dsn: str, say: Say) -> Iterator[tuple[Cast, Connection, Clock]]:
    """Everything up: truth written, archive imported, people with keys, opening payments booked, all processes running."""
    with _database(world, dsn) as running:
        _clear(world)
        logs = world.folder / "logs"
        logs.mkdir(parents=True)
        cast = Cast(world.environment(running), logs)
        try:
            cast.start(
                "simulator", "simulate", str(world.simulator), "--seed", str(world.seed), "--size", world.size,
                "--head-end", f"127.0.0.1:{world.listen}",
            )  # fmt: skip
            with connect(running) as conn:
                migrate(conn)
                calendar.seed(conn)
                fee_terms.change(
                    conn,
                    {"grace_days": 0},
                    reason="the demonstration is one day long",
                    who="demo",
                    now=parse(world.clock, ZONE).now(),
                )
                world.keys = {
                    person: keys.issue(conn, person=person, scopes=scopes)
                    for person, scopes in PEOPLE.items()
                }
                conn.commit()
                ready = world.simulator / "ready.json"
                _until(ready.exists, 60, cast, "the simulator is not ready")
                world.truth_sha256 = _sha256(ready)
                say(f"truth written before the first byte: sha256 {world.truth_sha256}")
                archive.load(conn, world.simulator / "archive", zone=ZONE, tariffs=set(plan.shipped()))
                conn.commit()
                world.save()
                cast.start("server", "serve")
                cast.start("collector", "collect")
                cast.start("jobs", "jobs", "run")
                await_server(world, cast)
                _open_accounts(world, Rest(world.base, world.keys[CRM]), say)
                yield cast, conn, parse(world.clock, ZONE)
        finally:
            cast.stop()


def _clear(world: World) -> None:
    """Remove the last run's files; its database has been emptied."""
    for path in (world.folder / "demo.json", world.folder / "report.json"):
        path.unlink(missing_ok=True)
    for folder in (world.simulator, world.folder / "logs", world.home / "export"):
        if folder.exists():
            shutil.rmtree(folder)


def _sha256(ready: Path) -> str:
    return str(json.loads(ready.read_text())["sha256"])


@contextmanager
def _database(world: World, dsn: str) -> Iterator[str]:
    if dsn:
        with connect(dsn) as conn:
            row = conn.execute("SELECT to_regclass('cluster') IS NOT NULL AS used").fetchone()
        if row and row["used"]:
            raise DemoError(
                "the database given by the DSN holds a head-end already; the demo wants an empty one"
            )
        yield dsn
        return
    server = Embedded(world.home)
    server.acquire()
    if not server.release():
        raise DemoError(
            f"another demo is running in {world.folder}; stop it, or choose another folder with --folder"
        )
    with server as running:
        with connect(running) as conn:
            # emptied, not deleted: a server that a killed demo left behind may still have served these files a moment ago
            conn.execute("DROP SCHEMA public CASCADE")
            conn.execute("CREATE SCHEMA public")
        yield running


def await_server(world: World, cast: Cast) -> None:
    """Return when the API answers."""
    crm = Rest(world.base, world.keys[CRM])
    _until(lambda: _answers(crm), 30, cast, "the server does not answer")


def _answers(api: Rest) -> bool:
    try:
        api.get("fleet")
    except RestError as error:
        if error.status:
            raise DemoError(str(error)) from None
        return False
    return True


def _until(true: Callable[[], bool], seconds: float, cast: Cast, otherwise: str) -> None:
    end = time.monotonic() + seconds
    while not true():
        cast.check()
        if time.monotonic() > end:
            raise DemoError(f"{otherwise} after {seconds:.0f} s; see the logs in {cast.logs}")
        time.sleep(0.1)


def _open_accounts(world: World, crm: Rest, say: Say) -> None:
    with (world.simulator / "archive" / "payments.csv").open(encoding="utf-8") as handle:
        rows = list(csv.DictReader(handle))
    for row in rows:
        whole, _, part = row["yuan"].partition(".")
        crm.post(
            f"customers/{row['customer']}/payments",
            {
                "channel": row["channel"],
                "accounting_date": row["at"][:10],
                "serial": row["serial"],
                "amount_fen": int(whole) * 100 + int(part.ljust(2, "0") or 0),
            },
        )
    say(f"{len(rows)} prepaid customers paid their opening amounts")


@dataclass(slots=True)
class Story:
    """What the people do: the supervisor approves trips, one customer pays after being cut off. Acts only through REST."""

    world: World
    clock: Clock
    payer: str
    payer_customer: str
    say: Say
    told: dict[int, str] = field(default_factory=dict)
    tripped_at: np.datetime64 | None = None
    paid: bool = False

    def turn(self) -> None:
        """One look at the notices and the commands, and what follows from it."""
        now = self.clock.now()
        self._send()
        supervisor = Rest(self.world.base, self.world.keys[SUPERVISOR])
        for command in supervisor.get("commands?kind=relay&limit=50")["commands"]:
            number, state = int(command["id"]), command["state"]
            if self.told.get(number) != state:
                self.told[number] = state
                self._tell(command)
            asked = instant(dt.datetime.fromisoformat(command["requested_at"]))
            if state == "wanted" and command["action"] == "trip" and now - asked >= APPROVE_AFTER:
                try:
                    supervisor.post(
                        f"commands/{number}/approve", {"accept": ["fall"]}
                    )  # a day old: nobody knows a usual one
                except RestError as refused:
                    self.say(f"approval of order {number} refused: {refused}")
                else:
                    self.say(f"{as_datetime(now, ZONE):%H:%M} order {number} approved by {SUPERVISOR}")
            if command["meter"] == self.payer and command["action"] == "trip" and state == "verified":
                self.tripped_at = self.tripped_at or now
        if self.tripped_at is not None and not self.paid and now - self.tripped_at >= PAY_AFTER:
            Rest(self.world.base, self.world.keys[CRM]).post(
                f"customers/{self.payer_customer}/payments",
                {
                    "channel": "微信",
                    "accounting_date": DAY.isoformat(),
                    "serial": "DEMO-0001",
                    "amount_fen": PAYS_FEN,
                },
            )
            self.paid = True
            self.world.payments.append((self.payer_customer, PAYS_FEN))
            self.world.save()
            self.say(
                f"{as_datetime(now, ZONE):%H:%M} customer {self.payer_customer}, who was cut off, pays {PAYS_FEN // 100} yuan"
            )

    def _send(self) -> None:
        """The CRM sends what waits, and its gateway says that it arrived."""
        crm = Rest(self.world.base, self.world.keys[CRM])
        for notice in crm.get("notices")["notices"]:
            crm.post(
                f"notices/{notice['id']}/reports",
                {"state": "delivered", "channel": "sms", "reference": f"SMS-{notice['id']:06}"},
            )

    def _tell(self, command: dict[str, Any]) -> None:
        at = as_datetime(self.clock.now(), ZONE)
        what, state = WORDS.get(command["action"], command["action"]), command["state"]
        self.say(
            f"{at:%H:%M} order {command['id']}, {what} {command['meter']}: {WORDS.get(state, state)} – {command['outcome'] or command['reason']}"
        )


def cast_story(world: World, conn: Connection, clock: Clock, say: Say) -> Story:
    """The story of this world: who pays late stands in the truth, which the simulator alone wrote."""
    payer = str(json.loads((world.simulator / "truth.json").read_text())["faults"]["late"])
    row = conn.execute(
        "SELECT c.number FROM customer c JOIN account USING (customer_id) JOIN installation USING (point_id) JOIN meter USING (meter_id) "
        "WHERE asset = %s",
        (payer,),
    ).fetchone()
    conn.rollback()
    assert row is not None
    return Story(world, clock, payer, row["number"], say)


def play(
    world: World,
    cast: Cast,
    conn: Connection,
    clock: Clock,
    say: Say,
    progress: Callable[[np.datetime64, int, int], None],
    end: bool,
) -> None:
    """Let the day pass. With `end`: until the day is collected, judged and billed."""
    story = cast_story(world, conn, clock, say)
    rng = random.Random(world.seed)
    kills = sorted(rng.uniform(0.05, 0.85) for _ in range(world.kills))
    begun = clock.now()
    finish = instant(END)
    while not end or clock.now() < finish:
        cast.check()
        story.turn()
        share = float((clock.now() - begun) / (finish - begun))
        if kills and share >= kills[0]:
            kills.pop(0)
            cast.kill("collector")
            say(f"{as_datetime(clock.now(), ZONE):%H:%M} kill -9 of the collector, and a new one")
            cast.start("collector", "collect")
        present, owed = _progress(conn, clock)
        progress(clock.now(), present, owed)
        time.sleep(0.25)
    _settle(world, cast, conn, clock, say, story)


def _progress(conn: Connection, clock: Clock) -> tuple[int, int]:
    matrix = coverage.day_matrix(conn, CURVE, DAY, now=clock.now(), zone=ZONE, reasons=())
    conn.rollback()
    owed = matrix.expected & matrix.due
    return int((matrix.present & owed).sum()), int(matrix.expected.sum())


def _settle(world: World, cast: Cast, conn: Connection, clock: Clock, say: Say, story: Story) -> None:
    """The clock has passed the end; wait until the store is quiet: nothing more can come, and the night's jobs have seen it."""
    dead = set(json.loads((world.simulator / "truth.json").read_text())["faults"]["dead"])
    say("the day is over; waiting for the last readings and the night's jobs")
    until = time.monotonic() + PATIENCE
    closed_at: np.datetime64 | None = None
    while True:
        cast.check()
        story.turn()
        if closed_at is None and _closed(conn, clock, dead):
            closed_at = (
                clock.now()
            )  # when it was seen in the store: a reading is committed some time after it came
        if closed_at is not None and _judged(conn, closed_at) and not _open_orders(conn):
            return
        if time.monotonic() > until:
            say("the store is not quiet after all the patience there is; checking anyway")
            return
        time.sleep(0.5)


def _closed(conn: Connection, clock: Clock, dead: set[str]) -> bool:
    """Whether nothing of the day is open but what dead meters owe."""
    ids = [
        row["meter_id"]
        for row in conn.execute("SELECT meter_id FROM meter WHERE asset = ANY(%s)", (list(dead),))
    ]
    try:
        for p in COLLECTED:
            matrix = coverage.day_matrix(conn, p, DAY, now=clock.now(), zone=ZONE)
            alive = ~np.isin(matrix.meters, ids)
            if matrix.open[alive].any() or not (matrix.present | matrix.absent)[alive].all():
                return False
    finally:
        conn.rollback()
    return True


def _judged(conn: Connection, closed_at: np.datetime64) -> bool:
    """Whether every job of the night ran over the day after its last reading came."""
    done = {
        run["job"]
        for run in results.runs(conn, 500)
        if run["ok"]
        and run["day"] == DAY
        and instant(run["started"]) > closed_at
        and instant(run["started"]) > midnight(DAY + dt.timedelta(days=1), ZONE)
    }
    conn.rollback()
    return {"settle", "lineloss", "anomalies", "suspects", "billing"} <= done


def _open_orders(conn: Connection) -> bool:
    waiting = orders.listing(conn, limit=10, open_only=True)
    conn.rollback()
    return bool(waiting)

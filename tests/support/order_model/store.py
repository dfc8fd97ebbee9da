"""The same world in a database: what changes is written there, and orders go through store/orders.py."""

from __future__ import annotations

import datetime as dt
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from headend.control.order_state import OPEN, Event, NoSuchStep, State
from headend.store import audit, batches, cluster, db, grace, leases, ledger, no_trip, orders, trip_stop
from headend.store.db import Connection, StoreError
from headend.store.embedded import Embedded
from headend.store.migrate import migrate
from headend.store.orders import AlreadyOpen, Fence, Refused, StaleOwner
from protocols.localtime import instant
from tests.support.arrears import without_grace
from tests.support.house import Place, place
from tests.support.notices import told
from tests.support.order_model.world import LIMITS, ZONE, Batch, Home, Order, World, small

YESTERDAY = dt.timedelta(days=1)


@contextmanager
def opened() -> Iterator[tuple[World, Store]]:
    """On an embedded server of its own."""
    with (
        tempfile.TemporaryDirectory() as folder,
        Embedded(Path(folder), None, {"fsync": "off", "synchronous_commit": "off"}) as dsn,
    ):
        world = small()
        with db.connect(dsn) as conn:
            migrate(conn)
            yield world, Store(conn, world)


class Store:
    """`conn` to a store with a schema and nothing else."""

    #: entries are append-only: what was usual once stays known
    forgets = False

    def __init__(self, conn: Connection, world: World) -> None:
        self.conn, self.world = conn, world
        self.refused: Counter[str] = Counter()
        self._serial = 0
        self._spared: dict[int, int] = {}
        self._validated: dt.date | None = None
        self._stopped = False
        cluster.set_limits(conn, LIMITS)
        self._places = [self._place(home) for home in world.homes]
        for home in world.homes:
            home.epoch = self.take(home)
            self.changed("balance", home)
        for day, kind in world.calendar.items():
            conn.execute("INSERT INTO calendar_day (day, kind) VALUES (%s, %s)", (day, kind))
        for back in (4, 3, 2):
            self._charge(world.now.date() - dt.timedelta(days=back))
        without_grace(self.conn)
        self.changed("validate")

    @property
    def now(self) -> np.datetime64:
        return instant(self.world.now)

    def _place(self, home: Home) -> Place:
        here = place(
            self.conn, f"M{home.number}", terminal=f"T{home.number}", area=f"A{home.area}", customer=f"C{home.number}", since="2026-01-01 00:00"
        )  # fmt: skip
        line = self._id("line", f"L{home.line}", "name, voltage_kv", "'', 10")
        organisation = self._id("organisation", f"O{home.organisation}", "name, kind", "'', 'station'")
        self.conn.execute(
            "INSERT INTO area_span (area_id, line_id, organisation_id, valid_from) VALUES (%s, %s, %s, '2026-01-01') ON CONFLICT DO NOTHING",
            (here.area, line, organisation),
        )
        self.conn.execute(
            "INSERT INTO point_span (point_id, organisation_id, valid_from) VALUES (%s, %s, '2026-01-01')",
            (here.point, organisation),
        )
        self.conn.commit()
        return here

    def _id(self, table: str, code: str, columns: str, values: str) -> int:
        row = self.conn.execute(
            f"INSERT INTO {table} (code, {columns}) VALUES (%s, {values}) ON CONFLICT (code) DO UPDATE SET name = '' "
            f"RETURNING {table}_id AS id".encode(),
            (code,),
        ).fetchone()
        assert row is not None
        return int(row["id"])

    def _charge(self, day: dt.date) -> None:
        for here in self._places:
            self.conn.execute(
                "INSERT INTO ledger_entry (account_id, kind, period, revision, amount_fen, inputs_hash, detail, at) "
                "VALUES (%s, 'charge', %s, 1, -2000, ''::bytea, '{}', %s) ON CONFLICT DO NOTHING",
                (here.account, day.isoformat(), self.world.now),
            )
        self.conn.commit()

    # --- the world has changed ---

    def morning(self) -> None:
        """Days before yesterday have been settled; the new days stand in the calendar."""
        for back in (4, 3, 2):
            self._charge(self.world.now.date() - dt.timedelta(days=back))
        self.changed("calendar")
        self.changed("validate")

    def changed(self, what: str, home: Home | None = None) -> None:
        getattr(self, f"_{what}")(*(() if home is None else (home, self._places[home.number])))
        self.conn.commit()

    def _balance(self, home: Home, here: Place) -> None:
        self.conn.execute("DELETE FROM balance WHERE account_id = %s", (here.account,))
        if home.high is None:
            return
        low = home.high - 10
        self.conn.execute(
            "INSERT INTO balance (account_id, as_of, ledger_fen, ledger_entry_id, provisional_low_fen, provisional_high_fen, newest_reading, "
            "valid, level, stop_since) SELECT %(a)s, %(as_of)s, %(ledger)s, (SELECT coalesce(max(entry_id), 0) FROM ledger_entry), %(low)s, "
            "%(high)s, %(reading)s, %(valid)s, 'stop', '2026-01-01'",
            # what was paid since it was computed counts in the model: a fall that changes does not forget it
            {"a": here.account, "as_of": home.as_of, "ledger": low + home.fall, "low": low, "high": home.high + home.paid_since,
             "reading": home.reading, "valid": home.valid},
        )  # fmt: skip

    def _notice(self, home: Home, here: Place) -> None:
        told(self.conn, here.account, home.notices[-1])

    def _grace(self, home: Home, here: Place) -> None:
        assert here.account is not None
        if home.grace is not None:
            grace.grant(
                self.conn, here.account, home.grace, reason="x", who="x", now=self.now, zone=ZONE
            )  # fmt: skip
            return
        for row in grace.listing(
            self.conn, since=self.world.now.date() - dt.timedelta(days=9), account=here.account
        ):
            if row["revoked_at"] is None:
                grace.revoke(self.conn, row["id"], who="x", now=self.now)

    def _protect(self, home: Home, here: Place) -> None:
        self.conn.execute(
            "UPDATE account SET protected = %s, valid_to = %s WHERE account_id = %s",
            (home.protected or "", "2026-01-02" if home.protected is None else "infinity", here.account),
        )

    def _calendar(self) -> None:
        today = self.world.now.date()
        self.conn.execute("DELETE FROM calendar_day WHERE day >= %s", (today,))
        for day, kind in self.world.calendar.items():
            self.conn.execute(
                "INSERT INTO calendar_day (day, kind) VALUES (%s, %s) ON CONFLICT DO NOTHING", (day, kind)
            )

    def _spare(self) -> None:
        for spared in self.world.spared:
            if spared.number not in self._spared:
                whose = "" if spared.organisation is None else f"O{spared.organisation}"
                self._spared[spared.number] = no_trip.declare(
                    self.conn, first=spared.first, last=spared.last, kind="exam", reason="exams", who="x", now=self.now, organisation=whose
                )  # fmt: skip
        standing = {spared.number for spared in self.world.spared}
        for number in [n for n in self._spared if n not in standing]:
            no_trip.withdraw(self.conn, self._spared.pop(number), who="x", now=self.now)

    def _validate(self) -> None:
        if self._validated != self.world.validated:
            self._validated = self.world.validated
            self.conn.execute(
                "INSERT INTO job_run (job, day, started, seconds, ok, summary) VALUES ('vee', %s, %s, 1, true, '')",
                (self.world.validated, self.world.now),
            )

    def _doubt(self, home: Home, here: Place) -> None:
        today = self.world.now.date()
        self.conn.execute(
            "UPDATE finding SET state = 'closed', closed_day = day WHERE subject_id = %s AND state = 'new'",
            (here.meter,),
        )
        if home.doubt:
            self.conn.execute(
                "INSERT INTO finding (rule, rule_version, subject_kind, subject_id, day, first_day, severity, title_en, title_zh, evidence, state, "
                "first_seen, last_seen) VALUES ('vee-spike', 1, 'meter', %s, %s, %s, 'warning', '', '', '{}', 'new', %s, %s)",
                (here.meter, today, today, self.world.now, self.world.now),
            )

    def _exchange(self, home: Home, here: Place) -> None:
        """Other transformers from now on."""
        row = self.conn.execute(
            "UPDATE installation SET valid_to = %s WHERE meter_id = %s AND valid_to = 'infinity' AND valid_from < %s "
            "RETURNING ct, address, terminal_id",
            (self.world.now, here.meter, self.world.now),
        ).fetchone()
        if row is not None:
            self.conn.execute(
                "INSERT INTO installation (meter_id, point_id, terminal_id, address, ct, pt, valid_from) VALUES (%s, %s, %s, %s, %s, 1, %s)",
                (here.meter, here.point, row["terminal_id"], row["address"], 3 - row["ct"], self.world.now),
            )

    def _keep(self, home: Home, here: Place) -> None:
        """Told and read back, as an order of its own."""
        action = "keep-power" if home.keep_power else "end-keep-power"
        order = orders.request(
            self.conn, kind="relay", action=action, asset=here.asset, reason="x", who="x", now=self.now, expires=self.now + np.timedelta64(1, "h")
        )  # fmt: skip
        fence = Fence(f"owner{home.epoch}", here.terminal, home.epoch)
        assert orders.begin(self.conn, order, fence=fence, now=self.now) == []
        orders.step(self.conn, order, Event.ANSWER, fence=fence, now=self.now)
        seen = {"open": False, "permitted": False, "keep_power": home.keep_power, "load_kw": 0.0}
        orders.step(self.conn, order, Event.PROVE, fence=fence, now=self.now, result={"relay": seen})

    def _share(self, home: Home, here: Place) -> None:
        """As only somebody could write who goes past the import."""
        self.conn.execute(
            "INSERT INTO meter (asset, phases, accuracy) VALUES (%(asset)s, 1, 0.01) ON CONFLICT DO NOTHING",
            {"asset": f"X{home.number}"},
        )
        self.conn.execute("INSERT INTO point (code) VALUES (%s) ON CONFLICT DO NOTHING", (f"X{home.number}",))
        self.conn.execute(
            "INSERT INTO installation (meter_id, point_id, terminal_id, address, ct, pt, switch, valid_from) SELECT m.meter_id, p.point_id, %s, "
            "'x', 1, 1, '{coil 9:0}', '2026-01-01' FROM meter m, point p WHERE m.asset = %s AND p.code = m.asset "
            "AND NOT EXISTS (SELECT FROM installation i WHERE i.meter_id = m.meter_id)",
            (here.terminal, f"X{home.number}"),
        )
        self.conn.execute(
            "UPDATE installation SET switch = %s WHERE meter_id = %s",
            (["coil 9:0/trips"] if home.shared else [], here.meter),
        )

    def _fall(self, home: Home, here: Place) -> None:
        self._balance(home, here)

    def _stop(self) -> None:
        if self.world.stopped and not self._stopped:
            trip_stop.stop(self.conn, who="李敏", reason="x", now=self.now)
        elif self._stopped and not self.world.stopped:
            for who in ("李敏", "陈晓"):
                trip_stop.resume(self.conn, who=who, reason="x", now=self.now)
        self._stopped = self.world.stopped

    def pay(self, home: Home, fen: int) -> None:
        self._serial += 1
        ledger.pay(
            self.conn, customer=f"C{home.number}", channel="bank", accounting_date=self.world.now.date(), serial=str(self._serial),
            amount_fen=fen, paid_at=self.now, now=self.now,
        )  # fmt: skip

    # --- orders ---

    def open(self, home: Home) -> bool:
        row = self.conn.execute(
            "SELECT EXISTS (SELECT FROM orders WHERE meter_id = %s AND kind = 'relay' AND is_open) AS found",
            (self._places[home.number].meter,),
        ).fetchone()
        self.conn.commit()
        return bool(row and row["found"])

    def request(
        self, home: Home, who: str, expires: dt.datetime, not_before: dt.datetime | None, batch: str | None
    ) -> Order | None:
        number = None
        if batch is not None:
            number = batches.of_list(self.conn, batch, who=who, reason="x", now=self.now)
        key = batch or f"{who}/{self.world.now.date()}"
        try:
            made = orders.request(
                self.conn, kind="relay", action="trip", asset=f"M{home.number}", reason="x", who=who, now=self.now, expires=instant(expires),
                not_before=None if not_before is None else instant(not_before), batch=number,
            )  # fmt: skip
        except Refused as refused:
            self.refused.update(no.gate for no in refused.refusals)
            self.world.batch(key, who)
            return None
        except AlreadyOpen:
            if number is not None:
                self.world.batch(key, who)
            return None
        order = Order(made, home, who, expires, not_before, self.world.batch(key, who))
        order.batch.asked += 1
        return order

    def approve(self, order: Order, who: str, accept: bool) -> bool:
        try:
            orders.approve(self.conn, order.number, who=who, now=self.now, accept=("fall",) if accept else ())
        except Refused as refused:
            self.refused.update(no.gate for no in refused.refusals)
            return False
        except NoSuchStep:
            self.conn.rollback()
            return False
        return True

    def send(self, order: Order, epoch: int) -> bool:
        here = self._places[order.home.number]
        try:
            noes = orders.begin(
                self.conn, order.number, fence=Fence(f"owner{epoch}", here.terminal, epoch), now=self.now
            )
        except (StaleOwner, NoSuchStep):
            self.conn.rollback()
            return False
        self.refused.update(no.gate for no in noes)
        return not noes

    def speak(self, order: Order, event: str) -> None:
        here = self._places[order.home.number]
        fence = Fence(f"owner{order.home.epoch}", here.terminal, order.home.epoch)
        try:
            row = orders.get(self.conn, order.number)
            self.conn.rollback()
            if State(row["state"]) in OPEN and row["state"] not in ("wanted", "approved"):
                orders.step(self.conn, order.number, Event(event), fence=fence, now=self.now)
        except NoSuchStep:
            self.conn.rollback()

    def cancel(self, order: Order) -> None:
        try:
            orders.cancel(self.conn, order.number, who="x", now=self.now)
        except NoSuchStep:
            self.conn.rollback()

    def expire(self) -> None:
        orders.expire(self.conn, now=self.now, who="x")

    def release(self, batch: Batch, who: str) -> bool:
        row = self.conn.execute(
            "SELECT batch_id FROM trip_batch WHERE key = %s",
            (f"list:{batch.key}" if batch.key.startswith("list:") else batch.key,),
        ).fetchone()
        self.conn.commit()
        assert row is not None
        try:
            size = batches.release(self.conn, row["batch_id"], who=who, why="x", now=self.now)
            assert (
                size >= batch.asked
            )  # the store counts all that the requester asks for that day, lists and single ones
        except StoreError:
            self.conn.rollback()
            return False
        return True

    def take(self, home: Home) -> int:
        """Another owner takes the lease of its terminal."""
        here = self._places[home.number]
        self.conn.execute(
            "UPDATE lease SET until = clock_timestamp() WHERE terminal_id = %s", (here.terminal,)
        )
        owner = f"owner{home.epoch + 1}"
        epoch = leases.take(self.conn, owner, [here.terminal], seconds=86_400)[here.terminal]
        self.conn.execute(
            "UPDATE lease SET owner = %s WHERE terminal_id = %s", (f"owner{epoch}", here.terminal)
        )
        self.conn.commit()
        return int(epoch)

    def finish(self) -> None:
        """All that was done is in the audit, and its chain holds."""
        told = audit.verify(self.conn)
        assert told.broken is None, told.broken


__all__: list[Any] = ["Store", "opened"]

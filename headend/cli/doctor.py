"""`headend doctor`: is everything as it should be, and what to do where it is not."""

from __future__ import annotations

import datetime as dt
import os
import platform
import shutil
from collections.abc import Callable

import rich_click as click
from click.exceptions import Exit
from rich.text import Text

from headend import __version__, timesync
from headend.cli.common import App, json_option, pass_app, print_json
from headend.clock import SystemClock
from headend.collector import spool
from headend.store import calendar, clocks, duties, fleet, health, notices, orderly, reclose, refused
from headend.store.db import StoreError
from protocols.localtime import as_datetime

#: what an embedded database needs at least to go on for a day or two
LEAST_FREE = 5 * 2**30
#: less than this many days of growth left on the disk is wrong: somebody has to buy and mount one
DAYS_LEFT = 14
#: a backup a day, with half a day's grace
BACKUP_AGE = dt.timedelta(hours=36)
#: a restore is proved once a month
REHEARSAL_AGE = dt.timedelta(days=31)
#: retention runs once a day; what is left after a week of runs is held by somebody, or nobody runs it
RETENTION_LAG = dt.timedelta(days=8)
#: terminals are let go in minutes once a plan of orderly use is over
LET_GO = dt.timedelta(hours=1)
#: roll-ups are made each hour
ROLLUP_LAG = dt.timedelta(hours=3)
#: after which nobody seems to send notices: they are written by the quarter-hour and wanted before office hours end
NOTICE_LAG = dt.timedelta(hours=4)


@click.command(name="doctor")
@json_option
@pass_app
def command(app: App, as_json: bool) -> None:
    """Check the database, the calendar, the clock, the collectors and the subscription, the disk, and the upkeep: partitions, retention, roll-ups,
    backups; and whether everybody has been let go whom a plan of orderly use has held.

    Exit code 1 if something is wrong."""
    checks: list[tuple[str, str, str]] = [
        ("ok", "program", f"headend {__version__}, Python {platform.python_version()}")
    ]
    for name, look in (
        ("spool", _spool),  # first: it is asked about when the database is away
        ("database", _database),
        ("collectors", _collectors),
        ("subscription", _subscription),
        ("calendar", _calendar),
        ("clock", _clock),
        ("disk", _disk),
        ("partitions", _partitions),
        ("retention", _retention),
        ("roll-ups", _rollups),
        ("orderly use", _orderly),
        ("backup", _backup),
        ("rehearsal", _rehearsal),
        ("notices", _notices),
        ("supply", _supply),
    ):
        checks.append(_checked(app, name, look))
        if checks[-1][:2] == ("wrong", "database"):
            break  # the others ask it
    bad = any(state == "wrong" for state, _, _ in checks)
    if as_json:
        print_json([{"state": s, "what": w, "detail": d} for s, w, d in checks])
    else:
        app.show("doctor", ("", "what", "~finding"), [(_mark(s), w, d) for s, w, d in checks])
    if bad:
        raise Exit(1)


def _mark(state: str) -> Text:
    return Text(state, {"ok": "green", "note": "yellow", "wrong": "red"}[state])


def _checked(app: App, name: str, look: Callable[[App], tuple[str, str]]) -> tuple[str, str, str]:
    try:
        state, detail = look(app)
    except StoreError as error:
        state, detail = "wrong", str(error)
    return state, name, detail


def _database(app: App) -> tuple[str, str]:
    where = "HEADEND_DSN" if app.settings.dsn else f"embedded in {app.settings.home.resolve()}"
    return "ok", f"{health.server(app.conn)}; {where}"


def _spool(app: App) -> tuple[str, str]:
    place, limit = app.settings.spool, app.settings.spool_mib << 20
    try:
        found = spool.survey(place)
    except OSError as error:
        return (
            "note",
            f"{place} cannot be looked at: {error.strerror}; ask as the user who runs `headend collect`",
        )
    told = [
        f"{left.collector}: {_bytes(left.size)}, the oldest for {_age(dt.timedelta(seconds=left.age))}"
        + ("" if left.alive else ", its collector is gone: the next `headend collect` here writes it")
        for left in found.spools
    ]
    told += [f"{path} could not be read: keep it for an inquiry, or delete it" for path in found.aside]
    if not told:
        return "ok", f"empty: no reading waits in {place.resolve()}"
    full = found.fullest >= spool.ALARM * limit
    if full:
        told.append(
            f"{100 * found.fullest // limit} % of HEADEND_SPOOL_MIB: bring the database back, or raise it"
        )
    return ("wrong" if full or found.aside else "note"), "; ".join(told)


def _collectors(app: App) -> tuple[str, str]:
    rows = fleet.owners(app.conn)
    if not rows:
        return "note", "no collector holds a terminal; `headend collect` starts one"
    return "ok", "; ".join(f"{r['owner']} holds {r['terminals']} terminals" for r in rows)


def _subscription(app: App) -> tuple[str, str]:
    kept_out = sum(row.count for row in refused.listing(app.conn))
    told = f"; {kept_out} messages kept out, `headend mqtt refusals` says why" if kept_out else ""
    if not app.settings.mqtt:
        return ("note" if kept_out else "ok"), f"no broker is set (HEADEND_MQTT){told}"
    owner = duties.owner(app.conn, duties.SUBSCRIPTION)
    if owner is None:
        return (
            "wrong",
            f"nobody listens to the broker; `headend collect` does, where HEADEND_MQTT is set{told}",
        )
    return ("note" if kept_out else "ok"), f"{owner} listens{told}"


def _calendar(app: App) -> tuple[str, str]:
    last = calendar.last(app.conn)
    if last is None:
        return "wrong", "empty: every trip is refused; `headend init` fills it"
    today = app.today()
    if last < today:
        return "wrong", f"ends {last}: every trip is refused since; update the calendar"
    if (today.month, today.day) >= (11, 1) and last < dt.date(today.year + 1, 12, 31):
        return "note", f"ends {last}; next year is missing: trips will be refused from then on"
    return "ok", f"known until {last}"


def _clock(app: App) -> tuple[str, str]:
    if isinstance(app.clock, SystemClock):
        told = f"system time, {app.local_now():%Y-%m-%d %H:%M:%S} {app.zone}"
        ours = timesync.master(app.clock)
        if ours.synchronised:
            return "ok", f"{told}; {ours.why}, right to within {ours.error:.3f} s"
        # as long as nobody's clock is set by it, a wrong one spoils no more than times of receipt and offsets
        state = "wrong" if clocks.rules(app.conn).enabled else "note"
        return state, f"{told}; {ours.why}: until then no meter's clock is set"
    return "note", f"not system time: {app.settings.clock}, now {app.local_now():%Y-%m-%d %H:%M:%S}"


def _disk(app: App) -> tuple[str, str]:
    home = app.settings.home.resolve()
    place = home if home.exists() else home.parent
    free = shutil.disk_usage(place).free
    size = health.size(app.conn, as_datetime(app.clock.now()))
    told = f"{free / 2**30:.0f} GiB free at {place}" + ("" if os.access(place, os.W_OK) else ", not writable")
    state = "ok" if free > LEAST_FREE else "wrong"
    if size.daily:
        days = free / size.daily
        told += f"; the store has {_bytes(size.total)} and grows by {_bytes(size.daily)} a day"
        if app.settings.dsn:
            return state, f"{told} on its server's disk, which is not looked at here"
        told += f": {'years' if days > 1000 else f'{days:.0f} days'} are left"
        state = "wrong" if days < DAYS_LEFT else state
    return state, told


def _partitions(app: App) -> tuple[str, str]:
    size = health.size(app.conn, as_datetime(app.clock.now()))
    if not size.pieces:
        return "ok", "none yet: nothing has been read"
    return "ok", f"{sum(size.pieces.values())}, {_bytes(size.total)} in all: " + ", ".join(
        f"{n} of {table}" for table, n in size.pieces.items()
    )


def _retention(app: App) -> tuple[str, str]:
    late = health.overdue(app.conn, as_datetime(app.clock.now()))
    if not late:
        return "ok", "nothing is older than its policy; `headend retention show`"
    told = "; ".join(
        f"{o.kind}: {o.pieces} partitions ({_bytes(o.size)}), the oldest for {o.by.days} days" for o in late
    )
    state = "wrong" if max(o.by for o in late) > RETENTION_LAG else "note"
    return (
        state,
        f"overdue: {told}; `headend jobs run` throws it away once a day, `headend retention run` now",
    )


def _rollups(app: App) -> tuple[str, str]:
    lags = health.lags(app.conn)
    if not lags:
        return "note", "never made; `headend jobs run` makes them"
    now = dt.datetime.now(dt.UTC)  # as the feed's rows are stamped
    late = [lag for lag in lags if lag.since is not None and now - lag.since > ROLLUP_LAG]
    told = "; ".join(
        f"{lag.job}: {lag.rows} changes wait"
        + (f", the oldest for {_age(now - lag.since)}" if lag.since else "")
        for lag in lags
    )
    return ("wrong" if late else "ok"), told + ("; is `headend jobs run` running?" if late else "")


def _backup(app: App) -> tuple[str, str]:
    return _saved(app, "backup", BACKUP_AGE, "`headend backup FOLDER` makes one")


def _rehearsal(app: App) -> tuple[str, str]:
    return _saved(
        app, "rehearsal", REHEARSAL_AGE, "`headend rehearse FOLDER` proves that a backup can be brought back"
    )


def _notices(app: App) -> tuple[str, str]:
    count, oldest = notices.unsent(app.conn, now=app.clock.now())
    if oldest is None:
        return "ok", "none waits to be sent"
    waits = as_datetime(app.clock.now()) - oldest
    return (
        "wrong" if waits > NOTICE_LAG else "ok",
        f"{count} wait to be sent, the oldest for {_age(waits)}"
        + (
            "; does the CRM ask for `/api/v1/notices`? Nobody is cut off untold" if waits > NOTICE_LAG else ""
        ),
    )


def _orderly(app: App) -> tuple[str, str]:
    """Whoever was limited by a plan that is over must have been let go."""
    rows = orderly.not_let_go(app.conn, before=as_datetime(app.clock.now()) - LET_GO)
    late = [row for row in rows if row["state"] in ("approved", "running")]
    if late:
        return (
            "wrong",
            f"plan {late[0]['plan_id']} is over and still {late[0]['state']}: nobody ends it; start `headend jobs run`",
        )
    if rows:
        waiting = ", ".join(f"plan {row['plan_id']}: {row['waiting']} terminals" for row in rows[:3])
        return (
            "wrong",
            f"plans are over, and terminals have not let go: {waiting}; `headend orderly show {rows[0]['plan_id']}` says why",
        )
    return "ok", "nobody is held by a plan that is over"


def _supply(app: App) -> tuple[str, str]:
    """Whoever has paid must have supply again."""
    assets = reclose.waiting(app.conn, now=app.clock.now())
    if not assets:
        return "ok", "nobody who has paid waits for a person to give supply back"
    some = ", ".join(assets[:3]) + (" …" if len(assets) > 3 else "")
    return (
        "wrong",
        f"{len(assets)} have paid and have no supply: {some}; `headend relay list --meter {assets[0]}` says why, `headend relay close` closes",
    )


def _saved(app: App, kind: str, longest: dt.timedelta, remedy: str) -> tuple[str, str]:
    last = health.saved(app.conn, kind)
    if last is None:
        return "note", f"never; {remedy}"
    if last.failed:
        good = f"; the last good one is {_age(last.age)} old" if last.folder else ""
        return "wrong", f"the newest failed: {last.failed}{good}"
    return ("ok" if last.age <= longest else "wrong"), f"{_age(last.age)} old, {last.folder}" + (
        f"; {remedy}" if last.age > longest else ""
    )


def _age(span: dt.timedelta) -> str:
    if span >= dt.timedelta(days=2):
        return f"{span.days} days"
    hours = span.total_seconds() / 3600
    return f"{hours:.0f} hours" if hours >= 2 else f"{hours * 60:.0f} minutes"


def _bytes(n: float) -> str:
    return f"{n / 2**30:.1f} GiB" if n >= 2**30 else f"{n / 2**20:.1f} MiB"

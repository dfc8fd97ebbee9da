"""`headend diagnose METER`: through the collector that owns the terminal, as an order; directly where no collector does."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
import rich_click as click

from headend.cli import orders as shown
from headend.cli.common import App, person
from headend.cli.facts import Facts
from headend.cli.field import Bench
from headend.cli.trust import trust_of
from headend.cli.wiring import verdict
from headend.store import orders
from headend.store.db import StoreError
from headend.store.orders import SURVEY
from headend.store.whereabouts import Whereabouts, whereabouts
from terminals.diagnose.candidates import chosen, known_candidates
from terminals.diagnose.case import Asked
from terminals.diagnose.diagnosis import Words
from terminals.diagnose.document import phasors_in, steps_of
from terminals.diagnose.search import Target, openers_of

#: Seconds that the answer may take: some fifty requests over a slow radio link, behind others on the line.
WAIT: Final = 120.0
#: Seconds for which such an order may still begin: nobody waits longer at a screen.
VALID: Final = 180
#: Terminals whose protocol is the way to the meter, not the meter's own.
TERMINALS: Final = ("gdw376", "dlt698")

_BY_ORDER: Final = Words(
    "the terminal's line belongs to collector {}: it is not taken away; the diagnosis goes as order {} between the scheduled reads",
    "终端链路由采集进程 {} 管理，不抢占；以命令 {} 下发，穿插在定时抄读之间执行",
)


def diagnose_meter(app: App, bench: Bench, asset: str, record: Path | None) -> dict[str, Any]:
    """The document of the diagnosis, with what the head-end knew beforehand and the comparison with the archive."""
    found = whereabouts(app.conn, asset, app.clock.now())
    app.conn.rollback()
    facts = Facts.of(found, app)
    if found.owner:
        if record is not None:
            raise click.UsageError(
                f"--record needs a line of our own, and this one belongs to collector {found.owner}; --json keeps the answer with its frames"
            )
        return _ordered(app, bench, found, facts)
    if found.link == "mqtt":
        raise StoreError(
            f"terminal {found.terminal} publishes by itself and is not asked anything: `headend why {asset}` tells what it has sent"
        )
    if found.link not in ("dial-out", "serial"):
        raise StoreError(
            f"terminal {found.terminal} dials in by itself and no collector runs that it could reach: start `headend collect`, then ask again"
        )
    return _direct(app, bench, found, facts, record)


def _ordered(app: App, bench: Bench, found: Whereabouts, facts: Facts) -> dict[str, Any]:
    now = app.clock.now()
    order_id = orders.request(
        app.conn, kind="read", action=SURVEY, asset=found.asset, reason="diagnosed at the command line", who=person(), now=now,
        expires=now + np.timedelta64(VALID, "s"), priority=3,
    )  # fmt: skip
    if not bench.quiet:
        facts.show(app, bench.screen)
        bench.say(Words(*(text.format(found.owner, order_id) for text in (_BY_ORDER.en, _BY_ORDER.zh))))
    order = shown.wait_for(app, order_id, WAIT)
    told: dict[str, Any] | None = order["result"].get("diagnosis")
    if told is None:
        raise StoreError(shown.failure(order, WAIT))
    # the collector tells what the meter said; what to make of it is said here
    said = None if (phasors := phasors_in(told)) is None else verdict(phasors)
    if said is not None:
        told = {**told, "wiring": {"en": said[0], "zh": said[1]}}
    told = {**told, "order": order_id, "known": dict(facts.known), "archive": facts.compared(told)}
    if not bench.quiet:
        for step in steps_of(told):
            bench.screen.step(step)
        facts.show_compared(app, bench.screen, told)
        bench.screen.findings(told)
    return told


def _direct(app: App, bench: Bench, found: Whereabouts, facts: Facts, record: Path | None) -> dict[str, Any]:
    url = _url(found)
    behind = found.protocol in TERMINALS
    password = found.secrets.get("terminal_password" if behind else "password", "")
    target = Target(found.address, found.login if behind else "", found.pn, (password,) if password else ())
    asked = Asked(url, target, (_protocol(found.protocol),), app.zone, app.clock.now(), known=facts.json())
    return bench.live(
        openers_of(url, trust_of(app.settings)), asked, chosen(known_candidates(), asked.protocols), record
    )


def _url(found: Whereabouts) -> str:
    return found.endpoint if "://" in found.endpoint else f"tcp://{found.endpoint}"


def _protocol(archive: str) -> str:
    return "dlt645-2007" if archive == "dlt645" else archive

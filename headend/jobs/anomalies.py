"""Every rule over one day: what a metering engineer should look at. Findings that vanish are withdrawn."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence

import numpy as np

from headend.jobs import lineloss, network
from headend.jobs.frame import Run
from headend.jobs.network import PATIENCE, Network
from headend.plans import CURVE
from headend.store import archive, coverage, results
from headend.store.coverage import DayMatrix
from headend.store.results import Found
from lineloss.finding import Finding
from lineloss.rules import loss, missing, theft, unbalance, voltage
from lineloss.suspects import find_suspects

RULES = (voltage.RULE, unbalance.RULE, missing.RULE, loss.RULE, theft.RULE)
#: rules that judge a whole day: a rate of part of a day, or a suspicion from half a curve, accuses the honest
WHOLE_DAY = frozenset((loss.RULE, theft.RULE))


def job(run: Run, day: dt.date) -> str:
    net = network.load(run, day)
    if net is None:
        return "nothing due yet"
    ledger = coverage.day_matrix(run.conn, CURVE, day, now=run.now - PATIENCE, zone=run.zone)
    rules = [rule for rule in RULES if net.complete or rule not in WHOLE_DAY]
    found = judge(net, archive.capacities(run.conn), ledger)
    added, withdrawn = results.save_findings(
        run.conn, day, rules, [_plain(finding) for finding in found], now=run.now
    )
    return f"{len(found)} findings, {added} new, {withdrawn} withdrawn"


def judge(net: Network, capacity: Mapping[int, float], ledger: DayMatrix) -> list[Finding]:
    """What the rules say about a day. Pure: everything the rules look at is an argument.

    capacity  area_id -> [kVA] of its transformer
    """
    found = [*_voltage(net), *_unbalance(net, capacity), *_missing(ledger)]
    if net.complete:
        found += [*loss.find(lineloss.balance(net)), *_theft(net)]
    return found


def _plain(f: Finding) -> Found:
    return Found(
        f.rule, f.rule_version, f.subject_kind, f.subject_id, f.severity, f.title_en, f.title_zh, f.evidence
    )


def _voltage(net: Network) -> Sequence[Finding]:
    return voltage.find(net.topology.meter, net.phases("voltage"))


def _unbalance(net: Network, capacity: Mapping[int, float]) -> Sequence[Finding]:
    kva = np.array([capacity.get(int(area), np.nan) for area in net.block.rows.area])
    rated = unbalance.rated_current(kva, net.topology.multiplier)
    return unbalance.find(net.topology, net.phases("current"), rated)


def _theft(net: Network) -> Sequence[Finding]:
    told, voltage, current = lineloss.technical(net), net.phases("voltage"), net.phases("current")
    suspects = find_suspects(
        net.topology,
        net.imports,
        net.exports,
        service=told.lost,
        voltage=voltage,
        current=current,
        roll_over=net.roll_over,
    )
    return theft.find(net.topology, suspects)


def _missing(matrix: DayMatrix) -> Sequence[Finding]:
    cause, names = coverage.causes(matrix)
    columns: list[tuple[np.ndarray, str, np.ndarray, np.ndarray, np.ndarray]] = []
    last = len(matrix.times) - 1
    for k, name in enumerate(names):
        mask = cause == k
        rows = np.flatnonzero(mask.any(axis=1))
        chosen = mask[rows]
        columns.append(
            (
                matrix.meters[rows],
                name,
                chosen.sum(axis=1),
                matrix.times[chosen.argmax(axis=1)],
                matrix.times[last - chosen[:, ::-1].argmax(axis=1)],
            )
        )
    return missing.find(
        missing.Missing(
            meter=np.concatenate([c[0] for c in columns]),
            cause=np.concatenate([np.full(len(c[0]), c[1], dtype="U32") for c in columns]),
            count=np.concatenate([c[2] for c in columns]),
            first=np.concatenate([c[3] for c in columns]),
            last=np.concatenate([c[4] for c in columns]),
        ),
        matrix.meters,
        matrix.terminals,
        (matrix.expected & matrix.due).sum(axis=1),
    )

"""Every rule over one day: what a metering engineer should look at. Findings that vanish are withdrawn."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

import numpy as np

from headend.jobs import lineloss, network
from headend.jobs.frame import Run
from headend.jobs.network import PATIENCE, Network
from headend.plans import CURVE
from headend.store import archive, coverage, results
from headend.store.results import Found
from lineloss.finding import Finding
from lineloss.rules import loss, missing, theft, unbalance, voltage
from lineloss.suspects import find_suspects

RULES = (voltage.RULE, unbalance.RULE, missing.RULE, loss.RULE, theft.RULE)


def job(run: Run, day: dt.date) -> str:
    net = network.load(run, day)
    if net is None:
        return "nothing due yet"
    found = [*_voltage(net), *_unbalance(run, net), *_missing(run, day)]
    rules = [voltage.RULE, unbalance.RULE, missing.RULE]
    if net.complete:  # a rate of part of a day, or a suspicion from half a curve, accuses the honest
        found += [*loss.find(lineloss.balance(net)), *_theft(net)]
        rules += [loss.RULE, theft.RULE]
    added, withdrawn = results.save_findings(
        run.conn, day, rules, [_plain(finding) for finding in found], now=run.now
    )
    return f"{len(found)} findings, {added} new, {withdrawn} withdrawn"


def _plain(f: Finding) -> Found:
    return Found(
        f.rule, f.rule_version, f.subject_kind, f.subject_id, f.severity, f.title_en, f.title_zh, f.evidence
    )


def _voltage(net: Network) -> Sequence[Finding]:
    slots = net.imports.shape[1] - 1
    phases = [net.block.instants[f"voltage_{phase}"][:, :slots] for phase in "abc"]
    return voltage.find(net.topology.meter, np.stack(phases, axis=1).astype(np.float64))


def _unbalance(run: Run, net: Network) -> Sequence[Finding]:
    slots = net.imports.shape[1] - 1
    current = np.stack([net.block.instants[f"current_{p}"][:, :slots] for p in "abc"], axis=1).astype(
        np.float64
    )
    capacity = archive.capacities(run.conn)
    kva = np.array([capacity.get(int(area), np.nan) for area in net.block.rows.area])
    return unbalance.find(net.topology, current, unbalance.rated_current(kva, net.topology.multiplier))


def _theft(net: Network) -> Sequence[Finding]:
    return theft.find(net.topology, find_suspects(net.topology, net.imports, net.exports))


def _missing(run: Run, day: dt.date) -> Sequence[Finding]:
    matrix = coverage.day_matrix(run.conn, CURVE, day, now=run.now - PATIENCE, zone=run.zone)
    cause, names = coverage.causes(matrix)
    columns: list[tuple[np.ndarray, str, np.ndarray, np.ndarray, np.ndarray]] = []
    last = len(matrix.times) - 1
    for k, name in enumerate(names):
        if name == "not-asked":
            continue
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

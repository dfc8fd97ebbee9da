"""Who explains what an area lost: theft, and multipliers that are wrong in the archive.

The rest of the anomalies need a day; these compare an area's loss curve with everybody's profile, which takes a week to be sure of anything and a
second or two an area. So they are asked where something is to be explained: the areas that lost most, beyond what the network and the meters'
classes account for, or gained. One honest area in forty is among them by chance, and hardly any of these has a customer who explains it.
"""

from __future__ import annotations

import datetime as dt
from typing import Final

from headend.jobs import lineloss, network
from headend.jobs.frame import Run
from headend.jobs.network import Network
from headend.plans import CURVE, points
from headend.store import findings, results
from lineloss.finding import Finding
from lineloss.norms import norms
from lineloss.ratios import find_ratios
from lineloss.rules import theft, wrong_ratio
from lineloss.suspects import find_suspects

RULES: Final = (theft.RULE, wrong_ratio.RULE)
#: Days looked at together, the last of them the day asked for: every kind of day once. With fewer in the store, or since the area's newest
#: meter came, what there is.
WINDOW: Final = 7
#: Areas looked into in one run, those with most to explain first: about a second each, and the prepaid balances wait behind it. It is also
#: more than any utility sends people to in a day.
AREAS: Final = 50
_NEEDS: Final = tuple(sorted({*theft.NEEDS, *wrong_ratio.NEEDS}))


def job(run: Run, day: dt.date) -> str:
    """The areas that have most to explain on `day`, over the days up to it; after the losses of the day."""
    if network.slots_due(run, day) < len(points(CURVE, day, run.zone)):
        return "day not over"
    some = results.unexplained(run.conn, day, AREAS, usual=norms()["area_loss_rate"].high)
    found = [
        finding
        for first, areas in network.settled(run, day - dt.timedelta(days=WINDOW - 1), day, some).items()
        for net in network.window(run, first, day, areas, _NEEDS)
        for finding in judge(net)
    ]
    added, withdrawn = findings.save(run.conn, day, RULES, findings.named(run.conn, found), now=run.now)
    return f"{len(some)} areas, {len(found)} findings, {added} new, {withdrawn} withdrawn"


def judge(net: Network) -> list[Finding]:
    """What is said of these areas. Pure.

    A wrong multiplier takes energy by a customer's profile as a thief does; where one that is made fits, it is that.
    """
    lost = lineloss.technical(net).lost
    ratios = find_ratios(net.topology, net.imports, net.exports, service=lost, roll_over=net.roll_over)
    suspects = find_suspects(
        net.topology,
        net.imports,
        net.exports,
        service=lost,
        voltage=net.phases("voltage"),
        current=net.phases("current"),
        roll_over=net.roll_over,
    )
    explained = set(ratios.meter.tolist())
    said = [f for f in theft.find(net.topology, suspects) if f.subject_id not in explained]
    return [*said, *wrong_ratio.find(ratios)]

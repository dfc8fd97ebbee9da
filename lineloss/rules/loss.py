"""Line loss of an area outside its band (台区线损异常): too high, or negative.

`certain` says whether the figure is out of the band even when every meter errs, within its class, in the
area's favour.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from lineloss.balance import Balance
from lineloss.finding import Finding, number
from lineloss.norms import norms

RULE: Final = "loss"
VERSION: Final = 1
_KWH: Final = 1e-4


def find(
    balance: Balance,
    *,
    high: float | None = None,
    negative: float | None = None,
    supplied: float = 10.0,
) -> list[Finding]:
    """Known areas with a loss rate above `high` or below `negative` (fractions; norms.csv by default).

    supplied  [kWh]: an area that received less in the day has no meaningful rate
    """
    upper = norms()["area_loss_rate"].high if high is None else high
    lower = norms()["area_negative_loss_rate"].low if negative is None else negative
    judged = balance.known & ~np.isnan(balance.rate) & (balance.supplied * _KWH >= supplied)
    rate = np.where(judged, balance.rate, 0.0)
    findings = []
    for area in np.flatnonzero((rate > upper) | (rate < lower)).tolist():
        energy = float(balance.supplied[area])
        least, most = float(balance.loss_low[area]) / energy, float(balance.loss_high[area]) / energy
        above = bool(rate[area] > upper)
        certain = least > upper if above else most < 0
        findings.append(
            Finding(
                RULE,
                VERSION,
                "area",
                int(balance.area_id[area]),
                "alarm" if certain else "warning",
                {
                    "rate": number(rate[area]),
                    "rate_low": number(least),
                    "rate_high": number(most),
                    "limit": upper if above else lower,
                    "certain": bool(certain),
                    "supplied_kwh": number(energy * _KWH, 2),
                    "sold_kwh": number(balance.sold[area] * _KWH, 2),
                    "loss_kwh": number(balance.loss[area] * _KWH, 2),
                    "meters": int(balance.meters_due[area]),
                },
                f"Line loss {rate[area]:.1%}, limit {upper:.1%}"
                if above
                else f"Negative line loss {rate[area]:.1%}",
                f"台区线损率 {rate[area]:.1%},限值 {upper:.1%}" if above else f"台区负线损 {rate[area]:.1%}",
            )
        )
    return findings

"""A meter that registers far less than its own volts and amperes say (少计电量): one phase counts backwards, or it is slow.

A register that does not move at all is `stopped`'s, one that counts more export than import `reverse-flow`'s.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from lineloss.electrical import Electrical, Fault
from lineloss.finding import Finding, number
from lineloss.topology import Topology

RULE: Final = "under-registered"
VERSION: Final = 1
NEEDS: Final = (
    "active_import", "active_export", "voltage_a", "voltage_b", "voltage_c", "current_a", "current_b", "current_c",
)  # fmt: skip

_WORDS: Final = {
    Fault.STUCK: ("the register hardly moves", "示度几乎不走"),
    Fault.REVERSED_PHASE: ("one of its three phases counts backwards", "疑似一相电流反接"),
    Fault.SLOW: ("slow, or a circuit of it is open", "疑似计量偏慢或回路开路"),
}


def find(topology: Topology, told: Electrical) -> list[Finding]:
    """One finding per meter; a slow one may be a load of a very low power factor, so it is a warning."""
    findings = []
    for row in np.flatnonzero((told.fault > 0) & (told.registered > 0)).tolist():
        fault = Fault(int(told.fault[row]))
        if fault not in _WORDS:
            continue
        en, zh = _WORDS[fault]
        ratio, factor = float(told.ratio[row]), int(topology.multiplier[row])
        findings.append(
            Finding(
                RULE,
                VERSION,
                "meter",
                int(topology.meter[row]),
                "warning" if fault == Fault.SLOW else "alarm",
                {
                    "fault": fault.name.lower().replace("_", "-"),
                    "ratio": number(ratio, 3),
                    "registered_kwh": number(told.registered[row] * factor, 2),
                    "apparent_kvah": number(told.apparent[row] * factor, 2),
                },
                f"Registers {ratio:.0%} of its volts times amperes: {en}",
                f"计量电量仅为电压电流积的 {ratio:.0%}:{zh}",
            )
        )
    return findings

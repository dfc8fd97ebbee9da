"""What events of all protocols have in common: the one word a driver gives each, in both languages, and how grave it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Severity = Literal["info", "warning", "alarm"]


@dataclass(frozen=True, slots=True)
class Kind:
    """`severity`: alarm, somebody may be at the meter or in danger; warning, numbers may be wrong; info, what happens everywhere."""

    en: str
    zh: str
    severity: Severity


#: An event without one of these words is kept all the same, by its code.
KINDS: Final = {
    "power-down": Kind("power cut", "停电", "info"),
    "power-up": Kind("power back", "上电", "info"),
    "cover-open": Kind("meter cover opened", "开表盖", "alarm"),
    "terminal-cover-open": Kind("terminal cover opened", "开端钮盒", "alarm"),
    "magnetic-field": Kind("magnetic field", "恒定磁场干扰", "alarm"),
    "clock-set": Kind("clock set", "校时", "info"),
    "clock-wrong": Kind("clock wrong", "时钟超差", "warning"),
    "programmed": Kind("parameters changed", "编程", "warning"),
    "cleared": Kind("registers cleared", "清零", "alarm"),
    "demand-cleared": Kind("demand cleared", "需量清零", "info"),
    "events-cleared": Kind("events cleared", "事件清零", "warning"),
    "voltage-loss": Kind("voltage lost", "失压", "alarm"),
    "under-voltage": Kind("under-voltage", "欠压", "info"),
    "over-voltage": Kind("over-voltage", "过压", "warning"),
    "phase-failure": Kind("phase failed", "断相", "warning"),
    "current-loss": Kind("current lost", "失流", "alarm"),
    "over-current": Kind("over-current", "过流", "warning"),
    "reverse-flow": Kind("reverse flow", "潮流反向", "warning"),
    "all-voltages-lost": Kind("all voltages lost", "全失压", "alarm"),
    "terminal-fault": Kind("terminal fault", "终端故障", "warning"),
    "meter-fault": Kind("meter fault", "电表故障", "warning"),
    "unknown-meter": Kind("unknown meter found", "发现未知电表", "warning"),
    "no-answer": Kind("meter does not answer its terminal", "抄表失败", "info"),
    "battery-low": Kind("battery low", "电池失效", "warning"),
}

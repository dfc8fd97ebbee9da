"""An order of load control as the steps that a terminal is told one by one, each read back before the next; names as in
terminals/drivers/control.py.

What relieves the customer comes first, what binds him last: off, then parameters, then on; what is broken off in between binds nobody.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping
from typing import Any, Final

from headend.control.load_control import (
    CONTROLS,
    GROUPS,
    SCHEMES,
    Control,
    ControlOrder,
    PeriodControl,
    Purchase,
    control_document,
    keep_power_of,
    name_of,
    order_of,
)

KEEP_POWER: Final = "keep-power"
#: rounds whose warning is asked for when a terminal is read
_ALARMS: Final = 4

Step = tuple[str, dict[str, Any]]


def steps(action: str, request: Mapping[str, Any]) -> list[Step]:
    """What an order of this action writes: names, and what shall stand there."""
    if action == "keep-power":
        return [(KEEP_POWER, {"on": True, "half_hours": keep_power_of(request).half_hours})]
    if action == "end-keep-power":
        return [(KEEP_POWER, {"on": False})]
    return list(_steps(order_of(request)))


def _steps(order: ControlOrder) -> Iterator[Step]:
    group = order.group
    for name in order.off:
        yield f"on.{name}.{group}", {"on": False}
    if (
        "period" in order.on
    ):  # its hours and setpoints come one after the other, and half of them is nobody's plan
        yield f"on.period.{group}", {"on": False}
    if order.security_w is not None:
        yield "security", {"security_w": order.security_w}
    if order.alarm_minutes:
        yield f"alarms.{len(order.alarm_minutes)}", {"alarm_minutes": list(order.alarm_minutes)}
    if order.sliding_minutes is not None:
        yield f"sliding.{group}", {"sliding_minutes": order.sliding_minutes}
    if order.power_rounds is not None:
        yield f"power-rounds.{group}", {"power_rounds": list(order.power_rounds)}
    if order.energy_rounds is not None:
        yield f"energy-rounds.{group}", {"energy_rounds": list(order.energy_rounds)}
    for control in order.controls:
        yield from _parameters(control, group)
    for name in order.on:
        yield f"on.{name}.{group}", {"on": True, **_with(name, order)}


def _parameters(control: Control, group: int) -> Iterator[Step]:
    name = name_of(control)
    if isinstance(control, PeriodControl):
        yield "slots", {"slots": control.slots}
        yield f"period.{group}.{control.scheme}", {"setpoints_w": list(control.setpoints_w)}
    elif name != "reduction":  # which a terminal keeps no parameters of
        yield f"{name}.{group}", control_document(control)


def _with(name: str, order: ControlOrder) -> dict[str, Any]:
    """What goes with switching a control on."""
    control = order.of(name)
    if isinstance(control, PeriodControl):
        return {"scheme": control.scheme, "periods": list(range(1, len(control.periods) + 1))}
    return control_document(control) if control is not None and name == "reduction" else {}


def names(group: int) -> list[str]:
    """All that a terminal can be asked of one group."""
    parameters = [name for name in CONTROLS if name not in ("period", "reduction")]
    return [
        KEEP_POWER, "security", "slots", f"alarms.{_ALARMS}", f"sliding.{group}", f"power-rounds.{group}", f"energy-rounds.{group}",
        *(f"period.{group}.{scheme}" for scheme in range(1, SCHEMES + 1)), *(f"{name}.{group}" for name in parameters),
        *(f"on.{name}.{group}" for name in CONTROLS), f"state.{group}",
    ]  # fmt: skip


def switches() -> list[str]:
    """Whether anything is on, in any group."""
    return [f"on.{name}.{group}" for name in CONTROLS for group in range(1, GROUPS + 1)]


def proves(held: Mapping[str, Any] | None, wanted: Mapping[str, Any]) -> bool:
    """Whether what was read back says what was wanted. It may say less, for protocols lack fields; what it says must be the same."""
    return bool(held) and all(wanted.get(name) == value for name, value in (held or {}).items())


# --- what the terminal itself says against an order, before the first byte ---


#: a terminal whose clock is off by more does not hold in the hours that were approved. A default.
CLOCK_OFF: Final = dt.timedelta(minutes=5)


def by_the_clock(request: Mapping[str, Any]) -> bool:
    """Whether the terminal's own clock says when it is held to what the order sets or switches on."""
    order = order_of(request)
    return bool({*order.on, *map(name_of, order.controls)} & {"period", "factory-rest", "suspension"})


def against(
    action: str, request: Mapping[str, Any], held: Mapping[str, Mapping[str, Any]]
) -> list[tuple[str, str]]:
    """(gate, why) of what was read of the terminal, by `asked`. What it does not say never allows."""
    if action == "end-keep-power":
        return list(_ending(held))
    if action == "keep-power" and keep_power_of(request).half_hours:
        return list(_shortened(held))
    if action not in ("write", "purchase"):
        return []
    order = order_of(request)
    bought = order.of("purchase")
    found = (
        list(_purchase(action, bought, held.get(f"purchase.{order.group}")))
        if isinstance(bought, Purchase)
        else []
    )
    if action == "write":
        found += [*_kept(held.get(KEEP_POWER)), *_hours(order, held)]
    return found


def lowered(request: Mapping[str, Any], held: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, str]]:
    """What a plan does not lower, for nobody who approved it saw it: 保安定值 that stands higher in the terminal than the order would write."""
    wanted, stands = order_of(request).security_w, held.get("security", {}).get("security_w")
    if wanted is None or not isinstance(stands, int) or stands <= wanted:
        return []
    why = f"the terminal never cuts below {stands} W, and the order would make that {wanted} W; correct the archive, or `headend control write` it"
    return [("security", why)]


def asked(action: str, request: Mapping[str, Any]) -> list[str]:
    """The names that `against` wants to know of."""
    if action == "end-keep-power":
        return switches()
    if action == "keep-power" and keep_power_of(request).half_hours:
        return [KEEP_POWER, *switches()]
    if action not in ("write", "purchase"):
        return []
    order = order_of(request)
    keep = [KEEP_POWER] if action == "write" else []
    hours = ["slots", *_PERIODS] if order.of("period") else []
    return [*keep, *hours, *([f"purchase.{order.group}"] if order.of("purchase") else [])]


_PERIODS: Final = [f"on.period.{group}" for group in range(1, GROUPS + 1)]


def _hours(order: ControlOrder, held: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    """The half hours are the terminal's, whatever the group, and are written before the setpoints."""
    period = order.of("period")
    if not isinstance(period, PeriodControl):
        return
    for group, name in enumerate(_PERIODS, 1):
        if name not in held:
            yield "slots", f"the terminal does not say whether period of group {group} is on"
        elif not held[name]["on"]:
            continue
        elif group != order.group and held.get("slots") != {"slots": period.slots}:
            yield (
                "slots",
                f"period of group {group} is on and goes by the same half hours, which would change; switch it off first",
            )
        elif group == order.group and "period" not in (*order.on, *order.off):
            yield (
                "slots",
                f"period of group {group} is on and would hold the old setpoints in the new half hours; switch it off or on with the same order",
            )


def _kept(held: Mapping[str, Any] | None) -> Iterator[tuple[str, str]]:
    if held is None:
        yield "keep_power", "the terminal does not say whether it is in keep-power"
    elif held["on"]:
        yield "keep_power", "the terminal is in keep-power; `headend control end-keep-power` ends it"


def _shortened(held: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    """Keep-power with an end, where it stands already: a control that is on would act when it is over."""
    if held.get(KEEP_POWER) != {"on": False}:
        for gate, why in _ending(held):
            yield gate, f"{why}; or say 0 half hours: without an end"


def _ending(held: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    """Ending keep-power lets what is on act at once, past every gate: so nothing may be on."""
    silent = [name for name in switches() if name not in held]
    on = [name for name in switches() if held.get(name, {}).get("on")]
    if silent:
        yield "controls_on", f"the terminal does not say whether {silent[0]} is on"
    elif on:
        _, name, group = on[0].split(".")
        yield (
            "controls_on",
            f"{name} of group {group} is on and would act at once; switch it off first: switching it on again passes the gates",
        )


def _purchase(action: str, bought: Purchase, held: Mapping[str, Any] | None) -> Iterator[tuple[str, str]]:
    """The number tells whether it arrived, so it must be new; what only adds may not move the limits upwards."""
    if held is not None and held["order"] == bought.order:
        yield "purchase", f"the terminal has purchase {bought.order} already; each has a number of its own"
    if action == "write":
        return
    if held is None:
        yield (
            "purchase",
            "the terminal has had no purchase yet; the first one sets its limits, and is a write",
        )
    elif held.get("by", bought.by) != bought.by:
        yield "purchase", f"the terminal counts by {held['by']}; to change that is a write"
    elif not all(
        type(held[name]) is int and getattr(bought, name) <= held[name] for name in ("alarm", "trip")
    ):
        yield (
            "purchase",
            f"it would raise the limits: alarm {held['alarm']} and trip {held['trip']} stand there; to raise them is a write",
        )

"""A meter's day as a person would tell it: what was owed, what is here, and for each hole the chain of reasons and what happens next. Pure."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Final
from zoneinfo import ZoneInfo

from headend.plans import CURVE
from headend.store.coverage import Hole, PlanDay, Why
from protocols.localtime import as_datetime
from terminals.diagnose.diagnosis import Words

#: reason -> why it is so, and what happens or must be done next
_BECAUSE: Final = {
    "offline": (
        Words("the terminal could not be reached, so nobody could ask the meter", "终端连不上，无法召测电表"),
        Words(
            "it is fetched by itself when the terminal is back, for as long as the meter keeps it; look at the terminal's power, SIM and antenna",
            "终端恢复后自动补采（以表内保存期为限）；请检查终端供电、SIM 卡与天线",
        ),
    ),
    "not-published": (
        Words("the terminal publishes by itself, and has not published this", "终端为主动上报方式，尚未上报该点"),
        Words("nothing can be asked of it: look at the terminal and its broker", "主站无法召测：请检查终端及其消息服务器连接"),
    ),
    "link-lost": (
        Words("the connection broke while the meter was being asked", "召测过程中通信中断"),
        Words("it is asked again when the line is back; if this repeats, look at the signal", "链路恢复后自动重采；反复出现请检查信号"),
    ),
    "not-in-terminal": (
        Words("the terminal answered, but had not got it from the meter", "终端有应答，但终端未从电表采到该点"),
        Words(
            "it is asked again; two hours after its time the meter itself is asked, past the terminal; if the meter is silent there too, look at it",
            "将继续重采；超过两小时后改为经终端透传直接召测电表；若电表仍不应答，请检查电表",
        ),
    ),
    "allowance": (
        Words("the SIM's bytes of this month are used up, and the curve waits", "SIM 卡本月流量用尽，曲线暂停采集"),
        Words(
            "freezes and orders go on, and what would be lost within a day is read; raise the plan in the archive's sims if the operator has",
            "冻结数据与命令照常；临近覆盖的曲线仍会补采；如运营商已扩容，请更新档案中的 SIM 套餐流量",
        ),
    ),
    "no-answer": (
        Words("the terminal was there, but the meter did not answer it", "终端在线，但电表不应答"),
        Words(
            "it is asked again, ever more rarely; look at the meter's power, RS-485 wires or carrier module: `headend diagnose` tells which",
            "将继续重采并逐渐拉长间隔；请检查电表供电、RS-485 接线或载波模块，可用 `headend diagnose` 定位",
        ),
    ),
    "garbled": (
        Words("what the meter answered came in damaged", "电表有应答，但报文损坏"),
        Words("it is asked again; look for interference, a second master, a wrong speed", "将自动重采；请检查干扰、第二主站、波特率"),
    ),
    "refused": (
        Words("the meter answered that it will not give this", "电表应答拒绝提供"),
        Words("look at the password and at what the meter's model can do", "请核对密码及该表型支持的功能"),
    ),
    "missing-in-answer": (
        Words("the meter answered, and this point was not in the answer", "电表已应答，但应答中缺该点"),
        Words("it is asked for again; a terminal may not have read its meter yet", "将自动重采；也可能是终端尚未抄到电表"),
    ),
    "not-recorded": (
        Words("the meter proved that it has no such record: it had no power then, or its clock was set", "电表证实没有该记录：当时停电或曾被校时"),
        Words("it will never come; loss and bill must do without it", "该点不会再有；线损与计费只能缺点处理"),
    ),
    "expired": (
        Words("it was not read before the meter overwrote it", "采到之前已被电表覆盖"),
        Words("it is lost; an estimate may stand in its place", "该点已丢失；可按规则估算补点"),
    ),
    "not-asked": (
        Words("it is due, and nobody has asked yet", "已到采集时间，尚未召测"),
        Words("its turn comes; if it stays so, no collector runs: `headend doctor`", "等待轮到；若长时间如此，说明没有采集进程：`headend doctor`"),
    ),
    "not-due": (
        Words("the meter cannot have it yet", "电表尚未生成该点"),
        Words("wait", "等待即可"),
    ),
    "not-commissioned": (
        Words("no meter was installed then", "当时未装表"),
        Words("nothing is owed", "无需采集"),
    ),
}  # fmt: skip


def story(told: Why, zone: ZoneInfo) -> tuple[Words, ...]:
    """Sentences, in order."""
    if not told.commissioned:
        return (
            Words(
                f"Meter {told.asset} hung nowhere on {told.day}: nothing was expected of it.",
                f"电表 {told.asset} 在 {told.day} 未装用，无采集任务。",
            ),
        )
    return (_way(told, zone), *(sentence for plan in told.plans for sentence in _of_plan(plan, zone)))


def _way(told: Why, zone: ZoneInfo) -> Words:
    state = ("is online", "在线") if told.terminal_online else ("is OFFLINE", "离线")
    seen = _stamp(told.terminal_last_seen, zone)
    heard = (f", last heard {seen}", f"，最近通信 {seen}") if seen else (", never heard", "，从未通信")
    return Words(
        f"Meter {told.asset} is read through terminal {told.terminal}, which {state[0]}{heard[0]}.",
        f"电表 {told.asset} 经终端 {told.terminal} 采集，该终端{state[1]}{heard[1]}。",
    )


def _of_plan(plan: PlanDay, zone: ZoneInfo) -> Iterator[Words]:
    what = (
        ("quarter-hours", "个曲线点")
        if plan.plan is CURVE
        else (f"{plan.plan.name} freezes", f"个{plan.plan.name_zh}")
    )
    if not plan.due:
        yield Words(f"No {what[0]} are due yet.", f"{plan.plan.name_zh}尚未到采集时间。")
        return
    late = (f", {plan.late} of them late", f"（其中迟到 {plan.late}）") if plan.late else ("", "")
    again = (
        (f" {plan.revisions} values read again differed.", f"另有 {plan.revisions} 个值重采后不一致。")
        if plan.revisions
        else ("", "")
    )
    whole = plan.present >= plan.due
    end = (": complete.", "，齐全。") if whole else (".", "。")
    yield Words(
        f"Of {plan.due} {what[0]} due, {plan.present} are here{late[0]}{end[0]}{again[0]}",
        f"应采 {plan.due} {what[1]}，已采 {plan.present}{late[1]}{end[1]}{again[1]}",
    )
    for hole in plan.holes:
        if hole.reason != "not-due":
            yield _of_hole(hole, zone)


def _of_hole(hole: Hole, zone: ZoneInfo) -> Words:
    first, last = (as_datetime(t, zone).strftime("%H:%M") for t in (hole.first, hole.last))
    span = (
        (first, first)
        if hole.points == 1
        else (f"{first} to {last} ({hole.points} points)", f"{first}–{last}（{hole.points} 点）")
    )
    because, following = _BECAUSE[hole.reason]
    tried = ("", "")
    if hole.attempts:
        times = "once" if hole.attempts == 1 else f"{hole.attempts} times"
        since, until = _stamp(hole.since, zone), _stamp(hole.last_at, zone)
        tried = (
            f" Asked in vain {times}, first {since}, last {until}.",
            f"已召测失败 {hole.attempts} 次，首次 {since}，最近 {until}。",
        )
    detail = (f" ({hole.detail})", f"（{hole.detail}）") if hole.detail else ("", "")
    return Words(
        f"{span[0]} missing, because {because.en}{detail[0]}.{tried[0]} Next: {following.en}.",
        f"{span[1]}缺失：{because.zh}{detail[1]}。{tried[1]}下一步：{following.zh}。",
    )


def _stamp(when: dt.datetime | None, zone: ZoneInfo) -> str:
    return when.astimezone(zone).strftime("%m-%d %H:%M") if when else ""

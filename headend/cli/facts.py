"""What the head-end knows of a meter before anybody asks it: its route, the last contacts, and what the archive says."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from rich.markup import escape

from headend.cli.common import App
from headend.cli.diagnosis import Screen
from headend.match import THINGS, compare
from headend.plans import REASONS
from headend.store.whereabouts import Whereabouts
from terminals.diagnose.diagnosis import Words

_LINKS: Final = {
    "dial-out": ("we dial", "主站拨出"),
    "dial-in": ("it dials in", "终端拨入"),
    "serial": ("serial line", "串口"),
    "mqtt": ("it publishes", "终端上报"),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Facts:
    """As JSON has them, so that a recording holds them too. Times are local, ISO; secrets are not among them."""

    known: Mapping[str, Any]

    @classmethod
    def of(cls, found: Whereabouts, app: App) -> Facts:
        def local(when: dt.datetime | None) -> str:
            return when.astimezone(app.zone).isoformat(timespec="seconds") if when else ""

        return cls(
            {
                "asset": found.asset, "phases": found.phases, "address": found.address, "pn": found.pn, "ct": found.ct, "pt": found.pt,
                "point": found.point, "area": found.area, "terminal": found.terminal, "terminal_name": found.terminal_name,
                "protocol": found.protocol, "link": found.link, "endpoint": found.endpoint, "login": found.login,
                "online": found.online, "last_seen": local(found.last_seen), "owner": found.owner,
                "last_talk": local(found.last_talk), "last_task": found.last_task, "last_slot": local(found.last_slot),
                "last_day": local(found.last_day),
                "attempts": [
                    {"reason": reason, "times": times, "last": local(last), "detail": detail}
                    for reason, times, last, detail in found.attempts
                ],
            }
        )  # fmt: skip

    @classmethod
    def of_json(cls, text: str) -> Facts:
        return cls(json.loads(text))

    def json(self) -> str:
        return json.dumps(self.known, ensure_ascii=False)

    def compared(self, told: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The archive against the diagnosis, once a meter has answered."""
        return [row.to_dict() for row in compare(self.known, told)] if told.get("address") else []

    def show(self, app: App, screen: Screen) -> None:
        """For a person."""
        for words in (self._meter(), self._route(), self._contacts(), *self._tries()):
            app.console.print(escape(screen.say(words)), highlight=False, soft_wrap=True)
        app.console.print()

    def show_compared(self, app: App, screen: Screen, told: Mapping[str, Any]) -> None:
        """The archive beside the meter, and a sentence if they differ."""
        rows = told["archive"]
        if not rows:
            return
        heads = [
            screen.say(w)
            for w in (
                Words("archive match", "档案核对"),
                Words("archive", "档案"),
                Words("meter", "表计"),
                Words("", ""),
            )
        ]
        verdicts = {
            True: Words("same", "一致"),
            False: Words("DIFFERS", "不一致"),
            None: Words("not told", "表未提供"),
        }
        app.console.print()
        app.show(
            "", heads,
            [
                (screen.say(Words(*THINGS[row["thing"]])), row["archive"], row["meter"] or "–", screen.say(verdicts[row["same"]]))
                for row in rows
            ],
        )  # fmt: skip

    def _meter(self) -> Words:
        k = self.known
        point = f" · {k['area']}" if k["area"] else ""
        phases = "三相" if k["phases"] == 3 else "单相"
        pn_en, pn_zh = (f", point number {k['pn']}", f"，测量点号 {k['pn']}") if k["pn"] else ("", "")
        times = k["ct"] * k["pt"]
        return Words(
            f"meter {k['asset']} at {k['point']}{point}: {k['phases']}-phase, {k['protocol']} address {k['address']}{pn_en}, multiplier {times}",
            f"电表 {k['asset']}，计量点 {k['point']}{point}：{phases}，{k['protocol']}，地址 {k['address']}{pn_zh}，倍率 {times}",
        )

    def _route(self) -> Words:
        k = self.known
        way = _LINKS.get(k["link"], (k["link"], k["link"]))
        where = " ".join(part for part in (k["endpoint"], k["login"]) if part)
        owner = (
            (f"held by collector {k['owner']}", f"由采集进程 {k['owner']} 管理")
            if k["owner"]
            else ("no collector has it", "当前无采集进程")
        )
        state = ("online", "在线") if k["online"] else ("OFFLINE", "离线")
        seen = _short(k["last_seen"])
        return Words(
            f"terminal {k['terminal']} ({k['terminal_name']}), {way[0]} {where}: {state[0]}, last heard {seen}, {owner[0]}",
            f"终端 {k['terminal']}（{k['terminal_name']}），{way[1]} {where}：{state[1]}，最近通信 {seen}，{owner[1]}",
        )

    def _contacts(self) -> Words:
        k = self.known
        talk = f"{_short(k['last_talk'])} ({k['last_task']})" if k["last_talk"] else "–"
        return Words(
            f"last conversation {talk}; newest quarter-hour {_short(k['last_slot'])}, newest day freeze {_short(k['last_day'])}",
            f"最近召测 {talk}；最新曲线点 {_short(k['last_slot'])}，最新日冻结 {_short(k['last_day'])}",
        )

    def _tries(self) -> list[Words]:
        return [
            Words(
                f"in vain {row['times']} times, last {_short(row['last'])}: {REASONS[row['reason']][0]}{_behind(row['detail'])}",
                f"召测失败 {row['times']} 次，最近 {_short(row['last'])}：{REASONS[row['reason']][1]}{_behind(row['detail'])}",
            )
            for row in self.known["attempts"]
        ]


def _short(when: str) -> str:
    """Month to minute of a local ISO time, for a line that a person reads."""
    return when[5:16].replace("T", " ") if when else "–"


def _behind(detail: str) -> str:
    return f" – {detail}" if detail else ""

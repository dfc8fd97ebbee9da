"""A diagnosis on the screen: its steps as they end, the phasors, the frames byte by byte, and the verdict. In the language of who reads it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from rich.markup import escape
from rich.text import Text

from headend.cli.common import App
from protocols import registry
from protocols.errors import ProtocolError
from protocols.part import MASK
from terminals.diagnose.diagnosis import Cause, State, Step, Trip, Words
from terminals.diagnose.document import notes_in, phasors_in
from terminals.diagnose.phasors import Phase, Phasors
from terminals.diagnose.picture import draw

_MARKS: Final = {
    "en": {State.OK: "[green]ok    [/green]", State.FAILED: "[red]failed[/red]", State.UNKNOWN: "[yellow]?     [/yellow]"},
    "zh": {State.OK: "[green]正常[/green]", State.FAILED: "[red]异常[/red]", State.UNKNOWN: "[yellow]未知[/yellow]"},
}  # fmt: skip
#: A drivers' name -> the codec that knows its frames.
_CODECS: Final = {"dlt645": "dlt645-2007", "dlms-hdlc": "dlms"}
#: Columns that a Chinese character takes.
_WIDE: Final = 0x2E80
_NAME: Final = 22
#: Bytes of one part that are shown.
_SHOWN: Final = 16


class Screen:
    """Where and how a diagnosis is shown."""

    def __init__(self, app: App, lang: str, *, frames: bool, plain: bool) -> None:
        self._app = app
        self._lang = lang
        self._frames = frames
        self._plain = plain or not app.console.encoding.lower().startswith("utf")
        self._protocol = ""

    def say(self, words: Words) -> str:
        """In the reader's language."""
        return words.zh if self._lang == "zh" else words.en

    def step(self, step: Step) -> None:
        """One line, and its frames if they are wanted. What was not tried, because something before it failed, is not worth a line."""
        if step.cause is Cause.NOT_TRIED:
            return
        mark, name = _MARKS[self._lang][step.state], _padded(self.say(step.name), _NAME)
        self._line(f"{mark}  {name} {escape(self.say(step.detail))}  [dim]{step.seconds:.2f} s[/dim]")
        if step.key == "address" and step.state is State.OK:
            self._protocol = step.detail.en.split(",")[0]
        for trip in step.trips if self._frames else ():
            self._trip(trip)

    def findings(self, told: Mapping[str, Any]) -> None:
        """What stands behind the steps: notes, phasors, the verdict."""
        for note in notes_in(told):
            self._line(f"{self.say(Words('note', '注'))}: {escape(self.say(note))}")
        phasors = phasors_in(told)
        if phasors is not None:
            self._phasors(phasors, told["wiring"])
        self._line("")
        self._line(f"[bold]{escape(told[f'verdict_{self._lang}'])}[/bold]")

    def _phasors(self, phasors: Phasors, wiring: Mapping[str, str] | None) -> None:
        self._line("")
        heads = ("phase", ">U V", ">I A", ">P kW", ">Q kvar", ">PF", ">angle °")
        if self._lang == "zh":
            heads = ("相别", ">电压 V", ">电流 A", ">有功 kW", ">无功 kvar", ">功率因数", ">相角 °")
        self._app.show("", heads, [_row(phase) for phase in phasors.phases])
        for line in draw(phasors, plain=self._plain):
            self._app.console.print(Text(line), no_wrap=True, crop=False, soft_wrap=True)
        notes = [_STAR_MEASURED if phasors.measured else _STAR_ASSUMED] if len(phasors.phases) > 1 else []
        notes.append(Words(wiring["en"], wiring["zh"]) if wiring else _NOT_JUDGED)
        self._line(f"[dim]{escape(' '.join(self.say(note) for note in notes))}[/dim]")

    def _trip(self, trip: Trip) -> None:
        received = trip.received or self.say(Words("(nothing)", "（无应答）"))
        for arrow, shown in (("→", trip.sent), ("←", received)):
            self._line(f"      {arrow} {shown}", dim=True)
            for line in self._parts(trip.sent if arrow == "→" else trip.received):
                self._line(f"          {line}", dim=True)
        self._line(f"        {trip.seconds:.3f} s", dim=True)

    def _parts(self, shown: str) -> Sequence[str]:
        """What each byte is, a line a field; '' where the bytes are no single frame."""
        raw = bytes.fromhex(shown)
        if not raw:
            return ()
        try:
            entry = registry.available().get(_CODECS.get(self._protocol, self._protocol))
            try:
                parts = (entry or registry.recognise(raw)).parts(raw)
            except ProtocolError:
                parts = registry.recognise(raw).parts(raw)
        except ProtocolError as error:
            return (escape(f"? {error}"),)
        lines = []
        for part in parts:
            name = part.name_zh if self._lang == "zh" else part.name
            more = " …" if part.end - part.start > _SHOWN else ""
            data = (
                MASK
                if part.secret
                else raw[part.start : min(part.end, part.start + _SHOWN)].hex(" ").upper() + more
            )
            lines.append(
                escape(
                    f"{part.start:>4}  {'  ' * part.level}{data}  {name}{f': {part.meaning}' if part.meaning else ''}"
                )
            )
        return lines

    def _line(self, text: str, *, dim: bool = False) -> None:
        self._app.console.print(text, highlight=False, soft_wrap=True, style="dim" if dim else None)


_STAR_ASSUMED: Final = Words(
    "Angles between the voltages are not told by the meter: drawn as a regular A-B-C system.",
    "表计不提供电压间相角：按正相序对称绘制。",
)
_STAR_MEASURED: Final = Words(
    "Angles between the voltages as the device tells them.", "电压间相角为设备实测。"
)
_NOT_JUDGED: Final = Words("Wiring: not judged.", "接线：未判断。")


def _row(phase: Phase) -> tuple[str, ...]:
    numbers = (
        (phase.voltage, ".1f"), (phase.current, ".3f"), (phase.power, ".4f"), (phase.reactive, ".4f"), (phase.factor, ".3f"),
        (phase.angle, "+.1f"),
    )  # fmt: skip
    return (phase.name, *("–" if math.isnan(value) else format(value, form) for value, form in numbers))


def _padded(text: str, width: int) -> str:
    return text + " " * max(0, width - len(text) - sum(ord(letter) >= _WIDE for letter in text))

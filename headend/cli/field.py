"""Where a diagnosis is made: on a wire of ours, or from a recording. The screen cannot tell the two apart."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import rich_click as click
from rich.markup import escape

from headend.cli.common import App
from headend.cli.diagnosis import Screen
from headend.cli.facts import Facts
from headend.cli.loop import run_loop
from headend.cli.wiring import verdict
from headend.clock import parse
from protocols.localtime import as_datetime
from terminals.diagnose.candidates import Candidate
from terminals.diagnose.case import Asked
from terminals.diagnose.diagnosis import Diagnosis, Step, Words
from terminals.diagnose.document import document
from terminals.diagnose.engine import diagnose
from terminals.diagnose.lockout import Lockout
from terminals.diagnose.wire import LiveWire, PlayedWire
from terminals.links.recording import Recording
from terminals.links.url import Opener

_DIRECT: Final = Words(
    "no collector has the terminal: it is called directly ({})", "当前无采集进程管理该终端：直接连接（{}）"
)


class Bench:
    """One run. What is told is the document of the diagnosis; people see it as it grows, unless `quiet`."""

    def __init__(self, app: App, screen: Screen, *, quiet: bool) -> None:
        self.app = app
        self.screen = screen
        self.quiet = quiet

    def live(
        self, openers: Sequence[Opener], asked: Asked, candidates: Sequence[Candidate], record: Path | None
    ) -> dict[str, Any]:
        """Diagnose and, if wanted, write it all down."""
        told: list[Diagnosis] = []

        async def run() -> None:
            clock = parse(self.app.settings.clock, asked.zone)
            began = replace(asked, began=clock.now(), rate=getattr(clock, "rate", 1.0))
            wire = LiveWire(record, began.head(openers[0].url, str(as_datetime(began.began, asked.zone))))
            try:
                told.append(await self._diagnose(openers, began, candidates, wire))
            finally:
                wire.close()

        run_loop(run())
        return self._finished(asked, told[0])

    def played(
        self, openers: Sequence[Opener], asked: Asked, candidates: Sequence[Candidate], recorded: Recording
    ) -> dict[str, Any]:
        """The same from the recording."""
        told: list[Diagnosis] = []

        async def run() -> None:
            told.append(await self._diagnose(openers, asked, candidates, PlayedWire(recorded.moments)))

        run_loop(run())
        return self._finished(asked, told[0])

    async def _diagnose(
        self,
        openers: Sequence[Opener],
        asked: Asked,
        candidates: Sequence[Candidate],
        wire: LiveWire | PlayedWire,
    ) -> Diagnosis:
        if asked.known and not self.quiet:
            Facts.of_json(asked.known).show(self.app, self.screen)
            self.say(Words(_DIRECT.en.format(asked.url), _DIRECT.zh.format(asked.url)))
        return await diagnose(
            openers, asked.target, candidates, self.step, now=lambda: asked.now(wire.at), zone=asked.zone, wire=wire,
            lockout=Lockout(asked.limit), progress=self.progress, judge=verdict,
        )  # fmt: skip

    def _finished(self, asked: Asked, diagnosis: Diagnosis) -> dict[str, Any]:
        told = document(diagnosis)
        if asked.known:
            facts = Facts.of_json(asked.known)
            told |= {"known": json.loads(asked.known), "archive": facts.compared(told)}
        if not self.quiet:
            if asked.known:
                facts.show_compared(self.app, self.screen, told)
            self.screen.findings(told)
        return told

    def step(self, step: Step) -> None:
        """A step has ended."""
        if not self.quiet:
            self.screen.step(step)

    def say(self, words: Words) -> None:
        """A sentence that is part of the answer."""
        if not self.quiet:
            self.app.console.print(escape(self.screen.say(words)), highlight=False, soft_wrap=True)

    def progress(self, words: Words) -> None:
        """What is tried next: for a person who waits at a terminal, and no part of the answer."""
        if not self.quiet and sys.stderr.isatty():
            click.echo(f"… {self.screen.say(words)}", err=True)

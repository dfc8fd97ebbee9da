"""What one demo is: its folder, seed, clock, ports and people; kept in demo.json so that it can be checked again later."""

from __future__ import annotations

import datetime as dt
import json
import os
import secrets
import socket
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

from headend.clock import ScaledClock
from protocols.localtime import instant
from terminals.links.link import CannotListen

ZONE: Final = ZoneInfo("Asia/Shanghai")
#: an ordinary working Wednesday, ten in the morning, whatever day it is where the demo runs
START: Final = dt.datetime(2026, 3, 11, 10, 0, tzinfo=ZONE)
DAY: Final = START.date()
#: seconds of real time that the clock stands at START, while the processes come up
SETUP: Final = 6.0

#: person -> scopes; the second person must be another one
PEOPLE: Final = {
    "李卫 (duty operator)": ("read", "operate"),
    "王敏 (shift supervisor)": ("read", "approve"),
    "CRM": ("read", "pay", "notify"),
}
OPERATOR, SUPERVISOR, CRM = PEOPLE


@dataclass(slots=True)
class World:
    """`payments`: what the demo's customers paid after the opening, [(customer, fen)]."""

    folder: Path
    seed: int
    size: str
    clock: str
    listen: int
    api: int
    truth_sha256: str = ""
    keys: dict[str, str] = field(default_factory=dict)
    payments: list[tuple[str, int]] = field(default_factory=list)
    kills: int = 0

    @property
    def simulator(self) -> Path:
        return self.folder / "simulator"

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.api}"

    def save(self) -> None:
        """Write demo.json, readable by its owner alone: it holds keys."""
        path = self.folder / "demo.json"
        path.touch(mode=0o600)
        path.write_text(
            json.dumps({**asdict(self), "folder": str(self.folder)}, indent=1, ensure_ascii=False)
        )

    def environment(self, dsn: str) -> dict[str, str]:
        """What every process of the demo is told."""
        return {
            **os.environ,
            "HEADEND_HOME": str(self.home),
            "HEADEND_DSN": dsn,
            "HEADEND_CLOCK": self.clock,
            "HEADEND_LISTEN": f"127.0.0.1:{self.listen}",
            "HEADEND_API": f"127.0.0.1:{self.api}",
            "HEADEND_LEASE_SECONDS": "4",
            "HEADEND_POLL_SECONDS": "0.3",
            "HEADEND_ANSWER_SECONDS": "0.6",
            # the simulated meters' own; nobody outside the demo is given it
            "HEADEND_CIPHER_MACHINE": "terminals.simulator.standin:StandInMachine",
            "OPENBLAS_NUM_THREADS": "1",
            "PYTHONUNBUFFERED": "1",
        }


def create(folder: Path, *, seed: int | None, size: str, speed: float, port: int) -> World:
    """A new world. CannotListen if the console's port is taken."""
    free(port)
    start = ScaledClock(instant(START), time.time() + SETUP, speed)
    return World(
        folder,
        secrets.randbelow(2**32) if seed is None else seed,
        size,
        start.text(),
        free(0),
        port or free(0),
    )


def load(folder: Path) -> World:
    """A world that ran before. FileNotFoundError if there is none."""
    data: dict[str, Any] = json.loads((folder / "demo.json").read_text())
    data["folder"] = folder
    data["payments"] = [tuple(pair) for pair in data["payments"]]
    return World(**data)


#: Below what Linux hands out to those who call: a port that is free now must still be free when its listener comes, seconds later.
QUIET_PORTS: Final = range(20_000, 32_000)


def free(port: int) -> int:
    """`port` if it is free (0: any free one). CannotListen if not."""
    for candidate in [port] if port else secrets.SystemRandom().sample(QUIET_PORTS, 100):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", candidate))
            except OSError:
                continue
            return candidate
    raise CannotListen(f"127.0.0.1:{port}", "the port is in use", "choose another with --port")

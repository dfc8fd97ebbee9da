"""What a running fleet can be told: one line in, one line out, on a port of the loopback that ready.json names.

A Unix socket would be tidier, but its path may have no more than a hundred characters, and folders have.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Final

#: Bytes of a line at most: a command names some terminals, not all.
LINE_LIMIT: Final = 64 << 10
#: Seconds until a caller who says nothing is hung up on.
PATIENCE: Final = 30.0
#: Seconds that `tell` waits for the answer: a fleet that solves a day is slow for a moment.
ANSWER_LIMIT: Final = 30.0


class NotTold(Exception):
    """The command was not carried out; one line says why."""


class Control:
    """The socket. `tell` carries a line out and says what came of it, or raises NotTold."""

    def __init__(self, tell: Callable[[str], str]) -> None:
        self.port = 0
        self._tell = tell
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen on any free port of the loopback."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=LINE_LIMIT)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Close it."""
        if self._server is not None:
            self._server.close()
            self._server = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(PATIENCE):
                line = (await reader.readline()).decode("utf-8").strip()
            answer = self._answer(line)
            writer.write(f"{answer}\n".encode())
            await writer.drain()
        except (OSError, ValueError, TimeoutError):
            pass  # a caller who hung up, was silent, or sent no line of text
        finally:
            writer.close()

    def _answer(self, line: str) -> str:
        try:
            return "ok " + self._tell(line)
        except NotTold as why:
            return f"no {why}"


def tell(directory: Path, line: str) -> str:
    """Tell the fleet that runs in a folder; its answer. NotTold: nobody runs there, or it refused."""
    try:
        port = int(json.loads((directory / "ready.json").read_text(encoding="utf-8"))["control"])
        with socket.create_connection(("127.0.0.1", port), ANSWER_LIMIT) as wire:
            wire.sendall(line.strip().encode() + b"\n")
            with wire.makefile("r", encoding="utf-8") as answers:
                answer = answers.readline(LINE_LIMIT)
    except (OSError, ValueError, KeyError) as error:
        raise NotTold(f"no simulator answers in {directory}; start `headend simulate` there") from error
    word, _, rest = answer.strip().partition(" ")
    if word != "ok":
        raise NotTold(rest or "the simulator hung up")
    return rest

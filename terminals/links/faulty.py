"""Bad lines as classes: wrap any link, wrap wrappers.

Randomness is the caller's, so a failure can be repeated.
"""

from __future__ import annotations

import asyncio
from collections import deque
from random import Random

from terminals.links.link import Link, Wrapper


class Dribble(Wrapper):
    """Hands received bytes over `most` at a time, as a slow UART does."""

    def __init__(self, link: Link, most: int = 1) -> None:
        super().__init__(link)
        self._most = most
        self._rest = b""

    async def read(self, timeout: float) -> bytes:
        if not self._rest:
            self._rest = await self.link.read(timeout)
        piece, self._rest = self._rest[: self._most], self._rest[self._most :]
        return piece

    def discard(self) -> bytes:
        rest, self._rest = self._rest, b""
        return rest + self.link.discard()


class Lossy(Wrapper):
    """Loses a share of what is sent and of what arrives, whole pieces at a time."""

    def __init__(self, link: Link, random: Random, sent: float = 0.0, received: float = 0.0) -> None:
        super().__init__(link)
        self._random = random
        self._sent = sent
        self._received = received

    def write(self, data: bytes) -> None:
        if self._random.random() >= self._sent:
            self.link.write(data)

    async def read(self, timeout: float) -> bytes:
        deadline = asyncio.get_running_loop().time() + timeout
        while True:
            data = await self.link.read(max(0.0, deadline - asyncio.get_running_loop().time()))
            if self._random.random() >= self._received:
                return data


class Delayed(Wrapper):
    """Everything arrives between `least` and `most` seconds later than it did, in order."""

    def __init__(self, link: Link, random: Random, least: float, most: float | None = None) -> None:
        super().__init__(link)
        self._random = random
        self._least = least
        self._most = least if most is None else most
        self._coming: deque[tuple[float, bytes]] = deque()

    async def read(self, timeout: float) -> bytes:
        now = asyncio.get_running_loop().time
        deadline = now() + timeout
        while not self._coming or self._coming[0][0] > deadline:
            # Nothing in time so far; the link below may still say that it is lost, or TimeoutError.
            data = await self.link.read(max(0.0, deadline - now()))
            due = now() + self._random.uniform(self._least, self._most)
            self._coming.append((max(due, self._coming[-1][0] if self._coming else due), data))
        await asyncio.sleep(max(0.0, self._coming[0][0] - now()))
        return self._coming.popleft()[1]

    def discard(self) -> bytes:
        now = asyncio.get_running_loop().time()
        arrived = b""
        while self._coming and self._coming[0][0] <= now:
            arrived += self._coming.popleft()[1]
        return arrived


class Noisy(Wrapper):
    """Noise: with probability `flip` one bit of a piece is wrong, with `junk` garbage precedes it."""

    def __init__(self, link: Link, random: Random, flip: float = 0.0, junk: float = 0.0) -> None:
        super().__init__(link)
        self._random = random
        self._flip = flip
        self._junk = junk

    async def read(self, timeout: float) -> bytes:
        data = bytearray(await self.link.read(timeout))
        if self._random.random() < self._flip:
            data[self._random.randrange(len(data))] ^= 1 << self._random.randrange(8)
        if self._random.random() < self._junk:
            data[:0] = self._random.randbytes(self._random.randint(1, 5))
        return bytes(data)


class Stale(Wrapper):
    """With probability `rate` the answer before comes once more, just before the new one."""

    def __init__(self, link: Link, random: Random, rate: float) -> None:
        super().__init__(link)
        self._random = random
        self._rate = rate
        self._before = b""
        self._now = b""

    def write(self, data: bytes) -> None:
        self._before, self._now = self._now or self._before, b""
        self.link.write(data)

    async def read(self, timeout: float) -> bytes:
        data = await self.link.read(timeout)
        repeat = self._before if not self._now and self._random.random() < self._rate else b""
        self._now += data
        return repeat + data


class Foreign(Wrapper):
    """With probability `rate` a frame of somebody else on the bus stands before what arrives."""

    def __init__(self, link: Link, random: Random, rate: float, frame: bytes) -> None:
        super().__init__(link)
        self._random = random
        self._rate = rate
        self._frame = frame

    async def read(self, timeout: float) -> bytes:
        data = await self.link.read(timeout)
        return self._frame + data if self._random.random() < self._rate else data


class Echoing(Wrapper):
    """An RS-485 adapter whose receiver stays on: what is sent comes back first."""

    def __init__(self, link: Link) -> None:
        super().__init__(link)
        self._echo = b""

    def write(self, data: bytes) -> None:
        self._echo += data
        self.link.write(data)

    async def read(self, timeout: float) -> bytes:
        echo, self._echo = self._echo, b""
        return echo or await self.link.read(timeout)

    def discard(self) -> bytes:
        echo, self._echo = self._echo, b""
        return echo + self.link.discard()

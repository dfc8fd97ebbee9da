"""Coverage-guided fuzzing of one protocol's decoders with atheris: what `scripts/fuzz` runs.

An execution takes one input of at most 16 KiB through everything that bytes from outside can reach: the meaning, the view byte by
byte, and every stream and every waiting master of the protocol. Nothing but a FrameError (or a Refused) may come out, and nothing
may take more than 10 ms of processor time on a machine of common speed. Half of the inputs get right lengths and check sums, so that
mutations reach the inside.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import importlib
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import atheris

from headend.demo.yardstick import slowness

#: Coverage is not followed: by the process that only measures time, and by a run that is only fast.
PLAIN: Final = bool({"--judge", "--blind"} & set(sys.argv))
with contextlib.nullcontext() if PLAIN else atheris.instrument_imports(include=["protocols"]):
    from protocols import registry
    from protocols.errors import FrameError, Refused
    from protocols.exchange import NEED_DATA
    from tests.support.conformance import Line, drain
    from tests.support.lines import LINES

    for (
        _entry
    ) in registry.available().values():  # rooms are loaded when first asked for: too late to be instrumented
        importlib.import_module(f"{_entry.room}.describe")

REPOSITORY: Final = Path(__file__).resolve().parents[2]
LONGEST: Final = 16 * 1024
MOST_SECONDS: Final = 0.010
#: What one input may leave behind in a waiting master before it is broken off: more events than bytes is a loop.
MOST_EVENTS: Final = LONGEST
MEMORY_MB: Final = 1024


class TooSlow(Exception):
    """An input took more than 10 ms of thread time, eight times over, on a machine of common speed."""


def lines_of(protocol: str) -> list[Line]:
    return [line for line in LINES if line.protocol == protocol]


def target(protocol: str) -> Callable[[bytes], None]:
    """One execution. Whatever it raises is a finding."""
    entry, lines = registry.protocol(protocol), lines_of(protocol)

    def run(data: bytes) -> None:
        with contextlib.suppress(FrameError):
            entry.describe(data)
            entry.parts(data)
        for line in lines:
            if line.stream is not None:
                stream = line.stream()
                stream.feed(data)
                for _ in drain(stream):
                    pass
                assert stream.held() <= line.limit
            if line.waiting is not None:
                exchange = line.waiting()
                exchange.receive_data(data)
                for _ in range(MOST_EVENTS):
                    with contextlib.suppress(FrameError, Refused):
                        if exchange.next_event() is NEED_DATA:
                            break
                else:
                    raise AssertionError("more events than bytes")

    return run


def seconds(run: Callable[[bytes], None], data: bytes) -> float:
    """Processor time of one input on a machine of common speed: the best of several, as what is loaded lazily only adds to it."""
    best = float("inf")
    for attempt in range(8):
        start = time.thread_time()
        run(data)
        best = min(best, time.thread_time() - start)
        if best <= MOST_SECONDS / 2:
            break
        time.sleep(0.02 * attempt)
    return best / slowness() if best > MOST_SECONDS else best


def judge(protocol: str) -> None:
    """Without instrumentation: hex in, milliseconds out, a line each."""
    run = target(protocol)
    gc.freeze()
    for line in sys.stdin:
        print(f"{1000 * seconds(run, bytes.fromhex(line)):.3f}", flush=True)


class Judge:
    """The same decoder in a process of its own that is not slowed by instrumentation."""

    def __init__(self, protocol: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.fuzz", protocol, "--judge"],
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def milliseconds(self, data: bytes) -> float:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(data.hex() + "\n")
        self._process.stdin.flush()
        return float(self._process.stdout.readline())


def watched(protocol: str) -> Callable[[bytes], None]:
    """The target with its time measured; the slowest input so far is told."""
    run, judge, slowest = target(protocol), Judge(protocol), 0.0
    gc.freeze()  # the tables are for ever: collecting garbage around them is no decoder's time

    def one(data: bytes) -> None:
        nonlocal slowest
        start = time.thread_time()
        run(data)
        # Instrumentation only slows: what is fast with it is fast without.
        if time.thread_time() - start > max(MOST_SECONDS, slowest):
            spent = judge.milliseconds(data)
            if spent / 1000 > slowest:
                slowest = spent / 1000
                print(f"fuzz: slowest so far {spent:.1f} ms, {len(data)} bytes", file=sys.stderr)
            if spent / 1000 > MOST_SECONDS:
                raise TooSlow(f"{spent:.1f} ms for {len(data)} bytes")

    return one


def mutator(protocol: str) -> Callable[[bytes, int, int], bytes]:
    """libFuzzer's own mutation; every second one is sealed again for one of the protocol's lines."""
    lines = lines_of(protocol)

    def mutate(data: bytes, max_size: int, seed: int) -> bytes:
        chance = random.Random(seed)
        mutated: bytes = atheris.Mutate(data, max_size)
        if chance.random() < 0.5:
            mutated = chance.choice(lines).reseal(mutated)
        return mutated[:max_size]

    return mutate


def changed(chance: random.Random, data: bytes, other: bytes) -> bytes:
    """One to four small damages: a bit, a byte, bytes in, bytes out, a piece twice, a piece of another input."""
    raw = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        at, kind = chance.randrange(len(raw) + 1), chance.randrange(6)
        size = min(chance.randint(1, 8), chance.randint(1, 64))
        if kind == 0 and at < len(raw):
            raw[at] ^= 1 << chance.randrange(8)
        elif kind == 1 and at < len(raw):
            raw[at] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)))
        elif kind == 2:
            raw[at:at] = chance.randbytes(size)
        elif kind == 3:
            del raw[at : at + size]
        elif kind == 4:
            raw[at:at] = raw[at : at + 4 * size]
        else:
            begin = chance.randrange(len(other) + 1)
            raw[at : at + size] = other[begin : begin + size]
    return bytes(raw[:LONGEST])


def blind(protocol: str, folder: Path, limit: float, runs: int, seed: int) -> None:
    """Mutations of the corpus at full speed: ten times as many executions a second as with coverage."""
    run, lines = target(protocol), lines_of(protocol)
    chance = random.Random(seed or None)
    inputs = [path.read_bytes() for path in sorted(folder.iterdir())]
    inputs = [raw for raw in inputs if len(raw) <= 1024] or inputs
    gc.freeze()
    until, done, slowest = time.monotonic() + limit, 0, 0.0
    stopped: list[int] = []  # Ctrl-C ends it as the clock does
    signal.signal(signal.SIGINT, lambda number, _: stopped.append(number))
    while done != runs and not stopped and (done % 1000 or time.monotonic() < until):
        data = changed(chance, chance.choice(inputs), chance.choice(inputs))
        if chance.random() < 0.5:
            data = chance.choice(lines).reseal(data)
        start = time.thread_time()
        try:
            run(data)
            spent = time.thread_time() - start
            if spent > max(MOST_SECONDS, slowest):
                slowest = max(slowest, spent := seconds(run, data))
                if spent > MOST_SECONDS:
                    raise TooSlow(f"{1000 * spent:.1f} ms for {len(data)} bytes")
        except Exception:
            kept = folder.parent / f"crash-blind-{done}"
            kept.write_bytes(data)
            print(f"fuzz: {protocol}: the input is kept in {kept}", file=sys.stderr)
            raise
        done += 1
    print(f"fuzz: {protocol}: {done} executions, blind; slowest {1000 * slowest:.1f} ms (0: none above 10)")


def corpus(protocol: str, folder: Path) -> None:
    """The published frames are where it starts."""
    folder.mkdir(parents=True, exist_ok=True)
    for line in lines_of(protocol):
        for sample in (*line.samples, *line.corrupt):
            (folder / f"seed-{line.name}-{sample.id}").write_bytes(sample.raw)


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/fuzz", description=__doc__)
    parser.add_argument("protocol", choices=sorted(registry.available()))
    parser.add_argument("--seconds", type=int, default=60, help="how long (default 60)")
    parser.add_argument("--runs", type=int, default=-1, help="or how many executions, whichever ends first")
    parser.add_argument("--seed", type=int, default=0, help="0: a new one each time")
    parser.add_argument(
        "--home",
        type=Path,
        default=REPOSITORY / ".headend" / "fuzz",
        help="where inputs are kept (default .headend/fuzz)",
    )
    parser.add_argument(
        "--blind", action="store_true", help="mutate the corpus at full speed, without coverage"
    )
    parser.add_argument("--judge", action="store_true", help=argparse.SUPPRESS)
    told = parser.parse_args()
    if told.judge:
        judge(told.protocol)
        return
    home = told.home / told.protocol
    corpus(told.protocol, home / "corpus")
    if told.blind:
        blind(told.protocol, home / "corpus", told.seconds, told.runs, told.seed)
        return
    print(f"fuzz: {told.protocol}; what it finds is kept below {home}", file=sys.stderr)
    atheris.Setup(
        [
            "scripts/fuzz",
            f"-max_total_time={told.seconds}",
            f"-runs={told.runs}",
            f"-seed={told.seed}",
            f"-max_len={LONGEST}",
            f"-rss_limit_mb={MEMORY_MB}",
            f"-artifact_prefix={home}/",
            "-timeout=10",
            "-print_final_stats=1",
            str(home / "corpus"),
        ],
        watched(told.protocol),
        custom_mutator=mutator(told.protocol),
    )
    atheris.Fuzz()


if __name__ == "__main__":
    main()

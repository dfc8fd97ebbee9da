"""Readings on the disk while the database is away: a bounded, crash-safe queue of deliveries in segment files.

    HEADEND_HOME/spool/<collector>/lock             held (flock) for as long as the collector lives
    HEADEND_HOME/spool/<collector>/0000000001.seg   records, see records.py; deleted when all in it are committed
    HEADEND_HOME/spool/<collector>-0000000001.bad   what could not be read: kept for a person to look at

What `append` has returned from is on the disk. A process that dies leaves its folder; whoever finds the lock free takes the segments over.
All of it blocks and is meant to be called in threads.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from headend.collector.records import TITLE, BadRecord, Brought, Record, decode, encode, frames

log = structlog.get_logger()

#: a segment that has grown so large is closed: small enough to be read into memory at once, large enough that 2 GiB are 500 files
SEGMENT: Final = 4 * 2**20
#: the share of its bound at which a spool raises the alarm: with the default bound a large fleet has hours left then
ALARM: Final = 0.8
SUFFIX, ASIDE, LOCK, NEW = ".seg", ".bad", "lock", ".new-"


class SpoolFull(Exception):
    """The bound is reached: whoever brings more has to wait."""


@dataclass(slots=True)
class _Segment:
    """`size`: bytes that are on the disk and whole; those before `begin` are committed."""

    path: Path
    size: int
    begin: int = len(TITLE)


class Spool:
    """One collector's queue. Its folder is made with the first record and goes with the last."""

    def __init__(self, place: Path, collector: str, limit: int) -> None:
        """`limit`: bytes on the disk."""
        self.limit = limit
        self.size = 0
        self.cut = 0  # bytes of torn ends
        self.aside = 0  # segments that could not be read
        self._place = place
        self._collector = collector
        self._folder = place / collector.replace(":", "-")
        self._lock = threading.Lock()  # the two who use it are the one that fills and the one that empties
        self._segments: deque[_Segment] = deque()
        self._hold: int | None = None
        self._file: int | None = None  # the last segment, open for writing
        self._number = 0
        self._sequence = 0
        self._peeked = len(TITLE)

    @property
    def empty(self) -> bool:
        return not self._segments

    def append(self, brought: Sequence[Brought]) -> None:
        """Onto the disk, all or nothing. SpoolFull; OSError if the disk does not take it."""
        with self._lock:
            numbered = enumerate(brought, self._sequence + 1)
            data = b"".join(encode(Record(self._collector, number, item)) for number, item in numbered)
            if (
                self._segments and self.size + len(data) > self.limit
            ):  # an empty one takes a batch of any size
                raise SpoolFull(
                    f"the spool {self._folder} has its {self.limit >> 20} MiB; bring the database back, or raise HEADEND_SPOOL_MIB"
                )
            handle = self._open()
            try:
                _write(handle, data)
                os.fsync(handle)
            except OSError:
                self._abandon()
                raise
            self._segments[-1].size += len(data)
            self.size += len(data)
            self._sequence += len(brought)
            if self._segments[-1].size >= SEGMENT:
                self._shut()

    def peek(self, most: int) -> tuple[Record, ...]:
        """The oldest records, at most so many, all of one collector; they stay until `drop`. Empty: there are none."""
        with self._lock:
            while self._segments:
                head = self._segments[0]
                records, self._peeked, fault = _records(head, most)
                if records:
                    return records
                if fault:
                    self._set_aside(head, fault)
                else:
                    self._remove(head)
            return ()

    def drop(self) -> None:
        """What `peek` gave last is committed."""
        with self._lock:
            head = self._segments[0]
            head.begin = self._peeked
            if head.begin >= head.size:
                self._remove(head)

    def adopt(self) -> int:
        """Take over what collectors that are gone have left, oldest first. Returns the number of segments."""
        with self._lock, contextlib.ExitStack() as held:
            left: list[tuple[int, Path, list[Path]]] = []
            for folder in _folders(self._place):
                hold = None if folder == self._folder else _try_hold(folder)
                if hold is None:
                    continue
                held.callback(os.close, hold)
                paths = sorted(folder.glob(f"*{SUFFIX}"))
                if paths and not self._cut(paths[-1]):
                    paths.pop()
                age = paths[0].stat().st_mtime_ns if paths else 0
                left.append((age, folder, paths))
            for _, folder, paths in sorted(left):
                for path in paths:
                    self._move_in(path)
                _clear(folder)
            return sum(len(paths) for _, _, paths in left)

    def close(self) -> None:
        """Leave: what is not committed stays, for whoever comes next."""
        with self._lock:
            self._shut()
            if self._hold is not None:
                if not self._segments:
                    _clear(self._folder)
                os.close(self._hold)
                self._hold = None

    # --- segments ---

    def _open(self) -> int:
        """The segment that is being written; a new one if there is none."""
        if self._file is not None:
            return self._file
        path = self._next()
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        try:
            _write(handle, TITLE)
            _sync(self._folder)
        except OSError:
            os.close(handle)
            path.unlink()
            raise
        self._file = handle
        self._segments.append(_Segment(path, len(TITLE)))
        self.size += len(TITLE)
        return handle

    def _next(self) -> Path:
        """The name of our next segment, in our folder, which is made if need be."""
        if self._hold is None:
            self._hold = _make(self._folder)
        self._number += 1
        return self._folder / f"{self._number:010d}{SUFFIX}"

    def _shut(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _abandon(self) -> None:
        """A write failed: what is behind the last whole record is cut, and the next record begins a new segment, for a file whose sync
        failed once may say afterwards that all is well."""
        segment = self._segments[-1]
        self._shut()
        with contextlib.suppress(OSError):  # it is not read here, and whoever adopts it cuts it
            os.truncate(segment.path, segment.size)
        if segment.size == len(TITLE):
            self._remove(segment)

    def _remove(self, segment: _Segment) -> None:
        """All of it is committed, or there is nothing in it."""
        if segment is self._segments[-1]:
            self._shut()
        segment.path.unlink(missing_ok=True)
        self._segments.remove(segment)
        self.size -= segment.size

    def _set_aside(self, segment: _Segment, why: str) -> None:
        if segment is self._segments[-1]:
            self._shut()
        kept = self._place / f"{self._folder.name}-{segment.path.stem}{ASIDE}"
        os.rename(segment.path, kept)
        self._segments.remove(segment)
        self.size -= segment.size
        self.aside += 1
        log.error("part of a spool cannot be read; what is missing is read again", kept=str(kept), error=why)

    def _cut(self, path: Path) -> bool:
        """The last segment of a dead collector: a record that it was writing when it died is cut off; nobody went on relying on it.
        False: nothing is left of the file."""
        data = path.read_bytes()
        if TITLE.startswith(data):  # it died with the title
            path.unlink()
            return False
        if not data.startswith(TITLE):
            return True
        end = len(TITLE)
        try:
            for frame in frames(data[len(TITLE) :]):
                end = len(TITLE) + frame.end
        except BadRecord as error:
            log.warning("torn end of a spool cut", file=str(path), bytes=len(data) - end, error=str(error))
            self.cut += len(data) - end
            os.truncate(path, end)
        return True

    def _move_in(self, path: Path) -> None:
        """A segment of a dead collector becomes ours, behind all that we have."""
        self._shut()
        with path.open("rb") as file:
            title = file.read(len(TITLE))
        mine = _Segment(self._next(), path.stat().st_size)
        os.rename(path, mine.path)
        _sync(self._folder)
        self._segments.append(mine)
        self.size += mine.size
        if title != TITLE:
            self._set_aside(mine, f"its title is {title.hex()}, ours {TITLE.hex()}: of another version?")


# --- what a person wants to know ---


@dataclass(frozen=True, slots=True)
class Left:
    """A spool with something in it. `age` [s] of its oldest segment; `alive`: its collector runs."""

    collector: str
    size: int
    age: float
    alive: bool


@dataclass(frozen=True, slots=True)
class Survey:
    """All spools of a place, and the files that could not be read."""

    spools: tuple[Left, ...]
    aside: tuple[Path, ...]

    @property
    def fullest(self) -> int:
        return max((left.size for left in self.spools), default=0)


def survey(place: Path) -> Survey:
    """Look without touching."""
    spools = []
    for folder in _folders(place):
        found = []
        for path in folder.glob(f"*{SUFFIX}"):
            with contextlib.suppress(FileNotFoundError):  # committed meanwhile
                found.append(path.stat())
        if found:
            hold = _try_hold(folder)
            if hold is not None:
                os.close(hold)
            age = max(0.0, time.time() - min(stat.st_mtime for stat in found))
            spools.append(Left(folder.name, sum(stat.st_size for stat in found), age, hold is None))
    return Survey(tuple(spools), tuple(sorted(place.glob(f"*{ASIDE}"))))


# --- folders and files ---


def _records(segment: _Segment, most: int) -> tuple[tuple[Record, ...], int, str]:
    """(at most so many records of one collector from `begin` on, where the last of them ends, why no more could be read)."""
    records: list[Record] = []
    end, fault = segment.begin, ""
    try:
        for frame in frames(_bytes(segment)):
            record = decode(frame)
            if len(records) == most or (records and record.collector != records[0].collector):
                break
            records.append(record)
            end = segment.begin + frame.end
    except BadRecord as error:
        fault = str(error)
    except FileNotFoundError:
        log.error("a segment of the spool is gone; what is missing is read again", file=str(segment.path))
    return tuple(records), end, fault


def _folders(place: Path) -> list[Path]:
    return sorted(path for path in place.iterdir() if path.is_dir()) if place.is_dir() else []


def _make(folder: Path) -> int:
    """Make our folder; the handle that holds it. It has its name only when it is held, so that nobody takes it for a dead one's."""
    new = folder.parent / f"{NEW}{secrets.token_hex(8)}"
    new.mkdir(0o700, parents=True)  # what was said on the wire may hold a password
    hold = os.open(new / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(hold, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.rename(new, folder)
        _sync(folder.parent)
    except OSError:
        os.close(hold)
        raise
    return hold


def _try_hold(folder: Path) -> int | None:
    """Hold a folder whose collector is gone; None if he lives, or somebody else has it."""
    try:
        hold = os.open(folder / LOCK, os.O_RDWR)
    except FileNotFoundError:  # another one is clearing it away, or died doing so
        with contextlib.suppress(OSError):
            folder.rmdir()
        return None
    except PermissionError:  # another user's collector: his to take over
        return None
    try:
        fcntl.flock(hold, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.stat(folder / LOCK).st_ino == os.fstat(hold).st_ino:
            return hold
    except OSError:
        pass
    os.close(hold)
    return None


def _clear(folder: Path) -> None:
    """An emptied folder goes, its lock last."""
    with contextlib.suppress(OSError):
        (folder / LOCK).unlink()
        folder.rmdir()


def _bytes(segment: _Segment) -> bytes:
    with segment.path.open("rb") as file:
        file.seek(segment.begin)
        return file.read(segment.size - segment.begin)


def _write(handle: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(handle, view) :]


def _sync(folder: Path) -> None:
    """That a file is there is a fact of its folder, which has to reach the disk too."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

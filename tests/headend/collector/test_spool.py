"""On the disk means on the disk: torn ends, damage, bounds, and collectors that died."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from headend.collector import spool as module
from headend.collector.records import TITLE
from headend.collector.spool import Spool, SpoolFull, survey
from tests.support.spooled import emptied, items

LARGE = 2**24


def segments(place: Path) -> list[Path]:
    return sorted(place.glob("*/*.seg"))


def test_first_in_first_out_and_the_files_go_with_what_was_in_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SEGMENT", 500)
    spool = Spool(tmp_path, "here:1:a", LARGE)
    assert not list(tmp_path.iterdir())  # one that was never needed leaves nothing behind
    for first in range(0, 30, 5):
        spool.append(items(*range(first, first + 5)))
    assert len(segments(tmp_path)) > 2
    assert spool.size == sum(path.stat().st_size for path in segments(tmp_path))
    for _ in range(2):  # looked at, not taken
        assert [record.sequence for record in spool.peek(4)] == [1, 2, 3, 4]
    before = len(segments(tmp_path))
    assert emptied(spool) == list(range(30))
    assert before > len(segments(tmp_path)) == 0
    assert (spool.empty, spool.size) == (True, 0)
    spool.append(items(99))  # and it goes on
    assert emptied(spool) == [99]
    spool.close()
    assert not list(tmp_path.iterdir())


def test_what_comes_while_it_is_emptied_goes_behind(tmp_path: Path) -> None:
    spool = Spool(tmp_path, "here", LARGE)
    spool.append(items(1, 2, 3))
    assert len(spool.peek(2)) == 2
    spool.append(items(4))
    spool.drop()
    assert emptied(spool) == [3, 4]


def test_the_bound_holds_and_an_empty_one_takes_a_batch_of_any_size(tmp_path: Path) -> None:
    spool = Spool(tmp_path, "here", 1000)
    spool.append(items(*range(20)))
    size = spool.size
    assert size > 1000
    with pytest.raises(SpoolFull, match="HEADEND_SPOOL_MIB"):
        spool.append(items(99))
    assert spool.size == size
    assert emptied(spool) == list(range(20))
    spool.append(items(99))
    assert emptied(spool) == [99]


def test_a_dead_collectors_folder_is_taken_over_and_a_living_ones_is_not(tmp_path: Path) -> None:
    dead, alive = Spool(tmp_path, "dead", LARGE), Spool(tmp_path, "alive", LARGE)
    dead.append(items(1, 2))
    alive.append(items(3))
    dead.close()  # the same as its end: the lock is free, the files are there
    mine = Spool(tmp_path, "mine", LARGE)
    mine.append(items(4))
    assert mine.adopt() == 1
    mine.append(items(5))
    assert emptied(mine, 10) == [4, 1, 2, 5]
    assert mine.adopt() == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["alive", "mine"]
    assert emptied(alive) == [3]


def test_what_was_appended_survives_kill_9_whatever_was_being_written(tmp_path: Path) -> None:
    """A process that appends for ever and says what is safe; each time killed somewhere."""
    program = textwrap.dedent("""
        import sys
        from pathlib import Path
        from headend.collector import spool as module
        from tests.support.spooled import items
        module.SEGMENT = 2000
        spool = module.Spool(Path(sys.argv[1]), "dies:" + sys.argv[2], 2**24)
        k = 0
        while True:
            k += 2
            spool.append(items(k - 1, k))
            print(k, flush=True)
    """)
    for life in range(3):
        with subprocess.Popen(
            [sys.executable, "-c", program, str(tmp_path), str(life)], stdout=subprocess.PIPE, text=True,
            cwd=Path(__file__).resolve().parents[3],
        ) as child:  # fmt: skip
            assert child.stdout is not None
            for _ in range(20):
                child.stdout.readline()
            os.kill(child.pid, signal.SIGKILL)
            said = [int(line) for line in child.stdout.read().split()]
        heir = Spool(tmp_path, f"heir:{life}", LARGE)
        assert heir.adopt() >= 1
        found = emptied(heir, 50)
        heir.close()
        assert found == list(range(1, len(found) + 1))
        assert len(found) >= max(said, default=40)
        assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("torn", [1, 7, 8, 9, 30, 100])
def test_a_torn_end_is_cut_and_what_was_before_it_is_kept(tmp_path: Path, torn: int) -> None:
    dead = Spool(tmp_path, "dead", LARGE)
    dead.append(items(1, 2))
    (path,) = segments(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole + whole[len(TITLE) :][:torn])
    dead.close()
    heir = Spool(tmp_path, "heir", LARGE)
    assert heir.adopt() == 1
    assert heir.cut == torn
    assert emptied(heir) == [1, 2]
    assert heir.aside == 0


def test_a_collector_that_died_with_the_first_bytes_of_a_file_left_nothing(tmp_path: Path) -> None:
    dead = Spool(tmp_path, "dead", LARGE)
    dead.append(items(1))
    (path,) = segments(tmp_path)
    path.write_bytes(TITLE[:3])
    dead.close()
    heir = Spool(tmp_path, "heir", LARGE)
    assert heir.adopt() == 0
    assert heir.empty
    assert not list(tmp_path.iterdir())


def test_damage_is_told_and_kept_and_the_rest_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SEGMENT", 100)
    spool = Spool(tmp_path, "here", LARGE)
    for k in (1, 2, 3):
        spool.append(items(10 * k, 10 * k + 1))
    second = segments(tmp_path)[1]
    spoilt = bytearray(second.read_bytes())
    spoilt[-1] ^= 1
    second.write_bytes(bytes(spoilt))
    assert emptied(spool) == [10, 11, 20, 30, 31]
    assert (spool.aside, spool.empty, spool.size) == (1, True, 0)
    (kept,) = tmp_path.glob("*.bad")
    assert kept.read_bytes() == bytes(spoilt)
    assert survey(tmp_path).aside == (kept,)


def test_a_file_of_another_version_is_kept_aside(tmp_path: Path) -> None:
    dead = Spool(tmp_path, "dead", LARGE)
    dead.append(items(1))
    (path,) = segments(tmp_path)
    path.write_bytes(TITLE[:-1] + bytes([99]) + path.read_bytes()[len(TITLE) :])
    dead.close()
    heir = Spool(tmp_path, "heir", LARGE)
    heir.adopt()
    assert emptied(heir) == []
    assert heir.aside == 1
    assert len(list(tmp_path.glob("*.bad"))) == 1


def test_a_disk_that_fails_says_so_and_nothing_half_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = Spool(tmp_path, "here", LARGE)
    spool.append(items(1))
    real = os.fsync
    monkeypatch.setattr(
        os, "fsync", lambda handle: (_ for _ in ()).throw(OSError(28, "No space left on device"))
    )
    with pytest.raises(OSError, match="No space"):
        spool.append(items(2))
    monkeypatch.setattr(os, "fsync", real)
    spool.append(items(3))  # into a file of its own: a sync that failed once is not to be trusted
    assert len(segments(tmp_path)) == 2
    spool.close()
    heir = Spool(tmp_path, "heir", LARGE)
    assert heir.adopt() == 2
    assert emptied(heir) == [1, 3]
    assert (heir.cut, heir.aside) == (0, 0)


def test_only_its_owner_may_read_it(tmp_path: Path) -> None:
    """What was said on the wire may hold a password."""
    place = tmp_path / "spool"
    Spool(place, "here", LARGE).append(items(1))
    (path,) = segments(place)
    assert path.stat().st_mode & 0o077 == 0
    assert path.parent.stat().st_mode & 0o077 == 0


def test_the_survey(tmp_path: Path) -> None:
    assert survey(tmp_path / "nowhere").spools == ()
    alive, dead = Spool(tmp_path, "alive:1", LARGE), Spool(tmp_path, "dead:2", LARGE)
    alive.append(items(1))
    dead.append(items(2))
    dead.close()
    hour_ago = time.time() - 3600
    os.utime(segments(tmp_path)[1], (hour_ago, hour_ago))
    first, second = survey(tmp_path).spools
    assert (first.collector, first.alive, first.size) == ("alive-1", True, alive.size)
    assert (second.collector, second.alive) == ("dead-2", False)
    assert 3500 < second.age < 3700
    assert emptied(alive) == [1]  # looking took nothing

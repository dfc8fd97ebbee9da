"""scripts/kill-fee-control: fee control (费控) from the first warning to supply given back, told again and again, and each time somebody is killed
with -9 at another step: the collector, the database, the jobs, the REST server. Whoever dies: one trip in the meter's own journal, the payment
booked once, nothing verified that was not read back, the audit chain whole, the money right to the fen, and supply given back in the end."""

from __future__ import annotations

import argparse
import asyncio
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import psycopg

from headend.store.db import StoreError
from headend.store.embedded import Embedded
from tests.support.kill_fee_control import meter
from tests.support.kill_fee_control.cases import Case, all_cases, watched
from tests.support.kill_fee_control.checker import check
from tests.support.kill_fee_control.line import Line
from tests.support.kill_fee_control.meter import Customer, asked
from tests.support.kill_fee_control.town import PATIENCE, Breach, Town, prepare

#: fsync, full_page_writes and synchronous_commit stay on, as for everybody; recovery syncs the data folder in one call, which saves time
SETTINGS = {"recovery_init_sync_method": "syncfs"}
#: real seconds until everybody is up and has read what there is; and where the warnings are counted, on a machine that has other things to do
LEAD, SLOW_LEAD = 9.0, 14.0
#: requests of an order that are struck at most: a permit is read back until somebody presses the key
MOST = 8


async def tell(town: Town, who: Customer, case: Case | None) -> tuple[str, list[bytes], list[bytes]]:
    """The whole story. What was under way at the kill and counted at the end; the requests of the trip and of the permit."""
    await town.open()
    try:
        trip: list[bytes] = []
        struck = await _act(town, case, "fall", _falls(town))
        struck += await _act(town, case, "trip", _trips(town))
        trip += town.wire.counted
        if (
            case is not None and case.phase == "pay"
        ):  # until the permit: the server asks for it with the payment
            struck += await _act(town, case, "pay", _pays(town))
        else:
            struck += await _act(town, case, "permit", _pays(town))
        permit = list(town.wire.counted)
        await town.until(
            lambda: town.ask("SELECT FROM balance WHERE level = 'ok' AND valid"),
            PATIENCE,
            "the balance does not recover",
        )
        return f"{struck}; {check(town, who)}".removeprefix("; "), trip, permit
    finally:
        await town.close()


async def _act(town: Town, case: Case | None, phase: str, story: object) -> str:
    """One part of the story, with the kill, if it is in this part."""
    assert asyncio.iscoroutine(story)
    town.wire.arm(None)
    if case is None or case.phase != phase:
        await story
        return ""
    strike = asyncio.create_task(case.strike(town))
    await asyncio.sleep(0)  # it is armed before anything happens
    return await watched(town, strike, asyncio.create_task(story))


async def _falls(town: Town) -> None:
    """Until the jobs have asked for the trip."""

    def asked() -> bool:
        town.deliver()
        return town.orders("trip") > 0

    await town.until(asked, PATIENCE, "nobody asks for the trip")


async def _trips(town: Town) -> None:
    """A person approves, until the meter is read back open."""

    def verified() -> bool:
        town.approve()
        return town.orders("trip", "verified") > 0

    await town.until(verified, PATIENCE, "the trip is not verified")


async def _pays(town: Town) -> None:
    """The customer pays at the bank, until he is read back supplied."""
    if not town.teller.sent:
        await asyncio.to_thread(town.teller.sign_on)
        town.rest.counted.clear()
    await asyncio.to_thread(town.pay)
    await town.until(lambda: town.orders("permit", "verified") > 0, PATIENCE, "the permit is not verified")


class Stage:
    """The server, the lines and the morning, for all cases."""

    def __init__(self, server: Embedded, folder: Path, seed: int) -> None:
        self.server, self.folder, self.seed = server, folder, seed
        self.wire = Line(meter.of_an_order)
        self.rest = Line(lambda request: b"/payments HTTP" in request)
        self.told = 0
        self.key = ""
        self.who: Customer

    async def open(self) -> None:
        await self.wire.start()
        await self.rest.start()
        self.key, self.who = await asyncio.to_thread(
            prepare, self.server, self.seed, self.folder, f"127.0.0.1:{self.wire.port}"
        )

    async def tell(self, case: Case | None, lead: float) -> tuple[str, list[bytes], list[bytes]]:
        self.told += 1
        town = Town(
            self.server, f"story_{self.told}", self.folder / f"story-{self.told}", self.seed, self.key, self.wire, self.rest, lead,
        )  # fmt: skip
        found = await tell(town, self.who, case)
        if case is None and (told := _levels(town)) != ["warn1", "warn2", "stop"]:
            raise Breach(f"the customer was told {told}")
        town.forget()
        shutil.rmtree(town.folder)
        return found

    async def close(self) -> None:
        await self.wire.stop()
        await self.rest.stop()


def _levels(town: Town) -> list[str]:
    return list(town.levels())


async def run(server: Embedded, folder: Path, given: argparse.Namespace) -> int:
    """How many cases were breached."""
    begun = time.monotonic()
    stage = Stage(server, folder, meter.FLEET)
    await stage.open()
    try:
        said, trip, permit = await stage.tell(None, SLOW_LEAD)
        print(f"nobody is killed: {said}", flush=True)
        for name, requests in (("trip", trip), ("permit", permit)):
            print(f"  requests of the {name}: {' '.join(map(asked, requests))}", flush=True)
        cases = list(all_cases(min(len(trip), MOST), min(len(permit), MOST)))
        if given.only:
            cases = [case for case in cases if given.only in case.name]
        if given.cases < len(cases):
            cases = random.Random(given.seed).sample(cases, given.cases)
        if given.list:
            print("\n".join(case.name for case in cases))
            return 0
        wrong, killed = 0, Counter[str]()
        for number, case in enumerate(cases, 1):
            if time.monotonic() - begun > given.seconds:
                raise Breach(f"only {number - 1} of {len(cases)} cases in {given.seconds:.0f} s")
            since = time.monotonic()
            try:
                said, _, _ = await stage.tell(case, LEAD)
                killed[case.victim] += 1
            except (Breach, AssertionError, psycopg.Error) as breach:
                wrong += 1
                said = f"BREACH in {folder}/story-{stage.told}: {breach}"
            print(f"{number}/{len(cases)} {case.name} ({time.monotonic() - since:.0f} s): {said}", flush=True)
        who = ", ".join(f"{n} × {name}" for name, n in sorted(killed.items()))
        seconds = time.monotonic() - begun
        right = (
            "" if wrong else "; one trip, one payment, nothing verified unread, chain and money right in each"
        )
        print(
            f"kill-fee-control: seed {given.seed}, {len(cases)} stories, a kill -9 in each ({who}), {seconds:.0f} s: {wrong} breaches{right}"
        )
        return wrong
    finally:
        await stage.close()


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/kill-fee-control", description=__doc__)
    parser.add_argument(
        "--cases", type=int, default=1000, help="so many, drawn by the seed (default: all there are)"
    )
    parser.add_argument("--only", default="", help="only cases whose name holds this")
    parser.add_argument("--list", action="store_true", help="name the cases, and kill nobody")
    parser.add_argument("--seed", type=int, default=7, help="of the draw (default 7)")
    parser.add_argument("--seconds", type=float, default=5400, help="give up after this time (default 5400)")
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="headend-fee-"))
    folder.chmod(0o755)  # root's server runs as somebody else, who must reach it
    server = Embedded(folder / "server", None, SETTINGS)
    try:
        with server:
            wrong = asyncio.run(run(server, folder, given))
    except (Breach, StoreError) as error:
        print(f"kill-fee-control: {error}", file=sys.stderr)
        wrong = 1
    if wrong:
        print(f"kill-fee-control: everything is kept in {folder} and {server.place}", file=sys.stderr)
        raise SystemExit(1)
    shutil.rmtree(folder)
    shutil.rmtree(server.place, ignore_errors=True)


if __name__ == "__main__":
    main()

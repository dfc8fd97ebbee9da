"""scripts/bench."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path

import analytics
import bills
import codec
import collect
import fleet
import holes
import late
import live
import million
import night
import readback
import recovery
import report
import store
from measure import Race
from servers import KINDS

REPOSITORY = Path(__file__).resolve().parents[2]
BENCHES = ("protocols", "store", "collect")
#: minutes to half an hour each, and nobody to race against: asked for by name
LONG = ("analytics", "bills", "fleet", "holes", "million", "recovery", "late", "live")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/bench", description="Measures this program beside others, in interleaved rounds."
    )
    parser.add_argument(
        "bench",
        nargs="?",
        choices=(*BENCHES, *LONG, "all"),
        default="all",
        help="default: protocols, store and collect",
    )
    parser.add_argument("--rounds", type=_positive, default=4, help="of protocols and store (default 4)")
    parser.add_argument("--write", action="store_true", help="put the table into BENCHMARKS.md")
    sizes = parser.add_argument_group("sizes")
    sizes.add_argument("--frames", type=_positive, default=20_000, help="645 frames (default 20000)")
    sizes.add_argument(
        "--days", type=_positive, default=100, help="meter-days of 645 load records (default 100)"
    )
    sizes.add_argument("--profiles", type=_positive, default=100, help="DLMS profiles of a day (default 100)")
    sizes.add_argument(
        "--meters", type=_positive, default=4096, help="meters of one load, 96 rows each (default 4096)"
    )
    sizes.add_argument(
        "--batch", type=_positive, default=512, help="meters' answers a transaction (default 512)"
    )
    sizes.add_argument(
        "--readback", type=_positive, default=55_000, help="meters whose day is read back (default 55000)"
    )
    sizes.add_argument(
        "--utility",
        type=_positive,
        default=1_000_000,
        help="meters of `million` and `analytics`, accounts of `bills` (default 1000000)",
    )
    sizes.add_argument("--gigabytes", type=float, default=1.0, help="of store to recover (default 1)")
    sizes.add_argument(
        "--fleet", choices=("small", "full"), default="full", help="24 or 480 meters (default full)"
    )
    sizes.add_argument("--terminals", type=_positive, default=10_000, help="of `fleet` (default 10000)")
    sizes.add_argument(
        "--customers", type=_positive, default=7, help="meters of each beside the area's own (default 7)"
    )
    sizes.add_argument(
        "--hours", type=float, default=0.5, help="of points that `holes` follows (default 0.5)"
    )
    sizes.add_argument(
        "--rate", type=float, default=4.0, help="of `holes`: domain seconds a second (default 4)"
    )
    sizes.add_argument("--seed", type=int, default=1, help="of `holes` (default 1)")
    sizes.add_argument("--protocol", default="dlt645", help="of `fleet` (default dlt645)")
    sizes.add_argument(
        "--dead",
        type=int,
        default=0,
        help="meters of `fleet` that die after two rounds: two more are run (default 0)",
    )
    sizes.add_argument("--lines", type=_positive, default=6, help="radio lines of `live` (default 6)")
    sizes.add_argument("--reads", type=_positive, default=40, help="reads on each of them (default 40)")
    sizes.add_argument(
        "--server", choices=KINDS, action="append", help="only this one (repeatable; default: both)"
    )
    return parser.parse_args()


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def main() -> None:
    told = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("bench: terminated"))  # so that the servers are stopped
    load = os.getloadavg()[0]
    wanted = BENCHES if told.bench == "all" else (told.bench,)
    kinds = told.server or KINDS
    races: list[Race] = []
    servers: list[str] = []
    notes: list[str] = []
    if "protocols" in wanted:
        races += codec.run(told.rounds, told.frames, told.days, told.profiles)
    if "store" in wanted:
        loaded, servers = store.run(kinds, told.rounds, told.meters, told.batch)
        races += loaded
        races += readback.run(kinds, max(1, told.rounds - 1), told.readback)[0]
    if "million" in wanted:
        loaded, notes = million.run(kinds, told.utility)
        races += loaded
    if "analytics" in wanted:
        loaded, notes = analytics.run(told.utility, told.rounds)
        print("\n".join(notes), flush=True)
        notes += night.run(told.server or KINDS[:1], told.utility)
        races += loaded
    if "bills" in wanted:
        notes = bills.run(told.server or KINDS[:1], told.utility)
    if "recovery" in wanted:
        notes = [line for done in recovery.run(kinds, told.gigabytes) for line in done.lines()]
    if "late" in wanted:
        loaded, notes = late.run(told.rounds, min(told.meters, 2048))
        races += loaded
    if "fleet" in wanted:
        notes = fleet.run(kinds[0], told.terminals, told.customers, told.protocol, told.dead)
    if "holes" in wanted:
        notes = holes.run(kinds[0], min(told.terminals, 1000), told.hours, told.rate, told.seed)
    if "live" in wanted:
        _, notes = live.run(kinds, told.lines, told.reads)
    if "collect" in wanted:
        collected, notes = collect.run(kinds, told.fleet)
        races += collected
    facts = [*report.facts(REPOSITORY, servers, told.rounds, load), *notes]
    print("\n".join(facts), report.text(races), sep="\n\n")
    if told.write:
        report.write(REPOSITORY / "BENCHMARKS.md", report.markdown(races, facts))


if __name__ == "__main__":
    main()

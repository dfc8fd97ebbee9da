"""Houses to collect from."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from headend.collector.database import Database
from headend.store import db
from headend.store.db import Connection
from terminals.simulator.scenario import ZONE, Group
from tests.support.collecting import BUS, HandClock, House, Open


@pytest.fixture
async def open_house(store_dsn: str, store: Connection, tmp_path: Path) -> AsyncIterator[Open]:
    made: list[House] = []
    with db.pool(store_dsn, size=4) as pool:

        async def build(
            *groups: Group, now: str = "2026-03-11 02:07", alone: bool = True, **plan: Any
        ) -> House:
            house = House(store_dsn, store, Database(store_dsn, pool, ZONE), tmp_path, HandClock(now))
            made.append(house)
            await house.open(*groups or (BUS,), alone=alone, **plan)
            return house

        yield build
        for house in made:
            await house.close()

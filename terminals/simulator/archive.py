"""The utility's archive of the fleet, as CSV: what a head-end is given to know. Names are invented."""

from __future__ import annotations

import csv
import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from terminals.simulator.codes import (
    ADDRESSED,
    area_code,
    customer_code,
    point_code,
    terminal_address,
    terminal_code,
)
from terminals.simulator.faults import Spot, three_phase_count
from terminals.simulator.layout import HOME, AreaPlan
from terminals.simulator.scenario import stream
from terminals.simulator.truth import World

_PLACES: Final = (
    "东湖花园", "翠竹苑", "银杏里", "江畔人家", "梧桐新村", "桃源小区", "金色家园", "文昌路", "望湖楼",
    "青石巷", "紫荆公寓", "柳荫街", "红星社区", "和平里", "杏林雅居", "松涛苑", "朝阳新苑", "碧水湾",
    "南塘村", "北苑商业街", "书香门第", "花溪小镇", "荷风苑", "凤凰台",
)  # fmt: skip
_FAMILY: Final = "赵钱孙李周吴郑王冯陈褚卫蒋沈韩杨朱秦尤许何吕施张孔曹严华金魏陶姜"
_GIVEN: Final = (
    "建国", "秀英", "志强", "丽华", "晓明", "桂芳", "海涛", "雪梅", "俊杰", "玉兰",
    "文博", "思远", "佳怡", "子涵", "德福", "春燕", "永康", "美玲", "国栋", "静怡",
)  # fmt: skip
_SHOPS: Final = ("便利店", "早餐铺", "理发店", "五金店", "水果店", "药房", "面馆", "洗衣店")
_CHANNELS: Final = ("营业厅", "微信", "支付宝", "银行代收")


def passwords(world: World, area: int) -> list[str]:
    """The meters' passwords: 6 digits for DL/T 645, 8 for the low-level security of DLMS; Modbus has none."""
    plan = world.plans[area]
    if plan.protocol.startswith("modbus"):
        return [""] * plan.meters
    rng = stream(world.scenario.seed, "passwords", area)
    digits = 8 if plan.protocol == "dlms" else 6
    return [f"{number:0{digits}d}" for number in rng.integers(10**digits, size=plan.meters).tolist()]


def write(directory: Path, world: World, endpoints: Mapping[int, str]) -> None:
    """areas, terminals, meters, customers and payments as CSV files. `endpoints`: area -> host:port, serial
    URL or ''.
    """
    directory.mkdir(parents=True, exist_ok=True)
    _table(directory / "areas.csv", ("area", "name", "capacity_kva"), _areas(world))
    _table(
        directory / "terminals.csv",
        ("terminal", "name", "protocol", "link", "endpoint", "login"),
        _terminals(world, endpoints),
    )
    _table(
        directory / "meters.csv",
        ("meter", "point", "area", "role", "terminal", "protocol", "address", "phases", "ct", "pt",
         "accuracy", "from", "password", "pn", "switch"),
        _meters(world),
    )  # fmt: skip
    _table(
        directory / "customers.csv",
        (
            "customer",
            "name",
            "phone",
            "point",
            "tariff",
            "prepaid",
            "protected",
            *(_EXECUTED if world.scenario.wallets else ()),
        ),
        _customers(world),
    )
    _table(directory / "payments.csv", ("customer", "yuan", "channel", "serial", "at"), _payments(world))


#: said only where there is a meter that executes its fee control
_EXECUTED: Final = ("fee_control",)


def _table(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def _place(area: int) -> str:
    return f"{_PLACES[area % len(_PLACES)]}{area // len(_PLACES) + 1}号台区"


def _areas(world: World) -> Iterable[Sequence[Any]]:
    return [(area_code(plan.area), _place(plan.area), plan.capacity_kva) for plan in world.plans]


def _terminals(world: World, endpoints: Mapping[int, str]) -> Iterable[Sequence[Any]]:
    for plan in world.plans:
        code = terminal_code(plan.area)
        login = code if plan.link == "dial-in" else ""
        if plan.protocol in ADDRESSED:
            login = terminal_address(plan.protocol, plan.area)
        name = f"{_place(plan.area)}集中器"
        yield code, name, plan.protocol, plan.link, endpoints.get(plan.area, ""), login


def _meters(world: World) -> Iterable[Sequence[Any]]:
    since = world.scenario.commissioned.isoformat(timespec="minutes")
    for plan in world.plans:
        secrets = passwords(world, plan.area)
        for meter in range(plan.meters):
            yield (
                plan.asset(meter), point_code(plan.area, meter), area_code(plan.area),
                "receive" if meter else "supply", terminal_code(plan.area), plan.protocol,
                plan.address(meter), plan.phases(meter), 1 if meter else plan.ct, 1, 0.01 if meter else 0.005,
                since, secrets[meter], meter + 1 if plan.protocol == "gdw376" else "", plan.switch(meter),
            )  # fmt: skip


def _customers(world: World) -> Iterable[Sequence[Any]]:
    for plan in world.plans:
        rng = stream(world.scenario.seed, "names", plan.area)
        for c in range(plan.customers):
            spot = Spot(plan.area, c)
            name = _name(rng, plan, c)
            phone = f"199{int(rng.integers(10**8)):08d}"
            prepaid = "yes" if c + 1 in plan.prepaid else "no"
            own = prepaid == "yes" and plan.protocol == "dlt645"
            executor = ("meter" if own else "master",) if world.scenario.wallets else ()
            protected = "家庭制氧机用户" if spot == world.faults.protected else ""
            yield (
                customer_code(spot),
                name,
                phone,
                point_code(plan.area, c + 1),
                world.scenario.tariff.name,
                prepaid,
                protected,
                *executor,
            )


def _name(rng: np.random.Generator, plan: AreaPlan, customer: int) -> str:
    family, given = _FAMILY[int(rng.integers(len(_FAMILY)))], _GIVEN[int(rng.integers(len(_GIVEN)))]
    shop = _SHOPS[int(rng.integers(len(_SHOPS)))]
    three = customer >= plan.customers - three_phase_count(plan.customers)
    if three or plan.kind[customer] != HOME:
        return f"{family}记{shop}"
    return family + given


def _payments(world: World) -> Iterable[Sequence[Any]]:
    rng = stream(world.scenario.seed, "channels")
    for number, payment in enumerate(world.payments, start=1):
        channel = _CHANNELS[int(rng.integers(len(_CHANNELS)))]
        at: dt.datetime = payment.at
        yuan = f"{payment.fen // 100}.{payment.fen % 100:02d}"
        yield (
            customer_code(payment.spot),
            yuan,
            channel,
            f"K{at:%Y%m%d}{number:04d}",
            at.isoformat(timespec="minutes"),
        )

"""The files of an archive and their columns: what may stand there, who leads it, where it goes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from headend.store.archive.cells import (
    Parse,
    accuracy,
    anything,
    choice,
    decimal,
    maybe,
    moment,
    password,
    phases,
    plans,
    switch,
    text,
    whole,
    yes_no,
)

#: who has the last word: the marketing system (营销系统) or the head-end
Leader = Literal["marketing", "headend"]
MARKETING: Final = "marketing"
HEADEND: Final = "headend"

ROLES: Final = ("supply", "receive", "auxiliary")
OBJECTS: Final = ("area", "line", "bus", "substation", "transformer", "organisation", "voltage")
#: what terminals speak: those that the collector has a driver for
PROTOCOLS: Final = (
    "dlt645", "dlt645-1997", "dlms", "dlms-hdlc", "gdw376", "dlt698", "modbus-tcp", "modbus-rtu", "mqtt",
)  # fmt: skip
#: who counts prepaid money down and cuts off: this program, the meter (本地费控), the terminal, or a meter whose card holds kWh (卡表)
EXECUTORS: Final = ("master", "meter", "terminal", "card")
#: the higher may be parent of the lower
RANKS: Final = {"province": 0, "city": 1, "county": 2, "station": 3}


@dataclass(frozen=True, slots=True)
class Column:
    """`type`: PostgreSQL's. `refers`: the table whose code stands in the cell. `dated`: it stands in the table of spans. `blank`: what the
    table has where nothing was ever said. A column that is not `needed` may be missing from a file: nothing is said of it then."""

    name: str
    parse: Parse
    leader: Leader = MARKETING
    needed: bool = True
    type: str = "text"
    refers: str = ""
    dated: bool = False
    store: str = ""
    blank: object = None

    @property
    def column(self) -> str:
        """Its name in the store."""
        return self.store or (f"{self.refers}_id" if self.refers else self.name)


@dataclass(frozen=True, slots=True)
class Kind:
    """One file. `table`: what a row is a thing of, and `code` the column that names the thing there.

    `plain`: the columns that are corrected in place; `dated`: those of the table of spans."""

    name: str
    key: str
    table: str
    columns: tuple[Column, ...]
    code: str = "code"
    noun: str = ""
    plain: tuple[Column, ...] = field(init=False)
    dated: tuple[Column, ...] = field(init=False)

    def __post_init__(self) -> None:
        # asked for at every row
        own = tuple(c for c in self.columns[1:] if c.store != "-" and not c.dated)
        object.__setattr__(self, "plain", own)
        object.__setattr__(self, "dated", tuple(c for c in self.columns if c.dated))

    @property
    def leader(self) -> Leader:
        """Who says that such a thing exists at all."""
        return self.columns[0].leader

    def column(self, name: str) -> Column:
        return next(column for column in self.columns if column.name == name)


def _from(needed: bool = False) -> Column:
    return Column("from", moment if needed else maybe(moment), needed=needed, store="-")


def _to() -> Column:
    return Column("to", maybe(moment), needed=False, store="-")


def _kva(high: str, places: int) -> Parse:
    return decimal("0.1" if places == 1 else "0.01", high, places)


_KV: Final = decimal("0.001", "1500", 3)
_PERCENT: Final = maybe(decimal("0.001", "100", 3))
_COEFFICIENT: Final = maybe(decimal("1", "100", 3))
_KW: Final = maybe(decimal("0.0001", "10000", 4))

_ORGANISATION: Final = Column("organisation", maybe(text), needed=False, refers="organisation", dated=True)


def _comm(name: str, parse: Parse, needed: bool = True, type: str = "text", **more: object) -> Column:
    return Column(name, parse, HEADEND, needed, type, **more)  # type: ignore[arg-type]


KINDS: Final[Mapping[str, Kind]] = {
    kind.name: kind
    for kind in (
        Kind("organisations", "organisation", "organisation", (
            Column("organisation", text), Column("name", text), Column("kind", choice(*RANKS)),
            Column("parent", maybe(text), refers="organisation", dated=True, store="parent_id"), _from(),
        )),
        Kind("substations", "substation", "substation", (
            Column("substation", text), Column("name", text), _ORGANISATION, _from(),
        )),
        Kind("buses", "bus", "bus", (
            Column("bus", text), Column("name", text), Column("substation", text, refers="substation"),
            Column("voltage_kv", _KV, type="numeric"),
        )),
        Kind("lines", "line", "line", (
            Column("line", text), Column("name", text), Column("voltage_kv", _KV, type="numeric"),
            Column("bus", maybe(text), refers="bus", dated=True), _ORGANISATION, _from(),
        )),
        Kind("transformers", "transformer", "transformer", (
            Column("transformer", text), Column("name", text), Column("owner", choice("public", "customer")),
            Column("capacity_kva", _kva("1000000", 1), type="numeric"),
            *(Column(name, parse, needed=False, type="numeric") for name, parse in
              (("p0_kw", _KW), ("pk_kw", _KW), ("i0_percent", _PERCENT), ("uk_percent", _PERCENT), ("load_coefficient", _COEFFICIENT))),
            Column("line", maybe(text), needed=False, refers="line", dated=True),
            Column("bus", maybe(text), needed=False, refers="bus", dated=True), _from(),
        )),
        Kind("areas", "area", "area", (
            Column("area", text), Column("name", text), Column("capacity_kva", _kva("100000", 1), type="numeric"), _ORGANISATION,
            Column("line", maybe(text), needed=False, refers="line", dated=True),
            Column("transformer", maybe(text), needed=False, refers="transformer", dated=True), _from(),
        )),
        Kind("terminals", "terminal", "terminal", (
            _comm("terminal", text), _comm("name", text), _comm("protocol", choice(*PROTOCOLS)),
            _comm("link", choice("dial-out", "dial-in", "serial", "mqtt")), _comm("endpoint", maybe(anything)), _comm("login", maybe(anything)),
            _ORGANISATION, _from(), _comm("maker", anything, needed=False, blank=""),
        )),
        Kind("sims", "sim", "sim", (
            _comm("sim", text), _comm("number", anything, blank=""), _comm("operator", anything, blank=""),
            _comm("plan_bytes", maybe(whole(0, 10**14)), needed=False, type="bigint"), _comm("cell", anything, needed=False, blank=""),
            _comm("terminal", maybe(text), refers="terminal", dated=True), _from(),
        ), noun="SIM"),
        Kind("points", "point", "point", (
            Column("point", text), Column("kind", maybe(choice("customer", "area", "gateway", "generation")), needed=False),
            _ORGANISATION, _from(), Column("feeds_in", yes_no, needed=False, type="boolean", blank=False),
            Column("checks", anything, needed=False, blank=""),
        ), noun="metering point"),
        Kind("meters", "meter", "meter", (
            Column("meter", text), Column("point", text, store="-"), Column("area", maybe(text), refers="area", store="-"),
            Column("role", maybe(choice(*ROLES)), store="-"), _comm("terminal", text, refers="terminal", store="-"),
            _comm("protocol", choice(*PROTOCOLS), store="-"), _comm("address", text, store="-"),
            Column("phases", phases, type="smallint"), Column("ct", whole(1, 10_000), store="-"), Column("pt", whole(1, 10_000), store="-"),
            Column("accuracy", accuracy, type="real"), _from(needed=True),
            _comm("password", password, needed=False, store="-"), _comm("pn", maybe(whole(1, 32_767)), needed=False, store="-"),
            _comm("plans", plans, needed=False, store="-"), Column("digits", whole(4, 9), needed=False, type="smallint", blank=6),
            _comm("switch", switch, needed=False, store="-"), _to(),
        ), code="asset"),
        Kind("ratios", "point", "installation", (
            Column("point", text, refers="point", store="-"), Column("ct", whole(1, 10_000), store="-"),
            Column("pt", whole(1, 10_000), store="-"), _from(needed=True),
        )),
        Kind("roles", "point", "loss_role", (
            Column("point", text, refers="point", store="-"), Column("kind", choice(*OBJECTS), store="-"), Column("object", text, store="-"),
            Column("voltage_kv", maybe(_KV), needed=False, store="-"), Column("role", choice(*ROLES), store="-"),
            _from(needed=True), _to(),
        )),
        Kind("customers", "customer", "customer", (
            Column("customer", text), Column("name", text), Column("phone", anything, blank=""),
            Column("point", text, refers="point", store="-"), Column("tariff", text, store="-"), Column("prepaid", yes_no, store="-"),
            Column("protected", anything, store="-"), Column("industry", anything, needed=False, dated=True, blank=""),
            Column("capacity_kva", maybe(_kva("10000000", 2)), needed=False, type="numeric", dated=True),
            Column("basic_by", maybe(choice("capacity", "contract", "demand")), needed=False, dated=True),
            Column("contract_kw", maybe(_kva("10000000", 2)), needed=False, type="numeric", dated=True),
            Column("security_kw", maybe(decimal("0", "10000000", 2)), needed=False, type="numeric", dated=True),
            Column("fee_control", choice(*EXECUTORS), needed=False, store="-", blank=EXECUTORS[0]), _from(), _to(),
        ), code="number"),
    )
}  # fmt: skip

#: which file says that a thing of a table exists, and what people call it
WHERE: Final = {
    "organisation": ("organisations", "organisation"),
    "substation": ("substations", "substation"),
    "bus": ("buses", "bus"),
    "line": ("lines", "line"),
    "transformer": ("transformers", "transformer"),
    "area": ("areas", "area"),
    "terminal": ("terminals", "terminal"),
    "point": ("meters", "metering point"),
}

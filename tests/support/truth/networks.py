"""Other people's networks as Grids: pandapower's IEEE European LV feeder, its Kerber and CIGRE grids, simbench's LV grids and profiles.

The only file here that imports pandapower and simbench, which scripts/truth installs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandapower
import pandapower.networks
import simbench

from tests.support.truth.grid import Complex, Floats, Grid, tree
from tests.support.truth.homes import Day

SIMBENCH = ("rural1", "rural2", "rural3", "semiurb4", "semiurb5", "urban6")
#: simbench and Kerber publish positive sequences only. NAYY cables of these grids with the neutral as return: about four times
#: the resistance and 3.66 times the reactance (DIN VDE 0102 supplement 2's usual figures for four-core cables).
ZERO_R, ZERO_X = 4.0, 3.66
HOUSEHOLDS = ("H0-A", "H0-B", "H0-C", "H0-G", "H0-L")


def ieee() -> Grid:
    """The IEEE European low-voltage test feeder: 55 single-phase customers."""
    net = pandapower.networks.ieee_european_lv_asymmetric("on_peak_566")
    load = net.asymmetric_load
    kw = load[["p_a_mw", "p_b_mw", "p_c_mw"]].to_numpy()
    random = np.random.default_rng(55)
    return _grid(
        "ieee",
        net,
        [int(b) for b in load.bus],
        [int(p) for p in kw.argmax(axis=1)],
        # the feeder's own profiles are not in the package: households of simbench's usual 2 to 6 kW
        random.uniform(2, 6, len(load)).round(1).tolist(),
        [HOUSEHOLDS[k] for k in random.integers(0, len(HOUSEHOLDS), len(load))],
    )


def simbench_grid(name: str, scenario: int = 0) -> Grid:
    """One of simbench's LV grids. Households hang on one phase, in turn; what is larger on three."""
    net = simbench.get_simbench_net(f"1-LV-{name}--{scenario}-no_sw")
    return _balanced(name, net, [str(p) for p in net.load.profile])


def pandapower_grid(name: str) -> Grid:
    """One of pandapower's own LV grids that have no profiles: households' are given to them."""
    net = getattr(pandapower.networks, f"create_{name}")()
    random = np.random.default_rng(len(net.load))
    return _balanced(name, net, [HOUSEHOLDS[k] for k in random.integers(0, len(HOUSEHOLDS), len(net.load))])


def profiles() -> tuple[dict[str, Complex], Floats]:
    """simbench's published profiles of 2016: name -> complex128[slot] (P + jQ per rated kW), and photovoltaics' mean float64[slot]."""
    found: dict[str, Complex] = {}
    sun: list[Floats] = []
    for name in SIMBENCH:
        tables = simbench.get_simbench_net(f"1-LV-{name}--0-no_sw").profiles
        load = tables["load"]
        for column in load.columns:
            if column.endswith("_pload"):
                code = column[: -len("_pload")]
                found[code] = load[column].to_numpy(float) + 1j * load[f"{code}_qload"].to_numpy(float)
        sun += [tables["renewables"][c].to_numpy(float) for c in tables["renewables"].columns if c != "time"]
    return found, np.mean(sun, axis=0)


def _balanced(name: str, net: Any, names: list[str]) -> Grid:
    kw = (net.load.p_mw.to_numpy() * 1000).tolist()
    turn = iter(np.resize([0, 1, 2], len(kw)).tolist())
    phases = [
        next(turn) if code.startswith("H0") and p <= 6 else -1 for code, p in zip(names, kw, strict=True)
    ]
    return _grid(name, net, [int(b) for b in net.load.bus], phases, kw, names)


def _grid(
    name: str, net: Any, buses: list[int], phases: list[int], kw: list[float], names: list[str]
) -> Grid:
    transformer = net.trafo.iloc[0]
    line = net.line[net.line.in_service]
    cables = line.length_km / line.parallel
    one = ((line.r_ohm_per_km + 1j * line.x_ohm_per_km) * cables).tolist()
    if "r0_ohm_per_km" in line:
        nought = ((line.r0_ohm_per_km + 1j * line.x0_ohm_per_km) * cables).tolist()
    else:
        nought = [complex(z.real * ZERO_R, z.imag * ZERO_X) for z in one]
    base = transformer.vn_lv_kv**2 / (transformer.sn_mva * transformer.parallel)
    real = transformer.vkr_percent / 100 * base
    own = complex(real, np.sqrt((transformer.vk_percent / 100 * base) ** 2 - real**2))
    ends = [(int(a), int(b)) for a, b in zip(line.from_bus, line.to_bus, strict=True)]
    root, volts = int(transformer.lv_bus), transformer.vn_lv_kv * 1000 / np.sqrt(3)
    return tree(
        name, root, ends, list(zip(one, nought, strict=True)), (own, own), volts, buses, phases, kw, names
    )


def check(day: Day, instants: list[int]) -> tuple[float, float]:
    """(largest difference of a customer's voltage [V], of the loss as a fraction) between pandapower's runpp_3ph and our flow."""
    grid, base = day.grid, day.grid.volts * np.sqrt(3) / 1000
    net = pandapower.create_empty_network()
    source = pandapower.create_bus(net, base)
    # a source so strong that its own impedance is nothing
    pandapower.create_ext_grid(
        net, source, s_sc_max_mva=1e7, s_sc_min_mva=1e7, rx_max=0.1, rx_min=0.1, r0x0_max=0.1, x0x_max=1.0
    )
    bus = [pandapower.create_bus(net, base) for _ in range(len(grid))]
    for node, (one, nought) in enumerate(zip(grid.positive.tolist(), grid.zero.tolist(), strict=True)):
        above = source if node == 0 else bus[int(grid.parent[node])]
        pandapower.create_line_from_parameters(
            net, above, bus[node], 1.0, one.real, one.imag, 0.0, 10.0,
            r0_ohm_per_km=nought.real, x0_ohm_per_km=nought.imag, c0_nf_per_km=0.0,
        )  # fmt: skip
    for node in grid.home.tolist():
        pandapower.create_asymmetric_load(net, bus[node])
    volts, losses = 0.0, 0.0
    on = (grid.phases[:, None] < 0) / 3 + (grid.phases[:, None] == np.arange(3))
    for t in instants:
        for p, letter in enumerate("abc"):
            each = day.power[:, t] * on[:, p] / 1e6
            net.asymmetric_load[f"p_{letter}_mw"], net.asymmetric_load[f"q_{letter}_mvar"] = (
                each.real,
                each.imag,
            )
        net.ext_grid["vm_pu"] = float(np.abs(day.source[0, t])) / grid.volts
        pandapower.runpp_3ph(net, numba=False)
        theirs = net.res_bus_3ph.loc[bus, ["vm_a_pu", "vm_b_pu", "vm_c_pu"]].to_numpy() * grid.volts
        volts = max(volts, float(np.abs(theirs - np.abs(day.flow.volts[:, :, t]))[grid.home].max()))
        ends = [f"p_{letter}_{end}_mw" for letter in "abc" for end in ("from", "to")]
        lost = float(net.res_line_3ph.iloc[1:][ends].to_numpy().sum()) * 1e6
        losses = max(losses, abs(float(day.flow.loss[t]) / lost - 1))
    return volts, losses


GRIDS: dict[str, Callable[[], Grid]] = {
    "ieee": ieee,
    **{name: (lambda name=name: simbench_grid(name)) for name in SIMBENCH},  # type: ignore[misc]
    **{
        name: (lambda name=name: pandapower_grid(name))  # type: ignore[misc]
        for name in ("kerber_landnetz_freileitung_1", "kerber_dorfnetz", "kerber_vorstadtnetz_kabel_1")
    },
}

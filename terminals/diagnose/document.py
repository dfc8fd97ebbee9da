"""A diagnosis as a document that JSON knows, and its steps back from one: what an order brings from the collector, and what `--json` prints."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from protocols.quantity import quantities
from protocols.reading import Reads
from terminals.diagnose.diagnosis import Cause, Diagnosis, State, Step, Trip, Words
from terminals.diagnose.phasors import Phase, Phasors, Source


def document(diagnosis: Diagnosis) -> dict[str, Any]:
    """Everything, frames included; NaN is null."""
    return {
        "url": diagnosis.url,
        "protocol": diagnosis.protocol,
        "address": diagnosis.address,
        "clock_offset_seconds": diagnosis.clock_offset,
        "identity": {trait.key: trait.value for trait in diagnosis.traits},
        "values": _values(diagnosis.reads),
        "phasors": _phasors(diagnosis.phasors),
        "wiring": None if diagnosis.wiring is None else dataclasses.asdict(diagnosis.wiring),
        "status": [
            {
                "word": flag.word, "bit": flag.bit, "en": flag.name.en, "zh": flag.name.zh, "says": flag.says, "alarm": flag.alarm,
                "doubt": flag.doubt,
            }
            for flag in diagnosis.flags
        ],
        "battery_volts": diagnosis.battery,
        "relay": None if diagnosis.relay is None else _plain(dataclasses.asdict(diagnosis.relay)),
        "signal_dbm": diagnosis.signal,
        "steps": [_step(step) for step in diagnosis.steps],
        "notes": [dataclasses.asdict(note) for note in diagnosis.notes],
        "verdict_en": diagnosis.verdict.en,
        "verdict_zh": diagnosis.verdict.zh,
        "ok": diagnosis.ok,
    }  # fmt: skip


def without_frames(told: Mapping[str, Any]) -> dict[str, Any]:
    """The same with the number of round trips in their place."""
    return {**told, "steps": [{**step, "frames": len(step["frames"])} for step in told["steps"]]}


def steps_of(told: Mapping[str, Any]) -> tuple[Step, ...]:
    """The steps of a document with frames."""
    return tuple(
        Step(
            row["step"], State(row["state"]), Words(row["en"], row["zh"]), Cause(row["cause"]), row["seconds"],
            tuple(Trip(**trip) for trip in row["frames"]),
        )
        for row in told["steps"]
    )  # fmt: skip


def phasors_in(told: Mapping[str, Any]) -> Phasors | None:
    """The phasors of a document."""
    found = told["phasors"]
    if found is None:
        return None
    phases = tuple(_phase(row) for row in found["phases"])
    return Phasors(phases, tuple(found["voltage_lags"]), found["voltage_lags_measured"])


def _phase(row: Mapping[str, Any]) -> Phase:
    def number(key: str) -> float:
        return math.nan if row[key] is None else float(row[key])

    return Phase(
        row["name"], number("voltage"), number("current"), number("power"), number("reactive"), number("factor"), number("angle"),
        Source(row["source"]), row["doubt"],
    )  # fmt: skip


def notes_in(told: Mapping[str, Any]) -> tuple[Words, ...]:
    return tuple(Words(**note) for note in told["notes"])


def _step(step: Step) -> dict[str, Any]:
    return {
        "step": step.key,
        "state": step.state.value,
        "cause": step.cause.value,
        "en": step.detail.en,
        "zh": step.detail.zh,
        "seconds": round(step.seconds, 3),
        "frames": [dataclasses.asdict(trip) for trip in step.trips],
    }


def _values(reads: Reads | None) -> dict[str, Any]:
    """The newest of each quantity, registers as exact decimal text."""
    found: dict[str, Any] = {}
    if reads is None:
        return found
    for code, column in reads.columns.items():
        rows = np.flatnonzero(reads.valid(code))
        if not len(rows):
            continue
        quantity = quantities()[code]
        value: Any = column[rows[-1]]
        if quantity.kind == "register":
            value = f"{int(value) // 10_000}.{int(value) % 10_000:04d}"
        elif quantity.kind == "moment":
            value = f"{value.astype('datetime64[s]')}Z"
        else:
            value = round(float(value), 6)
        found[code] = {"value": value, "unit": quantity.unit, "obis": quantity.obis}
    return found


def _phasors(phasors: Phasors | None) -> dict[str, Any] | None:
    """Degrees; `angle` is how far the current lags its voltage."""
    if phasors is None:
        return None
    return {
        "phases": [
            _plain({**dataclasses.asdict(phase), "source": phase.source.value}) for phase in phasors.phases
        ],
        "voltage_lags": list(phasors.star),
        "voltage_lags_measured": phasors.measured,
    }


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    return {key: _number(value) for key, value in row.items()}


def _number(value: Any) -> Any:
    if isinstance(value, float):
        return None if math.isnan(value) else round(value, 6)
    return value

"""Prepaid: what is left, how sure that is, and what may be done about it.

    balance = ledger balance - charge since the last register that the ledger has settled

The charge since then is provisional: it has bounds where the curve has holes, and it is as old as the newest
reading. A warning goes by the likely figure. A cut-off is considered only when the figure most favourable to
the customer is below zero and the data are valid and fresh; every other gate (protection, calendar, caps,
second person) stands elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, IntFlag
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from protocols.reading import MISSING
from tariffs.charge import Problem
from tariffs.money import Ints, exact, from_fen
from tariffs.tou import Charge

#: A newest reading older than this supports no cut-off: one missed day freeze is already too much.
OLDEST: Final = np.timedelta64(24, "h")


class Decision(IntEnum):
    """What the balance alone suggests."""

    OK = 0
    WARN1 = 1
    WARN2 = 2
    #: a candidate for a cut-off, nothing more
    STOP = 3


class Doubt(IntFlag):
    """Why an account whose likely balance is below the limit is no candidate. Bits: several may hold."""

    NONE = 0
    #: no reading at all since the last settled register
    NO_READING = 1
    #: the readings under the balance did not pass validation
    INVALID = 2
    #: the newest reading is older than allowed
    STALE = 4
    #: at the bounds most favourable to the customer he still has money
    WITHIN_BOUNDS = 8


@dataclass(frozen=True, slots=True)
class Assessment:
    """One row per account. Balances int64[account] [1e-8 yuan], unrounded, MISSING where nothing can be said.

    low, likely, high  the balance lies in [low, high]; high is the most favourable to the customer
    valid              bool[account]: readings there, valid and not stale
    age                timedelta64[us][account]: of the newest reading; NaT without one
    decision           int8[account] Decision
    doubt              int8[account] bits of Doubt
    """

    low: Ints
    likely: Ints
    high: Ints
    valid: NDArray[np.bool_]
    age: NDArray[np.timedelta64]
    decision: NDArray[np.int8]
    doubt: NDArray[np.int8]

    @property
    def trip_candidates(self) -> NDArray[np.int64]:
        """Rows that a cut-off may be considered for."""
        return np.flatnonzero(self.decision == Decision.STOP)


def assess(
    ledger_fen: Ints,
    since: Charge,
    newest: NDArray[np.datetime64],
    readings_valid: NDArray[np.bool_],
    now: np.datetime64,
    *,
    warn1_fen: ArrayLike,
    warn2_fen: ArrayLike,
    stop_fen: ArrayLike = 0,
    oldest: np.timedelta64 = OLDEST,
) -> Assessment:
    """Running balances and what they suggest.

    ledger_fen           int64[account] [fen]: sum of the ledger
    since                charge since the last settled register, [account] [1e-8 yuan]; MISSING where unknown
    newest               datetime64[us][account] UTC: newest register under `since`; NaT without one
    readings_valid       bool[account]: every reading under the balance passed validation
    warn1_fen, warn2_fen thresholds [fen], scalar or [account]; warn2 is the lower, later one
    stop_fen             [fen]: a balance strictly below it may be stopped; negative for an agreed overdraft
    oldest               a newest reading older than this supports no cut-off; one from the future supports
                         none either
    """
    ledger = from_fen(ledger_fen)
    parts = [exact(side, "since") for side in (since.high, since.likely, since.low)]
    if (ledger == MISSING).any():
        raise ValueError("a ledger balance is a sum and never missing")
    unknown = (parts[0] == MISSING) | (parts[1] == MISSING) | (parts[2] == MISSING)
    low, likely, high = (
        np.asarray(np.where(unknown, MISSING, ledger - np.where(unknown, 0, part)), dtype=np.int64)
        for part in parts
    )
    newest = newest.astype("datetime64[us]")
    none = np.isnat(newest) | unknown
    age = now.astype("datetime64[us]") - newest
    # comparisons with NaT are False: those rows are `none`
    stale = ~none & ((age > oldest) | (age < np.timedelta64(0, "us")))
    invalid = ~np.asarray(readings_valid, dtype=np.bool_)
    valid = ~none & ~stale & ~invalid

    warn1, warn2, stop = (from_fen(level) for level in (warn1_fen, warn2_fen, stop_fen))
    # without readings the ledger itself is the best figure for a warning, never for more
    figure = np.where(unknown, ledger, likely)
    below = figure < stop
    certain = ~unknown & (high < stop)
    conditions = [valid & certain, below | (figure <= warn2), figure <= warn1]
    codes = [np.int8(code) for code in (Decision.STOP, Decision.WARN2, Decision.WARN1)]
    decision = np.select(conditions, codes, default=np.int8(Decision.OK)).astype(np.int8)
    doubt = (
        np.where(none, Doubt.NO_READING, 0)
        | np.where(invalid, Doubt.INVALID, 0)
        | np.where(stale, Doubt.STALE, 0)
        | np.where(~unknown & ~certain, Doubt.WITHIN_BOUNDS, 0)
    )
    doubt = np.where(below & (decision != Decision.STOP), doubt, 0)
    return Assessment(
        low, likely, high, np.asarray(valid, dtype=np.bool_), age, decision, np.asarray(doubt, dtype=np.int8)
    )


def exactly(charge: Ints) -> Charge:
    """A charge [account] [1e-8 yuan] that is known exactly, as bounds (from tariff registers instead of a
    curve).
    """
    charge = exact(charge, "charge")
    return Charge(charge, charge, charge)


def registers_valid(problem: NDArray[np.int8]) -> NDArray[np.bool_]:
    """bool[account]: charge.Problem bits that a cut-off may not rest on are all clear."""
    return np.asarray(problem == np.int8(Problem.NONE), dtype=np.bool_)

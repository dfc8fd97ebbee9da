"""One method a file: CODE, WORDS (en, zh), ANCHORED (only between two good registers) and `weights`: how the energy of a hole is shared
among its slots. The order is that of trust, the first that the data allow wins:

    freeze    the register itself, from the day freeze
    level     nothing flowed
    linear    up to two hours
    proxy     measured, by a meter that has proved to run with this one
    like-day  the meter's own habit
    profile   the neighbours' habit

Between two good registers every method's shares are scaled so that the estimates add up to the registers' difference exactly. With one
good register proxy and like-day go on from it by their own amounts, as long as no second one comes.
"""

from __future__ import annotations

from types import ModuleType
from typing import Final

from lineloss.vee.methods import freeze, level, likeday, linear, profile, proxy

#: every method name of ours begins so: what others estimated (in a file that was imported) is left alone
PREFIX: Final = "vee-"
#: number of a method -> module; numbers stand in Estimates.method
METHODS: Final[tuple[ModuleType, ...]] = (freeze, level, linear, proxy, likeday, profile)
#: code -> (en, zh)
WORDS: Final[dict[str, tuple[str, str]]] = {module.CODE: module.WORDS for module in METHODS}

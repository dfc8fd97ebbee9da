"""Data unit identifiers: DA DT <-> points pn and functions Fn.

DA1 has one bit for each of the eight points of group DA2 (1-255); DA1 = DA2 = 0 is p0, the terminal itself. DT1 has one bit
for each of the eight functions of group DT2 (0-30; provincial extensions use 31 too). One identifier may name up to 8 x 8 data
units; their data follow point by point, each with its functions ascending.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from protocols.errors import Misuse

SIZE: Final = 4
LAST_POINT: Final = 2040
LAST_FUNCTION: Final = 256
#: The 2013 edition: DA1 = FF, DA2 = 0 means all valid points.
ALL_POINTS: Final = b"\xff\x00"

#: byte -> the positions of its ones, 1-8.
_ONES: Final = tuple(tuple(k + 1 for k in range(8) if bits >> k & 1) for bits in range(256))


@dataclass(frozen=True, slots=True)
class Ident:
    """Four bytes DA1 DA2 DT1 DT2 as they stand, so that what came invalid can be shown and sent again."""

    raw: bytes

    @property
    def points(self) -> tuple[int, ...]:
        """pn ascending; () where DA is invalid or names all points."""
        bits, group = self.raw[0], self.raw[1]
        if group == 0:
            return (0,) if bits == 0 else ()
        return tuple((group - 1) * 8 + k for k in _ONES[bits])

    @property
    def functions(self) -> tuple[int, ...]:
        """Fn ascending; () where DT is invalid."""
        bits, group = self.raw[2], self.raw[3]
        return tuple(group * 8 + k for k in _ONES[bits]) if group <= 31 else ()

    @property
    def all_points(self) -> bool:
        return self.raw[:2] == ALL_POINTS

    @property
    def valid(self) -> bool:
        return is_ident(self.raw)

    def pairs(self) -> Iterator[tuple[int, int]]:
        """(point, function) in the order of their data."""
        return ((point, function) for point in self.points for function in self.functions)


def is_ident(raw: bytes) -> bool:
    """Whether four bytes name at least one point and one function."""
    if len(raw) != SIZE:
        return False
    da1, da2, dt1, dt2 = raw
    return bool(da1) == bool(da2) and dt1 != 0 and dt2 <= 31


def ident(points: Iterable[int], functions: Iterable[int]) -> Ident:
    """The one identifier of these points and functions. Misuse if they need more than one."""
    da = _pack(sorted(set(points)), LAST_POINT, "point", 1)
    dt = _pack(sorted(set(functions)), LAST_FUNCTION, "function", 0)
    return Ident(da + dt)


def _pack(numbers: list[int], last: int, name: str, base: int) -> bytes:
    if numbers == [0] and base:
        return b"\0\0"
    groups = {(number - 1) // 8 for number in numbers}
    if len(groups) != 1 or not 1 <= numbers[0] <= numbers[-1] <= last:
        raise Misuse(f"{name}: {numbers} are not 1-{last} within one group of eight")
    bits = sum(1 << (number - 1) % 8 for number in numbers)
    return bytes((bits, groups.pop() + base))


def idents(points: Iterable[int], functions: Iterable[int]) -> list[Ident]:
    """As many identifiers as these points and functions need: one for each pair of groups."""
    points, functions = sorted(set(points)), sorted(set(functions))
    by_point: dict[int, list[int]] = {}
    by_function: dict[int, list[int]] = {}
    for point in points:
        by_point.setdefault((point - 1) // 8 if point else -1, []).append(point)
    for function in functions:
        by_function.setdefault((function - 1) // 8, []).append(function)
    return [ident(some, what) for some in by_point.values() for what in by_function.values()]

"""Which rows of a split are wanted: arithmetic only."""

from __future__ import annotations

import random
from bisect import bisect_left
from collections.abc import Sequence

from finetuning.form.data import DataChoice


def rows_of_percentage(percentage: float, total: int) -> int:
    """Return how many rows ``split[0%:p%]`` of ``datasets`` has (its rule: to the closest, .5 to
    the even number)."""
    return min(total, round(percentage * total / 100.0))


def select(choice: DataChoice, total: int) -> Sequence[int]:
    """Return the wanted rows' positions, ascending, of a split with ``total`` rows."""
    count = rows_of_percentage(choice.percentage, total)
    if choice.max_rows is not None:
        count = min(count, choice.max_rows)
    if choice.take == "head":
        return range(count)
    return sorted(random.Random(choice.seed).sample(range(total), count))


def within(selected: Sequence[int], first: int, count: int) -> Sequence[int]:
    """Return the selected positions from ``first`` to ``first + count``, counted from ``first``."""
    begin, end = bisect_left(selected, first), bisect_left(selected, first + count)
    inside = selected[begin:end]
    if isinstance(inside, range):
        return range(inside.start - first, inside.stop - first)
    return [position - first for position in inside]

"""Which rows of a split are wanted: arithmetic only."""

from __future__ import annotations

import random
from bisect import bisect_left
from collections.abc import Sequence

from finetuning.errors import DataError
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


def part(choice: DataChoice, name: str, selected: Sequence[int]) -> Sequence[int]:
    """Return those of the wanted rows that are ``name``'s: all of a split, or its part of a cut.

    The rows are shuffled by ``choice.seed`` and dealt out in the order of the parts, so each is in
    exactly one of them, whatever is asked for first.

    Raises:
        DataError: a part would have no row.
    """
    cut = choice.cut
    if not cut.on:
        return selected
    sizes = cut.sizes(len(selected))
    empty = [one for one, size in sizes.items() if size < 1]
    if empty:
        raise DataError(
            f"Split '{cut.split}' is too small to cut: its {len(selected)} rows leave none for "
            f"{' and '.join(empty)}. Raise run.data.percentage or max_rows, or change the shares "
            "in run.data.cut."
        )
    order = list(selected)
    random.Random(choice.seed).shuffle(order)
    begin = 0
    for one, size in sizes.items():
        if one == name:
            return sorted(order[begin : begin + size])
        begin += size
    raise DataError(f"Split '{cut.split}' is cut into {', '.join(sizes)}; there is no '{name}'.")


def within(selected: Sequence[int], first: int, count: int) -> Sequence[int]:
    """Return the selected positions from ``first`` to ``first + count``, counted from ``first``."""
    begin, end = bisect_left(selected, first), bisect_left(selected, first + count)
    inside = selected[begin:end]
    if isinstance(inside, range):
        return range(inside.start - first, inside.stop - first)
    return [position - first for position in inside]

"""Rows of a suite that the training data holds too: word for word, or nearly.

Suites are small, so each training row is held against an index of the suites' runs of words, once,
in one pass over the file. What is measured is exact: the share of a row's runs of ``WORDS`` words
that one training conversation has, in whatever order and however much longer it is.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping

from finetuning.errors import SuiteError
from finetuning.evaluation.suites import Messages, Suite

#: Words in a run; a message shorter than that is compared whole.
WORDS = 5
#: Share of a row's runs in one training conversation from which on the row counts as seen.
NEAR = 0.8

_WORD = re.compile(r"\w+")


def leave_out_leaked(
    suites: list[Suite], training: Iterable[Messages], max_leaked: float
) -> list[Suite]:
    """Return the suites without the rows that the training data holds.

    Raises:
        SuiteError: more than ``max_leaked`` (a share) of a suite's rows are there.
    """
    leaked = find_leaked(suites, training)
    return [_without(suite, leaked, max_leaked) for suite in suites]


def _without(suite: Suite, leaked: Mapping[str, int], max_leaked: float) -> Suite:
    seen = [leaked[row.id] for row in suite.rows if row.id in leaked]
    if len(seen) > max_leaked * len(suite.rows):
        where = ", ".join(str(line) for line in sorted(seen)[:3])
        raise SuiteError(
            suite.name,
            f"is in the training data with {len(seen)} of its {len(suite.rows)} rows (first in "
            f"the training file's lines {where}).",
            "Remove them from one of the two, or raise run.evaluation.max_leaked.",
        )
    rows = [row for row in suite.rows if row.id not in leaked]
    if not rows:
        raise SuiteError(
            suite.name, "has no row left that is not in the training data.", "Bring others."
        )
    return suite.model_copy(update={"rows": rows, "leaked": len(seen)})


def find_leaked(suites: list[Suite], training: Iterable[Messages]) -> dict[str, int]:
    """Return which rows are in the training data: their ids, and the first line that has each."""
    runs: dict[str, int] = {}
    index: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for row in (row for suite in suites for row in suite.rows):
        texts = [one["content"] for one in row.messages]
        if row.reference is not None:
            texts.append(row.reference)
        own = set(_runs(texts))
        runs[row.id] = len(own)
        for run in own:
            index[run].add(row.id)
    found: dict[str, int] = {}
    for line, messages in enumerate(training, 1):
        shared = index.keys() & set(_runs(one["content"] for one in messages))
        counts = Counter(row for run in shared for row in index[run])
        for name, count in counts.items():
            if count >= NEAR * runs[name]:
                found.setdefault(name, line)
    return found


def _runs(texts: Iterable[str]) -> Iterator[tuple[str, ...]]:
    for text in texts:
        words = _WORD.findall(text.lower())
        if 0 < len(words) < WORDS:
            yield tuple(words)
        yield from zip(*(words[start:] for start in range(WORDS)), strict=False)

"""Scores of single answers, 0 to 1, by the libraries that the field knows.

``rouge_l``: the longest common subsequence's F-measure by rouge-score, whose words are ``a-z0-9``
only: for other scripts take ``chrf``. ``chrf``: character n-grams by sacrebleu. ``exact``: the same
words. ``check``: the row's own regex is found, or the answer is JSON of the row's schema.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from difflib import get_close_matches
from functools import lru_cache
from typing import Any

from finetuning.errors import SettingsError
from finetuning.evaluation.suites import Row


def score(metric: str, row: Row, answer: str) -> float:
    """Return the answer's score, 0 (an empty one's) to 1.

    Raises:
        SettingsError: there is no such metric; names the nearest.
    """
    if metric not in METRICS:
        near = get_close_matches(metric, METRICS, n=1)
        hint = f"Did you mean '{near[0]}'?" if near else f"There are: {', '.join(METRICS)}."
        raise SettingsError(f"There is no metric '{metric}'. {hint}")
    return METRICS[metric](row, answer) if answer.strip() else 0.0


def _rouge_l(row: Row, answer: str) -> float:
    return float(_rouge().score(row.reference or "", answer)["rougeL"].fmeasure)


@lru_cache
def _rouge() -> Any:
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(["rougeL"])


def _chrf(row: Row, answer: str) -> float:
    return float(_chrf_scorer().sentence_score(answer, [row.reference or ""]).score) / 100


@lru_cache
def _chrf_scorer() -> Any:
    from sacrebleu.metrics.chrf import CHRF

    return CHRF()


def _exact(row: Row, answer: str) -> float:
    return float(answer.split() == (row.reference or "").split())


def _check(row: Row, answer: str) -> float:
    if row.regex is not None:
        return float(re.search(row.regex, answer) is not None)
    return float(_is_json_of(row.json_schema or {}, answer))


def _is_json_of(schema: dict[str, Any], answer: str) -> bool:
    from jsonschema import Draft202012Validator

    try:
        found = json.loads(answer)
    except ValueError:
        return False
    return bool(Draft202012Validator(schema).is_valid(found))


METRICS: dict[str, Callable[[Row, str], float]] = {
    "rouge_l": _rouge_l,
    "chrf": _chrf,
    "exact": _exact,
    "check": _check,
}

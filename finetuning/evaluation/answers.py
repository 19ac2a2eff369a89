"""Answers of a model to a suite's rows: what was said, how long it took, what was wrong with it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict

from finetuning.evaluation.suites import Messages
from finetuning.form.verdict import Manner

#: Characters that a token has at the least in running text: a longer answer may have been cut.
CHARACTERS_PER_TOKEN = 3
#: What a finished answer may end with.
CLOSING = tuple(".!?…:;)]}>\"'`*|。！？”’")


class Answered(BaseModel):
    """One answer, and the seconds of the request that brought it."""

    model_config = ConfigDict(frozen=True)

    text: str
    seconds: float

    @property
    def empty(self) -> bool:
        """Whether nothing was said."""
        return not self.text.strip()

    def cut(self, max_new_tokens: int) -> bool:
        """Whether the answer seems to have been cut off at its longest.

        The service does not say. Taken for cut is what does not end as a sentence does and is as
        long as so many tokens are.
        """
        text = self.text.rstrip()
        return len(text) >= CHARACTERS_PER_TOKEN * max_new_tokens and not text.endswith(CLOSING)


#: A model's answers by the rows' ids.
Answers = Mapping[str, Answered]


def manner_of(answers: Sequence[Answered], max_new_tokens: int) -> Manner:
    """Return how these were answered; there must be one at least."""
    import numpy as np

    p50, p95 = np.percentile([one.seconds for one in answers], [50, 95])
    return Manner(
        answers=len(answers),
        empty=sum(one.empty for one in answers),
        cut=sum(one.cut(max_new_tokens) for one in answers),
        p50=float(p50),
        p95=float(p95),
    )


def answer_key(model: str, messages: Messages, sampling: Mapping[str, Any]) -> str:
    """Return under what an answer is kept: model version, question and parameters decide it."""
    asked = {"model": model.lower(), "messages": messages, "sampling": dict(sampling)}
    text = json.dumps(asked, sort_keys=True, ensure_ascii=False)
    return f"answer-{hashlib.sha256(text.encode()).hexdigest()}"

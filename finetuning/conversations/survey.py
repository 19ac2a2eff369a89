"""A look through conversations before they are trained on: schema, roles, lengths, secrets.

Counts and positions only: no content of a row leaves this module.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import dropwhile
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

#: Characters of English text that make one token, near enough for an estimate.
CHARACTERS_PER_TOKEN = 4


#: Tokens that a chat template adds to each message.
TOKENS_PER_MESSAGE = 5


#: How many bad rows are named one by one.
NAMED = 3


#: Who may set the scene before the first question, and who speaks in turn.
SETTING = ("system", "developer")
SPEAKING = ("user", "assistant")
ROLES = (*SETTING, *SPEAKING)


SECRETS = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----"
    r"|\bAKIA[0-9A-Z]{16}\b"
    r"|\bgh[pousr]_[A-Za-z0-9]{36,}"
    r"|\bsk-[A-Za-z0-9_-]{20,}"
    r"|\bxox[abprs]-[A-Za-z0-9-]{10,}"
    r"|\bhf_[A-Za-z0-9]{30,}"
    r"|\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}"
    r"|(?:AccountKey|SharedAccessKey|sig)=[A-Za-z0-9+/%]{30,}"
    r"|(?i:\b(?:password|passwd|secret|api[_-]?key)\b\s*[:=]\s*['\"]?[^\s'\"]{8,})"
)


#: One of these is in every text that the pattern finds: looking for them first is 20 times as fast.
MARKS = (
    *("-----BEGIN ", "AKIA", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "sk-", "xox", "hf_", "eyJ"),
    *("AccountKey=", "SharedAccessKey=", "sig="),
)


FOLDED_MARKS = ("password", "passwd", "secret", "apikey", "api_key", "api-key")


def has_secret(text: str) -> bool:
    """Return whether something in the text looks like a credential."""
    if not any(mark in text for mark in MARKS):
        folded = text.casefold()
        if not any(mark in folded for mark in FOLDED_MARKS):
            return False
    return SECRETS.search(text) is not None


class Survey(BaseModel):
    """What was seen in the rows of one split. Positions count from 1."""

    model_config = ConfigDict(frozen=True)

    rows: int = 0
    tokens: int = 0
    longest: int = 0
    malformed: int = 0
    malformed_first: list[str] = Field(default_factory=list)
    empty: int = 0
    not_alternating: int = 0
    over_long: int = 0
    secrets: int = 0
    fingerprints: frozenset[str] = frozenset()

    @property
    def tokens_per_row(self) -> float:
        """Return the mean length of a row, in estimated tokens."""
        return self.tokens / self.rows if self.rows else 0.0


def survey(rows: Iterable[Mapping[str, Any] | str], max_seq_length: int | None = None) -> Survey:
    """Look at every row once. ``max_seq_length`` in tokens; None or less than 1: no limit.

    A row that could not even be read is given as a text that says why.
    """
    seen = _Seen(max_seq_length if max_seq_length and max_seq_length > 0 else None)
    for position, row in enumerate(rows, 1):
        seen.look(position, row)
    return seen.result()


def read_lines(lines: Iterable[bytes]) -> Iterator[Mapping[str, Any] | str]:
    """Return the rows of a JSON Lines file, one at a time; a broken line as what is wrong."""
    for line in lines:
        try:
            row = json.loads(line)
        except ValueError as error:
            yield f"not JSON ({' '.join(str(error).split())[:80]})"
            continue
        yield row if isinstance(row, dict) else "not a JSON object"


def fault_of(row: Mapping[str, Any]) -> str | None:
    """Return what is wrong with a row's form, naming the field, or None."""
    if not isinstance(row.get("prompt"), str):
        return "field 'prompt' is not text"
    if not isinstance(row.get("prompt_id"), str):
        return "field 'prompt_id' is not text"
    messages = row.get("messages")
    if not isinstance(messages, list | tuple):
        return "field 'messages' is not a list"
    for index, message in enumerate(messages):
        if not isinstance(message, Mapping) or not isinstance(message.get("content"), str):
            return f"field 'messages[{index}].content' is not text"
        if not isinstance(message.get("thinking"), str | None):
            return f"field 'messages[{index}].thinking' is not text"
        if message.get("role") not in ROLES:
            return f"field 'messages[{index}].role' is not one of {', '.join(ROLES)}"
    return None


def tokens_of(messages: Iterable[Mapping[str, Any]]) -> int:
    """Return the estimated tokens of a conversation."""
    return sum(
        sum(map(len, _texts(message))) // CHARACTERS_PER_TOKEN + TOKENS_PER_MESSAGE
        for message in messages
    )


class _Seen:
    def __init__(self, limit: int | None) -> None:
        self.limit = limit
        self.counts: Counter[str] = Counter()
        self.first: list[str] = []
        self.prints: set[str] = set()

    def look(self, position: int, row: Mapping[str, Any] | str) -> None:
        self.counts["rows"] += 1
        fault = row if isinstance(row, str) else fault_of(row)
        if fault is None and not isinstance(row, str):
            self._measure(list(row["messages"]))
            return
        self.counts["malformed"] += 1
        if len(self.first) < NAMED:
            self.first.append(f"row {position}: {fault}")

    def _measure(self, messages: list[Mapping[str, Any]]) -> None:
        text = "\n".join(text for message in messages for text in _texts(message))
        tokens = tokens_of(messages)
        self.counts["tokens"] += min(tokens, self.limit or tokens)
        self.counts["longest"] = max(self.counts["longest"], tokens)
        self.counts["empty"] += not all(message["content"].strip() for message in messages)
        self.counts["empty"] += not messages
        self.counts["not_alternating"] += not _alternates(messages)
        self.counts["over_long"] += self.limit is not None and tokens > self.limit
        self.counts["secrets"] += has_secret(text)
        self.prints.add(hashlib.blake2b(text.encode(), digest_size=12).hexdigest())

    def result(self) -> Survey:
        return Survey(
            **self.counts, malformed_first=self.first, fingerprints=frozenset(self.prints)
        )


def _alternates(messages: list[Mapping[str, Any]]) -> bool:
    spoken = list(dropwhile(lambda message: message["role"] in SETTING, messages))
    return all(message["role"] == SPEAKING[turn % 2] for turn, message in enumerate(spoken))


def _texts(message: Mapping[str, Any]) -> list[str]:
    """Return what a message holds: its content, and its reasoning where there is one."""
    return [message["content"], *filter(None, [message.get("thinking")])]

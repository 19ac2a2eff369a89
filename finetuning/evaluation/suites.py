"""Suites: conversations to ask, each with a reference or a check, and how answers are scored.

A suite is a JSON Lines file. A row is ``{"messages": [{"role", "content"}, ...]}`` and one of:
``"reference"``, a text; ``"check"``, which is ``{"regex": pattern}`` or ``{"json": JSON schema}``;
or neither, where the last assistant's message is the reference and what precedes it is asked.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from finetuning.conversations.turns import split_turns
from finetuning.errors import SuiteError
from finetuning.form.evaluation import OWN, OwnSuite, SuiteRules

Messages = list[dict[str, str]]

#: The small suite that comes along: what a chat model must not forget.
SHIPPED = Path(__file__).with_name("general.jsonl")
#: More would not fit in a plan, and takes an endpoint hours.
MOST_ROWS = 2000
ROLES = ("system", "user", "assistant")
#: How many bad rows are named one by one.
NAMED = 3
FORM = (
    'A row is {"messages": [{"role", "content"}]} with a "reference", a "check" '
    '({"regex": ...} or {"json": schema}), or an assistant\'s message at its end.'
)


class Row(BaseModel):
    """One question: what is asked, and what a good answer is."""

    model_config = ConfigDict(frozen=True)

    id: str
    messages: Messages
    reference: str | None = None
    regex: str | None = None
    json_schema: dict[str, Any] | None = None

    @property
    def question(self) -> str:
        """Return the last message that is asked."""
        return self.messages[-1]["content"]

    @property
    def wanted(self) -> str:
        """Return what a good answer is, for people."""
        if self.reference is not None:
            return self.reference
        return f"matches {self.regex}" if self.regex else f"JSON: {json.dumps(self.json_schema)}"


class Suite(BaseModel):
    """Rows, and the rules by which their scores decide. ``leaked``: rows left out as seen."""

    model_config = ConfigDict(frozen=True)

    name: str
    rules: SuiteRules
    rows: list[Row]
    leaked: int = Field(0, ge=0)

    @property
    def digest(self) -> str:
        """Return what names the suite's content and rules: 16 hex digits."""
        text = self.model_dump_json(exclude={"leaked"})
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def read_suite(name: str, lines: Iterable[str], rules: SuiteRules) -> Suite:
    """Return the suite that JSON Lines describe; blank lines are passed over.

    Raises:
        SuiteError: it is empty or too long, or rows are broken or do not go with its metric; names
            the first ones by their lines.
    """
    rows: dict[str, Row] = {}
    faults: list[str] = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = _row(line, rules.metric)
            if row.id in rows:
                raise ValueError(f"asks the same as {rows[row.id].question[:40]!r} before")
            rows[row.id] = row
        except ValueError as error:
            faults.append(f"line {number}: {error}")
    if faults:
        more = f" (and {len(faults) - NAMED} more)" if len(faults) > NAMED else ""
        raise SuiteError(name, f"has broken rows: {'; '.join(faults[:NAMED])}{more}.", FORM)
    return _whole(name, rules, list(rows.values()))


def own_suite(conversations: Iterable[Messages], rules: OwnSuite) -> Suite:
    """Return the suite ``own`` of conversations of the dataset; those without an answer are left.

    Raises:
        SuiteError: none of them has one.
    """
    rows: dict[str, Row] = {}
    for messages in conversations:
        asked, reference = split_turns(messages)
        if reference.strip():
            row = Row(id=_id(asked), messages=asked, reference=reference)
            rows[row.id] = row
    return _whole(OWN, rules, list(rows.values()))


def _whole(name: str, rules: SuiteRules, rows: list[Row]) -> Suite:
    if not rows:
        remedy = "Add rows, or remove it from run.evaluation."
        raise SuiteError(name, "has no rows to ask.", remedy)
    if len(rows) > MOST_ROWS:
        raise SuiteError(name, f"has {len(rows)} rows.", f"Choose at most {MOST_ROWS} of them.")
    return Suite(name=name, rules=rules, rows=rows)


def _row(line: str, metric: str) -> Row:
    """Return a row; ValueError says in a sentence what is wrong with it."""
    try:
        found = json.loads(line)
    except ValueError as error:
        raise ValueError(f"it is not JSON ({error})") from None
    if not isinstance(found, dict):
        raise ValueError("it is not a JSON object")
    messages = _messages(found.get("messages"))
    if metric == "check":
        return Row(id=_id(messages), messages=_asked(messages), **_check(found.get("check")))
    reference = found.get("reference")
    if reference is None:
        messages, reference = split_turns(messages)
    if not isinstance(reference, str) or not reference.strip():
        raise ValueError(f"it has no reference, which the metric '{metric}' needs")
    return Row(id=_id(messages), messages=_asked(messages), reference=reference)


def _asked(messages: Messages) -> Messages:
    if messages[-1]["role"] != "user":
        raise ValueError("the question does not end with a user's message")
    return messages


def _messages(found: Any) -> Messages:
    if not isinstance(found, list) or not found:
        raise ValueError("'messages' is not a list of messages")
    for place, one in enumerate(found):
        if not isinstance(one, dict) or not isinstance(one.get("content"), str):
            raise ValueError(f"'messages[{place}].content' is not text")
        if one.get("role") not in ROLES:
            raise ValueError(f"'messages[{place}].role' is not one of {', '.join(ROLES)}")
    return [{"role": one["role"], "content": one["content"]} for one in found]


def _check(found: Any) -> Mapping[str, Any]:
    if not isinstance(found, dict) or len(found) != 1 or not set(found) <= {"regex", "json"}:
        raise ValueError('it has no \'check\' of one "regex" or "json", which the metric needs')
    if "json" in found:
        return {"json_schema": _schema(found["json"])}
    try:
        re.compile(found["regex"])
    except (re.error, TypeError) as error:
        raise ValueError(f"its regex is not valid ({error})") from None
    return {"regex": found["regex"]}


def _schema(found: Any) -> dict[str, Any]:
    from jsonschema import Draft202012Validator, SchemaError

    try:
        Draft202012Validator.check_schema(found)
    except SchemaError as error:
        raise ValueError(f"its JSON schema is not valid ({error.message})") from None
    if not isinstance(found, dict):
        raise ValueError("its JSON schema is not an object")
    return found


def _id(messages: Messages) -> str:
    """Return a row's name: it follows from what is asked, so the same question has the same one."""
    text = json.dumps(messages, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]

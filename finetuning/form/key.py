"""What a run's key stands for: the parameters that make its job, written on the job as tags.

No database is asked: the job itself says what it was made from. Each part of the form has a tag
with its values as JSON, or with their hash where that is longer than Azure allows a tag's value.
What does not make the job is left out: waits, budget, questions, endpoint and the making of a
cluster may differ from one try to the next.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from finetuning.form.run import FineTune

#: Begins the names of the tags that hold the form's parts.
ASKED = "finetune.run."
#: Azure's limit for a tag's value.
LONGEST = 256
HASHED = "sha256:"

#: Parts of the form that make the job, and of the cluster what the job sees of it.
PARTS: dict[str, Any] = {
    "recipe": True,
    "model": {"name", "registry", "version", "label"},
    "compute": {"name", "size", "candidates", "steps"},
    "data": True,
    "parameters": True,
    "experiment": True,
    "registered_name": True,
}


def asked_tags(run: FineTune) -> dict[str, str]:
    """Return the tags that say what the run's key stands for."""
    values = run.model_dump(mode="json", include=PARTS)
    values["data"].pop("refresh")
    if not run.data.cut.on:
        values["data"]["cut"] = {}
    for part in ("files", "columns", "filters", "cut"):  # with them it would not fit in a tag
        values[f"data.{part}"] = values["data"].pop(part)
    return {f"{ASKED}{part}": _written(value) for part, value in values.items()}


def _written(value: Any) -> str:
    text = json.dumps(_set(value), sort_keys=True, separators=(",", ":"))
    if len(text) <= LONGEST:
        return text
    return HASHED + hashlib.sha256(text.encode()).hexdigest()


def _set(value: Any) -> Any:
    """Return the value without what is empty: most of the form, which would make it too long."""
    if not isinstance(value, dict):
        return value
    kept = {name: _set(one) for name, one in value.items()}
    return {name: one for name, one in kept.items() if one not in (None, "", {}, [])}


def says_what_it_stands_for(tags: Mapping[str, str] | None) -> bool:
    """Return whether a job's tags hold its parameters; those of version 0.1.0 do not."""
    return any(name.startswith(ASKED) for name in tags or {})


def differences(asked: Mapping[str, str], tags: Mapping[str, str] | None) -> dict[str, str]:
    """Return in which fields (``run.model.name``) a run differs from what a job's tags say.

    The text says how. Nothing, where the tags say nothing.
    """
    if not says_what_it_stands_for(tags):
        return {}
    found: dict[str, str] = {}
    for name, wanted in asked.items():
        had = (tags or {}).get(name, "null")
        if had != wanted:
            found.update(_compared(f"run.{name.removeprefix(ASKED)}", had, wanted))
    return found


def _compared(field: str, had: str, wanted: str) -> dict[str, str]:
    try:
        before, now = json.loads(had), json.loads(wanted)
    except ValueError:  # one of them is a hash, or no text of ours
        return {field: "another"}
    if not (isinstance(before, dict) and isinstance(now, dict)):
        return {field: f"{had} then, {wanted} now"}
    return {
        f"{field}.{name}": f"{_shown(before, name)} then, {_shown(now, name)} now"
        for name in sorted({*before, *now})
        if before.get(name) != now.get(name)
    }


def _shown(values: dict[str, Any], name: str) -> str:
    return json.dumps(values[name]) if name in values else "empty"

"""What a run's identity must be allowed to do, held against what Azure says it may."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any

from finetuning.form.run import FineTune

_WORKSPACES = "Microsoft.MachineLearningServices/workspaces"


def needed_rights(run: FineTune) -> dict[str, str]:
    """Return the actions that a run takes, each with its purpose in words."""
    needed = {
        f"{_WORKSPACES}/jobs/write": "submit jobs",
        f"{_WORKSPACES}/data/versions/write": "register data",
        f"{_WORKSPACES}/models/versions/write": "register models",
        f"{_WORKSPACES}/onlineEndpoints/write": "create endpoints",
        f"{_WORKSPACES}/onlineEndpoints/deployments/write": "create deployments",
        f"{_WORKSPACES}/onlineEndpoints/delete": "delete endpoints",
    }
    if run.compute.may_create:
        needed[f"{_WORKSPACES}/computes/write"] = "create clusters"
    return needed


def missing_rights(
    entries: Iterable[Mapping[str, Any]], needed: Mapping[str, str]
) -> list[tuple[str, str]]:
    """Return the needed actions, with their purposes, that no entry allows.

    An entry allows what matches one of its ``actions`` and none of its ``notActions``.
    """
    roles = list(entries)
    return [
        (action, purpose)
        for action, purpose in needed.items()
        if not any(_allows(role, action) for role in roles)
    ]


def _allows(role: Mapping[str, Any], action: str) -> bool:
    return _matches(role.get("actions"), action) and not _matches(role.get("notActions"), action)


def _matches(patterns: Any, action: str) -> bool:
    return any(fnmatchcase(action.lower(), str(one).lower()) for one in patterns or [])

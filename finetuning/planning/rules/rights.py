"""What a run's identity must be allowed to do, held against what Azure says it may.

One table of every action that the code can call. The gate's list, the roles in ``docs/`` and the
table in ``docs/azure.md`` follow from it (``finetuning/planning/roles.py``); a test holds it
against the requests of a whole run. Spelling and meaning: MicrosoftDocs/azure-docs,
``articles/role-based-access-control/permissions/ai-machine-learning.md``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Literal, NamedTuple

from finetuning.form.run import FineTune

_SERVICE = "Microsoft.MachineLearningServices"

#: Where an action must be allowed: sizes, usages and the states of operations belong to the
#: subscription's regions and are refused to a role that is assigned on the workspace.
Scope = Literal["workspace", "subscription"]

#: When an action is taken: in every run, where the run may create a cluster, to end or explain a
#: run that fails, by Azure on behalf of who submits a job.
When = Literal["always", "creates a cluster", "something fails", "Azure asks"]


class Right(NamedTuple):
    """One action: why it is taken, at which scope, when.

    ``proven``: another gate takes it itself, so that its own refusal says more than a list.
    """

    action: str
    purpose: str
    scope: Scope = "workspace"
    when: When = "always"
    proven: bool = False


def _workspace(action: str, purpose: str, when: When = "always", *, proven: bool = False) -> Right:
    return Right(f"{_SERVICE}/workspaces/{action}", purpose, "workspace", when, proven)


def _region(action: str, purpose: str) -> Right:
    return Right(f"{_SERVICE}/locations/{action}", purpose, "subscription", proven=True)


RIGHTS: tuple[Right, ...] = (
    _workspace("read", "find the workspace", proven=True),
    Right("Microsoft.Authorization/permissions/read", "ask what it may do", proven=True),
    _workspace("computes/read", "look at clusters", proven=True),
    _workspace("computes/write", "create clusters", "creates a cluster"),
    _workspace("computes/delete", "delete a cluster that failed", "creates a cluster"),
    _workspace("datastores/read", "find the workspace's storage"),
    _workspace("datastores/listsecrets/action", "write to the workspace's storage"),
    _workspace("data/versions/read", "find registered data"),
    _workspace("data/versions/write", "register data"),
    _workspace("jobs/read", "follow jobs"),
    _workspace("jobs/write", "submit jobs"),
    _workspace("jobs/cancel/action", "cancel jobs", "something fails"),
    _workspace("experiments/read", "find a job's metrics"),
    _workspace("experiments/runs/read", "read a job's steps and metrics"),
    _workspace("models/versions/read", "find registered models"),
    _workspace("models/versions/write", "register models"),
    _workspace("onlineEndpoints/read", "look at endpoints", proven=True),
    _workspace("onlineEndpoints/write", "create endpoints"),
    _workspace("onlineEndpoints/delete", "delete endpoints"),
    _workspace("onlineEndpoints/listKeys/action", "ask an endpoint"),
    _workspace("onlineEndpoints/deployments/read", "look at deployments"),
    _workspace("onlineEndpoints/deployments/write", "create deployments"),
    _workspace("onlineEndpoints/deployments/delete", "delete deployments", "something fails"),
    _workspace(
        "onlineEndpoints/deployments/getLogs/action", "read a deployment's log", "something fails"
    ),
    # MicrosoftDocs, how-to-assign-roles, "Submitting any type of run (V2)"
    _workspace("environments/write", "have a job's environment registered", "Azure asks"),
    _workspace("environments/build/action", "have a job's environment built", "Azure asks"),
    _workspace("environments/readSecrets/action", "have an environment's image read", "Azure asks"),
    _workspace("metadata/artifacts/write", "have a job's files kept", "Azure asks"),
    _region("vmSizes/read", "read the region's sizes"),
    _region("usages/read", "read the region's quota"),
    _region("mfeOperationsStatus/read", "follow an endpoint's or a deployment's operation"),
    _region("mfeOperationResults/read", "follow a cancellation or a deletion"),
    _region("computeoperationsstatus/read", "follow a cluster's creation"),
)


def needed_rights(run: FineTune) -> dict[str, str]:
    """Return the actions in the workspace that a run takes, each with its purpose in words.

    What stops spending is among them, though a good run never takes it. Those that another gate
    takes itself are not, nor those of the subscription, which Azure lists for no workspace.
    """
    creates = run.compute.may_create and run.compute.uses_cluster
    return {
        right.action: right.purpose
        for right in RIGHTS
        if right.scope == "workspace"
        and not right.proven
        and right.when != "Azure asks"
        and (creates or right.when != "creates a cluster")
    }


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
    return any(_pattern(str(one)).fullmatch(action) for one in patterns or [])


def _pattern(text: str) -> re.Pattern[str]:
    """Return a role's pattern: a star between slashes may stand for nothing at all.

    So AzureML Data Scientist, whose ``notActions`` name ``computes/*/write``, cannot create a
    cluster, which takes ``computes/write`` (MicrosoftDocs, how-to-assign-roles).
    """
    parts = [re.escape(part).replace(r"\*", ".*") for part in text.split("/*/")]
    return re.compile("/(?:.*/)?".join(parts), re.IGNORECASE)

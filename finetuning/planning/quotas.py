"""What a region allows, matched to the families of its sizes, and what a deployment reserves of it.

A size names its family by an id (``standardNDSv2Family``), a usage in words ("Standard NDv2 Family
Cluster Dedicated vCPUs"): azure-rest-api-specs, machinelearningservices, stable/2024-04-01,
``examples/Usage/list.json`` and ``examples/VirtualMachineSize/list.json``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from finetuning.planning.facts import Quota

DEDICATED = re.compile(r"(.*?)\s*cluster dedicated vcpus", re.IGNORECASE)
TOTAL = "total cluster dedicated regional vcpus"
LOW_PRIORITY = "total cluster lowpriority regional vcpus"
#: GPU families are listed with and without this S: "Standard NDv2 Family" in Microsoft's examples,
#: "Standard NCSv3 Family" in the studio.
STORAGE = re.compile(r"^(n[cdv])s(?=v\d|$)")
#: Deployments reserve a fifth more than their instances, so that Azure can upgrade them
#: (MicrosoftDocs, how-to-manage-quotas, "Virtual machine quota allocation for deployment").
RESERVE_PERCENT = 120
#: Families without that reserve: column "Skip 20% Reservation" of MicrosoftDocs'
#: reference-managed-online-endpoints-vm-sku-list.
WITHOUT_RESERVE = (
    "standardNCADSA100v4Family",
    "standardNCADSH100v5Family",
    "standardNDAMSv4_A100Family",
    "standardNDASv4_A100Family",
    "standardNDSv2Family",
    "standardNDv5H100Family",
)


def quota_of(quotas: Mapping[str, Quota], family: str) -> Quota | None:
    """Return a family's quota; None where Azure lists none that can be its own."""
    wanted = family_key(family)
    by_key = {family_key(name): quota for name, quota in quotas.items()}
    loosely = {_without_storage(key): quota for key, quota in by_key.items()}
    return by_key.get(wanted) or loosely.get(_without_storage(wanted))


def family_key(name: str) -> str:
    """Return what a family's id and its name in words have in common: ``ncadsa100v4``."""
    listed = DEDICATED.fullmatch(name)
    bare = (listed[1] if listed else name).lower()
    return re.sub(r"standard|family|[\s_]", "", bare)


def _without_storage(key: str) -> str:
    return STORAGE.sub(r"\1", key)


def read_usages(usages: Iterable[Mapping[str, Any]]) -> dict[str, Quota]:
    """Return the subscription's own rows by their names in lower case.

    ``usages``: ``{id, currentValue, limit, name: {value, localizedValue}}``. Workspaces and
    clusters have rows of the same names; those, and rows with no limit (-1), are left out.
    """
    quotas: dict[str, Quota] = {}
    for usage in usages:
        limit = usage.get("limit")
        inner = "/workspaces/" in str(usage.get("id") or "").lower()
        if limit is not None and limit >= 0 and not inner:
            quota = Quota(used=int(usage.get("currentValue") or 0), limit=int(limit))
            quotas.setdefault(_name(usage).lower(), quota)
    return quotas


def _name(usage: Mapping[str, Any]) -> str:
    name = usage.get("name") or {}
    return str(name.get("value") or "") if isinstance(name, Mapping) else str(name)


def reserved_instances(family: str, count: int) -> int:
    """Return for how many instances a deployment of ``count`` needs quota."""
    exempt = {family_key(one) for one in WITHOUT_RESERVE}
    percent = 100 if family_key(family) in exempt else RESERVE_PERCENT
    return math.ceil(percent * count / 100)

"""Whether the endpoint can be made: its name, its instance type, its quota."""

from __future__ import annotations

from finetuning.planning.facts import ComputeFacts, EndpointFacts, NodeSize
from finetuning.planning.findings import Report
from finetuning.planning.model_card import ModelCard
from finetuning.planning.plan import Serving
from finetuning.planning.quotas import quota_of, reserved_instances
from finetuning.planning.rules.compute import SizeRule, check_minimum, note_unmatched

PARAMETER = "run.endpoint.instance_type"
SERVED = SizeRule("serving", PARAMETER)


def check_endpoint(
    serving: Serving,
    key: str,
    found: EndpointFacts,
    facts: ComputeFacts,
    card: ModelCard,
    report: Report,
) -> None:
    """Say what speaks against the endpoint of the run with ``key``."""
    choice = serving.choice
    _check_name(serving.endpoint, key, found, report)
    size = SERVED.check(choice.instance_type, card.inference_sizes, facts, report)
    if size is not None:
        if card.inference_minimum is not None:
            check_minimum(size, card.inference_minimum, SERVED, report)
        _check_quota(size, choice.instance_count, facts, report)
    if choice.keep:
        report.warn(
            f"Endpoint '{serving.endpoint}' stays after the run. You pay for it for up to "
            f"{choice.keep_hours:g} hours, counted from its deployment.",
            "Delete it when you are done. The reaper deletes it when it expires.",
        )


def _check_name(name: str, key: str, found: EndpointFacts, report: Report) -> None:
    if not found.taken:
        return
    if found.run_key == key:
        report.note(
            f"Endpoint '{name}' was created by an earlier attempt of this run. It is used again."
        )
        return
    owner = f"run {found.run_key}" if found.run_key else "someone else"
    report.error(
        f"Endpoint '{name}' already exists and belongs to {owner}.",
        "Choose another run.endpoint.name, or leave it empty.",
    )


def _check_quota(size: NodeSize, count: int, facts: ComputeFacts, report: Report) -> None:
    """Hold what Azure would reserve against the quota, with the arithmetic."""
    if not facts.quotas:
        return
    quota = quota_of(facts.quotas, size.family)
    if quota is None:
        note_unmatched(size, report)
        return
    reserved = reserved_instances(size.family, count)
    needed = size.vcpus * reserved
    need = f"{count} x {size.name} need {needed} vCPUs"
    if reserved > count:
        sum_ = f"ceil(1.2 x {count}) = {reserved} instances x {size.vcpus}"
        need = f"{need} of quota ({sum_}: Azure reserves 20 % for upgrades)"
    if needed > quota.limit:
        report.error(
            f"{need}; the quota of {size.family} is {quota.limit}.",
            f"Request more quota, or choose another {PARAMETER}.",
        )
    elif needed > quota.free:
        report.warn(
            f"{need}; {quota.used} of {quota.limit} of {size.family} are in use.",
            "The deployment may be refused. Free some quota, or choose another size.",
        )

"""Whether the endpoint can be made: its name, its instance type, its quota."""

from __future__ import annotations

from finetuning.planning.facts import ComputeFacts, EndpointFacts, NodeSize
from finetuning.planning.findings import Report
from finetuning.planning.model_card import ModelCard
from finetuning.planning.plan import Serving
from finetuning.planning.rules.compute import SizeRule, check_minimum

PARAMETER = "run.endpoint.instance_type"
SERVED = SizeRule("served", "serving", PARAMETER)


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
            f"Endpoint '{serving.endpoint}' is kept after the run and bills for up to "
            f"{choice.keep_hours:g} hours, counted from its deployment.",
            "Delete it when you are done; the reaper does so at its expiry.",
        )


def _check_name(name: str, key: str, found: EndpointFacts, report: Report) -> None:
    if not found.taken:
        return
    if found.run_key == key:
        report.note(f"Endpoint '{name}' is this run's own from an earlier try; it is adopted.")
        return
    owner = f"run {found.run_key}" if found.run_key else "somebody else"
    report.error(
        f"Endpoint '{name}' is there already and belongs to {owner}.",
        "Choose another run.endpoint.name, or leave it empty to have one derived from the run.",
    )


def _check_quota(size: NodeSize, count: int, facts: ComputeFacts, report: Report) -> None:
    quota = facts.quotas.get(size.family.lower())
    needed = size.vcpus * count
    if quota is not None and needed > quota.limit:
        report.error(
            f"{count} x {size.name} need {needed} vCPUs; the quota of {size.family} "
            f"is {quota.limit}.",
            f"Ask for quota, or choose another {PARAMETER}.",
        )
    elif quota is not None and needed > quota.free:
        report.warn(
            f"{count} x {size.name} need {needed} vCPUs; {quota.used} of {quota.limit} of "
            f"{size.family} are in use.",
            "The deployment may be refused; free some, or choose another size.",
        )

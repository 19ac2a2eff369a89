"""Plans without an Azure that they were settled against."""

from __future__ import annotations

from typing import Any

from finetuning.azure import naming
from finetuning.form.key import asked_tags
from finetuning.form.results import Foundation
from finetuning.form.run import FineTune
from finetuning.planning.plan import (
    ComputePlan,
    JobPlan,
    Plan,
    RecoveryPlan,
    Registration,
    Serving,
)
from finetuning.planning.prices import Nodes
from finetuning.training.causes import ACCUMULATION, RESUME, ROWS
from tests.support.runs import names

MODEL = Foundation(name="Phi-4", version="8", id="azureml://a-model")


def plan_of(run: FineTune, **job: Any) -> Plan:
    """Return a plan of the run; ``job`` are fields of its job that matter to a test."""
    key, made = naming.run_key("", run.key), names(run)
    serving = Nodes(size=run.endpoint.instance_type, count=run.endpoint.instance_count)
    fields: dict[str, Any] = {
        "name": made.job,
        "display_name": "of a test",
        "experiment": "of-a-test",
        "component": "0.0.82",
        "model": MODEL,
        "parameters": {"apply_lora": "true"},
        "nodes": Nodes(size=run.compute.size),
        "gpus_per_node": 1,
        "rows_per_step": 1,
        "asked": asked_tags(run),
    }
    return Plan(
        recipe=run.recipe,
        data=run.data,
        compute=ComputePlan(choice=run.compute, allowed=None),
        job=JobPlan.model_validate(fields | job),
        registration=Registration(
            name=naming.registered_model_name(run.model.name, run.data.title),
            version=naming.model_version(key),
        ),
        serving=Serving(endpoint=made.endpoint, choice=run.endpoint, nodes=serving),
        test=run.test,
        waiting=run.waiting,
        stop_when=run.stop_when,
        hopeless=run.hopeless,
        recovery=RecoveryPlan(choice=run.recovery, declared=[RESUME, ROWS, ACCUMULATION]),
        estimate=None,
        budget=run.limit,
        default_budget=run.budget is None,
    )

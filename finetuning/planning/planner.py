"""From the gates' facts to a plan: pure, so that any report can be made again from its facts."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from finetuning.azure import naming
from finetuning.form.run import FineTune
from finetuning.planning.facts import (
    ComputeFacts,
    Facts,
    ModelFacts,
)
from finetuning.planning.findings import Finding, Report, by_weight, errors
from finetuning.planning.parameters import Settled, settle
from finetuning.planning.plan import Created, Names, Plan, PlanReport
from finetuning.planning.prices import Estimate, Nodes, Prices, Work, estimate
from finetuning.planning.rules.compute import check_compute, training_nodes
from finetuning.planning.rules.data import check_data
from finetuning.planning.rules.endpoint import check_endpoint
from finetuning.planning.rules.money import check_money

#: The splits that the job trains on, is evaluated with, and that the endpoint is asked about.
TRAIN, TEST, ASKED = "train_sft", "test_sft", "test_gen"


class Settlement(BaseModel):
    """What follows from run and facts, before anything is judged."""

    model_config = ConfigDict(frozen=True)

    settled: Settled
    training: Nodes
    serving: Nodes
    gpus_per_node: int
    rows_per_step: int


def draft(run: FineTune, key: str, facts: Facts, prices: Prices) -> PlanReport:
    """Return the plan of a run, with every finding; without errors it holds a ``Plan``."""
    model = facts.model or ModelFacts()
    compute = facts.compute or ComputeFacts()
    settlement = _settle(run, facts, model, compute)
    names = _names(run, key, settlement)
    cost = _estimate(run, facts, settlement, prices)
    findings = [
        *_gate_findings(facts),
        *settlement.settled.findings,
        *_judged(run, key, names, facts, model, compute, settlement, cost),
    ]
    created = _would_create(run, names, settlement, compute, facts)
    plan = None
    if not errors(findings):
        plan = _plan(run, facts, names, settlement, created, cost, findings)
    return PlanReport(
        findings=by_weight(findings),
        parameters=settlement.settled.parameters,
        would_create=created,
        estimate=cost,
        budget=run.budget,
        plan=plan,
    )


def _settle(run: FineTune, facts: Facts, model: ModelFacts, compute: ComputeFacts) -> Settlement:
    settled = Settled(parameters=[], findings=[])
    if facts.component is not None and facts.component.declared:
        settled = settle(
            facts.component.declared, user=run.parameters.chosen(), card=model.card.defaults
        )
    values = settled.all_values
    training = training_nodes(run.compute, compute, _whole(values.get("num_nodes_finetune")))
    size = compute.size(training.size)
    gpus = max(1, size.gpus if size else 1)
    per_gpu = _whole(values.get("per_device_train_batch_size")) * _whole(
        values.get("gradient_accumulation_steps")
    )
    return Settlement(
        settled=settled,
        training=training,
        serving=Nodes(size=run.endpoint.instance_type, count=run.endpoint.instance_count),
        gpus_per_node=gpus,
        rows_per_step=per_gpu * gpus * training.count,
    )


def _whole(value: object) -> int:
    return max(1, value) if isinstance(value, int) else 1


def names_of(run: FineTune, key: str) -> Names:
    """Return the names that follow from the run alone; the display name needs the parameters."""
    model = run.model.name
    return Names(
        job=naming.job_name(key),
        display_name="",
        experiment=naming.experiment_name(model, run.experiment),
        endpoint=naming.endpoint_name(key, run.endpoint.name),
        registered_name=naming.registered_model_name(model, run.registered_name),
        version=naming.model_version(key),
    )


def _names(run: FineTune, key: str, settlement: Settlement) -> Names:
    shown = naming.display_name(
        run.model.name, dict(settlement.settled.all_values), settlement.gpus_per_node
    )
    return names_of(run, key).model_copy(update={"display_name": shown})


def _estimate(
    run: FineTune, facts: Facts, settlement: Settlement, prices: Prices
) -> Estimate | None:
    if not facts.splits or TRAIN not in facts.splits:
        return None
    values = settlement.settled.all_values
    steps = values.get("max_steps")
    train, test = facts.splits[TRAIN], facts.splits.get(TEST)
    work = Work(
        train_tokens=train.tokens,
        test_tokens=test.tokens if test else 0,
        train_rows=train.rows,
        epochs=_whole(values.get("num_train_epochs")),
        max_steps=steps if isinstance(steps, int) else -1,
        rows_per_step=settlement.rows_per_step,
    )
    return estimate(
        prices,
        run.model.name,
        work,
        settlement.training,
        settlement.serving,
        endpoint_hours=run.endpoint.keep_hours if run.endpoint.keep else None,
    )


def _gate_findings(facts: Facts) -> list[Finding]:
    gates = (facts.credential, facts.model, facts.component, facts.compute, facts.endpoint)
    found = [one for gate in gates if gate is not None for one in gate.findings]
    return [*facts.findings, *found]


def _judged(
    run: FineTune,
    key: str,
    names: Names,
    facts: Facts,
    model: ModelFacts,
    compute: ComputeFacts,
    settlement: Settlement,
    cost: Estimate | None,
) -> list[Finding]:
    on_compute, on_endpoint = Report("compute"), Report("endpoint")
    on_data, on_money = Report("data"), Report("money")
    if facts.compute is not None:
        check_compute(run.compute, compute, model.card, settlement.training, on_compute)
    if facts.endpoint is not None:
        check_endpoint(
            run.endpoint, names.endpoint, key, facts.endpoint, compute, model.card, on_endpoint
        )
    _judge_splits(run, on_data)
    if facts.splits is not None:
        check_data(
            facts.splits,
            TRAIN,
            TEST,
            settlement.rows_per_step,
            run.data.max_bad_share,
            on_data,
        )
    if cost is not None:
        check_money(cost, run.budget, on_money)
    reports = (on_compute, on_data, on_endpoint, on_money)
    return [one for report in reports for one in report.findings]


def _judge_splits(run: FineTune, report: Report) -> None:
    missing = [split for split in (TRAIN, TEST, ASKED) if split not in run.data.splits]
    if missing:
        report.error(
            f"A run needs the splits {TRAIN}, {TEST} and {ASKED}; it lacks {', '.join(missing)}.",
            "Add it to run.data.splits.",
        )


def _would_create(
    run: FineTune,
    names: Names,
    settlement: Settlement,
    compute: ComputeFacts,
    facts: Facts,
) -> list[Created]:
    created = []
    if run.compute.name not in compute.clusters and run.compute.may_create:
        detail = (
            f"{run.compute.size}, 0 to {run.compute.max_nodes} nodes, {run.compute.tier}, "
            f"given back after {run.compute.idle_minutes:g} idle minutes"
        )
        created.append(Created(kind="cluster", name=run.compute.name, detail=detail))
    for split in (TRAIN, TEST):
        rows = facts.splits[split].rows if facts.splits and split in facts.splits else None
        detail = f"{rows} rows of {run.data.dataset}" if rows is not None else run.data.dataset
        created.append(Created(kind="data asset", name=split, detail=detail))
    serving = settlement.serving
    on = f"{settlement.training.count} x {settlement.training.size}"
    served = f"{serving.count} x {serving.size}"
    return [
        *created,
        Created(kind="job", name=names.job, detail=f"{names.display_name} on {on}"),
        Created(kind="model", name=f"{names.registered_name}:{names.version}"),
        Created(kind="endpoint", name=names.endpoint, detail="key authentication"),
        Created(kind="deployment", name=run.endpoint.deployment, detail=served),
    ]


def _plan(
    run: FineTune,
    facts: Facts,
    names: Names,
    settlement: Settlement,
    created: list[Created],
    cost: Estimate | None,
    findings: list[Finding],
) -> Plan | None:
    model, component = facts.model, facts.component
    if model is None or model.foundation is None or component is None:
        return None
    if component.version is None or component.id is None:
        return None
    card = model.card
    return Plan(
        model=model.foundation,
        component=component.version,
        component_id=component.id,
        parameters=settlement.settled.to_submit,
        origins=settlement.settled.parameters,
        training=settlement.training,
        gpus_per_node=settlement.gpus_per_node,
        rows_per_step=settlement.rows_per_step,
        endpoint_nodes=settlement.serving,
        finetune_sizes=list(card.finetune_sizes) if card.finetune_sizes is not None else None,
        inference_sizes=list(card.inference_sizes) if card.inference_sizes is not None else None,
        **names.model_dump(),
        would_create=created,
        estimate=cost,
        budget=run.budget,
        findings=by_weight(findings),
    )

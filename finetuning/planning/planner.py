"""From the gates' facts to a plan: pure, so that any report can be made again from its facts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from finetuning.azure import naming
from finetuning.form.key import asked_tags
from finetuning.form.run import ComputeChoice, FineTune
from finetuning.planning.candidates import Candidate, Known, cheapest
from finetuning.planning.checkpoints import is_left_open, trained, with_checkpoints
from finetuning.planning.facts import ComputeFacts, EndpointFacts, Facts, ModelFacts
from finetuning.planning.findings import Finding, Report, by_weight, errors
from finetuning.planning.lifecycle import Calendar
from finetuning.planning.parameters import Settled, settle
from finetuning.planning.plan import (
    ComputePlan,
    Created,
    EvaluationPlan,
    JobPlan,
    Plan,
    PlanReport,
    RecoveryPlan,
    Registration,
    Serving,
)
from finetuning.planning.prices import (
    Estimate,
    Nodes,
    Prices,
    Work,
    answering_hours,
    estimate,
    training_hours,
)
from finetuning.planning.rules.compute import check_compute, training_nodes
from finetuning.planning.rules.data import check_data
from finetuning.planning.rules.endpoint import check_endpoint
from finetuning.planning.rules.evaluation import asked_rows, check_evaluation
from finetuning.planning.rules.lifecycle import Used, check_lifecycle
from finetuning.planning.rules.money import check_money
from finetuning.planning.sizes import settle_compute, settle_endpoint
from finetuning.recipes import Recipe
from finetuning.training.causes import ACCUMULATION, RESUME, ROWS


@dataclass(frozen=True)
class Tables:
    """What is held against the facts beside the rules: prices, and ends of life."""

    prices: Prices
    calendar: Calendar


def make_plan(run: FineTune, recipe: Recipe, key: str, facts: Facts, tables: Tables) -> PlanReport:
    """Return the report of a run with every finding; without an error it holds the plan."""
    return _Planner(run, recipe, key, facts, tables).report()


def endpoint_name(run: FineTune, key: str) -> str:
    """Return the name of the run's endpoint."""
    return naming.endpoint_name(key, run.data.title, run.endpoint.name)


class _Planner:
    """What follows from run and facts, each thing worked out once."""

    def __init__(
        self, run: FineTune, recipe: Recipe, key: str, facts: Facts, tables: Tables
    ) -> None:
        self.run, self.recipe, self.key, self.facts = run, recipe, key, facts
        self.prices, self.calendar = tables.prices, tables.calendar
        self.model = facts.model or ModelFacts()
        self.compute = facts.compute or ComputeFacts()
        self.on_sizes = Report("compute"), Report("endpoint")
        known = self.compute, self.model.card, self.calendar
        asked, self.candidates = self._one_of_the_candidates(run.compute)
        self.chosen = settle_compute(asked, *known, self.on_sizes[0])
        served = settle_endpoint(run.endpoint, *known, self.on_sizes[1])
        self.serving = Serving(
            endpoint=endpoint_name(run, key),
            choice=served,
            nodes=Nodes(size=served.instance_type, count=served.instance_count),
        )
        self.registration = Registration(
            name=naming.registered_model_name(run.model.name, run.data.title, run.registered_name),
            version=naming.model_version(key),
        )

    def _one_of_the_candidates(
        self, choice: ComputeChoice
    ) -> tuple[ComputeChoice, list[Candidate]]:
        """Return the choice with the cheapest candidate; as it is where there are none."""
        if not choice.candidates or not choice.uses_cluster or choice.name in self.compute.clusters:
            return choice, []
        facts, card = self.compute, self.model.card
        known = Known(facts, card, self.calendar, choice.max_nodes, self._training_price)
        size, judged = cheapest(choice.candidates, known, self.on_sizes[0])
        taken = choice.model_copy(update={"size": size, "candidates": []})
        return (taken if size else choice), judged

    def _training_price(self, size: str) -> tuple[float | None, float | None]:
        """Return a node's price an hour, and for how many node-hours it would train."""
        found, nodes = self.compute.size(size), self._whole("num_nodes_finetune")
        work = self._work(self._rows_per_gpu * max(1, found.gpus if found else 1) * nodes)
        on = Nodes(size=size, count=nodes)
        hours = None if work is None else training_hours(self.prices, self.run.model.name, work, on)
        return self.prices.per_hour(size), None if hours is None else hours * nodes

    def report(self) -> PlanReport:
        findings = by_weight(self._findings())
        return PlanReport(
            findings=findings,
            parameters=self.submitted.parameters,
            would_create=list(self._would_create()),
            candidates=self.candidates,
            estimate=self.estimate,
            budget=self.run.limit,
            default_budget=self.run.budget is None,
            plan=None if errors(findings) else self._plan(),
        )

    @cached_property
    def settled(self) -> Settled:
        component = self.facts.component
        if component is None or not component.declared:
            return Settled(parameters=[], findings=[])
        chosen = self.run.parameters.chosen()
        preset = {name: value for name, value in chosen.items() if self._is_presets(name)}
        user = {name: value for name, value in chosen.items() if name not in preset}
        card = self.model.card.defaults
        return settle(self.recipe, component.declared, user=user, card=card, preset=preset)

    @cached_property
    def submitted(self) -> Settled:
        """The parameters of the first attempt: with checkpoints where its nodes may be lost."""
        recovers = self.run.recovery.max_attempts > 1
        if not (recovers and self.training.low_priority and is_left_open(self.settled)):
            return self.settled
        splits = self.facts.splits or {}
        test = splits.get(self.recipe.splits.test)
        known = trained(
            self.estimate,
            self.training.count,
            self.prices.overhead_hours,
            test.tokens if test else 0.0,
        )
        if known is None:
            return self.settled
        return with_checkpoints(self.settled, known, self.run.recovery.max_lost_minutes)

    @cached_property
    def by_preset(self) -> dict[str, Any]:
        return self.run.by_preset()

    def _is_presets(self, parameter: str) -> bool:
        return not {f"parameters.{parameter}", f"parameters.other.{parameter}"}.isdisjoint(
            self.by_preset
        )

    def _preset(self) -> Iterator[Finding]:
        """Say what the preset decided, so that nobody takes it for the user's choice."""
        report = Report("recipe")
        values = ", ".join(f"{name} {value}" for name, value in self.by_preset.items())
        report.note(
            f"Preset '{self.run.preset}' decides {values or 'nothing'}.",
            "Any of these can be set; another: run.preset.",
        )
        yield from report.findings

    @cached_property
    def training(self) -> Nodes:
        return training_nodes(self.chosen, self.compute, self._whole("num_nodes_finetune"))

    @cached_property
    def gpus_per_node(self) -> int:
        size = self.compute.size(self.training.size)
        return max(1, size.gpus if size else 1)

    @cached_property
    def rows_per_step(self) -> int:
        return self._rows_per_gpu * self.gpus_per_node * self.training.count

    @property
    def _rows_per_gpu(self) -> int:
        return self._whole(ROWS) * self._whole(ACCUMULATION)

    @cached_property
    def display_name(self) -> str:
        data = naming.short_name(self.run.data.title)
        values = self.settled.all_values
        return self.recipe.display_name(self.run.model.name, data, values, self.gpus_per_node)

    @cached_property
    def estimate(self) -> Estimate | None:
        work = self._work(self.rows_per_step)
        if work is None:
            return None
        return estimate(
            self.prices,
            self.run.model.name,
            work,
            self.training,
            self.serving.nodes,
            endpoint_hours=self._endpoint_hours(),
            promotion_hours=self._promotion_hours(),
        )

    def _work(self, rows_per_step: int) -> Work | None:
        """Return what the job has to do; None where the data could not be read."""
        splits, splits_of = self.facts.splits, self.recipe.splits
        if not splits or splits_of.train not in splits:
            return None
        steps = self.settled.all_values.get("max_steps")
        train, test = splits[splits_of.train], splits.get(splits_of.test)
        return Work(
            train_tokens=train.tokens,
            test_tokens=test.tokens if test else 0,
            train_rows=train.rows,
            epochs=self._whole("num_train_epochs"),
            max_steps=steps if isinstance(steps, int) else -1,
            rows_per_step=rows_per_step,
        )

    def _endpoint_hours(self) -> float:
        if self.run.endpoint.keep:
            return self.run.endpoint.keep_hours
        choice, hours = self.run.evaluation, self.prices.endpoint_hours
        if self.facts.suites is None:
            return hours
        asked = (self.facts.splits or {}).get(self.recipe.splits.asked)
        rows = sum(asked_rows(choice, self.facts.suites.suites, asked).values())
        return hours + answering_hours(self.prices, rows, choice.max_new_tokens, choice.concurrency)

    def _promotion_hours(self) -> float:
        """Return how long the candidate is tried; afterwards it is the product's, not the run's."""
        rules = self.run.promotion
        if not rules.on:
            return 0.0
        watched = len(rules.steps) + 1 + bool(rules.mirror_percent)
        return self.prices.endpoint_hours + watched * rules.dwell_minutes / 60

    def _whole(self, name: str) -> int:
        value = self.settled.all_values.get(name)
        return max(1, value) if isinstance(value, int) else 1

    def _findings(self) -> list[Finding]:
        facts = self.facts
        gates = (
            facts.credential,
            facts.model,
            facts.component,
            facts.compute,
            facts.endpoint,
            facts.suites,
        )
        asked = [finding for gate in gates if gate is not None for finding in gate.findings]
        return [*facts.findings, *asked, *self.submitted.findings, *self._checked()]

    def _checked(self) -> Iterator[Finding]:
        run, card = self.run, self.model.card
        compute, data, on_endpoint = Report("compute"), Report("data"), Report("endpoint")
        money = Report("money")
        yield from self._preset()
        yield from self._lifecycle()
        if self.model.foundation is not None:  # else there is no card to take a size from
            for report in self.on_sizes:
                yield from report.findings
        if self.facts.compute is not None:
            check_compute(self.chosen, self.compute, card, self.training, compute)
        self._check_splits(data)
        if self.facts.splits is not None:
            check_data(
                self.facts.splits,
                self.recipe.splits,
                self.rows_per_step,
                run.data.max_bad_share,
                data,
            )
        if self.facts.endpoint is not None:
            self._check_endpoint(self.facts.endpoint, on_endpoint)
        evaluation = Report("evaluation")
        if self.facts.suites is not None:
            asked = (self.facts.splits or {}).get(self.recipe.splits.asked)
            check_evaluation(run.evaluation, self.facts.suites.suites, asked, evaluation)
        if self.estimate is not None and self.training.size and self.serving.nodes.size:
            check_money(self.estimate, run.limit, money, by_default=run.budget is None)
        for report in (compute, data, on_endpoint, evaluation, money):
            yield from report.findings

    def _lifecycle(self) -> list[Finding]:
        report, component = Report("lifecycle"), self.facts.component
        used = Used(
            compute=self.chosen,
            serving=self.serving.nodes.size,
            component=self.recipe.component,
            version=(component and component.version) or "",
        )
        check_lifecycle(used, self.compute, self.calendar, report)
        return report.findings

    def _check_endpoint(self, found: EndpointFacts, report: Report) -> None:
        check_endpoint(self.serving, self.key, found, self.compute, self.model.card, report)

    def _check_splits(self, report: Report) -> None:
        needed = self.recipe.splits
        missing = [split for split in needed.all if split not in self.run.data.names]
        if missing:
            report.error(
                f"A run needs the splits {needed.train}, {needed.test} and {needed.asked}; "
                f"{', '.join(missing)} is missing.",
                "Add it to run.data.splits, or cut one split into them with run.data.cut.",
            )

    def _would_create(self) -> Iterator[Created]:
        chosen, serving = self.chosen, self.serving.nodes
        missing = chosen.uses_cluster and chosen.name not in self.compute.clusters
        if missing and chosen.may_create:
            detail = (
                f"{chosen.size}, 0 to {chosen.max_nodes} nodes, {chosen.tier}, "
                f"released after {chosen.idle_minutes:g} idle minutes"
            )
            yield Created(kind="cluster", name=chosen.name, detail=detail)
        splits = self.facts.splits or {}
        for split in dict.fromkeys(self.recipe.files.values()):
            rows = f"{splits[split].rows} rows of " if split in splits else ""
            detail = f"{rows}{self.run.data.dataset}"
            yield Created(kind="data asset", name=split, detail=detail)
        on = f"{self.display_name} on {self.training.count} x {self.training.size}"
        yield Created(kind="job", name=naming.job_name(self.key), detail=on)
        yield Created(kind="model", name=f"{self.registration.name}:{self.registration.version}")
        yield Created(kind="endpoint", name=self.serving.endpoint, detail="key authentication")
        served = f"{serving.count} x {serving.size}"
        yield Created(kind="deployment", name=self.run.endpoint.deployment, detail=served)
        if self.run.promotion.on:
            yield self._promoted(served)

    def _promoted(self, served: str) -> Created:
        rules = self.run.promotion
        name = rules.endpoint or f"named after {self.registration.name}"
        kept = f"kept {rules.keep_days:g} days, the old model {rules.keep_old_hours:g} h"
        detail = f"{served} if promoted ({rules.when}), beside the old model; {kept}"
        return Created(kind="product endpoint", name=name, detail=detail)

    def _evaluation(self) -> EvaluationPlan | None:
        if self.facts.suites is None:
            return None
        return EvaluationPlan(choice=self.run.evaluation, suites=self.facts.suites.suites)

    def _recovery(self) -> RecoveryPlan:
        declared = self.facts.component.declared if self.facts.component else {}
        return RecoveryPlan(
            choice=self.run.recovery,
            batch=self._whole(ROWS),
            accumulation=self._whole(ACCUMULATION),
            declared=[name for name in (RESUME, ROWS, ACCUMULATION) if name in declared],
        )

    def _plan(self) -> Plan | None:
        component = self.facts.component
        if self.model.foundation is None or component is None or component.version is None:
            return None
        allowed = self.model.card.finetune_sizes
        return Plan(
            recipe=self.recipe.name,
            data=self.run.data,
            test=self.run.test,
            evaluation=self._evaluation(),
            promotion=self.run.promotion if self.run.promotion.on else None,
            approve=list(self.run.approve),
            approve_hours=self.run.approve_hours,
            waiting=self.run.waiting,
            stop_when=self.run.stop_when,
            hopeless=self.run.hopeless,
            recovery=self._recovery(),
            job=JobPlan(
                name=naming.job_name(self.key),
                display_name=self.display_name,
                experiment=naming.experiment_name(
                    self.recipe.experiment, self.run.model.name, self.run.experiment
                ),
                component=component.version,
                model=self.model.foundation,
                model_ends=self.calendar.model_ends(
                    self.run.model.name, self.model.card.finetune_retires
                ),
                parameters=self.submitted.to_submit,
                nodes=self.training,
                gpus_per_node=self.gpus_per_node,
                rows_per_step=self.rows_per_step,
                asked=asked_tags(self.run),
            ),
            compute=ComputePlan(
                choice=self.chosen, allowed=None if allowed is None else list(allowed)
            ),
            registration=self.registration,
            serving=self.serving,
            estimate=self.estimate,
            budget=self.run.limit,
            default_budget=self.run.budget is None,
        )

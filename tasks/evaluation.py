"""The evaluation: suites looked at, asked of the deployed candidate, and judged.

Answers are kept one by one, by model version, question and parameters: a step that is repeated asks
only what is missing, and a champion's answers are those of the run that made it.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from prefect import get_run_logger
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import CacheKeyFnPolicy
from prefect.context import TaskRunContext

from finetuning.azure.client import open_client
from finetuning.azure.scoring import Scoring, open_scoring
from finetuning.azure.service_errors import look_up
from finetuning.azure.settings import Settings
from finetuning.conversations.sources.files import download
from finetuning.errors import FineTuneError, SuiteError
from finetuning.evaluation.answers import Answered, answer_key
from finetuning.evaluation.card import write_card
from finetuning.evaluation.gate import Answering, decide
from finetuning.evaluation.leakage import leave_out_leaked
from finetuning.evaluation.report import as_markdown, rows_as_lines
from finetuning.evaluation.suites import (
    SHIPPED,
    Messages,
    Row,
    Suite,
    own_suite,
    read_suite,
)
from finetuning.form.context import RunContext
from finetuning.form.data import PreparedData
from finetuning.form.evaluation import GENERAL, EvaluationChoice, SuiteRules
from finetuning.form.results import Judged, RegisteredModel, Trained
from finetuning.form.verdict import Contender, Verdict
from finetuning.planning.facts import SuiteFacts
from finetuning.planning.findings import Report
from finetuning.planning.plan import EvaluationPlan, Plan
from finetuning.recipes import Recipe, find_recipe, recipe_for
from tasks.data_assets import present
from tasks.kept_results import KEPT, store
from tasks.scoring import pick_rows
from tasks.step import azure_step

#: The tag of the model version that is to be beaten, with the value "true".
CHAMPION_TAG = "finetune.champion"
VERDICT_TAG = "finetune.verdict"
DATA_TAG = "finetune.data"
CARD_TAG = "finetune.card"
#: Rows of each suite that the run's result holds; all are in the card's folder.
IN_RESULT = 10


@azure_step("Gate: the suites")
def look_at_suites(settings: Settings, choice: EvaluationChoice) -> SuiteFacts:
    """Read every suite that is a file, whole; what is wrong with one is told with its lines."""
    report, suites = Report("evaluation"), []
    for name, place, rules in _files(choice):
        try:
            suites.append(_read(settings, name, place, rules))
        except SuiteError as error:
            report.error(f"Suite '{name}' {error.reason}", error.remedy)
        except (FineTuneError, OSError, UnicodeDecodeError) as error:
            report.error(f"Suite '{name}' cannot be read: {error}", "Correct its file.")
    return SuiteFacts(suites=suites, findings=report.findings)


def _files(choice: EvaluationChoice) -> Iterator[tuple[str, str, SuiteRules]]:
    if choice.general.on:
        yield GENERAL, choice.general.file or str(SHIPPED), choice.general
    for name, suite in choice.suites.items():
        yield name, suite.file, suite


def _read(settings: Settings, name: str, place: str, rules: SuiteRules) -> Suite:
    return read_suite(name, read_rows(settings, place), rules)


def read_rows(settings: Settings, place: str) -> list[str]:
    """Return the lines of a suite's file: on this machine, at ``az://`` or at ``azureml://``."""
    if not place.startswith(("az://", "azureml://")):
        return Path(place).read_text(encoding="utf-8").splitlines()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "suite.jsonl"
        download(place, file, settings)
        return file.read_text(encoding="utf-8").splitlines()


def suites_key(context: TaskRunContext, parameters: dict[str, Any]) -> str:  # noqa: ARG001
    """Return the cache's key: what is asked follows from the data and the plan's evaluation."""
    asked: EvaluationPlan = parameters["plan"].evaluation
    text = f"{parameters['data'].version} {asked.model_dump_json()}"
    return f"suites-{hashlib.sha256(text.encode()).hexdigest()}"


@azure_step(
    "Gate: nothing that is asked was trained on",
    cache_policy=CacheKeyFnPolicy(cache_key_fn=suites_key),
    **KEPT,
)
def settle_suites(context: RunContext, plan: Plan, data: PreparedData) -> list[Suite]:
    """Return all suites as they are asked: ``own`` with its rows, none with a leaked one.

    Raises:
        SuiteError: a suite is empty, or too much of it is in the training data.
    """
    asked, splits = plan.evaluation, recipe_for(plan.recipe, plan.data).splits
    if asked is None:
        return []
    suites, own = list(asked.suites), asked.choice.own
    if own.rows:
        file = present(context.settings, data, splits.asked)
        picked = pick_rows(Path(file.path), file.rows, own.rows, own.seed)
        suites.insert(0, own_suite(picked, own))
    trained = Path(present(context.settings, data, splits.train).path)
    return leave_out_leaked(suites, _conversations(trained), asked.choice.max_leaked)


def _conversations(file: Path) -> Iterator[Messages]:
    import orjson

    with file.open("rb") as lines:
        for line in lines:
            yield orjson.loads(line)["messages"]


@azure_step("Ask the suites")
def ask_suites(
    context: RunContext,
    plan: Plan,
    model: RegisteredModel,
    suites: list[Suite],
    spending: Callable[[], None] | None = None,
) -> int:
    """Have the deployed model answer every row that it has not answered yet; return how many.

    ``spending`` is called after every answer and may raise to end the asking; what has been
    answered is kept.

    Raises:
        ServiceError: the endpoint failed, or is too busy for longer than the step is repeated.
    """
    choice = _asked(plan).choice
    candidate, recipe = _candidate(context.settings, model), find_recipe(plan.recipe)
    rows = {row.id: row for suite in suites for row in suite.rows}
    missing = [row for row in rows.values() if _kept(candidate, row, choice) is None]
    if not missing:
        return 0
    serving = plan.serving
    scoring = open_scoring(context.settings, serving.endpoint, serving.choice.deployment)
    with ThreadPoolExecutor(choice.concurrency) as pool:
        asked = {pool.submit(_ask, scoring, recipe, row, choice): row for row in missing}
        try:
            for future in as_completed(asked):
                _keep(candidate, asked[future], choice, future.result())
                if spending is not None:
                    spending()
        finally:
            pool.shutdown(cancel_futures=True)
    get_run_logger().info("%d of %d rows asked, the others were kept", len(missing), len(rows))
    return len(missing)


def _asked(plan: Plan) -> EvaluationPlan:
    if plan.evaluation is None:
        raise SuiteError("own", "is not asked by this run.", "Set run.evaluation.compare.")
    return plan.evaluation


def _ask(scoring: Scoring, recipe: Recipe, row: Row, choice: EvaluationChoice) -> Answered:
    """Return the answer; a question that the model refuses (HTTP 400) is an empty one."""
    from azure.core.exceptions import HttpResponseError

    try:
        text, seconds = scoring.ask(recipe.request(row.messages, choice.sampling))
    except HttpResponseError as error:
        if error.status_code != 400:
            raise
        return Answered(text="", seconds=0.0)
    return Answered(text=recipe.answer(text), seconds=seconds)


def _kept(model: Contender, row: Row, choice: EvaluationChoice) -> Answered | None:
    kept, key = store(), answer_key(model.id, row.messages, choice.sampling)
    if not kept.exists(key):
        return None
    found: Answered = kept.read(key).result
    return found


def _keep(model: Contender, row: Row, choice: EvaluationChoice, answer: Answered) -> None:
    store().write(answer, key=answer_key(model.id, row.messages, choice.sampling))


@azure_step("Judge the model")
def judge_model(context: RunContext, plan: Plan, trained: Trained, suites: list[Suite]) -> Verdict:
    """Return the verdict on the registered model, with its card and tags written; safe to repeat.

    It is compared with the champion's kept answers. The verdict is an artifact; the card's folder
    is a data asset beside the model, with every row.
    """
    choice = _asked(plan).choice
    candidate = _candidate(context.settings, trained.registered)
    champion = find_champion(context.settings, trained.registered)
    answerings = [
        Answering(
            suite,
            dict(_answers(candidate, suite.rows, choice)),
            dict(_answers(champion, suite.rows, choice)) if champion else {},
        )
        for suite in suites
    ]
    verdict = decide(answerings, candidate, champion or _nobody(candidate), choice)
    create_markdown_artifact(
        as_markdown(verdict), key="verdict", description=f"{verdict.decision}: {verdict.why}"[:500]
    )
    get_run_logger().info("verdict on %s: %s (%s)", candidate, verdict.decision, verdict.why)
    _record(context, trained, verdict)
    if choice.crown and verdict.decision == "promote":
        crown(context.settings, trained.registered)
    return verdict.shortened(IN_RESULT)


def _answers(
    model: Contender, rows: Iterable[Row], choice: EvaluationChoice
) -> Iterator[tuple[str, Answered]]:
    for row in rows:
        answer = _kept(model, row, choice)
        if answer is not None:
            yield row.id, answer


def _candidate(settings: Settings, model: RegisteredModel) -> Contender:
    return _contender(settings, model.name, model.version, "candidate")


def _contender(settings: Settings, name: str, version: str, role: Any) -> Contender:
    """Return a version of the workspace's; its id is the same however it was found."""
    place = f"{settings.subscription_id}/{settings.resource_group}/{settings.workspace_name}"
    return Contender(id=f"{place}/{name}/{version}", name=name, version=version, role=role)


def _nobody(candidate: Contender) -> Contender:
    return Contender(id="", name=candidate.name, version="(there is none)", role="champion")


def find_champion(settings: Settings, model: RegisteredModel) -> Contender | None:
    """Return the version of the model that bears the champion's tag, and is not this one itself.

    Raises:
        SuiteError: several bear it.
    """
    client = open_client(settings)
    tagged = [
        str(one.version)
        for one in client.models.list(name=model.name)
        if (one.tags or {}).get(CHAMPION_TAG) == "true" and str(one.version) != model.version
    ]
    if len(tagged) > 1:
        raise SuiteError(
            "champion",
            f"is ambiguous: versions {', '.join(sorted(tagged))} of {model.name} have the tag "
            f"{CHAMPION_TAG}.",
            "Remove it from all but one.",
        )
    return _contender(settings, model.name, tagged[0], "champion") if tagged else None


def recall_judged(context: RunContext) -> Judged | None:
    """Return what this try of the run knew when it asked for approval; None if it has not asked."""
    kept, key = store(), _judged_key(context)
    if not kept.exists(key):
        return None
    found: Judged = kept.read(key).result
    return found


def keep_judged(context: RunContext, judged: Judged) -> Judged:
    """Keep it for the process that goes on with the answer, so that it need not serve again."""
    store().write(judged, key=_judged_key(context))
    return judged


def _judged_key(context: RunContext) -> str:
    return f"judged-{context.owner.flow_run_id}-{context.retries}"


@azure_step("Make the model the champion")
def make_champion(context: RunContext, model: RegisteredModel) -> None:
    """Give a promoted model the champion's tag: what serves is what is to be beaten."""
    crown(context.settings, model)


def crown(settings: Settings, model: RegisteredModel) -> None:
    """Give the model the champion's tag, and take it from whichever version bore it.

    The new one first: where the second call does not come to pass, two bear it, which is told.
    """
    last = find_champion(settings, model)
    _tag(settings, model.name, model.version, {CHAMPION_TAG: "true"})
    if last is not None:
        _tag(settings, last.name, last.version, {CHAMPION_TAG: "false"})


def _tag(settings: Settings, name: str, version: str, tags: dict[str, str]) -> None:
    models = open_client(settings).models
    found = models.get(name, version=version)
    found.tags = {**(found.tags or {}), **tags}
    models.create_or_update(found)


def _record(context: RunContext, trained: Trained, verdict: Verdict) -> None:
    """Write card and rows as a data asset of the model's version, and tag the model."""
    from azure.ai.ml.constants import AssetTypes
    from azure.ai.ml.entities import Data

    client, model = open_client(context.settings), trained.registered
    name = f"{model.name[:250]}-card"
    version = f"{model.version}-{_digest(verdict)}"[:30]
    card = write_card(trained, verdict)
    create_markdown_artifact(card.split("\n---\n", 1)[-1], key="model-card")
    if look_up(client.data.get, name, version=version) is None:
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place) / "card"
            folder.mkdir()
            (folder / "README.md").write_text(card, encoding="utf-8")
            (folder / "rows.jsonl").write_text("".join(rows_as_lines(verdict)), encoding="utf-8")
            client.data.create_or_update(
                Data(
                    name=name,
                    version=version,
                    type=AssetTypes.URI_FOLDER,
                    path=str(folder),
                    description=f"Model card of {model.name} {model.version}, and every row",
                    tags=context.owner.tags,
                )
            )
    tags = {VERDICT_TAG: verdict.decision, DATA_TAG: trained.data.version[:256]}
    card_tag = {CARD_TAG: f"azureml:{name}:{version}"[:256]}
    _tag(context.settings, model.name, model.version, {**context.owner.tags, **tags, **card_tag})


def _digest(verdict: Verdict) -> str:
    text = json.dumps(verdict.model_dump(mode="json"), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:10]

"""The run's one parameter: Prefect shows it as a form, and refuses bad values before a run exists.

A preset fills what is left open; the other defaults are the tutorial's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, ValidationInfo, field_validator, model_validator

from finetuning.azure.naming import ENDPOINT_RULE
from finetuning.form.choice import Choice, left_open
from finetuning.form.data import DataChoice
from finetuning.form.evaluation import EvaluationChoice
from finetuning.form.presets import DEFAULT, decided, filled, read_preset

Scheduler = Literal[
    "linear", "cosine", "cosine_with_restarts", "polynomial", "constant", "constant_with_warmup"
]


Scalar = str | int | float | bool


#: How a run waits for its job: with its process, or without one.
Waiting = Literal["attached", "suspended"]
AssetName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,254}$")]


class ModelChoice(Choice):
    """Which foundation model of the registry is fine-tuned."""

    name: str = Field(
        "Phi-4",
        min_length=1,
        description="Name in the registry. Empty: the preset's.",
        json_schema_extra=left_open,
    )
    registry: str = Field(
        "",
        description="The registry that has it. Empty: the connection's own, as for the component.",
    )
    version: str | None = Field(
        None, description="A version, pinned. Empty: whatever the label names when the run starts."
    )
    label: str = Field("latest", description="Label to resolve where no version is given.")
    allow_retired: bool = Field(
        False, description="Go on with a model that is archived or past its retirement date."
    )


class StepCompute(Choice):
    """Where one step of the pipeline runs, if not on the fine-tune's cluster."""

    cluster: str = Field(
        "serverless", min_length=1, description="Name of a cluster, or 'serverless'."
    )
    instance_type: str | None = Field(
        None, description="VM size of a serverless step, for example Standard_D12_v2."
    )

    @model_validator(mode="after")
    def _serverless_has_a_size(self) -> StepCompute:
        if self.cluster == "serverless" and not self.instance_type:
            raise ValueError("a serverless step needs an instance_type, e.g. Standard_D12_v2")
        return self


class StepComputes(Choice):
    """The pipeline's steps, where they do not run on the fine-tune's cluster."""

    model_import: StepCompute | None = Field(None, description="Import of the foundation model.")
    preprocess: StepCompute | None = Field(None, description="Tokenising; needs no GPU.")
    finetune: StepCompute | None = Field(None, description="The training itself.")
    model_evaluation: StepCompute | None = Field(None, description="Evaluation, where it has one.")

    def of(self, compute: str) -> StepCompute | None:
        """Return the compute of its own that a recipe's compute has, if any."""
        own: StepCompute | None = getattr(self, compute, None)
        return own

    def chosen(self) -> dict[str, StepCompute]:
        """Return those that are set, by name."""
        own = {name: self.of(name) for name in type(self).model_fields}
        return {name: compute for name, compute in own.items() if compute is not None}


class ComputeChoice(Choice):
    """The GPU cluster, and whether it may be made."""

    name: str = Field(
        "gpu-cluster-a100",
        pattern=r"^[A-Za-z][-A-Za-z0-9]{1,22}[A-Za-z0-9]$",
        description="Name of the cluster: 3 to 24 letters, digits and hyphens. Empty: the "
        "preset's.",
        json_schema_extra=left_open,
    )
    size: str = Field(
        "",
        description="VM size of a node. Empty: the first of the model card's recommended sizes "
        "that can be had.",
    )
    tier: Literal["dedicated", "dedicated_then_low_priority", "low_priority"] = Field(
        "dedicated_then_low_priority",
        description="What to create. A low-priority node is cheaper and may be pre-empted.",
    )
    max_nodes: int = Field(2, ge=1, le=100, description="Most nodes that a new cluster may have.")
    may_create: bool = Field(True, description="Create the cluster where it is missing.")
    idle_minutes: float = Field(
        2, gt=0, le=1440, description="Idle minutes before a new cluster's node is given back."
    )
    steps: StepComputes = Field(
        default_factory=StepComputes,
        description="Other computes for single steps, so that only the fine-tune pays for GPUs.",
    )

    @property
    def uses_cluster(self) -> bool:
        """Whether a step runs on the run's own cluster; without one, none is asked for or made.

        An evaluation that is not placed follows the others: it alone needs no cluster.
        """
        steps = self.steps
        placed = [steps.model_import, steps.preprocess, steps.finetune]
        if steps.model_evaluation is not None:
            placed.append(steps.model_evaluation)
        return any(step is None or step.cluster == self.name for step in placed)


class FineTuneParameters(Choice):
    """Inputs of the pipeline component. Left empty: the model card decides, then the default."""

    num_train_epochs: int | None = Field(
        None,
        ge=1,
        description="Passes over the training rows. Empty: the model card's value, or 3.",
    )
    per_device_train_batch_size: int | None = Field(
        None, ge=1, description="Rows per GPU and step. Empty: the model card's value, or 1."
    )
    per_device_eval_batch_size: int | None = Field(
        None,
        ge=1,
        description="Rows per GPU and evaluation step. Empty: the model card's value, or 1.",
    )
    learning_rate: float | None = Field(
        None, gt=0, description="Empty: the model card's value, or 5e-6."
    )
    lr_scheduler_type: Scheduler | None = Field(
        None, description="Empty: the model card's, or cosine."
    )
    apply_lora: bool | None = Field(
        None, description="Train a low-rank adapter, not all weights. Empty: the card's, or true."
    )
    apply_deepspeed: bool | None = Field(
        None, description="Empty: the model card's value, or true."
    )
    deepspeed_stage: Literal[2, 3] | None = Field(
        None, description="Empty: the model card's value, or 2."
    )
    other: dict[str, Scalar] = Field(
        default_factory=dict,
        description='Any other input of the component by name, e.g. {"max_seq_length": 2048}.',
    )

    @field_validator("deepspeed_stage", mode="before")
    @classmethod
    def _text_of_a_stage(cls, stage: object) -> object:
        """Take the component's own "2" for 2, as the other fields take their numbers' text."""
        return int(stage) if isinstance(stage, str) and stage.isdigit() else stage

    @model_validator(mode="after")
    def _other_repeats_nothing(self) -> FineTuneParameters:
        twice = sorted(set(self.other) & (set(type(self).model_fields) - {"other"}))
        if twice:
            raise ValueError(f"{', '.join(twice)}: has a field of its own; take it out of 'other'")
        return self

    def chosen(self) -> dict[str, Scalar]:
        """Return what the user set, by the component's input name."""
        typed = self.model_dump(exclude={"other"}, exclude_none=True)
        return {**typed, **self.other}


class EndpointChoice(Choice):
    """The managed online endpoint and its one deployment."""

    name: str | None = Field(
        None,
        description="Empty: derived from the run. Else 3 to 32 letters, digits and hyphens.",
    )
    deployment: str = Field(
        "demo", pattern=r"^[a-zA-Z][-a-zA-Z0-9]{1,30}[a-zA-Z0-9]$", description="Its deployment."
    )
    instance_type: str = Field(
        "",
        description="VM size that serves. Empty: the first of the model card's recommended sizes "
        "that can be had.",
    )
    instance_count: int = Field(1, ge=1, le=20, description="Number of instances.")
    probe_initial_delay_s: int = Field(
        600, ge=1, le=3600, description="Seconds before Azure first asks whether it is alive."
    )
    request_timeout_ms: int = Field(
        90_000, ge=1, le=180_000, description="Milliseconds that one request may take."
    )
    keep: bool = Field(False, description="Leave the endpoint running; it bills until deleted.")
    keep_hours: float = Field(
        24,
        gt=0,
        le=24 * 30,
        description="Hours from the beginning of its deployment until the reaper deletes a kept "
        "endpoint.",
    )

    @field_validator("name")
    @classmethod
    def _within_azures_rules(cls, name: str | None) -> str | None:
        if name is not None and not re.match(ENDPOINT_RULE, name):
            raise ValueError(
                f"'{name}': an endpoint's name is 3 to 32 letters, digits and hyphens, "
                "begins with a letter and does not end with a hyphen"
            )
        return name


class TestChoice(Choice):
    """The questions asked of the endpoint, and how it shall answer."""

    __test__ = False  # not a test class, whatever its name tells pytest

    rows: int = Field(1, ge=1, le=100, description="Rows of test_gen to ask about.")
    seed: int = Field(42, ge=0, description="Decides which rows.")
    temperature: float = Field(0.6, ge=0, le=5, description="0: always the likeliest token.")
    top_p: float = Field(0.9, gt=0, le=1, description="Share of probability to sample from.")
    do_sample: bool = Field(True, description="Sample; false takes the likeliest token.")
    max_new_tokens: int = Field(200, ge=1, le=4096, description="Longest answer, in tokens.")


class Deadlines(Choice):
    """How long each wait may take, in minutes, and how often to look."""

    compute_minutes: float = Field(30, gt=0, description="Creating the cluster.")
    training_minutes: float = Field(24 * 60, gt=0, description="The pipeline job, queue included.")
    deployment_minutes: float = Field(60, gt=0, description="Bringing the deployment up.")
    deletion_minutes: float = Field(30, gt=0, description="Waiting until the endpoint is gone.")
    outage_minutes: float = Field(
        15, gt=0, description="How long Azure may be away while a job is watched."
    )
    not_responding_minutes: float = Field(
        60, gt=0, description="How long a job that stopped responding may take to come back."
    )
    poll_seconds: float = Field(
        30, gt=0, le=600, description="Pause between two looks at the job or the endpoint."
    )

    @property
    def total_minutes(self) -> float:
        """Return the longest that a run can take."""
        waits = self.compute_minutes + self.training_minutes + self.deployment_minutes
        return waits + self.deletion_minutes


class FineTune(Choice):
    """One fine-tune: what to train, on what, where, and what to do with the result."""

    preset: str = Field(
        DEFAULT,
        min_length=1,
        description="What counts where a field is left open: phi-4, phi-3-mini (Microsoft's "
        "tutorial), gpt-oss-20b (its successor), or a TOML file of your own with fields of this "
        "form.",
    )
    key: str | None = Field(
        None,
        min_length=1,
        max_length=200,
        description="Runs with one key share job, model and endpoint. Empty: the run's own id.",
    )
    recipe: str = Field("chat_completion", min_length=1, description="Which kind of fine-tune.")
    model: ModelChoice = Field(default_factory=ModelChoice, description="The foundation model.")
    compute: ComputeChoice = Field(default_factory=ComputeChoice, description="The GPU cluster.")
    data: DataChoice = Field(default_factory=DataChoice, description="The conversations.")
    parameters: FineTuneParameters = Field(
        default_factory=FineTuneParameters, description="How to train."
    )
    experiment: str | None = Field(None, description="Empty: chat_completion_MODEL.")
    registered_name: AssetName | None = Field(
        None, description="The fine-tuned model's name. Empty: MODEL-DATASET."
    )
    endpoint: EndpointChoice = Field(default_factory=EndpointChoice, description="The endpoint.")
    test: TestChoice = Field(default_factory=TestChoice, description="The questions asked of it.")
    evaluation: EvaluationChoice = Field(
        default_factory=EvaluationChoice,
        description="Whether the model is better than the one to beat, on which suites.",
    )
    waiting: Waiting = Field(
        "attached",
        description="While the job trains: attached, the run's process watches it; suspended, the "
        "process ends and the run is resumed when the job has ended (needs a deployment).",
    )
    deadlines: Deadlines = Field(default_factory=Deadlines, description="How long to wait.")
    budget: float | None = Field(
        None, gt=0, description="Most that the run may cost, in the price table's currency."
    )

    @model_validator(mode="before")
    @classmethod
    def _filled_by_the_preset(cls, given: Any, info: ValidationInfo) -> Any:
        """Fill what was left open, so that nobody meets a run that is not whole."""
        if not isinstance(given, Mapping) or info.context == OF_A_PRESET:
            return given
        return filled(given, preset_values(str(given.get("preset") or DEFAULT)))

    def by_preset(self) -> dict[str, Any]:
        """Return the values that the preset decided, by the field's name (``model.name``)."""
        return decided(self, preset_values(self.preset))


#: Context of a validation that looks at a preset's own values.
OF_A_PRESET = "the values of a preset"


def preset_values(name: str) -> dict[str, Any]:
    """Return a preset's values, checked by the form's own types.

    Raises:
        ValueError: there is none, it is no TOML, or it has a field that the form has not.
    """
    values = read_preset(name)
    for own in ("preset", "key"):
        if own in values:
            raise ValueError(f"the preset '{name}' sets '{own}', which is the run's own")
    try:
        FineTune.model_validate(values, context=OF_A_PRESET)
    except ValidationError as error:
        line = error.errors()[0]
        where = ".".join(str(part) for part in line["loc"])
        raise ValueError(
            f"the preset '{name}' has a wrong field '{where}': {line['msg']}"
        ) from None
    return values

"""The run's one parameter: Prefect shows it as a form, and refuses bad values before a run exists.

A preset fills what is left open; the other defaults are the tutorial's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

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


#: The most that a run may cost that does not say, in the price table's currency. It rents GPUs.
DEFAULT_BUDGET = 200


class ModelChoice(Choice):
    """The foundation model that is fine-tuned."""

    first: ClassVar = ("name", "version")

    name: str = Field(
        "Phi-4",
        min_length=1,
        description="Its name in the registry. Empty: the preset's.",
        json_schema_extra=left_open,
    )
    registry: str = Field(
        "", description="The registry that has it. Empty: the connection's, as for the component."
    )
    version: str | None = Field(
        None, description="Its version. Empty: the version that the label points to at the start."
    )
    label: str = Field("latest", description="Used when no version is given.")
    allow_retired: bool = Field(
        False, description="Allow a model that is archived or past its retirement date."
    )


class StepCompute(Choice):
    """Where one step of the pipeline runs."""

    cluster: str = Field(
        "serverless", min_length=1, description="A cluster's name, or 'serverless'."
    )
    instance_type: str | None = Field(
        None, description="VM size for a serverless step, for example Standard_D12_v2."
    )

    @model_validator(mode="after")
    def _serverless_has_a_size(self) -> StepCompute:
        if self.cluster == "serverless" and not self.instance_type:
            raise ValueError("a serverless step needs an instance_type, e.g. Standard_D12_v2")
        return self


class StepComputes(Choice):
    """Steps of the pipeline that do not run on the GPU cluster."""

    model_import: StepCompute | None = Field(None, description="Imports the foundation model.")
    preprocess: StepCompute | None = Field(None, description="Tokenizes the data. Needs no GPU.")
    finetune: StepCompute | None = Field(None, description="Trains the model.")
    model_evaluation: StepCompute | None = Field(
        None, description="Evaluates the model, if the pipeline does that."
    )

    def of(self, compute: str) -> StepCompute | None:
        """Return the compute of its own that a recipe's compute has, if any."""
        own: StepCompute | None = getattr(self, compute, None)
        return own

    def chosen(self) -> dict[str, StepCompute]:
        """Return those that are set, by name."""
        own = {name: self.of(name) for name in type(self).model_fields}
        return {name: compute for name, compute in own.items() if compute is not None}


class ComputeChoice(Choice):
    """The GPU cluster that trains, and whether the run may create it."""

    first: ClassVar = ("name", "size")

    name: str = Field(
        "gpu-cluster-a100",
        pattern=r"^[A-Za-z][-A-Za-z0-9]{1,22}[A-Za-z0-9]$",
        description="The cluster's name: 3 to 24 letters, digits and hyphens. Empty: the preset's.",
        json_schema_extra=left_open,
    )
    size: str = Field(
        "",
        description="VM size of its nodes. Empty: the first of the model card's recommended sizes "
        "that is available.",
    )
    tier: Literal["dedicated", "dedicated_then_low_priority", "low_priority"] = Field(
        "dedicated_then_low_priority",
        description="Priority of a new cluster's nodes. Low-priority nodes cost less, but Azure "
        "may take them back at any time.",
    )
    max_nodes: int = Field(2, ge=1, le=100, description="Maximum number of nodes in a new cluster.")
    may_create: bool = Field(True, description="Create the cluster if it does not exist.")
    idle_minutes: float = Field(
        2, gt=0, le=1440, description="Minutes until a new cluster releases an idle node."
    )
    steps: StepComputes = Field(
        default_factory=StepComputes,
        description="Run single steps elsewhere, so that only the training pays for GPUs.",
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
    """How to train. An empty field takes the model card's value, or else the default."""

    first: ClassVar = ("num_train_epochs", "learning_rate", "per_device_train_batch_size")

    num_train_epochs: int | None = Field(
        None,
        ge=1,
        title="Epochs",
        description="Passes over the training data. Empty: the model card's value, or else 3.",
    )
    per_device_train_batch_size: int | None = Field(
        None,
        ge=1,
        title="Batch size per GPU",
        description="Rows per GPU and step. Empty: the model card's value, or else 1.",
    )
    per_device_eval_batch_size: int | None = Field(
        None,
        ge=1,
        title="Evaluation batch size per GPU",
        description="Rows per GPU and evaluation step. Empty: the model card's value, or else 1.",
    )
    learning_rate: float | None = Field(
        None, gt=0, description="Empty: the model card's value, or else 5e-6."
    )
    lr_scheduler_type: Scheduler | None = Field(
        None,
        title="Learning rate schedule",
        description="None: the model card's value, or else cosine.",
    )
    apply_lora: bool | None = Field(
        None,
        title="Apply LoRA",
        description="Train a low-rank adapter instead of all weights. "
        "None: the model card's value, or else true.",
    )
    apply_deepspeed: bool | None = Field(
        None,
        title="Apply DeepSpeed",
        description="None: the model card's value, or else true.",
    )
    deepspeed_stage: Literal[2, 3] | None = Field(
        None,
        title="DeepSpeed stage",
        description="None: the model card's value, or else 2.",
    )
    other: dict[str, Scalar] = Field(
        default_factory=dict,
        title="Other inputs",
        description='More inputs of the pipeline component, by name: {"max_seq_length": 2048}.',
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
    """The online endpoint that serves the model, and its deployment."""

    first: ClassVar = ("instance_type", "keep")

    name: str | None = Field(
        None,
        description="The endpoint's name: 3 to 32 letters, digits and hyphens. "
        "Empty: a name that belongs to this run.",
    )
    deployment: str = Field(
        "demo",
        pattern=r"^[a-zA-Z][-a-zA-Z0-9]{1,30}[a-zA-Z0-9]$",
        description="The deployment's name.",
    )
    instance_type: str = Field(
        "",
        description="VM size of the deployment. Empty: the first of the model card's recommended "
        "sizes that is available.",
    )
    instance_count: int = Field(1, ge=1, le=20, description="Number of instances.")
    probe_initial_delay_s: int = Field(
        600,
        ge=1,
        le=3600,
        description="Seconds until Azure first checks that the deployment is alive.",
    )
    request_timeout_ms: int = Field(
        90_000, ge=1, le=180_000, description="Maximum time for one request, in milliseconds."
    )
    keep: bool = Field(
        False,
        title="Keep the endpoint",
        description="Leave the endpoint running after the run. You pay for it until it is deleted.",
    )
    keep_hours: float = Field(
        24,
        gt=0,
        le=24 * 30,
        description="Hours until the reaper deletes an endpoint that is kept, counted from the "
        "start of its deployment.",
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
    """The test questions that the endpoint is asked, and how it should answer."""

    __test__ = False  # not a test class, whatever its name tells pytest

    rows: int = Field(1, ge=1, le=100, description="Number of questions, taken from test_gen.")
    seed: int = Field(42, ge=0, description="Decides which rows are picked.")
    temperature: float = Field(0.6, ge=0, le=5, description="0: always the most likely token.")
    top_p: float = Field(
        0.9, gt=0, le=1, title="Top p", description="Probability mass to sample from."
    )
    do_sample: bool = Field(True, description="Sample. If off, take the most likely token.")
    max_new_tokens: int = Field(
        200, ge=1, le=4096, description="Maximum length of an answer, in tokens."
    )


class Deadlines(Choice):
    """How long the run waits for each thing, and how often it checks."""

    compute_minutes: float = Field(30, gt=0, description="For the cluster to be created.")
    training_minutes: float = Field(
        24 * 60, gt=0, description="For the job, including its time in the queue."
    )
    deployment_minutes: float = Field(60, gt=0, description="For the deployment to come up.")
    deletion_minutes: float = Field(30, gt=0, description="For the endpoint to be deleted.")
    outage_minutes: float = Field(
        15, gt=0, description="How long Azure may be unreachable while the run waits."
    )
    not_responding_minutes: float = Field(
        60, gt=0, description="How long a job that stopped responding may take to recover."
    )
    poll_seconds: float = Field(
        30, gt=0, le=600, description="Seconds between two checks of the job or the endpoint."
    )

    @property
    def total_minutes(self) -> float:
        """Return the longest that a run can take."""
        waits = self.compute_minutes + self.training_minutes + self.deployment_minutes
        return waits + self.deletion_minutes


class FineTune(Choice):
    """One fine-tune: the model, the data, the training, and what happens to the result."""

    first: ClassVar = (
        "preset",
        "model",
        "data",
        "parameters",
        "compute",
        "endpoint",
        "registered_name",
        "budget",
        "evaluation",
    )

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
        description="Runs with the same key share one job, model and endpoint. "
        "Empty: the id of this run.",
    )
    recipe: str = Field("chat_completion", min_length=1, description="The kind of fine-tune.")
    model: ModelChoice = Field(
        default_factory=ModelChoice,
        title="Base model",
        description="The foundation model to fine-tune.",
    )
    compute: ComputeChoice = Field(
        default_factory=ComputeChoice,
        title="GPU cluster",
        description="Where the model is trained.",
    )
    data: DataChoice = Field(
        default_factory=DataChoice,
        title="Training data",
        description="The conversations to train on, and to test with.",
    )
    parameters: FineTuneParameters = Field(
        default_factory=FineTuneParameters,
        title="Training",
        description="How the model is trained.",
    )
    experiment: str | None = Field(
        None, description="The job's experiment. Empty: chat_completion_MODEL."
    )
    registered_name: AssetName | None = Field(
        None,
        title="Name of the new model",
        description="Name under which the fine-tuned model is registered. Empty: MODEL-DATASET.",
    )
    endpoint: EndpointChoice = Field(
        default_factory=EndpointChoice,
        title="Serving",
        description="The endpoint on which the new model is tested.",
    )
    test: TestChoice = Field(
        default_factory=TestChoice,
        title="Test questions",
        description="What the endpoint is asked.",
    )
    evaluation: EvaluationChoice = Field(
        default_factory=EvaluationChoice,
        title="Evaluation",
        description="Whether the new model is better than the current champion.",
    )
    waiting: Waiting = Field(
        "attached",
        description="How the run waits for the job. attached: its process keeps running. "
        "suspended: its process ends, and the run is resumed when the job has ended; this needs a "
        "deployment.",
    )
    deadlines: Deadlines = Field(default_factory=Deadlines, description="How long the run waits.")
    budget: float | None = Field(
        None,
        ge=0,
        description="The most that the run may cost, in the currency of the price table. "
        f"Empty: {DEFAULT_BUDGET}. 0: no limit.",
    )

    @property
    def limit(self) -> float | None:
        """Return the most that the run may cost, in the price table's currency; None: no limit."""
        return DEFAULT_BUDGET if self.budget is None else self.budget or None

    @model_validator(mode="before")
    @classmethod
    def _filled_by_the_preset(cls, given: Any, info: ValidationInfo) -> Any:
        """Fill what was left open, so that nobody meets a run that is not whole."""
        if not isinstance(given, Mapping) or info.context == OF_A_PRESET:
            return given
        return filled(cls.unfolded(given), preset_values(str(given.get("preset") or DEFAULT)))

    def by_preset(self) -> dict[str, Any]:
        """Return the values that the preset decided, by the field's name (``model.name``)."""
        return decided(self, preset_values(self.preset))


#: Context of a validation that looks at a preset's own values.
OF_A_PRESET = "the values of a preset"


def preset_values(name: str) -> dict[str, Any]:
    """Return a preset's values, checked by the form's own types.

    Raises:
        ValueError: there is none, it is not TOML, or it has a field that the form does not have.
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

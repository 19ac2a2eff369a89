"""How the form is shown: what Prefect makes its page from, and what it takes from it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from prefect.utilities.callables import parameter_schema
from prefect.utilities.schema_tools import validate
from prefect.utilities.schema_tools.validation import ValidationError as Refused
from pydantic import ValidationError

from finetuning.form.choice import MORE
from finetuning.form.run import DEFAULT_BUDGET, FineTune
from finetuning.recipes.chat_completion import RECIPE
from flows.fine_tune import fine_tune


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    """What the deployment has at Prefect's server."""
    return dict(parameter_schema(fine_tune.fn).model_dump_for_openapi())


def check(schema: dict[str, Any], run: Any) -> None:
    """Hold a body against the schema as Prefect's server does."""
    validate({"run": run}, schema, raise_on_error=True)


def shown(schema: dict[str, Any], part: str) -> dict[str, Any]:
    return dict(schema["definitions"][part]["properties"])


def groups(schema: dict[str, Any], part: str = "FineTune") -> Iterator[tuple[str, dict[str, Any]]]:
    for field in shown(schema, part).values():
        if "$ref" in field:
            inner = field["$ref"].split("/")[-1]
            yield from groups(schema, inner)
        elif field["title"] != "More":
            yield part, field


def test_the_form_begins_with_the_few_values_that_people_change(schema: dict[str, Any]) -> None:
    values = [field["title"] for _, field in groups(schema)]

    assert values == [
        "Preset", "Name", "Version", "Dataset", "Percentage", "Max rows", "Epochs", "Learning rate",
        "Batch size per GPU", "Name", "Size", "Instance type", "Keep the endpoint",
        "Name of the new model", "Budget", "Compare",
    ]  # fmt: skip


def test_they_are_plain_values_and_no_picker_of_types(schema: dict[str, Any]) -> None:
    assert [field for _, field in groups(schema) if "anyOf" in field] == []


def test_groups_have_words_for_titles(schema: dict[str, Any]) -> None:
    parts = [one for one in shown(schema, "FineTune").values() if "$ref" in one]

    titles = [
        one.get("title") or schema["definitions"][one["$ref"].split("/")[-1]]["title"]
        for one in parts
    ]
    assert titles == [
        "Base model", "Training data", "Training", "GPU cluster", "Serving", "Evaluation",
    ]  # fmt: skip


def test_every_field_is_shown_at_once_or_under_more(schema: dict[str, Any]) -> None:
    for part in ("FineTune", "DataChoice", "EndpointChoice", "EvaluationChoice"):
        properties = shown(schema, part)
        under = properties.pop(MORE)["anyOf"][1]["properties"]
        beside = {name.strip("^$") for name in schema["definitions"][part]["patternProperties"]}
        assert set(under) == beside
        assert not set(under) & set(properties)


def test_a_description_says_which_value_counts_where_a_field_is_left_empty() -> None:
    for name, field in type(FineTune().parameters).model_fields.items():
        default = RECIPE.defaults.get(name)
        if default is not None:
            written = "5e-6" if name == "learning_rate" else str(default)
            assert str(field.description).endswith(f"the model card's value, or else {written}."), (
                name
            )
    assert f"Empty: {DEFAULT_BUDGET}." in str(FineTune.model_fields["budget"].description)


EVERYTHING = FineTune().model_dump(mode="json")

BODIES: list[dict[str, Any]] = [
    {},
    EVERYTHING,  # what the form used to send, and a schedule still holds
    {"budget": None, "key": None, "model": {"version": None}, "data": {"config": None}},
    {"data": {"percentage": 1, "max_rows": 16, "revision": "main", "seed": 3}},
    {"data": {MORE: {"seed": 3, "columns": {"role": "from"}}}, MORE: {"waiting": "suspended"}},
    {"data": {MORE: None}, "endpoint": {MORE: {"name": ""}}, MORE: None},
    {"deadlines": {"poll_seconds": 1}, "test": {"rows": 2}, "evaluation": {"own": {"rows": 9}}},
    {"parameters": {"apply_lora": False, "deepspeed_stage": 3, "other": {"max_steps": 4}}},
    {"parameters": {MORE: {"apply_lora": False, "lr_scheduler_type": None}}},
    {"registered_name": "", "model": {"version": ""}, MORE: {"key": "", "experiment": ""}},
    {"budget": 0, "compute": {"steps": {"preprocess": {"instance_type": "Standard_D12_v2"}}}},
]


@pytest.mark.parametrize("body", BODIES)
def test_prefects_server_and_the_flow_take_what_they_ever_took(
    schema: dict[str, Any], body: dict[str, Any]
) -> None:
    check(schema, body)

    FineTune.model_validate(body)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"budget": -1}, "run.budget"),
        ({"data": {"percentage": 101}}, "run.data.percentage"),
        ({"data": {"seed": -1}}, "run.data.seed"),
        ({"data": {"sead": 1}}, "sead"),
        ({"data": {MORE: {"sead": 1}}}, "run.data"),
        ({"parameters": {"num_train_epochs": 0}}, "run.parameters.num_train_epochs"),
        ({"parameters": {"deepspeed_stage": 7}}, "run.parameters.deepspeed_stage"),
        ({"registered_name": "has/slash"}, "run.registered_name"),
    ],
)
def test_a_bad_value_is_refused_before_a_run_exists(
    schema: dict[str, Any], body: dict[str, Any], field: str
) -> None:
    with pytest.raises(Refused, match=field):
        check(schema, body)
    with pytest.raises(ValidationError):
        FineTune.model_validate(body)


def test_a_value_under_more_is_the_fields_own() -> None:
    found = FineTune.model_validate(
        {
            "data": {"percentage": 1, MORE: {"seed": 7, "filters": None}},
            MORE: {"key": "nightly", "deadlines": {"poll_seconds": 1}},
        }
    )

    assert found == FineTune.model_validate(
        {
            "data": {"percentage": 1, "seed": 7},
            "key": "nightly",
            "deadlines": {"poll_seconds": 1},
        }
    )


def test_an_empty_text_is_no_choice() -> None:
    found = FineTune.model_validate({"key": "", "model": {"version": ""}, "registered_name": ""})

    assert found == FineTune()


def test_two_values_of_one_field_are_refused() -> None:
    with pytest.raises(ValidationError, match="'seed' is 3, and 7 under 'more': leave one out"):
        FineTune.model_validate({"data": {"seed": 3, MORE: {"seed": 7}}})


def test_a_default_beside_more_is_no_second_value() -> None:
    data = {**EVERYTHING["data"], MORE: {"seed": 7, "splits": ["train_sft", "test_gen"]}}

    found = FineTune.model_validate({"data": data})

    assert (found.data.seed, found.data.splits) == (7, ("train_sft", "test_gen"))


@pytest.mark.parametrize("more", [3, "seed", ["seed"]])
def test_more_that_holds_no_fields_is_refused(more: Any) -> None:
    with pytest.raises(ValidationError, match="'more' holds fields by their names"):
        FineTune.model_validate({"data": {MORE: more}})


@pytest.mark.parametrize(("budget", "limit"), [(None, 200), ("", 200), (0, None), (60, 60)])
def test_a_run_that_does_not_say_has_a_budget_and_0_is_none(
    budget: Any, limit: float | None
) -> None:
    assert FineTune.model_validate({"budget": budget}).limit == limit


def test_every_field_has_a_description() -> None:
    """One that says the same as its part's docstring is dropped from the schema by pydantic."""
    whole = FineTune.model_json_schema()

    undescribed = [
        f"{part}.{name}"
        for part, schema in {**whole["$defs"], "FineTune": whole}.items()
        for name, about in schema.get("properties", {}).items()
        if not about.get("description")
    ]
    assert undescribed == []

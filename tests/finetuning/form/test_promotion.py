"""What a promotion may be asked for, before anything is deployed."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from finetuning.form.promote import Promote
from finetuning.form.promotion import Promoted, PromotionChoice
from finetuning.form.run import FineTune


def test_a_run_promotes_nothing_unless_it_is_asked_to() -> None:
    assert FineTune().promotion.when == "never" and not FineTune().promotion.on


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"when": "always"}, "when"),
        ({"dwell_minutes": -1}, "dwell_minutes"),
        ({"mirror_percent": 51}, "mirror_percent"),
        ({"mirror_percent": -1}, "mirror_percent"),
        ({"steps": []}, "steps"),
        ({"steps": [10, 50]}, "steps"),
        ({"steps": [0, 100]}, "steps"),
        ({"steps": [50, 10, 100]}, "steps"),
        ({"steps": [10, 10, 100]}, "steps"),
        ({"steps": [100, 150]}, "steps"),
        ({"max_error_rate": 1.5}, "max_error_rate"),
        ({"max_slowdown": 0.5}, "max_slowdown"),
        ({"keep_old_hours": -1}, "keep_old_hours"),
        ({"keep_days": 0}, "keep_days"),
        ({"endpoint": "x"}, "endpoint"),
        ({"endpoint": "1shop"}, "endpoint"),
        ({"endpoint": "shop_1"}, "endpoint"),
        ({"endpoint": "shop-"}, "endpoint"),
        ({"endpoint": "s" * 33}, "endpoint"),
        ({"colour": "blue"}, "colour"),
    ],
)
def test_what_azure_or_reason_forbids_is_told_with_its_field(
    wrong: dict[str, Any], field: str
) -> None:
    with pytest.raises(ValidationError) as told:
        PromotionChoice.model_validate(wrong)

    assert [one["loc"][0] for one in told.value.errors()] == [field]


@pytest.mark.parametrize("model", ["", "my model", "-shop"])
def test_a_promotion_names_a_model_that_there_can_be(model: str) -> None:
    with pytest.raises(ValidationError, match="model"):
        Promote(model=model, version="1")


def test_if_better_wants_an_evaluation() -> None:
    with pytest.raises(ValidationError, match=r"set evaluation\.compare to kept"):
        FineTune.model_validate({"promotion": {"when": "if_better"}})

    FineTune.model_validate({"promotion": {"when": "ask"}})


def test_the_endpoint_of_the_test_is_not_the_products() -> None:
    given = {"endpoint": {"name": "shop"}, "promotion": {"when": "ask", "endpoint": "shop"}}

    with pytest.raises(ValidationError, match="choose two names"):
        FineTune.model_validate(given)


def test_a_return_says_why() -> None:
    with pytest.raises(ValidationError, match="reason"):
        Promoted(outcome="returned", why="", endpoint="shop", model="m", version="1")

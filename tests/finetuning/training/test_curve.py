"""The curve of a training that goes on: how far it is, and how long it will yet take."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetuning.training.curve import EPOCH, EVAL_LOSS, LOSS, RATE, Asked, Curve, Point
from finetuning.training.report import Money, Seen, StepState, duration, headline, page


def logged(steps: range, *, seconds: float = 2.0, epoch: int = 10) -> dict[str, list[Point]]:
    """A training that logs at these steps, ``epoch`` of them an epoch, one in so many seconds."""
    return {
        LOSS: [Point(n, 4.0 / n, 1000 + n * seconds) for n in steps],
        EPOCH: [Point(n, n / epoch, 1000 + n * seconds) for n in steps],
        RATE: [Point(n, 1e-4, 1000 + n * seconds) for n in steps],
    }


def seen(curve: Curve, status: str = "Running") -> Seen:
    steps = (StepState("import", "Completed"), StepState("chat_completion_finetune", status))
    return Seen(steps, curve)


def test_how_many_steps_there_will_be_follows_from_what_the_training_says() -> None:
    curve = Curve.of(logged(range(5, 16, 5)), Asked(epochs=3))

    assert (curve.step, curve.total, curve.share) == (15, 30, 0.5)


def test_a_training_that_was_asked_for_steps_takes_these() -> None:
    assert Curve.of(logged(range(1, 4)), Asked(epochs=3, max_steps=6)).total == 6


def test_before_anything_is_logged_nothing_is_known() -> None:
    curve = Curve.of({}, Asked(epochs=3))

    assert (curve.step, curve.total, curve.share, curve.left) == (0, None, None, None)
    assert headline(Seen((), curve)) == "queued"


@pytest.mark.parametrize("bad", ["three", None, "", 1.5, True])
def test_parameters_that_are_no_numbers_ask_for_the_defaults(bad: object) -> None:
    assert Asked.of({"num_train_epochs": "many", "max_steps": bad}) == Asked(1, -1)


def test_the_time_left_is_the_steps_left_at_the_pace_of_late() -> None:
    left = Curve.of(logged(range(1, 11)), Asked(epochs=3)).left

    assert left is not None
    assert left.seconds == pytest.approx(40)  # 20 steps of 2 s
    assert left.give == pytest.approx(0)  # each took the same


def test_an_uneven_pace_makes_the_time_left_uncertain_and_never_negative() -> None:
    even, uneven = logged(range(1, 11)), logged(range(1, 11))
    uneven[LOSS] = [Point(p.step, p.value, p.time + (p.step % 2)) for p in uneven[LOSS]]

    sure = Curve.of(even, Asked(epochs=3)).left
    unsure = Curve.of(uneven, Asked(epochs=3)).left

    assert sure is not None and unsure is not None
    assert unsure.give > sure.give + 1


@given(st.lists(st.floats(0.01, 1e4), min_size=2, max_size=60), st.integers(1, 500))
def test_whatever_the_pace_the_time_left_is_a_finite_number(took: list[float], epochs: int) -> None:
    times = [sum(took[: n + 1]) for n in range(len(took))]
    points = {
        LOSS: [Point(n + 1, 1.0, t) for n, t in enumerate(times)],
        EPOCH: [Point(n + 1, (n + 1) / 7, t) for n, t in enumerate(times)],
    }

    left = Curve.of(points, Asked(epochs=epochs)).left

    assert left is None or (math.isfinite(left.seconds) and left.seconds >= 0 <= left.give)


def test_steps_that_were_taken_once_more_from_a_checkpoint_count_once() -> None:
    first = [Point(n, 1.0, 1000.0 + n) for n in range(1, 9)]
    again = [Point(n, 2.0, 2000.0 + n) for n in range(5, 8)]

    curve = Curve.of({LOSS: [*again, *first]}, Asked(max_steps=20))

    assert [(p.step, p.value) for p in curve.points[LOSS]] == [
        *((n, 1.0) for n in range(1, 5)), *((n, 2.0) for n in range(5, 8)),
    ]  # fmt: skip
    assert curve.step == 7


def test_the_line_says_step_losses_and_time_and_stays_the_same_while_nothing_changes() -> None:
    points = logged(range(1, 11)) | {EVAL_LOSS: [Point(10, 0.51, 1020)]}
    curve = Curve.of(points, Asked(epochs=3))

    said = headline(seen(curve))

    assert said == (
        "1 of 2 steps completed, chat_completion_finetune Running · step 10 of 30 · loss 0.4"
        " · evaluation loss 0.51 · 40 s left"
    )
    assert headline(seen(Curve.of(points, Asked(epochs=3)))) == said


def test_a_loss_that_is_not_a_number_is_said_as_it_is() -> None:
    curve = Curve.of({LOSS: [Point(1, math.nan, 1.0)]}, Asked(max_steps=5))

    assert "loss nan" in headline(seen(curve))


def test_the_page_has_picture_numbers_money_and_the_pipelines_steps() -> None:
    curve = Curve.of(logged(range(1, 11)), Asked(epochs=3))
    money = Money("EUR", spent=1.5, expected=9.25, budget=200)

    text = page("job-1", "https://studio/job-1", seen(curve), money, 8, "data:image/png;base64,x")

    assert "[job-1](https://studio/job-1)" in text
    assert "![Loss by step](data:image/png;base64,x)" in text
    assert "| rows a second | 4 (2 s a step) |" in text
    assert "| learning rate | 0.0001 |" in text
    assert "| time left | 40 s ± 0 s |" in text
    assert "| spent | 1.50 EUR, of a budget of 200.00 |" in text
    assert "| expected cost of the run | 9.25 EUR |" in text
    assert "| chat_completion_finetune | Running |" in text


def test_what_is_not_known_is_left_out_of_the_page() -> None:
    text = page("job-1", "", Seen((), Curve()), Money(""), 8, "")

    assert text == "`job-1`: queued"


@pytest.mark.parametrize(
    ("seconds", "said"), [(0, "0 s"), (89, "89 s"), (600, "10 min"), (9000, "2.5 h")]
)
def test_a_time_is_said_as_people_say_it(seconds: float, said: str) -> None:
    assert duration(seconds) == said

"""The price table, and the estimate that rests on it."""

from __future__ import annotations

from pathlib import Path

import pytest

from finetuning.errors import SettingsError
from finetuning.planning.prices import Nodes, Prices, Work, answering_hours, estimate, load_prices

GPU = Nodes(size="Standard_ND40rs_v2", count=1)
SERVING = Nodes(size="Standard_NC6s_v3", count=1)


def test_the_shipped_table_names_its_source_and_date() -> None:
    shipped = load_prices()

    assert "Azure" in shipped.source
    assert shipped.date.year >= 2026
    assert shipped.per_hour("standard_nd40rs_v2") == shipped.sizes["Standard_ND40rs_v2"].per_hour


def test_an_estimate_follows_from_tokens_epochs_throughput_and_price(prices: Prices) -> None:
    work = Work(train_tokens=3_600_000, train_rows=100, epochs=2, rows_per_step=10)

    found = estimate(prices, "small", work, GPU, SERVING)

    training, endpoint = found.lines
    assert training.node_hours == pytest.approx(1 + 2)
    assert training.cost == pytest.approx(24)
    assert endpoint.cost == pytest.approx(1)
    assert found.total == pytest.approx(25)
    assert found.steps == 20
    assert found.complete


def test_a_larger_model_takes_longer_in_proportion(prices: Prices) -> None:
    work = Work(train_tokens=3_600_000, train_rows=100)

    found = estimate(prices, "small-but-large-v1", work, GPU, SERVING)

    assert found.lines[0].node_hours == pytest.approx(1 + 4)


def test_max_steps_bound_the_tokens(prices: Prices) -> None:
    work = Work(train_tokens=1000, train_rows=100, epochs=3, max_steps=5, rows_per_step=2)

    assert work.steps == 5
    assert work.tokens == pytest.approx(100)


def test_two_nodes_halve_the_training_and_low_priority_costs_its_share(prices: Prices) -> None:
    work = Work(train_tokens=7_200_000, train_rows=100)
    nodes = Nodes(size="Standard_ND40rs_v2", count=2, low_priority=True)

    training = estimate(prices, "small", work, nodes, SERVING).lines[0]

    assert training.node_hours == pytest.approx((1 + 1) * 2)
    assert training.per_hour == 2


def test_a_kept_endpoint_is_estimated_for_as_long_as_it_is_kept(prices: Prices) -> None:
    work = Work(train_tokens=0, train_rows=0)

    found = estimate(prices, "small", work, GPU, SERVING, endpoint_hours=24)

    assert found.lines[1].cost == pytest.approx(48)


def test_a_promotion_is_estimated_by_the_time_in_which_its_candidate_is_tried(
    prices: Prices,
) -> None:
    work = Work(train_tokens=0, train_rows=0)

    found = estimate(prices, "small", work, GPU, SERVING, promotion_hours=2)
    without = estimate(prices, "small", work, GPU, SERVING)

    assert [one.what for one in found.lines] == ["training", "endpoint", "promotion"]
    assert found.lines[2].node_hours == pytest.approx(2 * SERVING.count)
    assert found.total - without.total == found.lines[2].cost > 0


def test_answers_take_as_long_as_their_tokens(prices: Prices) -> None:
    slow = prices.model_copy(update={"answer_tokens_per_second": 10})

    assert answering_hours(slow, 360, 100, 1) == pytest.approx(1)
    assert answering_hours(slow, 360, 100, 4) == pytest.approx(0.25)
    assert answering_hours(slow, 0, 100, 4) == 0


def test_a_size_that_the_table_does_not_know_is_said_to_be_missing(prices: Prices) -> None:
    work = Work(train_tokens=1, train_rows=1)

    found = estimate(prices, "small", work, Nodes(size="Standard_X1"), SERVING)

    assert not found.complete
    assert any("Standard_X1" in one for one in found.unknown)


def test_a_users_file_overrides_single_entries(tmp_path: Path) -> None:
    own = tmp_path / "prices.toml"
    own.write_text('source = "our contract"\n[sizes.Standard_ND40rs_v2]\nper_hour = 11.5\n')

    found = load_prices(own)

    assert found.per_hour("Standard_ND40rs_v2") == 11.5
    assert found.sizes["Standard_ND40rs_v2"].tokens_per_second is not None
    assert found.source == "our contract"
    assert found.per_hour("Standard_NC6s_v3") == load_prices().per_hour("Standard_NC6s_v3")


def test_a_file_in_the_current_folder_overrides_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "prices.toml").write_text('currency = "CHF"\n')
    monkeypatch.chdir(tmp_path)

    assert load_prices().currency == "CHF"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("sizes = [", "not TOML"),
        ("[sizes.Standard_X]\nper_hour = -1\n", "sizes.Standard_X.per_hour"),
        ("[sizes.Standard_X]\nper_day = 1\n", "sizes.Standard_X"),
        ("colour = 1\n", "colour"),
    ],
)
def test_a_wrong_price_file_is_refused_with_its_entry(tmp_path: Path, text: str, said: str) -> None:
    own = tmp_path / "own.toml"
    own.write_text(text)

    with pytest.raises(SettingsError, match=said) as error:
        load_prices(own)
    assert "own.toml" in str(error.value)


def test_a_price_file_that_is_missing_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FINETUNE_PRICES", str(tmp_path / "none.toml"))

    with pytest.raises(SettingsError, match=r"none\.toml"):
        load_prices()

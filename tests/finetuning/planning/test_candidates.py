"""The cheapest size that can be had, and why not the others."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
from pydantic import ValidationError

from finetuning.form.run import ComputeChoice
from finetuning.planning.candidates import Candidate, Known, cheapest
from finetuning.planning.facts import ComputeFacts, NodeSize, Quota
from finetuning.planning.findings import Report
from finetuning.planning.lifecycle import LIFECYCLE, Calendar
from finetuning.planning.model_card import ModelCard
from finetuning.planning.plan import PlanReport
from finetuning.planning.report import as_markdown

V100, A100, H100, CPU = (
    "Standard_NC6s_v3", "Standard_NC24ads_A100_v4", "Standard_NC40ads_H100_v5", "Standard_D12_v2",
)  # fmt: skip
FAMILIES = {
    V100: "standardNCSv3Family",
    A100: "standardNCADSA100v4Family",
    H100: "StandardNCadsH100v5Family",
    CPU: "standardDv2Family",
}
PRICES = {V100: (1.0, 2.0), A100: (4.0, 5.0), H100: (7.0, 2.0)}


def known(
    prices: dict[str, tuple[float | None, float | None]] | None = None, **facts: Any
) -> Known:
    sizes = {
        name.lower(): NodeSize(
            name=name, family=family, vcpus=24, gpus=0 if name == CPU else 1,
            memory_gb=100, disk_gb=100,
        )
        for name, family in FAMILIES.items()
    }  # fmt: skip
    seen = ComputeFacts.model_validate({"sizes": sizes, **facts})
    priced = PRICES if prices is None else prices
    calendar = Calendar(date(2026, 11, 27), LIFECYCLE.load())
    card = ModelCard(finetune_sizes=(V100, A100, H100))
    return Known(seen, card, calendar, 2, lambda name: priced.get(name, (None, None)))


def choose(*names: str, seen: Known | None = None) -> tuple[str, dict[str, Candidate], Report]:
    report = Report("compute")
    size, judged = cheapest(names, seen or known(), report)
    return size, {one.size: one for one in judged}, report


def test_the_cheapest_for_the_whole_training_is_taken_not_the_cheapest_an_hour() -> None:
    size, judged, report = choose(A100, H100)

    assert size == H100  # 14 in all, though 7 an hour
    assert (judged[A100].total, judged[H100].total) == (20.0, 14.0)
    assert "the cheapest of 2 candidates" in report.findings[0].what


def test_what_cannot_be_had_says_why_and_is_not_taken() -> None:
    quotas = {FAMILIES[H100].lower(): Quota(used=0, limit=24)}

    size, judged, _ = choose(V100, H100, CPU, "Standard_NC1_v9", A100, seen=known(quotas=quotas))

    assert size == A100
    assert judged[V100].against.startswith("retires on")
    assert judged[H100].against == "needs 48 vCPUs, the quota is 24"
    assert judged[CPU].against == "not on the allow-list of the model's card"
    assert judged["Standard_NC1_v9"].against == "not on the allow-list of the model's card"


def test_where_none_can_be_had_the_plan_is_refused_and_says_of_each_why() -> None:
    size, _, report = choose(CPU, "Standard_NC1_v9")

    assert size == ""
    (error,) = report.findings
    assert error.level == "error"
    assert CPU in error.what and "Standard_NC1_v9" in error.what


def test_a_size_without_a_price_comes_last_and_among_equals_the_order_counts() -> None:
    assert choose(H100, A100, seen=known({A100: (4.0, 5.0)}))[0] == A100
    assert choose(H100, A100, seen=known({}))[0] == H100


def test_the_plan_shows_a_row_for_each() -> None:
    _, judged, report = choose(A100, CPU)

    text = as_markdown(PlanReport(findings=report.findings, candidates=list(judged.values())))

    assert (
        f"| {A100} | yes | yes | unknown | not soon | 4.00 | 5.00 | 20.00 | could be had |" in text
    )
    assert f"| {CPU} | no | yes |" in text


def test_a_size_and_candidates_contradict_each_other() -> None:
    with pytest.raises(ValidationError, match="take candidates out"):
        ComputeChoice(size=A100, candidates=[H100])

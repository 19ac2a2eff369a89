"""What a run costs: the price table, and the estimate before it.

Pure arithmetic over a documented table; whoever calls it brings the clock and the file's place.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from finetuning.planning.tables import Table

#: An evaluation pass needs the forward third of a training pass's arithmetic.
EVALUATION_SHARE = 1 / 3


class SizePrice(BaseModel):
    """One VM size: its price an hour, and the tokens a second that one node trains."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    per_hour: float = Field(ge=0)
    tokens_per_second: float | None = Field(None, gt=0)


class Prices(BaseModel):
    """The price table. Sizes are looked up without regard to case."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    currency: str
    source: str
    date: date
    low_priority_share: float = Field(ge=0, le=1)
    reference_parameters: float = Field(gt=0)
    overhead_hours: float = Field(ge=0)
    endpoint_hours: float = Field(ge=0)
    answer_tokens_per_second: float = Field(20, gt=0)
    model_parameters: dict[str, float]
    sizes: dict[str, SizePrice]

    def of(self, size: str) -> SizePrice | None:
        """Return a size's entry, or None where the table has none."""
        return {name.lower(): entry for name, entry in self.sizes.items()}.get(size.lower())

    def per_hour(self, size: str, *, low_priority: bool = False) -> float | None:
        """Return a node's price an hour, or None where the table does not know the size."""
        entry = self.of(size)
        if entry is None:
            return None
        return entry.per_hour * (self.low_priority_share if low_priority else 1)

    def parameters_of(self, model: str) -> float | None:
        """Return a model's number of parameters: the longest name that begins like it decides."""
        known = [name for name in self.model_parameters if model.lower().startswith(name.lower())]
        return self.model_parameters[max(known, key=len)] if known else None


PRICES = Table(
    "price table", Path(__file__).with_name("prices.toml"), Prices, variable="FINETUNE_PRICES"
)


def load_prices(override: Path | None = None) -> Prices:
    """Return the shipped table with the user's entries over it.

    Raises:
        SettingsError: the user's file is missing, not TOML, or has an entry that means nothing.
    """
    return PRICES.load(override)


def answering_hours(prices: Prices, questions: int, tokens: int, at_once: int) -> float:
    """Return how long an endpoint takes for so many answers of so many tokens at most."""
    return questions * tokens / (prices.answer_tokens_per_second * at_once) / 3600


class Work(BaseModel):
    """What the job has to do, in tokens: of all training rows once, and of all test rows once."""

    model_config = ConfigDict(frozen=True)

    train_tokens: float = Field(ge=0)
    test_tokens: float = Field(0, ge=0)
    train_rows: int = Field(ge=0)
    epochs: int = Field(1, ge=1)
    max_steps: int = -1
    rows_per_step: int = Field(1, ge=1)

    @property
    def steps(self) -> int:
        """Return how many optimiser steps the training takes."""
        if self.max_steps > 0:
            return self.max_steps
        return self.epochs * -(-self.train_rows // self.rows_per_step)

    @property
    def tokens(self) -> float:
        """Return the tokens that the job's node works through; evaluation counts by its share."""
        per_row = self.train_tokens / max(self.train_rows, 1)
        trained = per_row * self.rows_per_step * self.steps
        if self.max_steps <= 0:
            trained = self.train_tokens * self.epochs
        return trained + EVALUATION_SHARE * self.test_tokens * self.epochs


class Nodes(BaseModel):
    """So many nodes of one size."""

    model_config = ConfigDict(frozen=True)

    size: str
    count: int = Field(1, ge=1)
    low_priority: bool = False


class CostLine(BaseModel):
    """One thing that bills: how many node-hours of which size, and what they cost."""

    model_config = ConfigDict(frozen=True)

    what: str
    size: str
    node_hours: float
    per_hour: float
    cost: float


class Estimate(BaseModel):
    """What a run is expected to cost, and on what that rests."""

    model_config = ConfigDict(frozen=True)

    currency: str
    lines: list[CostLine]
    tokens: float
    steps: int
    source: str
    date: date
    unknown: list[str] = Field(default_factory=list)

    @property
    def total(self) -> float:
        """Return the sum of what could be estimated."""
        return sum(line.cost for line in self.lines)

    @property
    def complete(self) -> bool:
        """Whether nothing is missing from the sum."""
        return not self.unknown


def estimate(
    prices: Prices,
    model: str,
    work: Work,
    training: Nodes,
    endpoint: Nodes,
    *,
    endpoint_hours: float | None = None,
    promotion_hours: float = 0.0,
) -> Estimate:
    """Return node-hours and their price, before anything runs.

    ``endpoint_hours``: how long the endpoint shall live, where that is known (it is kept).
    ``promotion_hours``: how long a second deployment is tried beside what serves.
    """
    unknown: list[str] = []
    hours = training_hours(prices, model, work, training)
    if hours is None:
        unknown.append(f"the training speed of {training.size}")
    serving = prices.endpoint_hours if endpoint_hours is None else endpoint_hours
    lines: list[CostLine] = []
    for what, nodes, each in (
        ("training", training, hours),
        ("endpoint", endpoint, serving),
        *([("promotion", endpoint, promotion_hours)] if promotion_hours else []),
    ):
        per_hour = prices.per_hour(nodes.size, low_priority=nodes.low_priority)
        if per_hour is None:
            unknown.append(f"the price of {nodes.size}")
        elif each is not None:
            lines.append(cost_line(what, nodes.size, each * nodes.count, per_hour))
    return Estimate(
        currency=prices.currency,
        lines=lines,
        tokens=work.tokens,
        steps=work.steps,
        source=prices.source,
        date=prices.date,
        unknown=unknown,
    )


def training_hours(prices: Prices, model: str, work: Work, nodes: Nodes) -> float | None:
    """Return how long the training takes on these nodes; None: the table has no speed of theirs."""
    entry = prices.of(nodes.size)
    if entry is None or entry.tokens_per_second is None:
        return None
    parameters = prices.parameters_of(model) or prices.reference_parameters
    speed = entry.tokens_per_second * prices.reference_parameters / parameters
    return prices.overhead_hours + work.tokens / (speed * nodes.count) / 3600


def cost_line(what: str, size: str, node_hours: float, per_hour: float) -> CostLine:
    """Return one line of costs."""
    return CostLine(
        what=what,
        size=size,
        node_hours=node_hours,
        per_hour=per_hour,
        cost=node_hours * per_hour,
    )


def total(lines: Iterable[CostLine]) -> float:
    """Return the sum of the lines' costs."""
    return sum(line.cost for line in lines)

"""What a model's card says, wherever the catalogue keeps it.

Older cards hold Python or JSON text in tags, newer ones an object ``system_metadata``. Text is
parsed as a literal and never evaluated; text that is no literal becomes a problem of the card, not
a crash. Where a fact is in both places, ``system_metadata`` counts: it is what the service obeys.
"""

from __future__ import annotations

import ast
import json
import math
from collections.abc import Callable, Collection, Mapping
from datetime import date, datetime
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from finetuning.form.run import Scalar

#: Longest text that is parsed; real cards stay below 2,000 characters.
LONGEST = 20_000


T = TypeVar("T")


class CardTextError(ValueError):
    """A card's text is not what its name promises; says what it is."""


class MinimumSpec(BaseModel):
    """The smallest node a model can do with: ``vCPU|GPU|memory|disk`` on the card, in GB."""

    model_config = ConfigDict(frozen=True)

    vcpus: int
    gpus: int
    memory_gb: float
    disk_gb: float


class CardProblem(BaseModel):
    """A field of the card that cannot be read, and why."""

    model_config = ConfigDict(frozen=True)

    field: str
    why: str


class ModelCard(BaseModel):
    """The facts of one model version. ``None`` means that the card does not say."""

    model_config = ConfigDict(frozen=True)

    archived: bool = False
    finetune_tasks: tuple[str, ...] | None = None
    finetune_sizes: tuple[str, ...] | None = None
    inference_sizes: tuple[str, ...] | None = None
    finetune_minimum: MinimumSpec | None = None
    inference_minimum: MinimumSpec | None = None
    finetune_recommended: tuple[str, ...] | None = None
    inference_recommended: tuple[str, ...] | None = None
    finetune_retires: date | None = None
    inference_retires: date | None = None
    licence: str | None = None
    defaults: dict[str, Scalar] = Field(default_factory=dict)
    problems: tuple[CardProblem, ...] = ()

    def fine_tunes(self, tasks: Collection[str]) -> bool:
        """Whether it fine-tunes for one of these tasks; the card's list decides, if it has one."""
        if self.finetune_tasks is not None:
            return any(task.lower() in tasks for task in self.finetune_tasks)
        return self.finetune_sizes is not None or self.finetune_minimum is not None


def read_card(version: Mapping[str, Any]) -> ModelCard:
    """Return the facts of a model version, as the registry returned its ``properties``.

    Never raises for what a card says: a field that cannot be read is left out and listed in
    ``problems``.
    """
    reader = _Reader(version)
    return ModelCard(
        archived=bool(version.get("isArchived")),
        finetune_tasks=reader.read(_FINETUNE_TASKS, _names),
        finetune_sizes=reader.read(_FINETUNE_SIZES, _names),
        inference_sizes=reader.read(_INFERENCE_SIZES, _names),
        finetune_minimum=reader.read(_FINETUNE_MINIMUM, _minimum),
        inference_minimum=reader.read(_INFERENCE_MINIMUM, _minimum),
        finetune_recommended=reader.read(_FINETUNE_RECOMMENDED, _names),
        inference_recommended=reader.read(_INFERENCE_RECOMMENDED, _names),
        finetune_retires=reader.read(_FINETUNE_RETIRES, _day),
        inference_retires=reader.read(_INFERENCE_RETIRES, _day),
        licence=reader.read(("license", "licence"), str),
        defaults=reader.read(("modelSpecificDefaults", "model_specific_defaults"), _defaults) or {},
        problems=tuple(reader.problems),
    )


# Names under which cards of different years keep the same fact, the newest first.
_FINETUNE_TASKS = ("fineTuningTasks", "finetuning-tasks", "finetuning_tasks")


_FINETUNE_SIZES = ("supportedComputes.finetuneComputes", "finetune_compute_allow_list")


_INFERENCE_SIZES = ("supportedComputes.inferenceComputes", "inference_compute_allow_list")


_FINETUNE_MINIMUM = ("SKU.finetuneMinSkuSpec", "finetune-min-sku-spec", "finetune_min_sku_spec")


_INFERENCE_MINIMUM = ("SKU.inferenceMinSkuSpec", "inference-min-sku-spec", "inference_min_sku_spec")


_FINETUNE_RECOMMENDED = ("SKU.finetuneRecommendedSkus", "finetune-recommended-sku")


_INFERENCE_RECOMMENDED = ("SKU.inferenceRecommendedSkus", "inference-recommended-sku")


_FINETUNE_RETIRES = ("deprecation.finetuneRetirementDate", "FinetuneRetirementDate")


_INFERENCE_RETIRES = ("deprecation.inferenceRetirementDate", "InferenceRetirementDate")


class _Reader:
    """Looks a fact up in ``system_metadata``, then in tags, then in properties."""

    def __init__(self, version: Mapping[str, Any]) -> None:
        metadata = version.get("system_metadata") or version.get("systemMetadata")
        self.places = [
            _mapping(metadata),
            _mapping(version.get("tags")),
            _mapping(version.get("properties")),
        ]
        self.problems: list[CardProblem] = []

    def read(self, names: tuple[str, ...], parse: Callable[[Any], T]) -> T | None:
        for place in self.places:
            for name in names:
                found = _dig(place, name)
                if found is None or found == "":
                    continue
                try:
                    return parse(found)
                except CardTextError as error:
                    self.problems.append(CardProblem(field=name, why=str(error)))
        return None


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _dig(place: Mapping[str, Any], dotted: str) -> Any:
    found: Any = place
    for name in dotted.split("."):
        found = _mapping(found).get(name)
    return found


def literal(text: str) -> Any:
    """Return the value of a JSON or Python literal, without evaluating anything.

    Raises:
        CardTextError: it is neither, or longer than any card's text.
    """
    if len(text) > LONGEST:
        raise CardTextError(f"a text of {len(text)} characters")
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        raise CardTextError(f"neither JSON nor a Python literal: {text[:80]!r}") from None


def _names(value: Any) -> tuple[str, ...]:
    """Return a list of names: an object's list, the text of one, or names with commas between."""
    found = value
    if isinstance(value, str):
        bracketed = value.strip()[:1] in ("[", "(", "{", '"', "'")
        found = literal(value) if bracketed else value.split(",")
    if not isinstance(found, list | tuple | set | frozenset):
        raise CardTextError(f"not a list of names: {str(value)[:80]!r}")
    if not all(isinstance(one, str) for one in found):
        raise CardTextError(f"a list that does not hold only names: {str(value)[:80]!r}")
    return tuple(one.strip() for one in found if one.strip())


def _defaults(value: Any) -> dict[str, Scalar]:
    found = literal(value) if isinstance(value, str) else value
    if not isinstance(found, Mapping):
        raise CardTextError(f"not a mapping of parameters: {str(value)[:80]!r}")
    odd = [name for name, one in found.items() if not _is_scalar(name, one)]
    if odd:
        raise CardTextError(f"parameters that are not plain values: {str(odd)[:80]}")
    return dict(found)


def _is_scalar(name: Any, value: Any) -> bool:
    finite = not isinstance(value, float) or math.isfinite(value)
    return isinstance(name, str) and isinstance(value, str | int | float) and finite


def _minimum(value: Any) -> MinimumSpec:
    parts = str(value).split("|")
    try:
        vcpus, gpus, memory, disk = (float(part) for part in parts)
        return MinimumSpec(vcpus=int(vcpus), gpus=int(gpus), memory_gb=memory, disk_gb=disk)
    except (ValueError, OverflowError):
        raise CardTextError(f"not 'vCPU|GPU|memory|disk': {str(value)[:80]!r}") from None


def _day(value: Any) -> date:
    if isinstance(value, datetime):
        return value.date()
    if isinstance(value, date):
        return value
    try:
        return datetime.fromisoformat(str(value).strip()).date()
    except ValueError:
        raise CardTextError(f"not a date (year-month-day): {str(value)[:80]!r}") from None

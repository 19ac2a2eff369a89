"""A seed: what a real workspace's region and registries offered once, in one JSON file.

``python -m emulator seed`` writes it, ``python -m emulator --seed FILE`` starts from it: its sizes,
limits and registries then stand in place of the catalogue's own. What a card or a size has beyond
what is read here is kept as it is.
"""

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from emulator.catalogue import Catalogue, Registry
from emulator.catalogue.families import vcpus_of

FORMAT = 1
LOW_PRIORITY = "Total Cluster LowPriority Regional vCPUs"
_TEXT = {"type": "string", "minLength": 1}
_COUNT = {"type": "integer", "minimum": 0}


def _all(*required: str, **properties: Any) -> dict[str, Any]:
    return {"type": "object", "required": list(required), "properties": properties}


def _assets(properties: dict[str, Any]) -> dict[str, Any]:
    facts = {"name": _TEXT, "version": _TEXT, "created": _TEXT, "properties": properties}
    return {"type": "array", "items": _all(*facts, **facts)}


_MODEL = _all("modelType", modelType=_TEXT, tags={"type": "object"}, properties={"type": "object"})
_SPEC = _all("name", "inputs", name=_TEXT, inputs={"type": "object"})
_SIZE = {"name": _TEXT, "family": _TEXT, "vCPUs": _COUNT, "gpus": _COUNT}
_REGISTRY = _all(
    "models",
    "components",
    models=_assets(_MODEL),
    components=_assets(_all("componentSpec", componentSpec=_SPEC)),
)
SCHEMA = _all(
    "format",
    "sizes",
    "limits",
    "registries",
    format={"const": FORMAT},
    location=_TEXT,
    sizes={"type": "array", "minItems": 1, "items": _all(*_SIZE, **_SIZE)},
    limits={"type": "object", "additionalProperties": {"type": "integer", "minimum": -1}},
    registries={"type": "object", "minProperties": 1, "additionalProperties": _REGISTRY},
)


class BrokenSeed(ValueError):
    """A file that is no seed; ``why`` names the place in it."""

    def __init__(self, file: Path, why: str) -> None:
        super().__init__(file, why)
        self.file = file
        self.why = why

    def __str__(self) -> str:
        return (
            f"The seed {self.file} cannot be used: {self.why}. "
            "Create it again with `python -m emulator seed`."
        )


def read_seed(file: Path) -> dict[str, Any]:
    """The seed in a file. Raises BrokenSeed."""
    try:
        seed: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise BrokenSeed(file, error.strerror or "it cannot be read") from error
    except (ValueError, RecursionError) as error:
        raise BrokenSeed(file, f"it is not JSON ({error})") from error
    _check(file, seed)
    return seed


def _check(file: Path, seed: Any) -> None:
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import best_match

    wrong = best_match(Draft202012Validator(SCHEMA).iter_errors(seed))
    if wrong is not None:
        place = "/".join(str(part) for part in wrong.absolute_path) or "the whole"
        raise BrokenSeed(file, f"at {place}: {wrong.message[:200]}")
    _check_unique(file, "sizes", (size["name"] for size in seed["sizes"]))
    for name, registry in seed["registries"].items():
        for kind in ("models", "components"):
            versions = (f"{one['name']}:{one['version']}" for one in registry[kind])
            _check_unique(file, f"registries/{name}/{kind}", versions)


def _check_unique(file: Path, place: str, names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in (one.lower() for one in names):
        if name in seen:
            raise BrokenSeed(file, f"at {place}: '{name}' is there twice")
        seen.add(name)


def seeded(catalogue: Catalogue, seed: dict[str, Any]) -> Catalogue:
    """The catalogue with the seed's sizes, limits and registries in place of its own.

    A family that no row of the seed's limits names has no quota.
    """
    registries = [_registry(name, assets) for name, assets in sorted(seed["registries"].items())]
    mine = {one.name.lower() for one in registries}
    azures = [one.name for one in catalogue.registries] + catalogue.not_carried
    limits = {name.lower(): limit for name, limit in seed["limits"].items()}
    families = dict.fromkeys(str(size["family"]) for size in seed["sizes"])
    return replace(
        catalogue,
        registries=registries,
        not_carried=[name for name in azures if name.lower() not in mine],
        vm_sizes=[dict(size) for size in seed["sizes"]],
        quotas={family: _limit(limits, family) for family in families},
        low_priority_quota=max(limits.get(LOW_PRIORITY.lower(), 0), 0),
    )


def _limit(limits: dict[str, int], family: str) -> int:
    """A family's vCPUs; rows name it in words, or by its id."""
    found = limits.get(vcpus_of(family, dedicated=True).lower(), limits.get(family.lower(), 0))
    return max(found, 0)


def _registry(name: str, assets: dict[str, Any]) -> Registry:
    return Registry(
        name=name,
        models=[_model(name, card) for card in assets["models"]],
        components=[dict(component) for component in assets["components"]],
    )


def _model(registry: str, card: dict[str, Any]) -> dict[str, Any]:
    """The card; its bytes are this emulator's, never at the address where Azure has them."""
    uri = f"azureml://registries/{registry}/models/{card['name']}/versions/{card['version']}/files"
    return {**card, "properties": {**card["properties"], "modelUri": uri}}

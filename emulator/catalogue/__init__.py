"""What the emulator's registries and region offer: models, components, VM sizes, quotas.

The facts are in the YAML files beside this one, a folder for each registry; here they get the shape
in which Azure returns them. Nothing is mutable state: every call loads them anew.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parent
#: A folder for each registry: ``models.yaml``, and a file for each component.
REGISTRIES = FOLDER / "registries"
#: Azure's own registries (the model catalogue of ai.azure.com asks for these; dotnet/aspire:
#: src/Aspire.Hosting.Azure.AIFoundry/tools/GenModel.cs).
OF_AZURE = FOLDER / "registries_of_azure.yaml"
MODELS_FILE = "models.yaml"
MLFLOW_MODEL = "mlflow_model"
FLAVORS = {"python_function": {"data": {"loader_module": "mlflow.transformers"}}}
#: Spare bytes of a node's own disk image, in MB, the same for every size.
OS_VHD_MB = 1047552
#: libyaml's safe loader where PyYAML was built with it: ten times as fast, at every start.
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class Registry:
    """One registry, as plain data.

    ``models``: ``{name, version, created, properties}``, where ``properties`` is the object that
    the registry returns (``tags``, ``properties``, ``modelType``, ``isArchived``, ``flavors``, ...
    and ``system_metadata`` where the card has one). ``created`` is ISO 8601 text; the newest of a
    name is what the label ``latest`` means, archived or not.

    ``components``: ``{name, version, created, properties}`` with ``properties.componentSpec``.
    """

    name: str
    models: list[dict[str, Any]]
    components: list[dict[str, Any]]


@dataclass(frozen=True)
class Catalogue:
    """The registries and the region, as plain data.

    ``not_carried``: Azure's registries that this emulator has not. ``vm_sizes``: entries of the
    region's ``vmSizes``. ``quotas``: vCPUs of dedicated nodes by family; ``low_priority_quota``:
    vCPUs of low-priority nodes together. ``retires``: when a family can no longer be made;
    ``low_priority_retires`` likewise.
    """

    registries: list[Registry]
    not_carried: list[str]
    vm_sizes: list[dict[str, Any]]
    quotas: dict[str, int]
    low_priority_quota: int
    retires: dict[str, date]
    low_priority_retires: date

    def registry(self, name: str) -> Registry | None:
        """The registry of that name, in whatever case."""
        return next((one for one in self.registries if one.name.lower() == name.lower()), None)

    def is_not_carried(self, name: str) -> bool:
        """Whether Azure has a registry of that name, and this emulator has not."""
        return name.lower() in (one.lower() for one in self.not_carried)

    def vm_size(self, name: str) -> dict[str, Any] | None:
        """The VM size of that name, in whatever case."""
        return next((size for size in self.vm_sizes if size["name"].lower() == name.lower()), None)

    def retired(self, size: str, now: float) -> date | None:
        """Since when a size can no longer be made, if that is so at ``now`` (unix seconds)."""
        family = (self.vm_size(size) or {}).get("family")
        return _past(self.retires.get(str(family)), now)

    def low_priority_retired(self, now: float) -> date | None:
        """Since when low-priority nodes can no longer be made, if that is so at ``now``."""
        return _past(self.low_priority_retires, now)


def _past(day: date | None, now: float) -> date | None:
    return day if day is not None and day <= datetime.fromtimestamp(now, UTC).date() else None


def load_catalogue(today: date | None = None) -> Catalogue:
    """Return the catalogue; dates that are relative in the files count from ``today`` (UTC)."""
    day = today or datetime.now(UTC).date()
    sizes = _read(FOLDER / "sizes.yaml")
    registries = [_registry(folder, day) for folder in sorted(REGISTRIES.iterdir())]
    carried = {registry.name for registry in registries}
    return Catalogue(
        registries=registries,
        not_carried=[name for name in _read(OF_AZURE) if name not in carried],
        vm_sizes=[_vm_size(name, facts) for name, facts in sizes["sizes"].items()],
        quotas=dict(sizes["quotas"]["dedicated"]),
        low_priority_quota=sizes["quotas"]["low_priority"],
        retires=dict(sizes["retires"]["families"]),
        low_priority_retires=sizes["retires"]["low_priority"],
    )


def _read(file: Path) -> Any:
    return yaml.load(file.read_text(encoding="utf-8"), Loader=LOADER)


def _registry(folder: Path, today: date) -> Registry:
    files = sorted(folder.glob("*.yaml"))
    return Registry(
        name=folder.name,
        models=[
            _model(folder.name, card, today)
            for file in files
            if file.name == MODELS_FILE
            for card in _read(file)
        ],
        components=[
            _component(folder.name, _read(file)) for file in files if file.name != MODELS_FILE
        ],
    )


def _model(registry: str, card: Mapping[str, Any], today: date) -> dict[str, Any]:
    tags = {name: _dated(value, today) for name, value in card.get("tags", {}).items()}
    tags |= {name: repr(value) for name, value in card.get("python_text", {}).items()}
    tags |= {name: json.dumps(value) for name, value in card.get("json_text", {}).items()}
    name, version, kind = card["name"], card["version"], card.get("type", MLFLOW_MODEL)
    body: dict[str, Any] = {
        "description": card["description"],
        "tags": tags,
        "properties": {key: str(value) for key, value in card.get("properties", {}).items()},
        "isArchived": bool(card.get("archived", False)),
        "isAnonymous": False,
        "flavors": FLAVORS if kind == MLFLOW_MODEL else {},
        "modelType": kind,
        "modelUri": f"azureml://registries/{registry}/models/{name}/versions/{version}/files",
        "stage": "Production",
        "provisioningState": "Succeeded",
    }
    if "system_metadata" in card:
        body["system_metadata"] = _dated(card["system_metadata"], today)
    return _versioned(card, body)


def _versioned(entry: Mapping[str, Any], body: dict[str, Any]) -> dict[str, Any]:
    created = f"{entry['created'].isoformat()}T00:00:00Z"
    return {
        "name": entry["name"],
        "version": entry["version"],
        "created": created,
        "properties": body,
    }


def _dated(value: Any, today: date) -> Any:
    """Return ``value`` with every ``{days: n}`` in it replaced by that date's text."""
    if not isinstance(value, dict):
        return value
    if set(value) == {"days"}:
        return (today + timedelta(days=value["days"])).isoformat()
    return {key: _dated(inner, today) for key, inner in value.items()}


def _component(registry: str, facts: Mapping[str, Any]) -> dict[str, Any]:
    name, version = facts["name"], facts["version"]
    spec = {
        "name": name,
        "version": version,
        "type": "pipeline",
        "display_name": facts["display_name"],
        "description": facts["description"],
        "is_deterministic": False,
        "inputs": facts["inputs"],
        "outputs": facts["outputs"],
        "jobs": {step["name"]: _step(registry, step, version) for step in facts["steps"]},
    }
    body = {
        "description": facts["description"],
        "tags": {},
        "properties": {},
        "isArchived": False,
        "isAnonymous": False,
        "componentSpec": spec,
        "provisioningState": "Succeeded",
    }
    return _versioned(facts, body)


def _step(registry: str, step: Mapping[str, Any], version: str) -> dict[str, Any]:
    """Return a node of the pipeline in the shape of a REST object."""
    inputs = {name: _bound("parent.inputs", name) for name in step.get("takes", [])}
    for name, source in step.get("from_steps", {}).items():
        job, output = source.split(".")
        inputs[name] = _bound(f"parent.jobs.{job}.outputs", output)
    published = {
        name: {"value": f"${{{{parent.outputs.{name}}}}}", "type": "literal"}
        for name in step.get("publishes", [])
    }
    return {
        "type": "command",
        "componentId": (
            f"azureml://registries/{registry}/components/{step['name']}/versions/{version}"
        ),
        "computeId": f"${{{{parent.inputs.{step['compute']}}}}}",
        "resources": {"instance_type": f"${{{{parent.inputs.{step['instance_type']}}}}}"},
        "inputs": inputs,
        "outputs": published,
    }


def _bound(where: str, name: str) -> dict[str, str]:
    return {"job_input_type": "literal", "value": f"${{{{{where}.{name}}}}}"}


def _vm_size(name: str, facts: list[Any]) -> dict[str, Any]:
    family, vcpus, gpus, memory_gb, disk_gb, premium = facts
    return {
        "name": name,
        "family": family,
        "vCPUs": vcpus,
        "gpus": gpus,
        "osVhdSizeMB": OS_VHD_MB,
        "maxResourceVolumeMB": disk_gb * 1024,
        "memoryGB": float(memory_gb),
        "lowPriorityCapable": True,
        "premiumIO": premium,
        "supportedComputeTypes": ["AmlCompute", "ComputeInstance"],
    }

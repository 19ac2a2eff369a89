"""MLflow's model registry, which is the workspace's: one set of models, seen from two sides.

What MLflow registers is an asset of type ``mlflow_model``, what the workspace registers is a
version in MLflow: MicrosoftDocs/azure-ai-docs: how-to-manage-models-mlflow.md. Renaming is not
possible on Azure (the same page); aliases, and models that MLflow 3 logs beside runs, are not here.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import yaml

from emulator.clock import Clock
from emulator.protocol.errors import ArmError, NotEmulated
from emulator.protocol.resources import touched
from emulator.services.assets.addresses import Unresolvable
from emulator.services.assets.registration import Registration, check_name
from emulator.services.assets.versions import Container, address
from emulator.services.jobs.records import ARTIFACTS, Jobs, artifact_folder

MODELS = "models"
#: An artifact of a run, as MLflow names it; and as the workspace does.
RUN_ARTIFACT = re.compile(r"azureml://.*/runs/(?P<run>[^/]+)/artifacts/(?P<path>.+)")
RUN_FOLDER = re.compile(r".*/ExperimentRun/dcid\.(?P<run>[^/]+)/(?P<path>.+)")
ARTIFACT = re.compile(r"azureml://artifacts/(?P<path>.+)")
EXISTS, MISSING, WRONG = (
    "RESOURCE_ALREADY_EXISTS",
    "RESOURCE_DOES_NOT_EXIST",
    "INVALID_PARAMETER_VALUE",
)
STAGES = ("None", "Staging", "Production", "Archived")
CONDITION = re.compile(r"\s*(?P<field>\w+)\s*(?P<sign>=|LIKE|ILIKE)\s*'(?P<value>[^']*)'\s*", re.I)
LARGEST_PAGE = 1000
Given = Mapping[str, Any]


class Refusal(Exception):
    """What MLflow's client is told; ``code`` is one of MLflow's."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(code, message)
        self.code, self.message = code, message

    @property
    def status(self) -> int:
        return 404 if self.code == MISSING else 400

    def body(self) -> dict[str, str]:
        return {"error_code": self.code, "message": self.message}


@dataclass(frozen=True)
class RegisteredModels:
    """The workspace's models as MLflow asks for them."""

    registration: Registration
    jobs: Jobs

    @property
    def clock(self) -> Clock:
        return self.registration.clock

    def answers(self, call: str) -> bool:
        """Whether a call is about models, and not about runs."""
        return call.startswith(("registered-models/", "model-versions/"))

    def ask(self, method: str, call: str, given: Given, artifacts: str) -> tuple[int, Any]:
        """Status and answer; ``artifacts`` is the address of a run's, as runs show it.

        Raises NotEmulated.
        """
        handler = CALLS.get((method, call))
        if handler is None:
            raise NotEmulated(f"MLflow's {method} {call}")
        try:
            return 200, handler(_Asked(self, given, artifacts))
        except Refusal as refusal:
            return refusal.status, refusal.body()


@dataclass(frozen=True)
class _Asked:
    """One call: what it gives, and what its answers need."""

    models: RegisteredModels
    given: Given
    artifacts: str

    # -- what is there

    def text(self, name: str) -> str:
        """A field that must be given. Raises Refusal."""
        value = self.given.get(name)
        if not isinstance(value, str) or not value:
            raise Refusal(WRONG, f"Missing value for required parameter '{name}'.")
        return value

    def model(self, name: str = "") -> Container:
        """The model that is named. Raises Refusal."""
        wanted = name or self.text("name")
        found = self.models.registration.assets.containers(MODELS, wanted)
        if not found:
            raise Refusal(MISSING, f"Registered Model with name={wanted} not found")
        return found[0]

    def version(self) -> tuple[str, dict[str, Any]]:
        """The version that is named, with its model's name. Raises Refusal."""
        model, version = self.model(), str(self.given.get("version") or "")
        asset = self.models.registration.assets.get(MODELS, model.name, version)
        if asset is None:
            text = f"Model Version (name={model.name}, version={version}) not found"
            raise Refusal(MISSING, text)
        return model.name, asset

    def put(self, name: str, version: str, properties: Given) -> dict[str, Any]:
        """Raises Refusal: what the workspace refuses."""
        try:
            return self.models.registration.put(MODELS, name, version, dict(properties))
        except ArmError as error:
            raise Refusal(MISSING if error.status == 404 else WRONG, error.message) from error

    # -- how it is shown

    def shown(self, model: Container) -> dict[str, Any]:
        """A registered model."""
        times = [_millis(one["systemData"], "createdAt") for one in model.versions]
        changed = [_millis(one["systemData"], "lastModifiedAt") for one in model.versions]
        created = int(1000 * model.own["created"]) if model.own.get("created") else min(times)
        return {
            "name": model.name,
            "creation_timestamp": created,
            "last_updated_timestamp": max([created, *changed]),
            "description": model.own.get("description") or "",
            "latest_versions": [self.shown_version(model.name, one) for one in latest(model)],
            "tags": _pairs(model.own.get("tags")),
        }

    def shown_version(self, name: str, asset: dict[str, Any]) -> dict[str, Any]:
        """A version of a registered model."""
        own, uri = asset["properties"], str(address(asset["properties"]))
        made = RUN_FOLDER.fullmatch(uri)
        return {
            "name": name,
            "version": asset["name"],
            "creation_timestamp": _millis(asset["systemData"], "createdAt"),
            "last_updated_timestamp": _millis(asset["systemData"], "lastModifiedAt"),
            "current_stage": own.get("stage") or STAGES[0],
            "description": own.get("description") or "",
            "source": self._artifact(made["run"], made["path"]) if made else uri,
            "run_id": made["run"] if made else own.get("jobName") or "",
            "status": "READY",
            "tags": _pairs(own.get("tags")),
        }

    def _artifact(self, run: str, path: str) -> str:
        record = self.models.jobs.get(run)
        experiment = record["experiment_id"] if record else "-"
        return f"{self.artifacts.format(experiment=experiment, run=run)}/{path}"


def _millis(system: Mapping[str, str], which: str) -> int:
    return int(1000 * datetime.fromisoformat(system[which]).timestamp())


def _pairs(tags: Mapping[str, str] | None) -> list[dict[str, str]]:
    return [{"key": key, "value": value} for key, value in (tags or {}).items()]


def _tags(given: Any) -> dict[str, str]:
    return {str(one["key"]): str(one.get("value") or "") for one in given or []}


def latest(model: Container) -> list[dict[str, Any]]:
    """The newest version of each stage."""
    found: dict[str, dict[str, Any]] = {}
    for version in model.versions:
        found.setdefault(version["properties"].get("stage") or STAGES[0], version)
    return list(found.values())


# -- registered models


def create_model(asked: _Asked) -> Any:
    name, assets = asked.text("name"), asked.models.registration.assets
    if assets.containers(MODELS, name):
        raise Refusal(EXISTS, f"Registered Model (name={name}) already exists.")
    try:
        check_name(MODELS, name)
    except ArmError as error:
        raise Refusal(WRONG, error.message) from error
    _describe(asked, name, {"created": asked.models.clock.now()}, asked.given)
    return {"registered_model": asked.shown(asked.model())}


def _describe(asked: _Asked, name: str, own: Given, changes: Given) -> None:
    tags = _tags(changes.get("tags")) or own.get("tags")
    described = changes.get("description", own.get("description"))
    new = {**own, "description": described, "tags": tags}
    asked.models.registration.assets.put_container(MODELS, name, new)


def _own(model: Container, asked: _Asked) -> dict[str, Any]:
    return {"created": asked.models.clock.now(), **model.own}


def get_model(asked: _Asked) -> Any:
    return {"registered_model": asked.shown(asked.model())}


def update_model(asked: _Asked) -> Any:
    model = asked.model()
    _describe(asked, model.name, _own(model, asked), {"description": asked.given["description"]})
    return {"registered_model": asked.shown(asked.model())}


def delete_model(asked: _Asked) -> Any:
    asked.models.registration.assets.delete_container(MODELS, asked.model().name)
    return {}


def tag_model(asked: _Asked) -> Any:
    model = asked.model()
    tags = {**(model.own.get("tags") or {}), asked.text("key"): str(asked.given.get("value") or "")}
    _describe(asked, model.name, _own(model, asked), {"tags": _pairs(tags)})
    return {}


def untag_model(asked: _Asked) -> Any:
    model = asked.model()
    tags = {**(model.own.get("tags") or {})}
    tags.pop(asked.text("key"), None)
    own = {**_own(model, asked), "tags": tags}
    asked.models.registration.assets.put_container(MODELS, model.name, own)
    return {}


def search_models(asked: _Asked) -> Any:
    conditions = _conditions(asked.given, ("name",))
    found = [
        model
        for model in asked.models.registration.assets.containers(MODELS)
        if not model.own.get("isArchived") and all(fits(model.name) for _, fits in conditions)
    ]
    found.sort(key=lambda model: model.name)
    _check_order(asked.given, ("name", "name asc"))
    return _paged(asked.given, "registered_models", [asked.shown(model) for model in found])


def latest_versions(asked: _Asked) -> Any:
    model, stages = asked.model(), asked.given.get("stages") or []
    wanted = [stages] if isinstance(stages, str) else list(stages)
    shown = [asked.shown_version(model.name, one) for one in latest(model)]
    return {
        "model_versions": [one for one in shown if not wanted or one["current_stage"] in wanted]
    }


# -- versions


def create_version(asked: _Asked) -> Any:
    model, source = asked.model(), asked.text("source")
    uri = source_of(source)
    properties = {
        "modelType": "mlflow_model",
        "modelUri": uri,
        "description": asked.given.get("description"),
        "tags": _tags(asked.given.get("tags")),
        "flavors": _flavors(asked.models.registration, uri),
    }
    made = RUN_FOLDER.fullmatch(uri)
    if run := made["run"] if made else asked.given.get("run_id"):
        properties["jobName"] = run
    asset = asked.put(model.name, model.next_version, properties)
    return {"model_version": asked.shown_version(model.name, asset)}


def source_of(source: str) -> str:
    """The address of a version's source in the workspace's words. Raises Refusal: elsewhere."""
    if run := RUN_ARTIFACT.fullmatch(source):
        folder = artifact_folder(run["run"])
        return f"azureml://datastores/{ARTIFACTS}/paths/{folder}/{run['path'].rstrip('/')}"
    if other := ARTIFACT.fullmatch(source):
        return f"azureml://datastores/{ARTIFACTS}/paths/{other['path']}"
    if source.startswith("azureml:"):
        return source
    raise Refusal(WRONG, f"The source '{source}' is not one that the workspace can read.")


def _flavors(registration: Registration, uri: str) -> dict[str, Any]:
    """The flavors that the model's MLmodel tells. Raises Refusal: it is no MLflow model."""
    try:
        file = registration.locations.path(uri) / "MLmodel"
    except (Unresolvable, ArmError) as error:
        raise Refusal(WRONG, str(error)) from error
    if not file.is_file():
        raise Refusal(MISSING, f"There is no MLflow model at '{uri}'.")
    told = (yaml.safe_load(file.read_text()) or {}).get("flavors") or {}
    return {
        name: {"data": {key: str(value) for key, value in (about or {}).items()}}
        for name, about in told.items()
    }


def get_version(asked: _Asked) -> Any:
    return {"model_version": asked.shown_version(*asked.version())}


def download_uri(asked: _Asked) -> Any:
    return {"artifact_uri": asked.shown_version(*asked.version())["source"]}


def update_version(asked: _Asked) -> Any:
    return _changed(asked, {"description": asked.given.get("description") or ""})


def transition(asked: _Asked) -> Any:
    wanted = asked.text("stage")
    stage = next((one for one in STAGES if one.lower() == wanted.lower()), None)
    if stage is None:
        known = ", ".join(STAGES)
        raise Refusal(
            WRONG, f"Invalid Model Version stage: {wanted}. Value must be one of {known}."
        )
    name, _ = asked.version()
    if asked.given.get("archive_existing_versions") and stage in ("Staging", "Production"):
        for other in asked.model().versions:
            if other["properties"].get("stage") == stage:
                asked.put(name, other["name"], {**other["properties"], "stage": "Archived"})
    return _changed(asked, {"stage": stage})


def tag_version(asked: _Asked) -> Any:
    _, asset = asked.version()
    tags = dict(asset["properties"].get("tags") or {})
    tags[asked.text("key")] = str(asked.given.get("value") or "")
    _changed(asked, {"tags": tags})
    return {}


def untag_version(asked: _Asked) -> Any:
    _, asset = asked.version()
    tags = dict(asset["properties"].get("tags") or {})
    tags.pop(asked.text("key"), None)
    _changed(asked, {"tags": tags})
    return {}


def _changed(asked: _Asked, changes: Given) -> Any:
    name, asset = asked.version()
    assets = asked.models.registration.assets
    new = {
        **asset,
        "properties": {**asset["properties"], **changes},
        "systemData": touched(asset["systemData"], asked.models.clock.now()),
    }
    assets.put(MODELS, name, asset["name"], new)
    return {"model_version": asked.shown_version(name, new)}


def delete_version(asked: _Asked) -> Any:
    name, asset = asked.version()
    model = asked.model()
    asked.models.registration.assets.put_container(MODELS, name, _own(model, asked))
    asked.models.registration.assets.delete(MODELS, name, asset["name"])
    return {}


def search_versions(asked: _Asked) -> Any:
    conditions = _conditions(asked.given, ("name", "run_id", "source_path"))
    _check_order(asked.given, ())
    shown = [
        asked.shown_version(model.name, version)
        for model in asked.models.registration.assets.containers(MODELS)
        for version in model.versions
        if not version["properties"].get("isArchived")
    ]
    fields = {"source_path": "source"}
    found = [
        one
        for one in shown
        if all(fits(one[fields.get(field, field)]) for field, fits in conditions)
    ]
    return _paged(asked.given, "model_versions", found)


# -- filters and pages


def _conditions(given: Given, fields: tuple[str, ...]) -> list[tuple[str, Callable[[str], bool]]]:
    """The conditions of a filter, joined by ``and``. Raises NotEmulated: others than are known."""
    text = str(given.get("filter") or "").strip()
    found = []
    for part in re.split(r"\s+and\s+", text, flags=re.IGNORECASE) if text else []:
        match = CONDITION.fullmatch(part)
        if match is None or match["field"].lower() not in fields:
            raise NotEmulated(f'the filter "{text}" of MLflow\'s models')
        found.append((match["field"].lower(), _condition(match["sign"].upper(), match["value"])))
    return found


def _condition(sign: str, value: str) -> Callable[[str], bool]:
    if sign == "=":
        return lambda text: text == value
    flags = re.IGNORECASE if sign == "ILIKE" else 0
    pattern = ".*".join(re.escape(part) for part in value.split("%"))
    return lambda text: re.fullmatch(pattern, text, flags) is not None


def _check_order(given: Given, known: tuple[str, ...]) -> None:
    order = given.get("order_by") or []
    for one in [order] if isinstance(order, str) else order:
        if one.lower() not in known:
            raise NotEmulated(f'the order "{one}" of MLflow\'s models')


def _paged(given: Given, name: str, rows: list[Any]) -> Any:
    try:
        most = min(int(given.get("max_results") or 100), LARGEST_PAGE)
        start = int(given.get("page_token") or 0)
    except ValueError as error:
        raise Refusal(WRONG, f"A page's size or token is wrong: {error}.") from error
    page = {name: rows[start : start + most]}
    return {**page, "next_page_token": str(start + most)} if start + most < len(rows) else page


CALLS: dict[tuple[str, str], Callable[[_Asked], Any]] = {
    ("POST", "registered-models/create"): create_model,
    ("GET", "registered-models/get"): get_model,
    ("GET", "registered-models/search"): search_models,
    ("PATCH", "registered-models/update"): update_model,
    ("DELETE", "registered-models/delete"): delete_model,
    ("POST", "registered-models/set-tag"): tag_model,
    ("DELETE", "registered-models/delete-tag"): untag_model,
    ("POST", "registered-models/get-latest-versions"): latest_versions,
    ("GET", "registered-models/get-latest-versions"): latest_versions,
    ("POST", "model-versions/create"): create_version,
    ("GET", "model-versions/get"): get_version,
    ("GET", "model-versions/get-download-uri"): download_uri,
    ("GET", "model-versions/search"): search_versions,
    ("PATCH", "model-versions/update"): update_version,
    ("POST", "model-versions/transition-stage"): transition,
    ("POST", "model-versions/set-tag"): tag_version,
    ("DELETE", "model-versions/delete-tag"): untag_version,
    ("DELETE", "model-versions/delete"): delete_version,
}

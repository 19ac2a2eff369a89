"""From what a job was submitted with to values and folders that a program can use."""

import re
from pathlib import Path
from typing import Any, Protocol

REGISTRY_MODEL = re.compile(
    r"azureml://registries/(?P<registry>[^/]+)/models/(?P<name>[^/]+)/(?:versions|labels)/(?P<version>[^/]+)"
)
DATASTORE = re.compile(r"azureml://(?:.*/)?datastores/(?P<datastore>[^/]+)/paths/(?P<path>.*)")
JOB_OUTPUT = re.compile(
    r"azureml://(?:.*/)?jobs/(?P<job>[^/]+)/outputs/(?P<output>[^/]+)(?:/paths)?/?(?P<below>.*)"
)
ASSET = re.compile(
    r"(?:azureml:/?/?)?(?:.*/)?(?P<kind>data|models)/(?P<name>[^/]+)/versions/(?P<version>[^/]+)$"
)
SHORT_ASSET = re.compile(r"azureml:(?P<name>[^/:@]+):(?P<version>[^/:]+)$")
BINDING = re.compile(r"\$\{\{\s*parent\.inputs\.(?P<name>\w+)\s*\}\}")
OUTPUT_BINDING = re.compile(r"\$\{\{\s*parent\.outputs\.(?P<name>\w+)\s*\}\}")


class Storage(Protocol):
    """Where datastores keep their bytes on this machine."""

    def path(self, datastore: str, name: str) -> Path: ...


class Assets(Protocol):
    """Addresses of named assets; None if there is no such asset."""

    def uri(self, kind: str, name: str, version: str) -> str | None: ...


class Unresolvable(ValueError):
    """An input's address leads nowhere; the text is what the service says."""


def node_inputs(body: dict[str, Any], node: dict[str, Any]) -> dict[str, Any]:
    """A node's inputs with every ``${{parent.inputs.x}}`` replaced by what the job was given.

    Answers ``{name: {"value": literal} | {"uri": address}}``.
    """
    outer = body.get("inputs") or {}
    found = {}
    for name, given in (node.get("inputs") or {}).items():
        value: dict[str, Any] | None = given if isinstance(given, dict) else {"value": given}
        bound = BINDING.fullmatch(str((value or {}).get("value", "")).strip())
        if bound:
            value = _given(outer.get(bound["name"]))
        if value is not None:
            found[name] = value
    return found


def _given(value: dict[str, Any] | None) -> dict[str, Any] | None:
    """A pipeline-level input: ``{"jobInputType": "literal", "value": ...}`` or with ``uri``."""
    if value is None or (value.get("value") is None and value.get("uri") is None):
        return None
    return value


def literals(inputs: dict[str, Any]) -> dict[str, Any]:
    """The inputs that are values."""
    return {name: given["value"] for name, given in inputs.items() if "uri" not in given}


def addresses(inputs: dict[str, Any]) -> dict[str, str]:
    """The inputs that are data, by their addresses."""
    return {name: str(given["uri"]) for name, given in inputs.items() if given.get("uri")}


def bound_outputs(body: dict[str, Any], node: dict[str, Any]) -> dict[str, str]:
    """The pipeline's outputs by the component's: ``{"trained_model": "mlflow_model_folder"}``."""
    bound = {}
    for inner, given in (node.get("outputs") or {}).items():
        text = given.get("value", "") if isinstance(given, dict) else given
        match = OUTPUT_BINDING.fullmatch(str(text).strip())
        if match and match["name"] in (body.get("outputs") or {}):
            bound[match["name"]] = inner
    return bound


class Locations:
    """Turns addresses into paths on this machine. Registry models are not its business."""

    def __init__(self, storage: Storage, assets: Assets, container_hosts: str) -> None:
        self._storage = storage
        self._assets = assets
        self._blob = re.compile(
            rf"https://[^/]+\.blob\.{re.escape(container_hosts)}/[^/]+/(?P<path>.*)"
        )

    def path(self, uri: str) -> Path:
        """The path of an address; whether anything is there is for the reader to find out.

        Raises Unresolvable: an asset that does not exist, or a kind of address that is not known.
        """
        if match := DATASTORE.fullmatch(uri):
            return self._storage.path(match["datastore"], match["path"])
        if match := JOB_OUTPUT.fullmatch(uri):
            below = f"azureml/{match['job']}/{match['output']}/{match['below']}"
            return self._storage.path("workspaceblobstore", below.rstrip("/"))
        if match := self._blob.fullmatch(uri):
            return self._storage.path("workspaceblobstore", match["path"])
        return self._asset(uri)

    def _asset(self, uri: str) -> Path:
        match = ASSET.fullmatch(uri) or SHORT_ASSET.fullmatch(uri)
        if match is None:
            raise Unresolvable(f"The address '{uri}' is not one that this workspace can read.")
        kinds = [match["kind"]] if "kind" in match.groupdict() else ["data", "models"]
        for kind in kinds:
            found = self._assets.uri(kind, match["name"], match["version"])
            if found:
                return self.path(found)
        raise Unresolvable(
            f"Asset '{match['name']}' version '{match['version']}' is not in the workspace."
        )


def registry_model(uri: str) -> str | None:
    """The name of the registry's model that the address means, if it means one."""
    match = REGISTRY_MODEL.fullmatch(uri)
    return match["name"] if match else None

"""Addresses (``azureml:...``, ``https://...``) and the paths on this machine that they mean."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote

from emulator.catalogue import Catalogue
from emulator.services.storage.blobs import Storage

REGISTRY_MODEL = re.compile(
    r"azureml://registries/(?P<registry>[^/]+)/models/(?P<name>[^/]+)/(?:versions|labels)/(?P<version>[^/]+)",
    re.IGNORECASE,
)
DATASTORE = re.compile(r"azureml://(?:.*/)?datastores/(?P<datastore>[^/]+)/paths/(?P<path>.*)")
JOB_OUTPUT = re.compile(
    r"azureml://(?:.*/)?jobs/(?P<job>[^/]+)/outputs/(?P<output>[^/]+)(?:/paths)?/?(?P<below>.*)"
)
ASSET = re.compile(
    r"(?:azureml:/?/?)?(?:.*/)?(?P<kind>data|models|codes)/(?P<name>[^/]+)/versions/(?P<version>[^/]+)$"
)
SHORT_ASSET = re.compile(r"azureml:(?P<name>[^/:@]+):(?P<version>[^/:]+)$")


class Assets(Protocol):
    """Addresses of named assets; None if there is no such asset."""

    def uri(self, kind: str, name: str, version: str) -> str | None: ...


class Unresolvable(ValueError):
    """An input's address leads nowhere; the text is what the service says."""


class Locations:
    """Turns addresses into paths on this machine. Registry models are not its business."""

    def __init__(
        self,
        storage: Storage,
        assets: Assets,
        container_hosts: str,
        outputs: Callable[[str, str], str | None] = lambda *_: None,
    ) -> None:
        """``outputs`` tells where the output of a job is that went elsewhere than usual."""
        self._storage = storage
        self._assets = assets
        self._outputs = outputs
        self._blob = re.compile(
            rf"https://[^/]+\.blob\.{re.escape(container_hosts)}(?::443)?"
            r"/(?P<container>[^/]+)/(?P<path>.*)"
        )

    def path(self, uri: str) -> Path:
        """The path of an address; whether anything is there is for the reader to find out.

        Raises Unresolvable: an asset that does not exist, or a kind of address that is not known.
        """
        if match := DATASTORE.fullmatch(uri):
            return self._storage.path(match["datastore"], match["path"])
        if match := JOB_OUTPUT.fullmatch(uri):
            if place := self._outputs(match["job"], match["output"]):
                return self.path(f"{place.rstrip('/')}/{match['below']}".rstrip("/"))
            below = f"azureml/{match['job']}/{match['output']}/{match['below']}"
            return self._storage.path("workspaceblobstore", below.rstrip("/"))
        if match := self._blob.fullmatch(uri):
            return self._storage.file(match["container"], unquote(match["path"]))
        return self._asset(uri)

    def _asset(self, uri: str) -> Path:
        match = ASSET.fullmatch(uri) or SHORT_ASSET.fullmatch(uri)
        if match is None:
            raise Unresolvable(f"The address '{uri}' is not one that this workspace can read.")
        kinds = [match["kind"]] if "kind" in match.groupdict() else ["data", "models"]
        for kind in kinds:
            address = self._assets.uri(kind, match["name"], match["version"])
            if address:
                return self.path(address)
        raise Unresolvable(
            f"Asset '{match['name']}' version '{match['version']}' is not in the workspace."
        )


def long_form(workspace_id: str, uri: str) -> str:
    """The address of a datastore's path or a job's output with all that it hangs from.

    The service answers models and data so (azure-ai-ml 1.35.2: ``LONG_URI_FORMAT`` in
    ``constants/_common.py``, and ``models.download`` reads no other). Other addresses stay.
    """
    if output := JOB_OUTPUT.fullmatch(uri):
        path = f"azureml/{output['job']}/{output['output']}/{output['below']}".rstrip("/")
        datastore = "workspaceblobstore"
    elif short := DATASTORE.fullmatch(uri):
        datastore, path = short["datastore"], short["path"]
    else:
        return uri
    _, _, subscription, _, group, *_, workspace = workspace_id.split("/")
    return (
        f"azureml://subscriptions/{subscription}/resourcegroups/{group}/workspaces/{workspace}"
        f"/datastores/{datastore}/paths/{path}"
    )


def is_published(catalogue: Catalogue, uri: str) -> bool:
    """Whether a registry of the catalogue has the model that the address means."""
    match = REGISTRY_MODEL.fullmatch(uri)
    registry = catalogue.registry(match["registry"]) if match else None
    if match is None or registry is None:
        return False
    name = match["name"].lower()
    versions = [one["version"] for one in registry.models if one["name"].lower() == name]
    return bool(versions) and match["version"] in (*versions, "latest")


def registry_of(uri: str) -> str | None:
    """The registry whose model the address means, if it means one."""
    match = REGISTRY_MODEL.fullmatch(uri)
    return match["registry"] if match else None

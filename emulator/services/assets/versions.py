"""Versioned assets of the workspace: models, data, code, environments, components."""

from dataclasses import dataclass
from typing import Any

from emulator.services.assets.addresses import JOB_OUTPUT
from emulator.store import Store

KINDS = {
    "models": "model",
    "data": "data",
    "codes": "code",
    "environments": "environment",
    "components": "component",
}
#: Where the bytes of an asset are, in its properties.
ADDRESSES = ("modelUri", "dataUri", "codeUri")


@dataclass
class Assets:
    """Documents by ``name/version``; names are compared as Azure does, without case."""

    store: Store

    def get(self, kind: str, name: str, version: str) -> dict[str, Any] | None:
        return self.store.get(KINDS[kind], _key(name, version))

    def put(self, kind: str, name: str, version: str, body: dict[str, Any]) -> None:
        self.store.put(KINDS[kind], _key(name, version), body)

    def delete(self, kind: str, name: str, version: str) -> bool:
        return self.store.delete(KINDS[kind], _key(name, version))

    def versions(self, kind: str, name: str) -> list[dict[str, Any]]:
        """All versions of one asset, the newest first."""
        return self.store.list(KINDS[kind], f"{name.lower()}/")

    def latest(self, kind: str, name: str) -> str:
        """The newest version of an asset; empty if there is none."""
        versions = self.versions(kind, name)
        return str(versions[0]["name"]) if versions else ""

    def all(self, kind: str) -> list[dict[str, Any]]:
        return self.store.list(KINDS[kind])

    def uri(self, kind: str, name: str, version: str) -> str | None:
        """Where an asset's bytes are, as it was registered; None if there is no such asset."""
        asset = self.get(kind, name, version)
        if asset is None:
            return None
        return address(asset["properties"])


def _key(name: str, version: str) -> str:
    return f"{name.lower()}/{version}"


def address(properties: dict[str, Any]) -> str | None:
    """Where the bytes of an asset with these properties are; None if it has none."""
    found = (properties.get(name) for name in ADDRESSES)
    return next((str(uri) for uri in found if uri), None)


def job_of(uri: str) -> str | None:
    """The job that made what is at this address, if the address says so."""
    match = JOB_OUTPUT.match(uri)
    return match["job"] if match else None

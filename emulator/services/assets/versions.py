"""Versioned assets of the workspace: models and data."""

from dataclasses import dataclass
from typing import Any

from emulator.services.assets.addresses import JOB_OUTPUT
from emulator.store import Store

KINDS = {"models": "model", "data": "data"}


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

    def all(self, kind: str) -> list[dict[str, Any]]:
        return self.store.list(KINDS[kind])

    def uri(self, kind: str, name: str, version: str) -> str | None:
        """Where an asset's bytes are, as it was registered; None if there is no such asset."""
        asset = self.get(kind, name, version)
        if asset is None:
            return None
        properties = asset["properties"]
        return str(properties.get("modelUri") or properties.get("dataUri") or "") or None


def _key(name: str, version: str) -> str:
    return f"{name.lower()}/{version}"


def job_of(uri: str) -> str | None:
    """The job that made what is at this address, if the address says so."""
    match = JOB_OUTPUT.match(uri)
    return match["job"] if match else None

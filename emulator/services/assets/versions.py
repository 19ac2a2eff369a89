"""Versioned assets of the workspace: models, data, code, environments, components."""

from collections.abc import Iterator
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


@dataclass(frozen=True)
class Container:
    """An asset with all its versions, the newest first; ``own`` is what it has without one."""

    name: str
    versions: list[dict[str, Any]]
    own: dict[str, Any]

    @property
    def next_version(self) -> str:
        """The number that a version without one gets."""
        numbers = [int(one["name"]) for one in self.versions if one["name"].isdecimal()]
        return str(max(numbers, default=0) + 1)


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

    def containers(self, kind: str, name: str = "") -> list[Container]:
        """The assets of a kind, or the one of this name, the newest version's first."""
        wanted = f"{name.lower()}/" if name else ""
        versions: dict[str, list[dict[str, Any]]] = {}
        for one in self.store.list(KINDS[kind], wanted):
            versions.setdefault(_name_of(one).lower(), []).append(one)
        kept = self.store.list(f"{KINDS[kind]}_container", wanted)
        own = {str(one["name"]).lower(): one for one in kept}
        return [
            Container(
                _name_of(versions[key][0]) if key in versions else own[key]["name"],
                versions.get(key, []),
                own.get(key, {}),
            )
            for key in dict.fromkeys([*versions, *own])
        ]

    def newest(self, kind: str, before: int) -> Iterator[tuple[int, Container]]:
        """The assets that come before a place, newest first, read as they are wanted."""
        own = f"{KINDS[kind]}_container"
        for place, family in self.store.families(KINDS[kind], own, before):
            yield place, self.containers(kind, family.removesuffix("/"))[0]

    def put_container(self, kind: str, name: str, own: dict[str, Any]) -> None:
        """Keep what an asset has without a version: description, tags, whether it is archived."""
        self.store.put(f"{KINDS[kind]}_container", f"{name.lower()}/", {**own, "name": name})

    def delete_container(self, kind: str, name: str) -> None:
        """Forget an asset with all its versions."""
        for one in self.versions(kind, name):
            self.delete(kind, name, str(one["name"]))
        self.store.delete(f"{KINDS[kind]}_container", f"{name.lower()}/")

    def all(self, kind: str) -> list[dict[str, Any]]:
        return self.store.list(KINDS[kind])

    def uri(self, kind: str, name: str, version: str) -> str | None:
        """Where an asset's bytes are, as it was registered; None if there is no such asset."""
        asset = self.get(kind, name, version)
        if asset is None:
            return None
        return address(asset["properties"])


def _name_of(version: dict[str, Any]) -> str:
    return str(version["id"]).split("/versions/")[0].rsplit("/", 1)[1]


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

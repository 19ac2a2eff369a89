"""What a version of an asset is registered with: a name, bytes that are there, what is told."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from emulator.clock import Clock
from emulator.configuration import Configuration
from emulator.protocol.errors import ArmError
from emulator.protocol.resources import TYPE, system_data
from emulator.services.assets import codes, components, environments
from emulator.services.assets.addresses import Locations, Unresolvable, long_form
from emulator.services.assets.versions import KINDS, Assets, address, job_of

NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9._-]{0,254}")
VERSION = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9._-]{0,29}")
#: The versions of what the SDK names itself are hashes.
ANY_VERSION = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9._-]{0,254}")
#: What a version was made with, and keeps.
FIXED = (
    "modelUri", "dataUri", "modelType", "dataType", "codeUri", "componentSpec",
    "image", "condaFile", "build", "osType", "inferenceConfig",
)  # fmt: skip
#: Addresses that are answered in their long form.
LONG = {"modelUri", "dataUri"}
#: What the properties of a kind must be; the others must have bytes that are there.
CHECKS: dict[str, Callable[[dict[str, Any]], None]] = {
    "environments": environments.check,
    "components": components.check,
}
#: What the service adds to the properties of a kind.
SHOWN: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "environments": environments.shown,
    "codes": codes.shown,
}


@dataclass(frozen=True)
class Registration:
    """Registers versions of the workspace's assets, whoever asks for it."""

    config: Configuration
    clock: Clock
    assets: Assets
    locations: Locations

    def put(self, kind: str, name: str, version: str, given: dict[str, Any]) -> dict[str, Any]:
        """The version as it is now; its bytes are fixed, tags and description may be put again.

        Raises ArmError: 400, a name or properties that cannot be; 404, no bytes; 409, other bytes.
        """
        check_name(kind, name, version)
        known = self.assets.get(kind, name, version)
        if kind == "components":
            given = components.named(given, name, version)
        shown = self._shown(kind, given)
        if known is not None:
            check_unchanged(f"{KINDS[kind]} asset '{name}'", version, known["properties"], shown)
        elif kind in CHECKS:
            CHECKS[kind](given)
        else:
            self._check_source(given)
        place = f"{self.config.workspace_id}/{kind}/{name}"
        body = {
            "id": f"{place}/versions/{version}",
            "name": version,
            "type": f"{TYPE}/{kind}/versions",
            "properties": {**shown, "provisioningState": "Succeeded"},
            "systemData": known["systemData"] if known else system_data(self.clock.now()),
        }
        self.assets.put(kind, name, version, body)
        return body

    def _shown(self, kind: str, properties: dict[str, Any]) -> dict[str, Any]:
        """What was given, without nulls, its address in the long form, and the job that made it.

        The SDK cannot read a model that has no flavors at all.
        """
        given = {name: value for name, value in properties.items() if value is not None}
        if job := job_of(str(given.get("modelUri") or "")):
            given["jobName"] = job
        for name in LONG & given.keys():
            given[name] = long_form(self.config.workspace_id, str(given[name]))
        if kind in SHOWN:
            return SHOWN[kind](given)
        return {"flavors": {}, **given} if kind == "models" else given

    def _check_source(self, properties: dict[str, Any]) -> None:
        """What is registered must be there; a job that has not finished has no output yet."""
        uri = address(properties)
        if not uri:
            raise ArmError(400, "UserError", "The asset's address is missing.")
        try:
            path = self.locations.path(uri)
        except Unresolvable as error:
            raise ArmError(400, "UserError", str(error)) from error
        if not path.exists():
            raise ArmError(404, "UserError", f"There is nothing at '{uri}'.")


def check_name(kind: str, name: str, version: str = "1") -> None:
    """Raises ArmError 400."""
    form = VERSION if kind in ("models", "data") else ANY_VERSION
    if not NAME.fullmatch(name) or not form.fullmatch(version):
        text = f"'{name}:{version}' is not a valid asset name and version."
        raise ArmError(400, "UserError", text)


def check_unchanged(what: str, version: str, known: dict[str, Any], given: dict[str, Any]) -> None:
    """Raises ArmError 409: what is fixed would change."""
    changed = [name for name in FIXED if known.get(name) != given.get(name)]
    if changed:
        text = (
            f"A {what} with version '{version}' exists already and its {', '.join(changed)} "
            "cannot be changed."
        )
        raise ArmError(409, "UserError", text)

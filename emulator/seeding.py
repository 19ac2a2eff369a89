"""``python -m emulator seed``: read once, and only read, what a real workspace offers.

Azure's SDK stays out, since the emulator knows nothing of it: what is asked are a few plain reads.
The token comes from a command (``az account get-access-token`` unless another is given), so that
every way of signing in that Azure's own tools know is one here too, and no secret passes through
this program but that token.
"""

import argparse
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import httpx

from emulator.catalogue.seed import FORMAT

PROVIDER = "Microsoft.MachineLearningServices"
WORKSPACES_API = "2024-10-01-preview"
LOCATIONS_API = "2023-08-01-preview"
REGISTRIES_API = "2021-10-01-dataplanepreview"  # what azure-ai-ml 1.35.2 asks the regions
MANAGER = "https://management.azure.com"
#: The region's own host; discovery answers there (azure-ai-ml: _azure_environments.py).
REGION_HOST = "https://{location}.api.azureml.ms"
TOKEN_COMMAND = "az account get-access-token --resource {resource} --output json"
TOKEN_FIELDS = ("accessToken", "access_token")  # the Azure CLI's, a token endpoint's
TIMEOUT_S = 60
EVERY = "*"


class NoSeed(Exception):
    """The workspace could not be read; the text says where it stopped."""


@dataclass(frozen=True)
class Wanted:
    """Whose workspace, and which assets: ``REGISTRY/NAME`` or ``REGISTRY/*`` each."""

    workspace: str
    models: tuple[str, ...]
    components: tuple[str, ...]
    versions: int


@dataclass
class Reader:
    """Reads Azure with a command's token."""

    manager: str
    discovery: str | None
    token_command: str
    http: httpx.Client
    _token: str = field(default="", repr=False)

    def get(self, url: str, **query: str) -> dict[str, Any]:
        """The object at an address. Raises NoSeed."""
        self._token = self._token or token_of(self.token_command, self.manager)
        headers = {"Authorization": f"Bearer {self._token}"}
        try:
            answer = self.http.get(url, params=query or None, headers=headers)
            answer.raise_for_status()
            found = answer.json()
        except httpx.HTTPStatusError as error:
            said = error.response.text[:300]
            raise NoSeed(f"GET {url} was answered {error.response.status_code}: {said}") from error
        except (httpx.HTTPError, ValueError) as error:
            raise NoSeed(f"GET {url} failed: {error}") from error
        if not isinstance(found, dict):
            raise NoSeed(f"GET {url} answered no object.")
        return found

    def rows(self, url: str, **query: str) -> Iterator[dict[str, Any]]:
        """All rows of a list, page after page. Raises NoSeed."""
        page = self.get(url, **query)
        while True:
            yield from page.get("value") or []
            link = page.get("nextLink")
            if not link:
                return
            if urlsplit(str(link)).hostname != urlsplit(url).hostname:
                raise NoSeed(f"The list {url} goes on at another host: {link}.")
            page = self.get(str(link))


def token_of(command: str, manager: str) -> str:
    """The token that a command prints, alone or in a JSON object. Raises NoSeed.

    ``{resource}`` in the command is the place that the token is for.
    """
    parts = [part.replace("{resource}", manager) for part in shlex.split(command)]
    try:
        ran = subprocess.run(parts, capture_output=True, text=True, check=True, timeout=TIMEOUT_S)
    except (OSError, subprocess.SubprocessError) as error:
        said = (getattr(error, "stderr", "") or "").strip()
        raise NoSeed(f"No token: `{parts[0]}` failed ({said[-300:] or error}).") from error
    text = ran.stdout.strip()
    if text.startswith("{"):
        try:
            found = json.loads(text)
        except ValueError as error:
            raise NoSeed(f"No token: `{parts[0]}` printed broken JSON.") from error
        text = next((str(found[name]) for name in TOKEN_FIELDS if found.get(name)), "")
    if not text or len(text.split()) != 1:
        raise NoSeed(f"No token: `{parts[0]}` printed none.")
    return text


def take(reader: Reader, wanted: Wanted) -> dict[str, Any]:
    """The seed. Raises NoSeed."""
    place = f"{reader.manager}{wanted.workspace}"
    location = str(reader.get(place, **{"api-version": WORKSPACES_API}).get("location") or "")
    if not location:
        raise NoSeed(f"The workspace {wanted.workspace} tells no location.")
    subscription = "/".join(wanted.workspace.split("/")[:3])
    region = f"{reader.manager}{subscription}/providers/{PROVIDER}/locations/{location}"
    version = {"api-version": LOCATIONS_API}
    sizes = reader.get(f"{region}/vmSizes", **version)
    usages = list(reader.rows(f"{region}/usages", **version))
    return {
        "format": FORMAT,
        "taken": datetime.now(UTC).isoformat(timespec="seconds"),
        "location": location,
        "sizes": sizes.get("value") or [],
        "limits": limits(usages),
        "registries": registries(reader, wanted, location),
    }


def limits(usages: list[dict[str, Any]]) -> dict[str, int]:
    """What the subscription may use, by the row's name; rows of workspaces repeat theirs."""
    found: dict[str, int] = {}
    for row in usages:
        if "/workspaces/" not in str(row.get("id")):
            found[str(row["name"]["value"])] = int(row["limit"])
    return found


def registries(reader: Reader, wanted: Wanted, location: str) -> dict[str, Any]:
    """The wanted assets by registry and kind."""
    found: dict[str, dict[str, Any]] = {}
    for kind, names in (("models", wanted.models), ("components", wanted.components)):
        for address in names:
            registry, _, name = address.partition("/")
            kinds = found.setdefault(registry, {"models": [], "components": []})
            place = registry_place(reader, registry, location)
            kinds[kind] += assets(reader, f"{place}/{kind}", name, wanted.versions)
    return found


def registry_place(reader: Reader, name: str, location: str) -> str:
    """Where a registry is, as discovery tells."""
    base = (reader.discovery or REGION_HOST.format(location=location)).rstrip("/")
    found = reader.get(f"{base}/registrymanagement/v1.0/registries/{quote(name)}/discovery")
    plane = str(found["primaryRegionResourceProviderUri"]).rstrip("/")
    return (
        f"{plane}/mferp/managementfrontend/subscriptions/{found['subscriptionId']}/resourceGroups/"
        f"{found['resourceGroup']}/providers/{PROVIDER}/registries/{quote(name)}"
    )


def assets(reader: Reader, place: str, name: str, most: int) -> list[dict[str, Any]]:
    """The newest versions of one asset, or of every one. Raises NoSeed: there is none."""
    version = {"api-version": REGISTRIES_API}
    names = [name]
    if name == EVERY:
        names = [str(row["name"]) for row in reader.rows(place, **version)]
    found = []
    for one in names:
        order = {"$orderBy": "createdtime desc", "$top": str(most)}
        versions = f"{place}/{quote(one)}/versions"
        rows = reader.get(versions, **version, **order).get("value") or []
        if not rows:
            raise NoSeed(f"There is no '{one}' at {place}.")
        for row in rows[:most]:  # a list may leave out what a card says
            whole = reader.get(f"{versions}/{quote(str(row['name']))}", **version)
            found.append(asset(one, whole))
    return found


def asset(name: str, body: dict[str, Any]) -> dict[str, Any]:
    """One version, without the address at which Azure keeps its bytes."""
    return {
        "name": name,
        "version": str(body["name"]),
        "created": str((body.get("systemData") or {}).get("createdAt") or ""),
        "properties": {k: v for k, v in body["properties"].items() if k != "modelUri"},
    }


def parser() -> argparse.ArgumentParser:
    """The command line."""
    env = os.environ
    whole = argparse.ArgumentParser(
        prog="python -m emulator seed",
        description="Read, once, what a workspace's region and registries offer, into one file.",
    )
    whole.add_argument("file", type=Path, help="is written")
    whole.add_argument("--subscription", default=env.get("AZURE_SUBSCRIPTION_ID"))
    whole.add_argument("--resource-group", default=env.get("AZURE_RESOURCE_GROUP"))
    whole.add_argument("--workspace", default=env.get("AZURE_WORKSPACE_NAME"))
    for kind in ("--model", "--component"):
        whole.add_argument(kind, action="append", default=[], metavar="REGISTRY/NAME", type=address)
    whole.add_argument("--versions", type=count, default=3, help="the newest of each asset")
    whole.add_argument("--token-command", default=TOKEN_COMMAND, metavar="COMMAND")
    return whole


def address(text: str) -> str:
    """Read ``azureml/Phi-4`` or ``azureml/*``."""
    registry, _, name = text.partition("/")
    if not registry or not name or "/" in name:
        raise argparse.ArgumentTypeError(f"'{text}' is not REGISTRY/NAME or REGISTRY/*")
    return text


def count(text: str) -> int:
    """Read a number from 1 up."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number from 1 up")
    return int(text)


def main(arguments: list[str]) -> int:
    """Do what the command line says; the exit code."""
    whole = parser()
    given = whole.parse_args(arguments)
    for name in ("subscription", "resource_group", "workspace"):
        if not getattr(given, name):
            whole.error(f"--{name.replace('_', '-')} is missing")
    if not given.model + given.component:
        whole.error("name at least one --model or --component")
    workspace = (
        f"/subscriptions/{given.subscription}/resourceGroups/{given.resource_group}"
        f"/providers/{PROVIDER}/workspaces/{given.workspace}"
    )
    wanted = Wanted(workspace, tuple(given.model), tuple(given.component), given.versions)
    try:
        seed = read(given.token_command, wanted)
    except NoSeed as error:
        print(error, file=sys.stderr)
        return 1
    given.file.write_text(json.dumps(seed, indent=1), encoding="utf-8")
    told = ", ".join(
        f"{len(kinds['models'])} models and {len(kinds['components'])} components of {name}"
        for name, kinds in seed["registries"].items()
    )
    print(f"{given.file}: {len(seed['sizes'])} sizes, {len(seed['limits'])} limits, {told}.")
    return 0


def read(token_command: str, wanted: Wanted) -> dict[str, Any]:
    """Read Azure, or the cloud that the SDK's own variables name. Raises NoSeed."""
    metadata = urlsplit(os.environ.get("ARM_CLOUD_METADATA_URL", MANAGER))
    with httpx.Client(timeout=TIMEOUT_S) as http:
        reader = Reader(
            f"{metadata.scheme}://{metadata.netloc}",
            os.environ.get("REGISTRY_DISCOVERY_ENDPOINT_URL"),
            token_command,
            http,
        )
        return take(reader, wanted)

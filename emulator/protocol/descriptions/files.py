"""The description files, read once each."""

from functools import cache
from importlib.resources import files
from typing import Any

import yaml

#: libyaml reads the files in a tenth of the time; not every build of PyYAML has it.
LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
PLANES = ("resource_manager", "data_plane", "storage", "identity")
SHARED = "shared"


@cache
def names(plane: str) -> tuple[str, ...]:
    """The names of a folder's description files: ``("computes", "data", ...)``."""
    folder = files(__package__) / plane
    found = [entry.name.removesuffix(".yaml") for entry in folder.iterdir()]
    return tuple(sorted(name for name in found if name != SHARED and not name.startswith("__")))


@cache
def content(plane: str, name: str) -> dict[str, Any]:
    """One file, as its YAML says it; empty if there is none."""
    place = files(__package__) / plane / f"{name}.yaml"
    if not place.is_file():
        return {}
    found: dict[str, Any] = yaml.load(place.read_text(), Loader=LOADER)
    return found


@cache
def types(plane: str, name: str) -> dict[str, Any]:
    """The types that a file's operations can name: its own, and those of ``shared``."""
    shared: dict[str, Any] = content("resource_manager", SHARED).get("types") or {}
    own: dict[str, Any] = content(plane, name).get("types") or {}
    return shared | own

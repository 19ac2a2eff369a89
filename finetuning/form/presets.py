"""Presets: values of the form under one name, which count where the user leaves a field open.

The shipped ones are data beside the recipes, one file each; an own one is a file that the user
points at. A preset holds fields of the form and nothing else.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import BaseModel

#: What counts where the user names no preset.
DEFAULT = "phi-4"
SHIPPED = Path(__file__).parents[1] / "recipes" / "presets"
ENDING = ".toml"


def read_preset(name: str) -> dict[str, Any]:
    """Return a preset's values: of a shipped one by its name, or of a file by its path.

    Raises:
        ValueError: there is none (names the nearest), or the file is no TOML.
    """
    path = Path(name) if name.endswith(ENDING) or "/" in name else SHIPPED / f"{name}{ENDING}"
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(_missing(name)) from None
    except OSError as error:
        raise ValueError(f"the preset '{name}' cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"the preset '{name}' is not TOML: {error}") from None


def shipped_presets() -> list[str]:
    """Return the names of the shipped presets, the default first."""
    names = sorted(path.stem for path in SHIPPED.glob(f"*{ENDING}"))
    return sorted(names, key=lambda name: name != DEFAULT)


def _missing(name: str) -> str:
    if name.endswith(ENDING) or "/" in name:
        return f"there is no preset file '{name}'"
    near = get_close_matches(name, shipped_presets(), n=1, cutoff=0.4)
    hint = f"did you mean '{near[0]}'? " if near else ""
    return (
        f"there is no preset '{name}'; {hint}There are {', '.join(shipped_presets())}, and files "
        f"that end in {ENDING}"
    )


def filled(given: Mapping[str, Any], preset: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the user gave, with the preset's values where a field was left open.

    Open is a field that is not given, or is empty. A model or a dataset that the user names is not
    the preset's: what the preset says of its own does not count for it.
    """
    values = dict(given)
    for name, value in preset.items():
        own = values.get(name)
        if isinstance(own, BaseModel):
            own = own.model_dump(exclude_unset=True)
        if (
            isinstance(value, Mapping)
            and isinstance(own, Mapping)
            and _names_another(name, own, value)
        ):
            continue
        if isinstance(value, Mapping) and isinstance(own, Mapping | None):
            values[name] = filled(own or {}, value)
        elif own is None or own == "" or own == () or own == []:
            values[name] = value
    return values


def _names_another(part: str, own: Mapping[str, Any], preset: Mapping[str, Any]) -> bool:
    """Whether the user's part of the form names another model or other data than the preset's."""
    if "dataset" in preset:
        return bool(own.get("files")) or own.get("dataset") not in (None, "", preset["dataset"])
    return part == "model" and own.get("name") not in (None, "", preset.get("name"))


def decided(values: Any, preset: Mapping[str, Any], place: str = "") -> dict[str, Any]:
    """Return the preset's values that count in a run, by the field's name (``model.name``)."""
    found: dict[str, Any] = {}
    for name, value in preset.items():
        own = values.get(name) if isinstance(values, Mapping) else getattr(values, name, None)
        if isinstance(value, Mapping):
            found |= decided(own, value, f"{place}{name}.")
        elif own == value or (isinstance(value, list) and tuple(value) == own):
            found[f"{place}{name}"] = value
    return found

"""Tables that are shipped and that a user's file overrides, entry by entry."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ValidationError

from finetuning.errors import SettingsError

T = TypeVar("T", bound=BaseModel)


@dataclass(frozen=True)
class Table(Generic[T]):
    """A table: what people call it, the shipped file, its form, and the variable of the override.

    A file of the shipped one's name in the current folder overrides entries, or the file that
    ``variable`` names.
    """

    title: str
    shipped: Path
    form: type[T]
    variable: str

    def load(self, override: Path | None = None) -> T:
        """Return the shipped table with the user's entries over it.

        Raises:
            SettingsError: the user's file is missing, not TOML, or has an entry that means nothing.
        """
        table = tomllib.loads(self.shipped.read_text(encoding="utf-8"))
        place = override or self._override()
        if place is None:
            return self.form.model_validate(table)
        what = f"The {self.title} {place}"
        try:
            changes = tomllib.loads(place.read_text(encoding="utf-8"))
            return self.form.model_validate(_over(table, changes))
        except OSError as error:
            raise SettingsError(
                f"{what} cannot be read: {error.strerror}. "
                f"Set {self.variable} to a file that exists, or unset it."
            ) from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise SettingsError(f"{what} is not TOML: {error}. Fix it.") from error
        except ValidationError as error:
            where = ".".join(str(part) for part in error.errors()[0]["loc"])
            raise SettingsError(
                f"{what} has a wrong entry '{where}': {error.errors()[0]['msg']}. "
                f"Its form is that of finetuning/planning/{self.shipped.name}."
            ) from error

    def _override(self) -> Path | None:
        named = os.environ.get(self.variable)
        if named:
            return Path(named)
        here = Path.cwd() / self.shipped.name
        return here if here.is_file() else None


def _over(table: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``table`` with ``changes`` over it, tables inside it merged likewise."""
    merged = dict(table)
    for name, change in changes.items():
        old = merged.get(name)
        both = isinstance(old, Mapping) and isinstance(change, Mapping)
        merged[name] = _over(old, change) if both else change  # type: ignore[arg-type]  # both are
    return merged

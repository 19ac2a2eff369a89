"""What every part of the form has in common."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict


def left_open(schema: dict[str, Any]) -> None:
    """Show a field empty in the form: what counts then is the preset's value.

    For ``json_schema_extra``. A form's default could not be told from what a user wants.
    """
    schema.pop("default", None)


class Choice(BaseModel):
    """A part of the form: frozen, and a misspelt field is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")

"""What every part of the form has in common."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Choice(BaseModel):
    """A part of the form: frozen, and a misspelt field is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")

"""What nearly every step of a run is handed: where, in whose name, and how long it may wait."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from finetuning.azure.ownership import Ownership
from finetuning.azure.settings import Settings
from finetuning.form.run import Deadlines


class RunContext(BaseModel):
    """The connection, the owner of what is made, and the run's deadlines."""

    model_config = ConfigDict(frozen=True)

    settings: Settings
    owner: Ownership
    deadlines: Deadlines

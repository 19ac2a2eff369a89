"""What nearly every step of a run is handed: where, in whose name, and how long it may wait."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from finetuning.azure.ownership import Ownership
from finetuning.azure.settings import Settings
from finetuning.form.run import Deadlines


class RunContext(BaseModel):
    """The connection, the owner of what is made, and the run's deadlines.

    ``retries``: how often the run was begun again on purpose, after it had ended. ``begun_before``:
    an earlier process of the run may have made something.
    """

    model_config = ConfigDict(frozen=True)

    settings: Settings
    owner: Ownership
    deadlines: Deadlines
    retries: int = 0
    begun_before: bool = False

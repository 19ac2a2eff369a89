"""The parameter of a promotion that is started by itself."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from finetuning.form.promotion import Rollout
from finetuning.form.run import AssetName, Deadlines


class Promote(Rollout):
    """One promotion: which registered model takes the traffic, and how."""

    first: ClassVar = ("model", "version", "endpoint")

    model: AssetName = Field(description="Name of the registered model.")
    version: str = Field(min_length=1, max_length=30, description="Its version.")
    recipe: str = Field(
        "chat_completion", min_length=1, description="The kind of fine-tune it comes from."
    )
    instance_type: str = Field(
        "", description="VM size of the deployment. Empty: that of the old model's deployment."
    )
    instance_count: int = Field(1, ge=1, le=20, description="Number of instances.")
    probe_initial_delay_s: int = Field(
        600,
        ge=1,
        le=3600,
        description="Seconds until Azure first checks that the deployment is alive.",
    )
    request_timeout_ms: int = Field(
        90_000, ge=1, le=180_000, description="Maximum time for one request, in milliseconds."
    )
    deadlines: Deadlines = Field(default_factory=Deadlines, description="How long to wait.")

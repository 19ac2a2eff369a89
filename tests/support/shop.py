"""A product endpoint of a test's own, onto which models that say what is wanted are promoted."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

from finetuning.azure.client import open_client
from finetuning.azure.product import Product, read_product
from finetuning.azure.settings import Settings
from finetuning.form.promote import Promote
from finetuning.form.promotion import Promoted
from flows.promote import promote
from tests.support import canned

QUICK = {
    "deployment_minutes": 2,
    "deletion_minutes": 1,
    "outage_minutes": 0.5,
    "poll_seconds": 0.2,
}


class Shop:
    """A product endpoint of a test's own, and the versions of its model."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self.settings, self.name = settings, f"shop-{uuid.uuid4().hex[:8]}"
        self.probes = canned.probes(folder)

    def promotion(self, version: str, **changes: Any) -> Promote:
        values: dict[str, Any] = {
            "model": self.name,
            "version": version,
            "endpoint": self.name,
            "instance_type": "Standard_NC24ads_A100_v4",
            "probe_initial_delay_s": 1,
            "dwell_minutes": 0,
            "probe_file": self.probes,
            "max_new_tokens": 8,
            "max_slowdown": 20,
            "deadlines": QUICK,
        }
        return Promote.model_validate({**values, **changes})

    def promoted(self, version: str, model: dict[str, Any], **changes: Any) -> Promoted:
        """Register a version that answers so, and promote it."""
        canned.register(self.settings, self.name, version, **model)
        return promote(self.promotion(version, **changes))

    @property
    def endpoint(self) -> Any:
        return open_client(self.settings).online_endpoints.get(self.name)

    @property
    def product(self) -> Product:
        found = read_product(self.name, self.endpoint.tags)
        assert found is not None
        return found

    @property
    def traffic(self) -> dict[str, int]:
        return {name: share for name, share in self.endpoint.traffic.items() if share}

    @property
    def deployments(self) -> dict[str, str]:
        """The model of each deployment."""
        listed = open_client(self.settings).online_deployments.list(self.name)
        return {one.name: str(one.model).rsplit("/", 1)[-1] for one in listed}

    def all_is_on(self, version: str) -> bool:
        """Whether exactly one deployment has all the traffic, and serves this version."""
        (name,) = self.traffic
        return self.traffic == {name: 100} and self.deployments[name] == version

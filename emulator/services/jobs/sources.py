"""Where on this machine a job's input is."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from emulator.processes.children import ProcessNotStarted
from emulator.protocol.errors import ArmError
from emulator.services.assets.addresses import Locations, Unresolvable, registry_of
from emulator.services.jobs.base_weights import BaseWeights, NoBaseWeights

#: What ``path`` raises, with what a machine can lack.
UNREADABLE = (Unresolvable, NoBaseWeights, ProcessNotStarted, ArmError)


@dataclass
class Sources:
    """Addresses of inputs; behind every published model are the same weights."""

    locations: Locations
    published: Callable[[str], bool]  # whether the registry has the model at an address
    weights: BaseWeights

    async def path(self, uri: str) -> Path:
        """Raises Unresolvable and the others of UNREADABLE."""
        if registry_of(uri):
            if not self.published(uri):
                raise Unresolvable(f"The registry has no model '{uri}'.")
            return await self.weights.folder()
        path = self.locations.path(uri)
        if not path.exists():
            raise Unresolvable(f"There is nothing at '{uri}'.")
        return path

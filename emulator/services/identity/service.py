"""What the identity endpoints ask."""

from dataclasses import dataclass

from emulator.clock import Clock
from emulator.configuration import Configuration
from emulator.faults import Faults


@dataclass(frozen=True)
class IdentityService:
    """The emulator's names and secrets, its time, the faults that are set."""

    config: Configuration
    clock: Clock
    faults: Faults

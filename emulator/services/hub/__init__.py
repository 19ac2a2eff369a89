"""A stand-in for the Hugging Face Hub: datasets only, read only, on loopback.

``HF_ENDPOINT`` points the unmodified ``datasets`` and ``huggingface_hub`` at it. ``ROUTES`` is
mounted by the emulator at ``/hub``; ``python -m emulator.services.hub`` serves them alone.
"""

from emulator.services.hub.app import create_app
from emulator.services.hub.hub import Hub
from emulator.services.hub.routes import ROUTES

__all__ = ["ROUTES", "Hub", "create_app"]

"""A stand-in for the Hugging Face Hub: datasets only, read only, on loopback.

``HF_ENDPOINT`` points the unmodified ``datasets`` and ``huggingface_hub`` at it. ``ROUTES`` is
mounted by the emulator at ``/hub``; ``python -m emulator.hub`` serves the same routes alone.
"""

from emulator.hub.hub import Hub, create_app
from emulator.hub.routes import ROUTES

__all__ = ["ROUTES", "Hub", "create_app"]

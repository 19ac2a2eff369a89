"""What the tests of flows run against."""

from __future__ import annotations

import pytest

from tests.conftest import RunningEmulator


@pytest.fixture
def stage(azure_env: RunningEmulator, prefect_server: None) -> RunningEmulator:
    """The emulator and a Prefect server, ready for a flow in this process."""
    return azure_env

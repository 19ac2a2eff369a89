"""What the tests of tasks share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from finetuning.azure.credentials import find_credential
from finetuning.azure.settings import Settings, load_settings
from tests.conftest import RunningEmulator


@pytest.fixture
def settings(azure_env: RunningEmulator) -> Iterator[Settings]:
    """The emulator's workspace, with a credential that no other test has asked for."""
    find_credential.cache_clear()
    yield load_settings()
    find_credential.cache_clear()

"""An emulator inside the test process; ``tests/conftest.py`` has those of their own process."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.emulator.support.in_process import InProcess


@pytest.fixture
def azure(tmp_path: Path) -> Iterator[InProcess]:
    """An emulator with Azure's latencies and a clock turned by hand."""
    found = InProcess(tmp_path / "state")
    yield found
    found.close()

"""What the tests of tasks share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conftest import RunningEmulator

WRITES = ("PUT", "PATCH", "DELETE")


@pytest.fixture
def nothing_is_written(emulator: RunningEmulator) -> Iterator[None]:
    """Whatever the test does, the emulator saw no request that changes anything."""
    seen = emulator.requests()
    before = seen[-1]["index"] if seen else 0
    yield
    assert [one for one in emulator.requests(after=before) if one["method"] in WRITES] == []

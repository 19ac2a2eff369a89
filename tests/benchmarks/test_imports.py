"""What the flows do not import before a step needs it."""

import pytest

from benchmarks.imports import HEAVY, MODULES, seconds_and_heavy


@pytest.mark.parametrize("module", MODULES)
def test_importing_a_flow_loads_no_heavy_library(module):
    assert seconds_and_heavy(module)[1] == []


@pytest.mark.parametrize("library", ["matplotlib"])
def test_a_heavy_library_that_is_imported_is_seen(library):
    assert library in HEAVY
    assert seconds_and_heavy(library)[1] == [library]

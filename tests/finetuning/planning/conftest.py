"""What the tests of planning share."""

from __future__ import annotations

import pytest

from finetuning.planning.prices import Prices


@pytest.fixture
def prices() -> Prices:
    return Prices.model_validate(
        {
            "currency": "EUR",
            "source": "a test",
            "date": "2026-01-01",
            "low_priority_share": 0.25,
            "reference_parameters": 1e9,
            "overhead_hours": 1,
            "endpoint_hours": 0.5,
            "model_parameters": {"small": 1e9, "small-but-large": 4e9},
            "sizes": {
                "Standard_ND40rs_v2": {"per_hour": 8, "tokens_per_second": 1000},
                "Standard_NC6s_v3": {"per_hour": 2},
            },
        }
    )

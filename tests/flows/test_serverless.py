"""A run with a compute of its own for every step: no cluster is asked for, planned or made."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from finetuning.form.results import Result
from flows.fine_tune import fine_tune
from tests.conftest import RunningEmulator
from tests.support.runs import small

pytestmark = pytest.mark.slow

CPU = {"instance_type": "Standard_D12_v2"}
GPU = {"instance_type": "Standard_NC24ads_A100_v4"}


def test_a_serverless_run_makes_no_cluster(stage: RunningEmulator) -> None:
    steps: dict[str, Any] = {"model_import": CPU, "preprocess": CPU, "finetune": GPU}
    compute = {"name": f"never-x{uuid.uuid4().hex[:7]}", "steps": steps}
    before = stage.requests()[-1]["index"] if stage.requests() else 0

    result = fine_tune(small(uuid.uuid4().hex, compute=compute))

    assert isinstance(result, Result)
    assert result.cluster is None
    asked = [one["path"] for one in stage.requests(after=before)]
    assert [path for path in asked if "/computes/" in path] == []
    assert result.answers[0].answer.strip()

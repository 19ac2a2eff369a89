"""Names: functions of the run, within Azure's rules."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from finetuning.azure import naming, ownership


@given(st.text(min_size=1, max_size=200), st.none() | st.text(min_size=1, max_size=200))
def test_every_name_is_within_azures_rules(run: str, chosen: str | None) -> None:
    key = naming.run_key(run, chosen)

    assert naming.ENDPOINT_RULE.match(naming.endpoint_name(key))
    assert len(naming.endpoint_name(key)) <= 32
    assert re.fullmatch(r"[a-zA-Z0-9_-]{1,255}", naming.job_name(key))
    assert re.fullmatch(r"[a-zA-Z0-9][a-zA-Z0-9._-]{0,29}", naming.model_version(key))


@given(st.uuids(), st.uuids())
def test_another_run_has_other_names_and_the_same_run_the_same(one: object, other: object) -> None:
    first, again = naming.run_key(str(one)), naming.run_key(str(one))

    assert first == again
    assert (first == naming.run_key(str(other))) == (one == other)


def test_a_chosen_key_decides_whatever_the_run() -> None:
    assert naming.run_key("run-1", "weekly") == naming.run_key("run-2", "weekly")


def test_the_display_name_is_the_tutorials() -> None:
    parameters = {
        "per_device_train_batch_size": 2,
        "gradient_accumulation_steps": 3,
        "lr_scheduler_type": "cosine",
        "apply_deepspeed": "true",
        "deepspeed_stage": "2",
        "apply_lora": "true",
        "save_total_limit": 1,
    }

    assert naming.display_name("Phi-3", parameters, 8) == (
        "Phi-3-ultrachat-bs48-cosine-ds2-lora-save_limit1-seqlen-1"
    )


def test_tags_say_whose_and_until_when() -> None:
    created = datetime(2026, 1, 1, tzinfo=UTC)

    tags = ownership.ownership_tags("flow", "run", "key", created, timedelta(hours=2), keep=True)

    assert tags[ownership.RUN_TAG] == "run"
    assert datetime.fromisoformat(tags[ownership.EXPIRES_TAG]) == created + timedelta(hours=2)
    assert tags[ownership.KEEP_TAG] == "true"

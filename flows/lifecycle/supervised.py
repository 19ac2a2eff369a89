"""The options of a supervised run, its hooks above all, as one set: ``@flow(**SUPERVISED)``."""

from __future__ import annotations

from typing import Any

from flows.lifecycle.cancellation import end_as_cancelled, watch_for_cancellation
from flows.lifecycle.cleanup import clean_up_cancelled, take_up_or_clean_up
from flows.lifecycle.events import tell_how_it_ended
from flows.lifecycle.single_owner import step_back_if_begun_elsewhere

#: The order within a list is the order in which Prefect calls them.
SUPERVISED: dict[str, Any] = {
    "persist_result": False,  # Prefect would pickle it, and nobody reads it again
    "on_running": [step_back_if_begun_elsewhere, watch_for_cancellation],
    "on_completion": [tell_how_it_ended],
    "on_failure": [tell_how_it_ended],
    "on_cancellation": [clean_up_cancelled, tell_how_it_ended],
    "on_crashed": [take_up_or_clean_up, end_as_cancelled, tell_how_it_ended],
}

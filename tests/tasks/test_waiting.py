"""Waiting, with a clock that is turned by hand: no test here takes longer than its own code."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
from azure.core.exceptions import (
    HttpResponseError,
    ResourceNotFoundError,
    ServiceRequestError,
    ServiceResponseError,
)
from hypothesis import given
from hypothesis import strategies as st

from finetuning.errors import BudgetExceeded, CredentialError, DeadlineExceeded, ServiceError
from finetuning.form.run import Deadlines
from tasks.waiting import BRISK, Patience, patience, wait_for_operation, wait_until
from tests.support.azure_answers import answered


@dataclass
class Clock:
    """Seconds that pass only while somebody sleeps."""

    now_s: float = 1000.0

    def now(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now_s += seconds


def waiting(clock: Clock, **changes: Any) -> Patience:
    """Two minutes, a look every ten seconds, an outage of half a minute."""
    values = {"deadline": 120.0, "interval": 10.0, "outage": 30.0, "parameter": "run.deadlines.x"}
    return Patience(**(values | changes), now=clock.now, sleep=clock.sleep)


def seeing(*what: Any) -> Callable[[], Any]:
    """Return a look that sees these one after another, the last for ever; exceptions are raised."""
    rest = list(what)

    def look() -> Any:
        seen = rest.pop(0) if len(rest) > 1 else rest[0]
        if isinstance(seen, Exception):
            raise seen
        return seen

    return look


def test_the_first_thing_that_will_do_is_returned() -> None:
    clock = Clock()

    found = wait_until("It", seeing(1, 2, 3, 4), lambda seen: seen >= 3, waiting(clock))

    assert found == 3
    assert clock.now_s == 1020  # looked three times, ten seconds apart


def test_what_is_there_already_is_not_waited_for() -> None:
    clock = Clock()

    wait_until("It", seeing(True), bool, waiting(clock, spent=1e9))

    assert clock.now_s == 1000


def test_a_deadline_that_has_passed_names_the_parameter_to_raise() -> None:
    clock = Clock()

    with pytest.raises(DeadlineExceeded, match=r"It took longer .* 120 s.*run\.deadlines\.x"):
        wait_until("It", seeing(False), bool, waiting(clock))

    assert clock.now_s == 1120


def test_what_another_process_waited_counts_against_the_deadline() -> None:
    clock = Clock()

    with pytest.raises(DeadlineExceeded):
        wait_until("It", seeing(False), bool, waiting(clock, spent=95.0))

    assert clock.now_s == 1025


@given(
    deadline=st.floats(0.1, 1e5),
    interval=st.floats(0.1, 600),
    spent=st.floats(0, 2e5),
)
def test_a_wait_never_passes_its_deadline_and_looks_at_least_once(
    deadline: float, interval: float, spent: float
) -> None:
    clock, looks = Clock(), 0

    def look() -> bool:
        nonlocal looks
        looks += 1
        return looks > 500  # long enough

    try:
        wait_until("It", look, bool, waiting(clock, deadline=deadline, interval=interval,
                                             spent=spent))  # fmt: skip
    except DeadlineExceeded:
        pass

    assert looks >= 1
    assert clock.now_s - 1000 <= max(deadline - spent, 0) + 1e-6


def test_a_passing_outage_is_ridden_out() -> None:
    clock = Clock()
    away = [answered(503), ServiceRequestError("no route"), ServiceResponseError("cut off")]

    assert wait_until("It", seeing(*away, True), bool, waiting(clock)) is True
    assert clock.now_s == 1030


def test_an_outage_that_lasts_ends_the_wait_in_azures_own_words() -> None:
    clock = Clock()
    look = seeing(False, False, answered(503, "ServerBusy", "come back tomorrow"))

    with pytest.raises(ServiceError, match=r"It: .*503 \(ServerBusy\): come back tomorrow"):
        wait_until("It", look, bool, waiting(clock))

    assert clock.now_s == 1050  # last seen at 1010; the first look more than 30 s later


def test_each_answer_begins_the_outage_anew() -> None:
    clock = Clock()
    outage = [answered(503)] * 3
    look = seeing(*outage, False, *outage, False, *outage, True)

    assert wait_until("It", look, bool, waiting(clock)) is True
    assert clock.now_s == 1110


@pytest.mark.parametrize(
    ("error", "ours"),
    [(answered(400), ServiceError), (answered(403), CredentialError),
     (answered(404), ServiceError)],
)  # fmt: skip
def test_a_permanent_error_ends_the_wait_at_once(error: Exception, ours: type[Exception]) -> None:
    clock = Clock()

    with pytest.raises(ours, match="It: "):
        wait_until("It", seeing(error, True), bool, waiting(clock))

    assert clock.now_s == 1000


def test_a_defect_is_not_taken_for_an_outage() -> None:
    with pytest.raises(KeyError):
        wait_until("It", seeing(KeyError("x"), True), bool, waiting(Clock()))


def test_the_guard_is_asked_before_every_look_and_its_error_ends_the_wait() -> None:
    clock, asked, looked = Clock(), [], []

    def guard() -> None:
        asked.append(clock.now_s)
        if len(asked) == 3:
            raise BudgetExceeded(2.0, 1.0, "USD", "training")

    def look() -> bool:
        looked.append(clock.now_s)
        return False

    with pytest.raises(BudgetExceeded):
        wait_until("It", look, bool, waiting(clock, guard=guard))

    assert (asked, looked) == ([1000, 1010, 1020], [1000, 1010])


def test_a_guard_that_cannot_ask_is_ridden_out_like_a_look() -> None:
    clock = Clock()

    assert wait_until("It", seeing(True), bool, waiting(clock, guard=seeing(answered(503), None)))
    assert clock.now_s == 1010


def test_the_patience_is_the_runs_own_deadlines_in_seconds() -> None:
    deadlines = Deadlines(training_minutes=2, outage_minutes=3, poll_seconds=60)

    slow = patience(deadlines, "training_minutes", interval=600)
    brisk = patience(deadlines, "training_minutes")

    assert (slow.deadline, slow.outage, slow.interval) == (120, 180, 60)
    assert brisk.interval == BRISK
    assert slow.parameter == "run.deadlines.training_minutes"


class Operation:
    """A long-running operation as the SDK's poller shows it: done after a while, ends in a way."""

    def __init__(self, clock: Clock, after_s: float, ends: Exception | None = None) -> None:
        self.clock, self.at, self.ends = clock, clock.now_s + after_s, ends

    def done(self) -> bool:
        return self.clock.now_s >= self.at

    def wait(self, timeout: float | None = None) -> None:
        left = max(0.0, self.at - self.clock.now_s)
        self.clock.now_s += left if timeout is None else min(left, timeout)
        if self.done() and self.ends is not None:
            raise self.ends


def operate(after_s: float, ends: Exception | None = None, **changes: Any) -> Clock:
    clock = Clock()
    wait_for_operation("It", Operation(clock, after_s, ends), waiting(clock, **changes))
    return clock


def test_an_operation_is_waited_for_and_not_a_second_longer() -> None:
    assert operate(23).now_s == 1023


def test_an_operation_that_takes_too_long_ends_at_the_deadline() -> None:
    with pytest.raises(DeadlineExceeded, match=r"run\.deadlines\.x"):
        operate(1000)


@pytest.mark.parametrize("status", [None, 400, 404, 409, 429])
def test_what_an_operation_ended_with_is_raised(status: int | None) -> None:
    with pytest.raises(HttpResponseError):
        operate(5, answered(status, "Refused", "no capacity"))


@pytest.mark.parametrize(
    "outage", [answered(500), answered(503), ServiceRequestError("no"), ServiceResponseError("no")]
)
def test_an_outage_while_it_was_polled_is_not_its_end(outage: Exception) -> None:
    operate(5, outage)  # whoever needs the resource looks at it next


def test_an_operation_has_a_guard_too() -> None:
    def spent() -> None:
        raise BudgetExceeded(2.0, 1.0, "USD", "serving")

    with pytest.raises(BudgetExceeded):
        operate(5, guard=spent)


def test_a_guard_can_be_taken_off() -> None:
    def spent() -> None:
        raise BudgetExceeded(2.0, 1.0, "USD", "serving")

    clock = Clock()
    unguarded = replace(waiting(clock, guard=spent), guard=None)

    wait_for_operation("It", Operation(clock, 5), unguarded)


def test_what_is_gone_is_nobodys_outage() -> None:
    with pytest.raises(ServiceError) as gone:
        wait_until("It", seeing(answered(404)), bool, waiting(Clock()))

    assert isinstance(gone.value.__cause__, ResourceNotFoundError)

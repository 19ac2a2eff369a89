"""Every call of the table gets what the table says: the right answer, or an honest 501."""

from collections.abc import Iterator

import pytest

from tests.conftest import RunningEmulator, environment
from tests.emulator.support.sdk_calls import CALLS, MISSING, RIGHT, Call
from tests.emulator.support.sdk_world import World, status_of


@pytest.fixture(scope="module")
def world(
    shared_emulator: RunningEmulator, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    with environment(shared_emulator.env):
        made = World(shared_emulator.env, tmp_path_factory.mktemp("calls"))
        yield made
        made.close()


@pytest.mark.parametrize("call", [one for one in CALLS if one.says == RIGHT], ids=lambda x: x.name)
def test_a_call_gets_the_right_answer(world: World, emulator: RunningEmulator, call: Call) -> None:
    assert call.do(world)


@pytest.mark.parametrize(
    "call", [one for one in CALLS if one.says == MISSING], ids=lambda x: x.name
)
def test_a_call_that_is_not_emulated_says_so(
    world: World, emulator: RunningEmulator, call: Call
) -> None:
    with pytest.raises(Exception) as caught:  # the SDK has many classes; the status counts
        call.do(world)

    assert status_of(caught.value) == 501, repr(caught.value)


def test_the_table_has_at_least_ninety_calls_and_each_once() -> None:
    names = [call.name for call in CALLS]

    assert len(names) == len(set(names)) >= 90
    assert sum(call.says == RIGHT for call in CALLS) >= 75
    assert {call.says for call in CALLS} == {RIGHT, MISSING}

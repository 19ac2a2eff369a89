"""Clients that others wrote get what the table says: the right answer, or an honest 501."""

from collections.abc import Iterator

import pytest

from tests.conftest import RunningEmulator, environment
from tests.emulator.support.foreign_calls import CLIENTS, MISSING, RIGHT, Use
from tests.emulator.support.foreign_world import ForeignWorld
from tests.emulator.support.sdk_world import status_of


def uses(says: str) -> list[object]:
    return [
        pytest.param(use, id=f"{client.name} ({client.what}): {use.name}")
        for client in CLIENTS
        for use in client.uses
        if use.says == says
    ]


@pytest.fixture(scope="module")
def world(
    shared_emulator: RunningEmulator, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ForeignWorld]:
    with environment(shared_emulator.env):
        made = ForeignWorld(shared_emulator, tmp_path_factory.mktemp("foreign"))
        yield made
        made.close()


@pytest.mark.parametrize("use", uses(RIGHT))
def test_a_foreign_client_gets_the_right_answer(
    world: ForeignWorld, emulator: RunningEmulator, use: Use
) -> None:
    assert use.does(world)


@pytest.mark.parametrize("use", uses(MISSING))
def test_a_foreign_client_is_told_what_is_not_emulated(
    world: ForeignWorld, emulator: RunningEmulator, use: Use
) -> None:
    with pytest.raises(Exception) as caught:  # each client has classes of its own
        use.does(world)

    assert status_of(caught.value) == 501, repr(caught.value)

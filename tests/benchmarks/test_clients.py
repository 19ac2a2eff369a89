"""Many clients at once, in small: every kind of request is asked and answered."""

import asyncio
from pathlib import Path

from benchmarks.clients import SHARES, Bench, _ask, _figures, fill
from emulator.configuration import Configuration, load_identity
from tests.conftest import running_emulator


def configuration(state: Path) -> Configuration:
    return Configuration(state, state / "cache", load_identity(state))


def test_clients_on_a_full_workspace_get_answers_to_everything_they_ask(tmp_path: Path) -> None:
    state = tmp_path / "state"
    fill(configuration(state), 150)
    with running_emulator(state) as here:
        config = configuration(state)
        bench = Bench(config, Path(here.env["SSL_CERT_FILE"]), 150)
        while bench.took.keys() != SHARES.keys():
            asyncio.run(_ask(bench, 3, 1))

    assert set(bench.statuses) == {200}
    figures = {one.name: one.measured for one in _figures(bench, 3, 1)}
    assert figures["answers that are errors"] == 0 and figures["p99"]

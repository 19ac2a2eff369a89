"""A pytest plugin: the fixture ``azureml`` is a running emulator that Azure's SDK talks to.

In ``pytest.ini``: ``azureml_scope`` is ``session`` (one for all tests, the default) or ``function``
(an empty one for each), ``azureml_options`` are options of the emulator's command line.
"""

from collections.abc import Iterator

import pytest

from emulator.launch import Launched, launch

SCOPES = ("session", "function")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the two settings."""
    parser.addini("azureml_scope", "how long an emulator lives: session or function", default="")
    parser.addini("azureml_options", "options of the emulator", type="args", default=[])


def scope(fixture_name: str, config: pytest.Config) -> str:
    """The fixture's scope, from the settings. Raises UsageError: another than the two."""
    wanted = str(config.getini("azureml_scope")) or SCOPES[0]
    if wanted not in SCOPES:
        raise pytest.UsageError(f"azureml_scope is '{wanted}', not {' or '.join(SCOPES)}.")
    return wanted


@pytest.fixture(scope=scope)  # type: ignore[arg-type]  # one of the literals, checked above
def azureml(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Launched]:
    """A running emulator with a state of its own; this process's environment points at it."""
    options = request.config.getini("azureml_options")
    cache: tuple[str, ...] = ()
    if request.config.cache is not None:  # weights are made once, not at every session
        cache = ("--cache", str(request.config.cache.mkdir("azureml-emulator")))
    state = tmp_path_factory.mktemp("azureml")
    with launch(state, *cache, *options) as started, pytest.MonkeyPatch.context() as patch:
        for name, value in started.env.items():
            patch.setenv(name, value)
        yield started

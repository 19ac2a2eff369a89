"""What the tests share: a running emulator, the environment that points the SDK at it, Prefect."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from finetuning.azure.credentials import find_credential
from finetuning.azure.settings import Settings, load_settings

ROOT = Path(__file__).parent.parent
# A developer's own .env, with a workspace that costs money, has no part in the tests.
os.environ["FINETUNE_ENV_FILE"] = os.devnull
#: Base weights and the dataset are made once and shared by every emulator of every test run.
CACHE = ROOT / "var" / "cache"


#: A timing is a benchmark: no example fails because the machine is busy.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files whose tests run whole fine-tunes, so that no worker ends with one."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


def run_python(
    env: dict[str, str], *arguments: str, seconds: float
) -> subprocess.CompletedProcess[str]:
    """Run ``python ARGUMENTS`` in the project's folder, with ``env`` added to this environment."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=seconds,
    )


@dataclass
class RunningEmulator:
    """An emulator in a process of its own, and what a test asks of it."""

    state: Path
    process: subprocess.Popen[str]
    env: dict[str, str] = field(default_factory=dict)

    @property
    def admin(self) -> str:
        return self.env["EMULATOR_ADMIN_URL"]

    def summary(self) -> dict[str, Any]:
        return dict(self.ask("GET", "summary"))

    def requests(self, after: int = 0) -> list[dict[str, Any]]:
        found = self.ask("GET", f"requests?after={after}")
        return list(found["requests"] if isinstance(found, dict) else found)

    def violations(self) -> list[str]:
        """What the emulator's answers had against their descriptions so far."""
        return list(self.ask("GET", "verification")["violations"])

    def add_fault(self, **fault: Any) -> dict[str, Any]:
        return dict(self.ask("POST", "faults", fault))

    def clear_faults(self) -> None:
        self.ask("DELETE", "faults")

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        import httpx

        with httpx.Client(trust_env=False, timeout=30) as http:
            answer = http.request(method, f"{self.admin}/{path}", json=body)
        answer.raise_for_status()
        return answer.json() if answer.content else None


@contextmanager
def running_emulator(state: Path, *options: str) -> Iterator[RunningEmulator]:
    """Start an emulator on free ports with its own state folder; afterwards nothing is left.

    Fails if an answer was not as Azure describes it.
    """
    command = [sys.executable, "-m", "emulator", "--state", str(state), "--cache", str(CACHE)]
    command.append("--verify-answers")
    with (state.parent / f"{state.name}.log").open("w") as log:
        process = subprocess.Popen(
            [*command, *options], cwd=ROOT, stdout=subprocess.PIPE, stderr=log, text=True
        )
        try:
            found = RunningEmulator(state, process, _environment(state, process))
            yield found
            if process.poll() is None:  # a test may have ended it
                assert found.violations() == []
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if process.stdout:
                process.stdout.close()


def _environment(state: Path, process: subprocess.Popen[str]) -> dict[str, str]:
    assert process.stdout is not None
    if not process.stdout.readline():
        process.wait()
        raise RuntimeError((state.parent / f"{state.name}.log").read_text()[-2000:])
    printed = subprocess.run(
        [sys.executable, "-m", "emulator", "env", "--state", str(state), "--format", "json"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return dict(json.loads(printed.stdout))


@contextmanager
def environment(values: dict[str, str]) -> Iterator[None]:
    """Set variables of this process for a while, as the real SDK reads them."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    _name_the_cloud(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _name_the_cloud(values: dict[str, str]) -> None:
    """Tell azureml.mlflow of this cloud: it asks for the clouds once, when it is first imported.

    A program meets one cloud, but a process of tests meets an emulator after another.
    """
    clouds = sys.modules.get("azureml.mlflow._common._cloud.cloud")
    if clouds is not None and "ARM_CLOUD_METADATA_URL" in values:
        clouds.KNOWN_CLOUDS.update(clouds.get_known_clouds())


@pytest.fixture(scope="session")
def shared_emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningEmulator]:
    """One emulator for the whole session: tiny weights, no latency."""
    state = tmp_path_factory.mktemp("emulator") / "state"
    with running_emulator(state, "--preload") as found:
        yield found


@pytest.fixture
def emulator(shared_emulator: RunningEmulator) -> Iterator[RunningEmulator]:
    """The session's emulator, without the faults that another test set.

    Fails the test that saw an answer which is not as Azure describes it.
    """
    shared_emulator.clear_faults()
    before = len(shared_emulator.violations())
    yield shared_emulator
    shared_emulator.clear_faults()
    assert shared_emulator.violations()[before:] == []


@pytest.fixture
def azure_env(emulator: RunningEmulator) -> Iterator[RunningEmulator]:
    """The emulator, with this process's environment pointing the real SDK at it."""
    with environment(emulator.env):
        yield emulator


@pytest.fixture
def settings(azure_env: RunningEmulator) -> Iterator[Settings]:
    """The emulator's workspace, with a credential that no other test has asked for."""
    find_credential.cache_clear()
    yield load_settings()
    find_credential.cache_clear()


@pytest.fixture(scope="session")
def prefect_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A real Prefect server with a database of its own, for the whole session."""
    from deployments.local_stack import free_port
    from tests.support import prefect_servers

    home = tmp_path_factory.mktemp("prefect")
    with (
        prefect_servers.prefect_server(home, free_port()) as settings,
        prefect_servers.used_here(settings["PREFECT_API_URL"]),
    ):
        yield

"""PostgreSQL, Redis, two API servers behind TLS, two workers; twenty runs, one of each killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from deployments.local_stack import ROOT, free_port, running
from tests.conftest import RunningEmulator, run_python
from tests.deployments.balancer import balancer
from tests.support.databases import POSTGRES, REDIS, postgres, redis
from tests.support.prefect_servers import QUICK, Server, assert_sound
from tests.support.waiting import until

RUNS = 20
LIMIT = 5
FINAL = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}

pytestmark = [
    pytest.mark.soak,
    pytest.mark.timeout(600),
    pytest.mark.skipif(
        not (POSTGRES and REDIS), reason="Debian's postgresql or redis-server is not installed"
    ),
]


@dataclass
class Installation:
    """Two servers behind one address, and two workers."""

    server: Server
    counted: Path
    apis: list[subprocess.Popen[bytes]]
    workers: list[subprocess.Popen[bytes]]

    def lines(self) -> list[str]:
        return self.counted.read_text().split("\n")[:-1] if self.counted.exists() else []


@pytest.fixture
def installation(tmp_path: Path, shared_emulator: RunningEmulator) -> Iterator[Installation]:
    python = [sys.executable, "-m", "prefect"]
    with ExitStack() as stack:
        database, broker = (
            stack.enter_context(postgres(tmp_path)),
            stack.enter_context(redis(tmp_path)),
        )
        env = {
            **QUICK,
            **shared_emulator.env,
            "PREFECT_HOME": str(tmp_path / "prefect"),
            "PREFECT_API_DATABASE_CONNECTION_URL": database,
            "PREFECT_API_DATABASE_MIGRATE_ON_START": "false",
            "PREFECT_MESSAGING_BROKER": "prefect_redis.messaging",
            "PREFECT_MESSAGING_CACHE": "prefect_redis.messaging",
            "PREFECT_SERVER_EVENTS_CAUSAL_ORDERING": "prefect_redis.ordering",
            "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect_redis.lease_storage",
            "PREFECT_REDIS_MESSAGING_URL": f"{broker}/0",
            "PREFECT_SERVER_DOCKET_URL": f"{broker}/1",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_SERVER_API_AUTH_STRING": "admin:secret",
            "PREFECT_API_AUTH_STRING": "admin:secret",
            "PREFECT_WORKER_QUERY_SECONDS": "2",
            "COUNTED": str(tmp_path / "counted"),
        }
        subprocess.run(
            [*python, "server", "database", "upgrade", "--yes"],
            env={**os.environ, **env},
            check=True,
            capture_output=True,
            timeout=180,
        )
        ports = [free_port(), free_port()]
        apis = []
        for port in ports:  # one after another: both would register the block types of a new
            argv = [*python, "server", "start", "--port", str(port), "--no-services"]  # database
            log = tmp_path / f"api-{port}.log"
            apis.append(stack.enter_context(running(argv, log, env)))
            until("an API server answers", lambda: _healthy(port), 120)  # noqa: B023
        services = [*python, "server", "services", "start"]
        stack.enter_context(running(services, tmp_path / "services.log", env))
        authority = tmp_path / "authority.pem"
        address = stack.enter_context(balancer(ports, authority))
        env["PREFECT_API_URL"] = f"{address}/api"
        env["PREFECT_API_SSL_CERT_FILE"] = str(authority)
        server = Server(env, tmp_path)
        _deploy(env)
        worker = [*python, "worker", "start", "--pool", "many", "--limit", str(LIMIT)]
        workers = [
            stack.enter_context(
                running([*worker, "--name", name], tmp_path / f"worker-{name}.log", env)
            )
            for name in ("one", "two")
        ]
        yield Installation(server, tmp_path / "counted", apis, workers)
    assert_sound(tmp_path / "services.log", *tmp_path.glob("api-*.log"))


def _healthy(port: int) -> bool:
    try:
        with httpx.Client(trust_env=False, timeout=2, auth=("admin", "secret")) as http:
            return http.get(f"http://127.0.0.1:{port}/api/health").is_success
    except httpx.HTTPError:
        return False


def _deploy(env: dict[str, str]) -> None:
    """A pool, the counted flow and the reaper; the automation that offers a lost run again."""
    program = (
        "from datetime import timedelta\n"
        "from prefect import flow, get_client\n"
        "from prefect.client.schemas.objects import ConcurrencyLimitConfig\n"
        "from prefect.events.actions import DoNothing\n"
        "from deployments.automations import Limits, automations, install\n"
        "pool = {'work_pool_name': 'many', 'build': False, 'push': False}\n"
        f"here = {str(ROOT)!r}\n"
        "flow.from_source(here, 'tests/deployments/counted.py:counted').deploy('many', **pool)\n"
        "reaper = flow.from_source(here, 'flows/reap.py:reap').deploy('every-15-minutes', **pool,\n"
        "    concurrency_limit=ConcurrencyLimitConfig(limit=1, collision_strategy='CANCEL_NEW'))\n"
        "limits = Limits(pending=timedelta(seconds=30))\n"
        "wanted = [one for one in automations(DoNothing(), reaper, limits)\n"
        "          if one.name.endswith('not begun')]\n"
        "with get_client(sync_client=True) as client:\n"
        "    install(client, wanted)\n"
    )
    pool = ("-m", "prefect", "work-pool", "create", "many", "--type", "process")
    for command in (pool, ("-c", program)):
        done = run_python(env, *command, seconds=180)
        assert done.returncode == 0, done.stdout + done.stderr


def test_every_run_ends_once_though_a_worker_and_a_server_die(installation: Installation) -> None:
    server = installation.server
    runs = [server.trigger("fine-tune/many", {"number": number}) for number in range(RUNS)]
    until("some runs have begun", lambda: len(installation.lines()) >= 4, 180)

    os.kill(installation.workers[0].pid, signal.SIGKILL)
    os.kill(installation.apis[0].pid, signal.SIGKILL)

    until("all runs have ended", lambda: _states(server, runs).keys() <= FINAL, 300)
    crashed = [run for run in runs if server.state(run) == "CRASHED"]
    assert len(crashed) <= LIMIT  # those that the dead worker watched; no others are touched
    for run in crashed:
        state = {"type": "SCHEDULED", "name": "AwaitingRetry"}
        server.ask("POST", f"/flow_runs/{run}/set_state", {"state": state, "force": True})
    until("all are completed", lambda: _states(server, runs) == {"COMPLETED": RUNS}, 120)
    lines = Counter(installation.lines())
    assert {run: lines[f"ended {run}"] for run in runs} == dict.fromkeys(runs, 1)
    assert {run for run in runs if lines[f"begun {run}"] > 1} <= set(crashed)


def _states(server: Server, runs: list[str]) -> Counter[str]:
    body = {"flow_runs": {"id": {"any_": runs}}}
    found = server.ask("POST", "/flow_runs/filter", body)
    return Counter(one["state"]["type"] for one in found)

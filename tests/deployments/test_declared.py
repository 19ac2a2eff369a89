"""``prefect.yaml`` and ``deployments/serve.py`` make the same deployments, on a real server."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from typing import Any

import httpx
import pytest

from deployments.declared import declarations
from deployments.local_stack import ROOT
from tests.deployments.conftest import Stack, server_in
from tests.support.prefect_servers import Server

pytestmark = pytest.mark.slow

SAME = [
    "name",
    "description",
    "version",
    "tags",
    "parameters",
    "parameter_openapi_schema",
    "enforce_parameter_schema",
    "entrypoint",
    "paused",
]
NAMES = {
    "fine-tune/run",
    "fine-tune/weekly",
    "plan/now",
    "promote/by-steps",
    "rollback/at-once",
    "reap/every-15-minutes",
    "resume/every-2-minutes",
    "refresh-data/monthly",
}


def described(server: Server, name: str) -> dict[str, Any]:
    """What the server holds of a deployment, without what must differ between two servers."""
    found = server.deployment(name)
    schedules = [
        (one["slug"], one["active"], one["schedule"]["cron"], one["schedule"]["timezone"])
        for one in found["schedules"]
    ]
    limit = (found["global_concurrency_limit"] or {}).get("limit")
    return {
        **{field: found[field] for field in SAME},
        "schedules": schedules,
        "limit": limit,
        "overlap": (found["concurrency_options"] or {}).get("collision_strategy"),
    }


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A fresh server after ``make deploy``'s commands."""
    with server_in(tmp_path_factory.mktemp("fresh")) as fresh:
        env = {**os.environ, **fresh.env}
        for arguments in (
            ["work-pool", "create", "fine-tune", "--type", "process"],
            ["deploy", "--all", "--no-prompt"],
        ):
            command = [sys.executable, "-m", "prefect", *arguments]
            done = subprocess.run(
                command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=180
            )
            assert done.returncode == 0, done.stdout + done.stderr
        yield fresh


def test_the_declaration_names_all_deployments() -> None:
    names = {f"{one['entrypoint'].split(':')[1]}/{one['name']}" for one in declarations()}

    assert {name.replace("_", "-") for name in names} == NAMES


def test_versions_are_the_projects() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    assert {one["version"] for one in declarations()} == {project["version"]}


@pytest.mark.parametrize("name", sorted(NAMES))
def test_served_and_deployed_are_the_same(deployed: Server, served: Stack, name: str) -> None:
    assert described(deployed, name) == described(served.server, name)


def test_the_weekly_fine_tune_waits_for_permission_and_never_overlaps(deployed: Server) -> None:
    weekly = described(deployed, "fine-tune/weekly")

    assert weekly["schedules"] == [("weekly", False, "0 20 * * 6", "Europe/Berlin")]
    assert (weekly["limit"], weekly["overlap"]) == (1, "ENQUEUE")


def test_a_one_off_run_has_no_schedule_and_waits_for_nobody(deployed: Server) -> None:
    run = described(deployed, "fine-tune/run")

    assert (run["schedules"], run["limit"]) == ([], None)


@pytest.mark.parametrize("name", sorted(NAMES))
def test_the_first_line_of_a_description_says_what_it_is_and_what_it_costs(
    deployed: Server, name: str
) -> None:
    first, empty, more = described(deployed, name)["description"].split("\n", 2)

    assert first.endswith(("Costs money.", "Free.", "Saves money.")) and len(first) <= 100
    assert empty == "" and more.strip()


@pytest.mark.parametrize(
    ("name", "cron"), [("reap/every-15-minutes", "*/15"), ("resume/every-2-minutes", "*/2")]
)
def test_the_reaper_and_the_poller_are_on(deployed: Server, name: str, cron: str) -> None:
    """Without them dead runs bill on, and a run with a lost event stays suspended."""
    slug = name.split("/")[1]

    assert described(deployed, name)["schedules"] == [(slug, True, f"{cron} * * * *", "UTC")]


@pytest.mark.parametrize(
    "run, field",
    [
        ({"data": {"percentage": 0}}, "percentage"),
        ({"data": {"percentage": "much"}}, "percentage"),
        ({"compute": {"max_nodes": 0}}, "max_nodes"),
        ({"modell": {"name": "Phi-4"}}, "modell"),
        ({"parameters": {"num_train_epochs": "abc"}}, "num_train_epochs"),
        ({"parameters": {"lr_scheduler_type": "square"}}, "lr_scheduler_type"),
        ({"endpoint": {"instance_count": 21}}, "instance_count"),
        ({"test": {"rows": 0}}, "rows"),
        ({"deadlines": {"poll_seconds": -1}}, "poll_seconds"),
    ],
)
def test_the_server_refuses_a_bad_parameter_and_names_its_field(
    deployed: Server, run: dict[str, Any], field: str
) -> None:
    with pytest.raises(httpx.HTTPStatusError) as refused:
        deployed.trigger("fine-tune/run", {"run": run})

    assert refused.value.response.status_code == 409
    assert field in refused.value.response.text


def test_every_parameter_has_a_description_in_the_form(deployed: Server) -> None:
    schema = deployed.deployment("fine-tune/run")["parameter_openapi_schema"]

    undescribed = [
        f"{name}.{field}"
        for name, definition in schema["definitions"].items()
        for field, about in definition.get("properties", {}).items()
        if not about.get("description")
    ]
    assert undescribed == []

"""One registry of models: MLflow's calls and the workspace's see the same."""

from pathlib import Path
from typing import Any

import pytest

from emulator.services.jobs.records import artifact_folder
from tests.emulator.support import pyfunc_models
from tests.emulator.support.in_process import InProcess

RUN = "run-1"


def mlflow(azure: InProcess, method: str, call: str, **given: Any) -> Any:
    """A call of MLflow's registry: a body, or a query where it reads."""
    path = f"/mlflow/v2.0{azure.config.workspace_id}/api/2.0/mlflow/{call}"
    how = {"params": given} if method == "GET" else {"json": given}
    return azure.at(azure.config.api_host, method, path, **how)


def told(azure: InProcess, method: str, call: str, **given: Any) -> Any:
    answer = mlflow(azure, method, call, **given)
    assert answer.status_code == 200, answer.text
    return answer.json()


def refused(azure: InProcess, method: str, call: str, **given: Any) -> tuple[int, str]:
    answer = mlflow(azure, method, call, **given)
    return answer.status_code, answer.json()["error_code"]


def artifact(azure: InProcess, path: str = "model") -> str:
    """The address of a run's artifact, as a run shows it to MLflow's client."""
    place = f"azureml://{azure.config.api_host}/mlflow/v2.0{azure.config.workspace_id}"
    return f"{place}/experiments/e/runs/{RUN}/artifacts/{path}"


@pytest.fixture
def run(azure: InProcess) -> InProcess:
    """A run whose artifacts have a model, and a registered model without a version."""
    store = azure.emulator.storage.path("workspaceartifactstore", artifact_folder(RUN))
    pyfunc_models.write_model(store / "model")
    told(azure, "POST", "registered-models/create", name="doubling", description="doubles")
    return azure


def register(azure: InProcess, **given: Any) -> Any:
    whole = {"name": "doubling", "source": artifact(azure), "run_id": RUN, **given}
    return told(azure, "POST", "model-versions/create", **whole)["model_version"]


def test_what_mlflow_registers_the_workspace_finds(run: InProcess) -> None:
    made = register(run, tags=[{"key": "team", "value": "chat"}])
    found = run.ask("GET", "models/doubling/versions/1").json()["properties"]

    assert (made["version"], made["run_id"], made["status"]) == ("1", RUN, "READY")
    assert made["source"].endswith(f"/runs/{RUN}/artifacts/model")
    assert found["modelType"] == "mlflow_model" and found["jobName"] == RUN
    assert found["modelUri"].endswith(
        f"workspaceartifactstore/paths/ExperimentRun/dcid.{RUN}/model"
    )
    assert found["flavors"]["python_function"]["data"]["loader_module"] == "doubling"
    assert found["tags"] == {"team": "chat"}


def test_what_the_workspace_registers_mlflow_finds(run: InProcess) -> None:
    run.model("chat", text="flavors: {}")
    model = told(run, "GET", "registered-models/get", name="chat")["registered_model"]
    version = told(run, "GET", "model-versions/get", name="chat", version="1")["model_version"]

    assert [one["version"] for one in model["latest_versions"]] == ["1"]
    assert version["source"].endswith("/datastores/workspaceblobstore/paths/models/chat-1")
    names = [
        one["name"] for one in told(run, "GET", "registered-models/search")["registered_models"]
    ]
    assert names == ["chat", "doubling"]


def test_a_model_without_versions_is_listed_and_described(run: InProcess) -> None:
    found = run.ask("GET", "models/doubling").json()["properties"]
    listed = run.ask("GET", "models").json()["value"]

    assert (found["description"], found["nextVersion"]) == ("doubles", "1")
    assert [one["name"] for one in listed] == ["doubling"]


def test_versions_are_numbered_on_from_both_sides(run: InProcess) -> None:
    register(run)
    run.model("doubling", version="7", text="flavors: {}")

    assert register(run)["version"] == "8"
    found = told(run, "GET", "model-versions/search", filter="name='doubling'")["model_versions"]
    assert [one["version"] for one in found] == ["8", "7", "1"]
    of_run = told(
        run, "GET", "model-versions/search", filter=f"run_id = '{RUN}' and name='doubling'"
    )
    assert [one["version"] for one in of_run["model_versions"]] == ["8", "1"]


def test_stages_tags_and_descriptions_change_on_both_sides(run: InProcess) -> None:
    register(run), register(run)
    which = {"name": "doubling", "version": "1"}
    told(
        run, "POST", "model-versions/transition-stage", **which, stage="production",
        archive_existing_versions=False,
    )  # fmt: skip
    told(
        run, "POST", "model-versions/transition-stage", name="doubling", version="2",
        stage="Production", archive_existing_versions=True,
    )  # fmt: skip
    told(run, "PATCH", "model-versions/update", **which, description="old")
    told(run, "POST", "model-versions/set-tag", **which, key="seen", value="yes")
    told(run, "POST", "model-versions/set-tag", **which, key="gone", value="yes")
    told(run, "DELETE", "model-versions/delete-tag", **which, key="gone")
    own = run.ask("GET", "models/doubling/versions/1").json()["properties"]

    assert (own["stage"], own["description"], own["tags"]) == ("Archived", "old", {"seen": "yes"})
    latest = told(
        run, "POST", "registered-models/get-latest-versions", name="doubling", stages=["Production"]
    )
    assert [one["version"] for one in latest["model_versions"]] == ["2"]


def test_what_is_deleted_on_one_side_is_gone_on_the_other(run: InProcess) -> None:
    register(run)
    told(run, "DELETE", "model-versions/delete", name="doubling", version="1")
    assert run.ask("GET", "models/doubling/versions/1").status_code == 404
    assert run.ask("GET", "models/doubling").status_code == 200
    told(run, "DELETE", "registered-models/delete", name="doubling")

    assert run.ask("GET", "models/doubling").status_code == 404
    assert refused(run, "GET", "registered-models/get", name="doubling") == (
        404, "RESOURCE_DOES_NOT_EXIST",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("method", "call", "given", "status", "code"),
    [
        ("POST", "registered-models/create", {"name": "Doubling"}, 400, "RESOURCE_ALREADY_EXISTS"),
        ("POST", "registered-models/create", {"name": "no/slash"}, 400, "INVALID_PARAMETER_VALUE"),
        ("GET", "registered-models/get", {"name": "x"}, 404, "RESOURCE_DOES_NOT_EXIST"),
        (
            "GET", "model-versions/get", {"name": "doubling", "version": "9"},
            404, "RESOURCE_DOES_NOT_EXIST",
        ),
        (
            "POST", "model-versions/create", {"name": "doubling", "source": "s3://bucket/model"},
            400, "INVALID_PARAMETER_VALUE",
        ),
        (
            "POST", "model-versions/create",
            {"name": "doubling", "source": "azureml://jobs/none/outputs/model"},
            404, "RESOURCE_DOES_NOT_EXIST",
        ),
        (
            "POST", "model-versions/transition-stage",
            {
                "name": "doubling", "version": "1", "stage": "Best",
                "archive_existing_versions": False,
            }, 400, "INVALID_PARAMETER_VALUE",
        ),
        ("GET", "registered-models/search", {"page_token": "x"}, 400, "INVALID_PARAMETER_VALUE"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_in_mlflows_words(
    run: InProcess, method: str, call: str, given: dict[str, Any], status: int, code: str
) -> None:
    assert refused(run, method, call, **given) == (status, code)


@pytest.mark.parametrize(
    ("method", "call", "given"),
    [
        ("POST", "registered-models/rename", {"name": "doubling", "new_name": "halving"}),
        ("POST", "registered-models/alias", {"name": "doubling", "alias": "a", "version": "1"}),
        ("GET", "registered-models/search", {"filter": "tags.team = 'chat'"}),
        ("GET", "model-versions/search", {"order_by": "version_number DESC"}),
    ],
)
def test_what_is_not_emulated_of_mlflows_registry_is_said(
    run: InProcess, method: str, call: str, given: dict[str, Any]
) -> None:
    assert mlflow(run, method, call, **given).status_code == 501


def test_a_version_is_not_registered_from_a_folder_without_a_model(run: InProcess) -> None:
    (Path(run.emulator.storage.path("workspaceartifactstore", artifact_folder(RUN))) / "x").mkdir()
    source = artifact(run, "x")
    given = {"name": "doubling", "source": source}

    assert refused(run, "POST", "model-versions/create", **given)[0] == 404
    assert told(run, "GET", "model-versions/search")["model_versions"] == []


def test_an_asset_is_archived_and_restored_by_its_name(run: InProcess) -> None:
    found = run.ask("GET", "models/doubling").json()
    found["properties"]["isArchived"] = True
    assert run.ask("PUT", "models/doubling", json=found).status_code == 200

    assert run.ask("GET", "models").json()["value"] == []
    archived = run.ask("GET", "models?listViewType=ArchivedOnly").json()["value"]
    assert [one["name"] for one in archived] == ["doubling"]
    assert told(run, "GET", "registered-models/search")["registered_models"] == []

"""Deployments with a scoring script of the user's: the real scoring process, over the wire."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from emulator.app import SCORER
from tests.emulator.support import pyfunc_models
from tests.emulator.support.in_process import InProcess

IMAGE = "mcr.microsoft.com/azureml/minimal-ubuntu22.04-py311-cpu-inference:latest"
DEPLOYMENT = "onlineEndpoints/chat-end/deployments/blue"
SCRIPT = {"codeId": "azureml:score:1", "scoringScript": "score.py"}


@pytest.fixture
def azure(tmp_path: Path) -> Iterator[InProcess]:
    """An endpoint, a custom model, a scoring script and an environment for it."""
    found = InProcess(tmp_path / "state", profile="fast")
    found.emulator.serving.scorers.program = SCORER
    folder = store(found, "weights")
    folder.mkdir(parents=True)
    (folder / "weight.json").write_text("5")
    put(found, "models/plain", modelUri=place("weights"), modelType="custom_model")
    write_code(found, "score")
    put(found, "environments/base", image=IMAGE)
    found.finish(found.endpoint())
    yield found
    found.close()


def place(path: str) -> str:
    return f"azureml://datastores/workspaceblobstore/paths/{path}"


def store(azure: InProcess, path: str) -> Path:
    found: Path = azure.emulator.storage.path("workspaceblobstore", path)
    return found


def put(azure: InProcess, path: str, **properties: Any) -> None:
    answer = azure.ask("PUT", f"{path}/versions/1", json={"properties": properties})
    assert answer.status_code == 201, answer.text


def write_code(azure: InProcess, name: str, script: str = pyfunc_models.SCRIPT) -> None:
    folder = pyfunc_models.write_script(store(azure, name), script)
    uri = f"https://{azure.config.blob_host}/{folder.parent.name}/{name}"
    put(azure, f"codes/{name}", codeUri=uri)


def deploy(azure: InProcess, model: str = "plain", **properties: Any) -> dict[str, Any]:
    given = {"codeConfiguration": SCRIPT, "environmentId": "azureml:base:1"} | properties
    ids = f"{azure.config.workspace_id}/"
    code = given["codeConfiguration"]
    if code and code["codeId"].startswith("azureml:"):
        name = code["codeId"].split(":")[1]
        given["codeConfiguration"] = {**code, "codeId": f"{ids}codes/{name}/versions/1"}
    if given["environmentId"]:
        name = given["environmentId"].split(":")[1]
        given["environmentId"] = f"{ids}environments/{name}/versions/1"
    return azure.finish(azure.deploy(f"{ids}models/{model}/versions/1", **given))


def log(azure: InProcess) -> str:
    found: str = azure.ask("POST", f"{DEPLOYMENT}/getLogs", json={}).json()["content"]
    return found


def asked(azure: InProcess, request: Any) -> Any:
    return azure.score(request, **{"azureml-model-deployment": "blue"})


def test_a_script_answers_with_the_registered_model_and_its_own_modules(azure: InProcess) -> None:
    ended = deploy(azure)

    assert ended["status"] == "Succeeded", log(azure)
    answer = asked(azure, {"n": 3})
    assert (answer.status_code, answer.json()) == (200, {"sum": 18})
    assert "the weight is 5" in log(azure)


def test_a_deployment_keeps_only_the_code_that_it_runs(azure: InProcess) -> None:
    deploy(azure)
    deploy(azure)
    folder = azure.emulator.serving.scorers.folder / "chat-end/blue"
    kept = list(folder.glob("app-*"))
    answer = asked(azure, {"n": 1}).json()
    azure.finish(azure.ask("DELETE", DEPLOYMENT))

    assert len(kept) == 1 and answer == {"sum": 16}
    assert list(folder.glob("app-*")) == []


def test_a_script_that_fails_at_a_request_is_a_model_error(azure: InProcess) -> None:
    deploy(azure)
    answer = asked(azure, {"no": "n"})

    assert answer.status_code == 424
    assert answer.headers["ms-azureml-model-error-statuscode"] == "500"
    assert "KeyError" in log(azure) and "KeyError" not in answer.text


def test_an_endpoint_describes_its_deployment(azure: InProcess) -> None:
    deploy(azure)
    azure.finish(azure.endpoint(traffic={"blue": 100}))
    host = f"chat-end.westeurope.inference.{azure.config.suffix}"
    key = {"Authorization": f"Bearer {azure.keys()['primaryKey']}"}

    assert azure.at(host, "GET", "/swagger.json", headers=key).json()["swagger"] == "2.0"
    newer = azure.at(host, "GET", "/swagger.json", headers=key, params={"version": "3"})
    assert newer.json()["openapi"] == "3.0.3"
    nobody = azure.at(host, "GET", "/swagger.json", headers={"Authorization": "Bearer no"})
    assert nobody.status_code == 401


@pytest.mark.parametrize(
    ("wrong", "code", "said"),
    [
        ({"codeConfiguration": None, "environmentId": None}, "BadArgument", "custom_model"),
        ({"environmentId": "azureml:nowhere:1"}, "EnvironmentNotFound", "nowhere"),
        (
            {"codeConfiguration": {**SCRIPT, "scoringScript": "other.py"}},
            "BadArgument", "no scoring script 'other.py'",
        ),
        (
            {"codeConfiguration": {**SCRIPT, "scoringScript": "../other.py"}},
            "BadArgument", "no scoring script",
        ),
        ({"codeConfiguration": {**SCRIPT, "codeId": "azureml:none:1"}}, "CodeNotFound", "none"),
        ({"model": "nothing"}, "ModelNotFound", "nothing"),
    ],
)  # fmt: skip
def test_a_deployment_that_names_what_is_not_there_fails(
    azure: InProcess, wrong: dict[str, Any], code: str, said: str
) -> None:
    ended = deploy(azure, **wrong)

    assert (ended["status"], ended["error"]["code"]) == ("Failed", code)
    assert said in ended["error"]["message"]
    assert azure.emulator.processes.alive() == []


def test_an_environment_that_cannot_be_had_fails_the_deployment(azure: InProcess) -> None:
    conda = {"dependencies": [{"pip": ["a-package-that-nobody-has==9"]}]}
    put(azure, "environments/rich", image=IMAGE, condaFile=json.dumps(conda))
    ended = deploy(azure, environmentId="azureml:rich:1")

    assert (ended["status"], ended["error"]["code"]) == ("Failed", "ImageBuildFailure")
    assert "a-package-that-nobody-has" in ended["error"]["message"]


def test_a_script_whose_init_fails_does_not_come_up(azure: InProcess) -> None:
    write_code(azure, "broken", "def init(): raise RuntimeError('no GPU')\ndef run(d): pass\n")
    ended = deploy(azure, codeConfiguration={**SCRIPT, "codeId": "azureml:broken:1"})

    assert (ended["status"], ended["error"]["code"]) == ("Failed", "ResourceNotReady")
    assert "no GPU" in log(azure)

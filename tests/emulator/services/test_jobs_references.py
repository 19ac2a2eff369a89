"""What a job names must be there, and what it asks is done or refused: at once, or at its start."""

from collections.abc import Iterator

import pytest

from emulator.services.assets.addresses import is_published
from tests.emulator.support.in_process import InProcess
from tests.emulator.support.job_stand_ins import write_programs

MODEL = "azureml://registries/azureml/models/Phi-3-mini-4k-instruct/labels/latest"
FINE_TUNE = "azureml://registries/azureml/components/chat_completion_pipeline/versions/0.0.82"


@pytest.fixture
def jobs(tmp_path) -> Iterator[InProcess]:
    """An emulator whose steps are small stand-in programs."""
    found = InProcess(tmp_path / "state", profile="fast")
    write_programs(tmp_path / "workloads")
    found.emulator.runner.fine_tunes.workloads = tmp_path / "workloads"
    found.emulator.runner.fine_tunes.sources.weights.program = (
        tmp_path / "workloads" / "base_weights.py"
    )
    yield found
    found.close()


def job(inputs=None, node=None, **properties):
    given = {"task_name": "ChatCompletion", **(inputs or {})}
    one = {
        "type": "pipeline",
        "componentId": FINE_TUNE,
        "inputs": {key: {"value": value} for key, value in given.items()},
        "outputs": {"mlflow_model_folder": {"value": "${{parent.outputs.trained_model}}"}},
        **(node or {}),
    }
    return {
        "properties": {
            "jobType": "Pipeline",
            "jobs": {"fine_tune": one},
            "outputs": {"trained_model": {"jobOutputType": "mlflow_model"}},
            **properties,
        }
    }


def put(azure, body, name="job-1"):
    return azure.ask("PUT", f"jobs/{name}", json=body)


def ended(azure, body):
    answer = put(azure, body)
    assert answer.status_code == 201, answer.text

    def found():
        azure.move(600)
        return azure.ask("GET", "jobs/job-1").json()["properties"]["status"]

    azure.until(lambda: found() in ("Completed", "Failed"))
    return azure.emulator.jobs.get("job-1")


def refused(azure, body):
    answer = put(azure, body)
    assert azure.ask("GET", "jobs/job-1").status_code == 404
    assert azure.ask("GET", "jobs").json()["value"] == []
    return answer.status_code, answer.json()["error"]["message"]


def test_a_model_of_another_registry_is_found_in_its_own_only(jobs):
    model = "azureml://registries/{}/models/gpt-oss-120b/versions/4"

    assert is_published(jobs.emulator.catalogue, model.format("azureml-openai-oss"))
    assert not is_published(jobs.emulator.catalogue, model.format("azureml"))


def test_an_asset_of_a_registry_that_is_not_carried_is_said_before_the_job_is_taken(jobs):
    model = "azureml://registries/azureml-meta/models/Llama-3/versions/1"
    component = FINE_TUNE.replace("registries/azureml/", "registries/azureml-meta/")
    for node in ({"inputs": {"mlflow_model_path": {"uri": model}}}, {"componentId": component}):
        status, text = refused(jobs, job(node=node))

        assert status == 501
        assert "azureml-meta" in text


def test_a_component_of_an_unknown_registry_is_refused(jobs):
    component = FINE_TUNE.replace("registries/azureml/", "registries/nowhere/")
    status, text = refused(jobs, job(node={"componentId": component}))

    assert status == 400
    assert "'nowhere'" in text


@pytest.mark.parametrize("version", ["versions/9999", "labels/newest"])
@pytest.mark.parametrize("registry", ["azureml", "nowhere"])
def test_a_registry_model_that_is_not_there_fails_the_job_at_its_start(jobs, registry, version):
    model = f"azureml://registries/{registry}/models/Phi-3-mini-4k-instruct/{version}"
    record = ended(jobs, job(node={"inputs": {"mlflow_model_path": {"uri": model}}}))

    assert record["status"] == "Failed"
    (detail,) = record["error"]["error"]["details"]
    assert detail["code"] == "DataAccessError" and model in detail["message"]


@pytest.mark.parametrize(
    "uri",
    [
        "azureml://registries/azureml/models/no-such-model/versions/1",
        "azureml:no-such-data:1",
        "azureml://datastores/nowhere/paths/train.jsonl",
        "azureml://datastores/workspaceblobstore/paths/nothing/here.jsonl",
        "azureml://jobs/never/outputs/data/paths/",
    ],
)
def test_an_input_that_is_not_there_is_taken_and_fails_the_job(jobs, uri):
    node = {"inputs": {"train_file_path": {"uri": uri}}}
    record = ended(jobs, job(node=node))

    assert record["status"] == "Failed"
    assert "Input 'train_file_path' cannot be read" in str(record["error"])


def test_a_registry_model_that_is_there_completes(jobs):
    record = ended(jobs, job(node={"inputs": {"mlflow_model_path": {"uri": MODEL}}}))

    assert record["status"] == "Completed", record["error"]


@pytest.mark.parametrize(
    "component",
    [
        "azureml://registries/azureml/components/no_such_component/versions/1",
        "azureml://registries/azureml/components/chat_completion_pipeline/versions/9.9.9",
        "azureml://registries/nowhere/components/chat_completion_pipeline/versions/0.0.82",
        "azureml:chat_completion_pipeline:0.0.82",
    ],
)
def test_a_component_that_is_not_there_is_refused_at_submission(jobs, component):
    status, text = refused(jobs, job(node={"componentId": component}))

    assert status == 400 and "not" in text


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"inputs": {"compute_finetune": "nowhere"}}, "Unknown compute target 'nowhere'"),
        ({"node": {"computeId": "azureml:nowhere"}}, "Unknown compute target"),
        ({"settings": {"default_compute": "nowhere"}}, "Unknown compute target 'nowhere'"),
        ({"inputs": {"seed": "${{parent.inputs.absent}}"}}, "bound to 'absent'"),
        ({"outputs": {}}, "bound to 'trained_model'"),
        ({"node": {"outputs": {"absent": {"value": "x"}}}}, "has no output 'absent'"),
        ({"inputs": {"no_such_input": "1"}}, "does not declare the inputs no_such_input"),
    ],
)
def test_what_a_job_binds_and_runs_on_must_be_there(jobs, wrong, told):
    status, text = refused(jobs, job(**wrong))

    assert status == 400 and told in text


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        ({"notificationSetting": {"emails": ["me@example.test"]}}, "notificationSetting"),
        ({"identity": {"identityType": "Managed"}}, "identity"),
        ({"node": {"environment_variables": {"A": "1"}}}, "environment_variables"),
        ({"node": {"resources": {"instance_count": 2}}}, "resources"),
        ({"node": {"limits": {"timeout": "PT1H"}}}, "limits"),
        ({"settings": {"on_init": "fine_tune"}}, "on_init"),
        (
            {"outputs": {"trained_model": {"jobOutputType": "mlflow_model", "assetName": "a"}}},
            "assetName",
        ),
    ],
)
def test_what_is_not_run_is_named_and_not_dropped(jobs, asked, named):
    status, text = refused(jobs, job(**asked))

    assert status == 501 and named in text


@pytest.mark.parametrize(
    "much",
    [
        {"displayName": "x" * 257},
        {"experimentName": "x" * 257},
        {"description": "x" * 5001},
        {"tags": {f"t{number}": "" for number in range(51)}},
        {"tags": {"x" * 101: ""}},
        {"tags": {"x": "y" * 1001}},
        {"properties": {f"p{number}": "" for number in range(51)}},
    ],
)
def test_a_job_beyond_a_runs_limits_is_refused(jobs, much):
    assert refused(jobs, job(**much))[0] == 400

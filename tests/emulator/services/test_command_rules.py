"""What a command, its environment and a pipeline of commands may say: rules, without the SDK."""

from pathlib import Path
from typing import Any

import pytest

from emulator.services.assets.environments import lacking
from emulator.services.jobs.expressions import UnknownName, resolved
from tests.emulator.support.in_process import InProcess

IMAGE = "mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu20.04"
COPY = {
    "type": "command",
    "command": "cp -r ${{inputs.data}}/. ${{outputs.out}} $[[-n ${{inputs.count}}]]",
    "environment": "azureml:base:1",
    "inputs": {
        "data": {"type": "uri_folder"},
        "count": {"type": "integer", "optional": True},
    },
    "outputs": {"out": {"type": "uri_folder"}},
}
DATA = {"jobInputType": "uri_folder", "uri": "azureml://datastores/workspaceblobstore/paths/d"}


@pytest.fixture
def jobs(tmp_path):
    """An emulator with an environment and a component."""
    found = InProcess(tmp_path / "state", profile="fast")
    put(found, "environments/base/versions/1", {"image": IMAGE})
    put(found, "components/copy/versions/1", {"componentSpec": COPY})
    yield found
    found.close()


def put(azure: InProcess, path: str, properties: dict[str, Any]) -> Any:
    return azure.ask("PUT", path, json={"properties": properties})


def command(**properties: Any) -> dict[str, Any]:
    return {
        "jobType": "Command",
        "command": "echo hello",
        "environmentId": "azureml:base:1",
        **properties,
    }


def node(data: Any = "${{parent.inputs.data}}", **settings: Any) -> dict[str, Any]:
    return {
        "type": "command",
        "componentId": "azureml:copy:1",
        "inputs": {"data": {"job_input_type": "literal", "value": data}},
        **settings,
    }


def pipeline(**nodes: Any) -> dict[str, Any]:
    return {"jobType": "Pipeline", "inputs": {"data": DATA}, "jobs": nodes}


def refused(azure: InProcess, properties: dict[str, Any]) -> tuple[int, str]:
    answer = put(azure, "jobs/job-1", properties)
    assert azure.ask("GET", "jobs/job-1").status_code == 404
    return answer.status_code, answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("properties", "told"),
    [
        ({"command": "echo ${{inputs.x}}"}, "uses the inputs x"),
        ({"command": "echo ${{outputs.y}}"}, "uses the outputs y"),
        ({"environmentId": "azureml:base:2"}, "No environment exists for name: base, version: 2"),
        ({"codeId": "azureml:none:1"}, "Code asset 'none:1' was not found"),
        ({"computeId": "none"}, "Unknown compute target 'none'"),
    ],
)
def test_a_command_that_cannot_be_is_refused_and_leaves_nothing(jobs, properties, told):
    status, text = refused(jobs, command(**properties))

    assert status == 400 and told in text


@pytest.mark.parametrize(
    ("properties", "named"),
    [
        ({"identity": {"identityType": "Managed"}}, "identity"),
        ({"queueSettings": {"jobTier": "Spot"}}, "queueSettings"),
        ({"services": {"ssh": {"jobServiceType": "SSH"}}}, "services"),
        ({"notificationSetting": {"emails": ["me@example.test"]}}, "notificationSetting"),
        ({"inputs": {"d": {**DATA, "mode": "EvalMount"}}}, "mode EvalMount"),
        ({"outputs": {"o": {"jobOutputType": "uri_folder", "assetName": "a"}}}, "assetName"),
        ({"distribution": {"distributionType": "Mpi"}}, "distribution Mpi"),
    ],
)
def test_what_a_command_has_and_is_not_honoured_is_named(jobs, properties, named):
    status, text = refused(jobs, command(**properties))

    assert status == 501 and named in text


@pytest.mark.parametrize(
    ("nodes", "status", "told"),
    [
        ({"a": node("${{parent.jobs.b.outputs.out}}")}, 400, "'b.out', which there is not"),
        (
            {
                "a": node("${{parent.jobs.b.outputs.out}}"),
                "b": node("${{parent.jobs.a.outputs.out}}"),
            },
            400,
            "a, b wait for each other",
        ),
        ({"a": node("${{parent.inputs.none}}")}, 400, "'none', which the job has not"),
        ({"a": node("a value")}, 400, "'data' is data of type uri_folder"),
        ({"a": node(componentId="azureml:copy:9")}, 400, "'copy' version '9' was not found"),
        ({"a": node(inputs={})}, 400, "needs the inputs data"),
        ({"a": node(inputs={"none": {"value": "1"}})}, 400, "does not declare the inputs none"),
        ({"a": node(outputs={"none": {}})}, 400, "has no output 'none'"),
        ({"a": node(), "b": {"type": "sweep"}}, 501, "'sweep'"),
        ({"a": node(resources={"instance_count": 2})}, 501, "instanceCount 2"),
        ({"a": node(queue_settings={"job_tier": "Spot"})}, 501, "queue_settings"),
    ],
)
def test_a_pipeline_whose_steps_cannot_be_is_refused(jobs, nodes, status, told):
    found = refused(jobs, pipeline(**nodes))

    assert found[0] == status and told in found[1]


def test_a_value_of_another_type_is_refused(jobs):
    one = node()
    one["inputs"]["count"] = {"job_input_type": "literal", "value": "three"}

    assert refused(jobs, pipeline(a=one)) == (
        400,
        "Input 'count' is 'three', which is not of type integer.",
    )


@pytest.mark.parametrize(("goes_on", "third"), [(True, "Completed"), (False, "Canceled")])
def test_after_a_failed_step_the_others_go_on_only_where_the_pipeline_says_so(
    jobs, tmp_path, goes_on, third
):
    jobs.emulator.storage.path("workspaceblobstore", "d").mkdir(parents=True)
    mark = tmp_path / "failed"
    failing = {**COPY, "command": f"until test -e {mark}; do sleep 0.01; done; exit 3"}
    waiting = {**COPY, "command": f"touch {mark}; sleep {0 if goes_on else 3600}"}
    put(jobs, "components/failing/versions/1", {"componentSpec": failing})
    put(jobs, "components/waiting/versions/1", {"componentSpec": waiting})
    nodes = {
        "failing": node(componentId="azureml:failing:1"),
        "after": node("${{parent.jobs.failing.outputs.out}}"),
        "waiting": node(componentId="azureml:waiting:1"),
    }
    settings = {"continue_on_step_failure": goes_on}
    put(jobs, "jobs/job-1", {**pipeline(**nodes), "settings": settings})

    record = jobs.until(
        lambda: (found := jobs.emulator.jobs.get("job-1"))["status"] == "Failed" and found
    )
    steps = {one["step"]: one["status"] for one in jobs.emulator.jobs.steps(record)}

    assert steps["failing"] == "Failed" and steps["waiting"] == third
    assert steps["after"] in ("Canceled", "NotStarted")
    jobs.until(lambda: jobs.emulator.processes.alive() == [])


def test_a_command_ends_with_its_emulator_and_is_told_failed_by_the_next(tmp_path):
    first = InProcess(tmp_path / "state", profile="fast")
    put(first, "environments/base/versions/1", {"image": IMAGE})
    mark = tmp_path / "pid"
    text = f"setsid sleep 3600 & echo $! > {mark}; wait"
    put(first, "jobs/job-1", command(command=text))
    first.until(lambda: mark.exists() and mark.read_text().strip())
    first.close()

    second = InProcess(tmp_path / "state", profile="fast")
    record = second.emulator.jobs.get("job-1")
    second.close()

    assert record["status"] == "Failed"
    assert record["error"]["error"]["code"] == "ServiceRestarted"
    assert not Path(f"/proc/{mark.read_text().strip()}").exists()


def test_an_optional_part_goes_with_its_input():
    text = "run ${{inputs.a}} $[[--b ${{inputs.b}}]] ${{ outputs.o }}"

    assert resolved(text, {"a": "1"}, {"o": "/o"}) == "run 1  /o"
    assert resolved(text, {"a": "1", "b": "2"}, {"o": "/o"}) == "run 1 --b 2 /o"
    with pytest.raises(UnknownName):
        resolved(text, {}, {"o": "/o"})


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        ({"image": "docker.io/team/train:3"}, "the image docker.io/team/train:3"),
        ({"image": "python:3.4-slim"}, "the image python:3.4-slim"),
        ({"build": {"contextUri": "https://x.test/c"}}, "a build context"),
        ({"image": IMAGE, "osType": "Windows"}, "Windows"),
        ({"image": IMAGE, "condaFile": "dependencies: [python=3.4]"}, "python=3.4"),
        ({"image": IMAGE, "condaFile": "dependencies: [no-such-thing>=1]"}, "no-such-thing>=1"),
        ({"image": IMAGE, "condaFile": "dependencies: [{pip: [-r all.txt]}]"}, "-r all.txt"),
        ({"image": IMAGE, "condaFile": "dependencies: [numpy==0.1]"}, "numpy==0.1 (here is "),
        ({"image": IMAGE, "condaFile": "- no mapping"}, "a conda file"),
    ],
)
def test_what_an_environment_asks_beyond_this_machine_is_named(asked, named):
    (found,) = lacking(asked)

    assert named in found


def test_an_environment_of_what_is_installed_lacks_nothing():
    conda = "dependencies: [pip=23, 'numpy', 'conda-forge::pandas>=1.1', {pip: ['mlflow>=2']}]"

    assert lacking({"image": IMAGE, "condaFile": conda}) == []


@pytest.mark.parametrize(
    ("path", "properties", "status"),
    [
        ("environments/e/versions/1", {}, 400),
        ("environments/e/versions/1", {"image": IMAGE, "build": {"contextUri": "a"}}, 400),
        ("codes/c/versions/1", {}, 400),
        ("codes/c/versions/1", {"codeUri": "https://elsewhere.test/c/src"}, 400),
        ("components/c/versions/1", {"componentSpec": {"type": "command"}}, 400),
        ("components/c/versions/1", {"componentSpec": {"type": "sweep"}}, 501),
    ],
)
def test_an_asset_that_makes_no_sense_is_refused_and_not_kept(jobs, path, properties, status):
    assert put(jobs, path, properties).status_code == status
    assert jobs.ask("GET", path).status_code == 404


def test_an_environment_keeps_what_it_was_made_with(jobs):
    again = put(jobs, "environments/base/versions/1", {"image": IMAGE, "tags": {"a": "b"}})
    other = put(jobs, "environments/base/versions/1", {"image": "python"})

    assert again.status_code == 200 and again.json()["properties"]["tags"] == {"a": "b"}
    assert other.status_code == 409

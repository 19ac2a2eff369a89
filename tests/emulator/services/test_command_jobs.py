"""Command jobs of the user's own, by the real azure-ai-ml over TLS: real code, real processes."""

import json
import re
import uuid
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import environment
from tests.emulator.support.waiting import until

ENDED = ("Completed", "Failed", "Canceled")
IMAGE = "mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu20.04:latest"
PROGRAM = """
import os, pathlib, sys
given = dict(zip(sys.argv[1::2], sys.argv[2::2]))
print("greeting", os.environ.get("GREETING"), "number", given["--number"])
text = pathlib.Path(given["--file"]).read_text()
names = sorted(p.name for p in pathlib.Path(given["--folder"]).iterdir())
out = pathlib.Path(given["--out"])
(out / "seen.txt").write_text(f"{text}|{','.join(names)}")
pathlib.Path(given["--report"]).write_text("a report")
pathlib.Path("outputs/own.txt").write_text("kept")
"""


@pytest.fixture(scope="module")
def client(shared_emulator):
    with environment(shared_emulator.env):
        from azure.ai.ml import MLClient
        from azure.identity import DefaultAzureCredential

        env = shared_emulator.env
        yield MLClient(
            DefaultAzureCredential(),
            env["AZURE_SUBSCRIPTION_ID"],
            env["AZURE_RESOURCE_GROUP"],
            env["AZURE_WORKSPACE_NAME"],
            cloud=env["AZUREML_CURRENT_CLOUD"],
        )


def image(**settings: Any) -> Any:
    from azure.ai.ml.entities import Environment

    return Environment(image=IMAGE, **settings)


@pytest.fixture
def code(tmp_path: Path) -> Path:
    folder = tmp_path / "src"
    folder.mkdir()
    (folder / "main.py").write_text(PROGRAM)
    return folder


def submit(client: Any, **settings: Any) -> Any:
    from azure.ai.ml import command

    settings = {"name": f"cmd-{uuid.uuid4().hex[:8]}", "environment": image()} | settings
    return client.jobs.create_or_update(command(**settings))


def ended(client: Any, name: str) -> str:
    until(lambda: client.jobs.get(name).status in ENDED, f"{name} has ended")
    return str(client.jobs.get(name).status.value)


def problem(client: Any, name: str) -> str:
    """The error of a run as run history tells it, whole."""
    return json.dumps(client.jobs._runs_operations.get_run_details(name).as_dict().get("error"))


def log(client: Any, name: str, tmp_path: Path) -> str:
    client.jobs.download(name, download_path=tmp_path / name)
    return (tmp_path / name / "artifacts/user_logs/std_log.txt").read_text()


def test_a_command_reads_its_inputs_and_leaves_its_outputs(client, code, tmp_path):
    from azure.ai.ml import Input, Output

    (tmp_path / "data").mkdir()
    for name in ("a.txt", "b.txt"):
        (tmp_path / "data" / name).write_text(f"in {name}")
    job = submit(
        client,
        code=str(code),
        command="python main.py --number ${{inputs.number}} --file ${{inputs.file}} "
        "--folder ${{inputs.folder}} --out ${{outputs.out}} --report ${{outputs.report}}",
        environment_variables={"GREETING": "hello"},
        inputs={
            "number": 7,
            "file": Input(type="uri_file", path=str(tmp_path / "data/a.txt")),
            "folder": Input(type="uri_folder", path=str(tmp_path / "data"), mode="download"),
        },
        outputs={
            "out": Output(type="uri_folder"),
            "report": Output(type="uri_file", mode="upload"),
        },
    )

    assert ended(client, job.name) == "Completed", problem(client, job.name)
    client.jobs.download(job.name, download_path=tmp_path / "got", all=True)
    files = [path for path in (tmp_path / "got").rglob("*") if path.is_file()]
    assert {str(path.relative_to(tmp_path / "got")): path.read_text() for path in files} == {
        "named-outputs/out/seen.txt": "in a.txt|a.txt,b.txt",
        "named-outputs/report/report": "a report",
        "artifacts/user_logs/std_log.txt": "greeting hello number 7\n",
        "artifacts/outputs/own.txt": "kept",
    }


def test_a_command_on_a_cluster_writes_where_it_is_told(client, tmp_path):
    from azure.ai.ml import Output
    from azure.ai.ml.entities import AmlCompute

    cluster = AmlCompute(name="cmd-cluster", size="Standard_DS3_v2", max_instances=1)
    client.compute.begin_create_or_update(cluster).result()
    place = "azureml://datastores/workspaceblobstore/paths/mine/${{name}}/"
    job = submit(
        client,
        command="echo made > ${{outputs.out}}/made.txt",
        compute="cmd-cluster",
        outputs={"out": Output(type="uri_folder", path=place)},
    )

    assert ended(client, job.name) == "Completed", problem(client, job.name)
    client.jobs.download(job.name, download_path=tmp_path, output_name="out")
    assert (tmp_path / "named-outputs/out/made.txt").read_text() == "made\n"
    assert client.jobs.get(job.name).outputs["out"].path.endswith(f"/mine/{job.name}/")


def test_a_command_that_exits_with_an_error_fails_and_says_why(client, capfd):
    from azure.ai.ml.exceptions import JobException

    job = submit(client, command="python -c 'raise SystemExit(\"no such luck\")'")

    with pytest.raises(JobException, match="no such luck"):
        client.jobs.stream(job.name)
    assert client.jobs.get(job.name).status == "Failed"
    assert "User process 'python' exited with status code 1" in problem(client, job.name)


def test_a_cancelled_command_leaves_no_process(client, shared_emulator, tmp_path):
    mark = tmp_path / "pid"
    job = submit(client, command=f"sleep 3600 & echo $! > {mark}; wait")
    until(lambda: mark.exists() and mark.read_text().strip(), "the program runs")
    child = int(mark.read_text())

    client.jobs.begin_cancel(job.name).wait()

    assert client.jobs.get(job.name).status == "Canceled"
    until(lambda: not Path(f"/proc/{child}").exists(), "the program's own child has gone")
    assert not any(job.name in name for name in shared_emulator.summary()["processes"])


def test_a_command_over_its_time_is_cancelled(client):
    job = submit(client, command="sleep 3600", timeout=1)

    assert ended(client, job.name) == "Canceled"
    assert "longer than its limit of 1 s" in problem(client, job.name)


def test_mlflow_in_a_command_logs_to_the_jobs_own_run(client, shared_emulator, tmp_path):
    import mlflow

    program = (
        "import mlflow, os\n"
        "mlflow.log_metric('loss', 0.5, step=3)\n"
        "mlflow.log_param('rate', os.environ['AZUREML_ARM_WORKSPACE_NAME'])\n"
    )
    (tmp_path / "src").mkdir()
    (tmp_path / "src/main.py").write_text(program)
    job = submit(client, code=str(tmp_path / "src"), command="python main.py")
    assert ended(client, job.name) == "Completed", problem(client, job.name)

    name = shared_emulator.env["AZURE_WORKSPACE_NAME"]
    uri = client.workspaces.get(name).mlflow_tracking_uri
    run = mlflow.MlflowClient(tracking_uri=uri).get_run(job.name)

    assert run.data.metrics == {"loss": 0.5}
    assert run.data.params == {"rate": name}
    assert run.info.status == "FINISHED"


def test_a_command_writes_nothing_into_a_mounted_input(client, tmp_path):
    from azure.ai.ml import Input

    (tmp_path / "data").mkdir()
    (tmp_path / "data/a.txt").write_text("before")
    given = Input(type="uri_folder", path=str(tmp_path / "data"))
    write = "chmod u+w ${{inputs.d}}/a.txt; echo after > ${{inputs.d}}/a.txt"
    first = submit(client, command=write, inputs={"d": given})
    assert ended(client, first.name) == "Completed", problem(client, first.name)
    again = submit(client, command="cat ${{inputs.d}}/a.txt", inputs={"d": given})

    assert ended(client, again.name) == "Completed"
    assert log(client, again.name, tmp_path) == "before"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"environment": "nowhere:1"}, "No environment exists for name: nowhere, version: 1"),
        ({"compute": "nowhere"}, "Unknown compute target 'nowhere'"),
        ({"code": "{WS}/codes/nowhere/versions/1"}, "Code asset 'nowhere:1' was not found"),
        ({"instance_type": "Standard_Nowhere"}, "'Standard_Nowhere' is not available"),
    ],
)
def test_what_a_command_names_must_be_there(client, settings, words):
    from azure.core.exceptions import HttpResponseError

    name = f"cmd-{uuid.uuid4().hex[:8]}"
    here = client.workspaces.get(client.workspace_name).id
    settings = {key: value.replace("{WS}", here) for key, value in settings.items()}
    with pytest.raises(HttpResponseError, match=words) as refused:
        submit(client, name=name, command="echo hello", **settings)

    assert refused.value.status_code == 400 and refused.value.error.code == "UserError"
    with pytest.raises(HttpResponseError):
        client.jobs.get(name)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"instance_count": 2}, "resources.instanceCount 2"),
        ({"distribution": {"type": "mpi", "process_count_per_instance": 4}}, "distribution"),
        ({"docker_args": "--privileged"}, "resources.dockerArgs"),
        ({"environment": "AzureML-sklearn-1.5@latest"}, "AzureML-sklearn-1.5"),
        ({"shm_size": "9000g"}, "resources.shmSize 9000g"),
    ],
)
def test_what_a_command_asks_and_is_not_done_is_named(client, settings, named):
    from azure.core.exceptions import HttpResponseError

    with pytest.raises(HttpResponseError, match=re.escape(named)) as refused:
        submit(client, command="echo hello", **settings)

    assert refused.value.status_code == 501


def test_an_input_that_is_not_there_fails_the_job_at_its_start(client):
    from azure.ai.ml import Input

    nowhere = "azureml://datastores/workspaceblobstore/paths/nowhere/"
    job = submit(
        client,
        command="ls ${{inputs.d}}",
        inputs={"d": Input(type="uri_folder", path=nowhere)},
    )

    assert ended(client, job.name) == "Failed"
    assert nowhere in problem(client, job.name)


# -- environments


def test_an_environment_counts_its_versions_and_keeps_what_it_was_made_with(client):
    first = client.environments.create_or_update(image(name="counted"))
    same = client.environments.create_or_update(image(name="counted"))
    other = client.environments.create_or_update(
        image(name="counted", conda_file={"dependencies": ["python=3.11"]})
    )

    assert (first.version, same.version, other.version) == ("1", "1", "2")
    assert [one.version for one in client.environments.list("counted")] == ["2", "1"]
    assert client.environments.get("counted", label="latest").version == "2"
    assert client.environments.get("counted", "1").image == IMAGE
    assert "counted" in [one.name for one in client.environments.list()]


def test_a_job_whose_packages_are_not_there_fails_where_the_image_is_built(client):
    packages = ["python=3.11", {"pip": ["no-such-package-at-all==1.0", "numpy"]}]
    job = submit(
        client,
        command="echo hello",
        environment=image(conda_file={"dependencies": packages}),
    )

    assert ended(client, job.name) == "Failed"
    told = problem(client, job.name)
    assert "Image build failed" in told
    assert "no-such-package-at-all==1.0 (not installed here)" in told
    assert "numpy" not in told


# -- components and pipelines

COMPONENT = """
type: command
name: {name}
inputs:
  data: {{type: uri_folder}}
  word: {{type: string, default: said}}
  more: {{type: integer, optional: true}}
outputs:
  out: {{type: uri_folder}}
code: ./src
environment: {{image: "{image}"}}
command: >-
  python step.py ${{{{inputs.data}}}} ${{{{outputs.out}}}} ${{{{inputs.word}}}}
  $[[more-${{{{inputs.more}}}}]]
"""
STEP = """
import pathlib, sys
data, out, *words = sys.argv[1:]
if words[0] == "fail":
    sys.exit("told to fail")
text = "".join(p.read_text() for p in sorted(pathlib.Path(data).iterdir()))
(pathlib.Path(out) / "text.txt").write_text(text + " ".join(words) + ";")
"""


@pytest.fixture
def component(client, tmp_path):
    """A component of the workspace, loaded from YAML and registered under a name of its own."""
    from azure.ai.ml import load_component

    name = f"step_{uuid.uuid4().hex[:8]}"
    (tmp_path / "src").mkdir()
    (tmp_path / "src/step.py").write_text(STEP)
    (tmp_path / "step.yml").write_text(COMPONENT.format(name=name, image=IMAGE))
    return client.components.create_or_update(load_component(str(tmp_path / "step.yml")))


@pytest.fixture
def data(tmp_path):
    from azure.ai.ml import Input

    (tmp_path / "data").mkdir()
    (tmp_path / "data/begin.txt").write_text("begin;")
    return Input(type="uri_folder", path=str(tmp_path / "data"))


def chain(component: Any, data: Any, words: tuple[str, str], **settings: Any) -> Any:
    from azure.ai.ml import dsl

    @dsl.pipeline(default_compute="serverless")
    def two_steps(given):
        first = component(data=given, word=words[0], more=2)
        second = component(data=first.outputs.out, word=words[1])
        return {"final": second.outputs.out}

    job = two_steps(given=data)
    for name, value in settings.items():
        setattr(job.settings, name, value)
    return job


def test_a_component_is_registered_listed_and_found(client, component):
    assert component.version == "1"
    assert client.components.get(component.name).version == "1"
    assert client.components.get(component.name, label="latest").command == component.command
    assert [one.version for one in client.components.list(component.name)] == ["1"]
    assert component.name in [one.name for one in client.components.list()]


def test_a_pipeline_hands_one_steps_output_to_the_next(client, component, data, tmp_path):
    job = client.jobs.create_or_update(chain(component, data, ("one", "two")))

    assert ended(client, job.name) == "Completed", problem(client, job.name)
    client.jobs.download(job.name, download_path=tmp_path / "got", output_name="final")
    text = (tmp_path / "got/named-outputs/final/text.txt").read_text()
    assert text == "begin;one more-2;two;"
    steps = {one.display_name: one for one in client.jobs.list(parent_job_name=job.name)}
    assert {name: one.status for name, one in steps.items()} == dict.fromkeys(
        ("first", "second"), "Completed"
    )


def test_a_component_that_is_not_registered_is_made_with_its_pipeline(client, data, tmp_path):
    from azure.ai.ml import load_component

    (tmp_path / "src").mkdir()
    (tmp_path / "src/step.py").write_text(STEP)
    (tmp_path / "step.yml").write_text(COMPONENT.format(name="anonymous_step", image=IMAGE))
    loaded = load_component(str(tmp_path / "step.yml"))

    job = client.jobs.create_or_update(chain(loaded, data, ("one", "two")))

    assert ended(client, job.name) == "Completed", problem(client, job.name)


def test_a_step_that_fails_fails_its_pipeline_and_the_next_never_runs(client, component, data):
    job = client.jobs.create_or_update(chain(component, data, ("fail", "two")))

    assert ended(client, job.name) == "Failed"
    assert "told to fail" in problem(client, job.name)
    steps = {one.display_name: one.status for one in client.jobs.list(parent_job_name=job.name)}
    assert steps == {"first": "Failed", "second": "NotStarted"}


def test_a_pipeline_of_a_component_that_is_not_there_is_refused(client, component, data):
    from azure.core.exceptions import HttpResponseError

    job = chain(component, data, ("one", "two"))
    for node in job.jobs.values():
        node._component = component.id.replace("/versions/1", "/versions/99")

    with pytest.raises(HttpResponseError, match="version '99' was not found") as refused:
        client.jobs.create_or_update(job, skip_validation=True)

    assert refused.value.status_code == 400

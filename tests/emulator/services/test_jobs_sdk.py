"""Jobs by the real SDK over TLS, with small step programs; and the emulator killed in between."""

import os
import re
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Timer
from typing import Any

import pytest

from tests.conftest import RunningEmulator, _environment, environment
from tests.emulator.support.job_stand_ins import write_programs
from tests.emulator.support.waiting import until

ROOT = Path(__file__).parents[3]
LAUNCHER = """
import sys
from pathlib import Path
import emulator.app
emulator.app.WORKLOADS = Path(sys.argv.pop(1))
from emulator.__main__ import main
sys.exit(main())
"""
ENDED = ("Completed", "Failed", "Canceled")


@contextmanager
def emulator_on(folder: Path, *options: str) -> Iterator[RunningEmulator]:
    """An emulator whose steps are the stand-ins in ``folder/workloads``."""
    write_programs(folder / "workloads")
    state = folder / "state"
    command = [sys.executable, "-c", LAUNCHER, str(folder / "workloads"), "--state", str(state)]
    command.append("--verify-answers")
    with (folder / "state.log").open("a") as log:
        process = subprocess.Popen(
            [*command, *options], cwd=ROOT, stdout=subprocess.PIPE, stderr=log, text=True
        )
        try:
            found = RunningEmulator(state, process, _environment(state, process))
            yield found
            if process.poll() is None:
                assert found.violations() == []
        finally:
            process.terminate()
            process.wait(20)
            if process.stdout:
                process.stdout.close()


def open_clients(env: dict[str, str]) -> tuple[Any, Any]:
    from azure.ai.ml import MLClient
    from azure.identity import DefaultAzureCredential

    credential = DefaultAzureCredential()
    workspace = MLClient(
        credential,
        env["AZURE_SUBSCRIPTION_ID"],
        env["AZURE_RESOURCE_GROUP"],
        env["AZURE_WORKSPACE_NAME"],
        cloud=env["AZUREML_CURRENT_CLOUD"],
    )
    registry = MLClient(credential, registry_name="azureml", cloud=env["AZUREML_CURRENT_CLOUD"])
    return workspace, registry


class Place:
    """An emulator with clients, and the switches of its step programs."""

    def __init__(self, folder: Path, emulator: RunningEmulator) -> None:
        self.folder = folder
        self.emulator = emulator
        self.workspace, registry = open_clients(emulator.env)
        self.component = registry.components.get("chat_completion_pipeline", label="latest")
        self.train = folder / "train.jsonl"
        self.train.write_text('{"messages": []}\n')

    def pipeline(self, name: str, **inputs: Any) -> Any:
        from azure.ai.ml import Input
        from azure.ai.ml.dsl import pipeline

        component, train = self.component, Input(type="uri_file", path=str(self.train))

        @pipeline(name="fine_tune")
        def whole() -> dict[str, Any]:
            step = component(
                mlflow_model_path="azureml://registries/azureml/models/Phi-3-mini-4k-instruct/versions/7",
                train_file_path=train,
                test_file_path=train,
                **inputs,
            )
            return {"trained_model": step.outputs.mlflow_model_folder}

        job = whole()
        job.name, job.tags = name, {"flow": "fine-tune"}
        job.settings.force_rerun = True
        return job

    def submit(self, name: str = "", **inputs: Any) -> Any:
        job = self.pipeline(name or f"job-{uuid.uuid4().hex[:8]}", **inputs)
        return self.workspace.jobs.create_or_update(job, experiment_name="exp")

    def switch(self, name: str, words: str = "") -> Path:
        path = self.folder / "workloads" / name
        path.write_text(words)
        return path

    def status(self, name: str) -> Any:
        """An enumeration's member that equals its text; ``str()`` of it does not."""
        return self.workspace.jobs.get(name).status

    def ended(self, name: str) -> Any:
        until(lambda: self.status(name) in ENDED, f"{name} has ended")
        return self.status(name)

    def steps(self, name: str) -> list[tuple[str, str]]:
        children = self.workspace.jobs.list(parent_job_name=name)
        return [(child.display_name, child.status) for child in children][::-1]


@pytest.fixture
def tracking(place: Place) -> Iterator[str]:
    """The workspace's MLflow as the process's own, which artifacts need besides a client's."""
    import mlflow

    name = place.emulator.env["AZURE_WORKSPACE_NAME"]
    before = mlflow.get_tracking_uri()
    uri = str(place.workspace.workspaces.get(name).mlflow_tracking_uri)
    mlflow.set_tracking_uri(uri)
    yield uri
    mlflow.set_tracking_uri(before)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("jobs")
    with emulator_on(folder) as emulator, environment(emulator.env):
        yield Place(folder, emulator)


@pytest.fixture
def place(shared: Place) -> Iterator[Place]:
    shared.emulator.clear_faults()
    yield shared
    for pattern in ("*.hold", "*.fail", "*.started"):
        for path in (shared.folder / "workloads").glob(pattern):
            path.unlink()


def test_a_job_comes_back_as_the_pipeline_that_it_is(place):
    from azure.ai.ml.entities import PipelineJob

    made = place.submit("as-it-is", learning_rate=5e-6)
    found = place.workspace.jobs.get("as-it-is")

    assert isinstance(made, PipelineJob)
    assert isinstance(found, PipelineJob)
    assert found.name == "as-it-is"
    assert found.experiment_name == "exp"
    assert found.tags == {"flow": "fine-tune"}
    assert list(found.jobs) == list(made.jobs) != []
    assert found.settings.force_rerun is True
    assert "as-it-is" in found.studio_url
    assert found.studio_url.count("tid=") == 1  # the SDK adds it
    assert place.ended("as-it-is") == "Completed"
    output = place.workspace.jobs.get("as-it-is").outputs["trained_model"]
    assert output.path.endswith("azureml/as-it-is/trained_model/")


def test_the_steps_are_listed_under_their_job(place):
    job = place.submit()
    assert place.ended(job.name) == "Completed"

    assert [status for _, status in place.steps(job.name)] == ["Completed"] * 5
    assert [name for name, _ in place.steps(job.name)] == [
        "ft_nlp_common_validation",
        "chat_completion_model_import",
        "chat_completion_datapreprocess",
        "chat_completion_finetune",
        "ft_nlp_model_converter",
    ]


def test_a_step_can_be_got_by_its_own_name(place):
    job = place.submit()
    place.ended(job.name)
    step = next(iter(place.workspace.jobs.list(parent_job_name=job.name)))

    assert place.workspace.jobs.get(step.name).status == "Completed"


def test_the_same_job_again_is_the_same_job_and_another_is_refused(place):
    from azure.core.exceptions import HttpResponseError

    place.submit("twice")
    started = place.emulator.summary()["jobs_started"]
    again = place.submit("twice")

    assert again.name == "twice"
    assert place.emulator.summary()["jobs_started"] == started
    with pytest.raises(HttpResponseError, match="A job with this name already exists"):
        place.submit("twice", learning_rate=1e-3)
    assert place.ended("twice") == "Completed"


def test_streaming_shows_the_log_and_ends_with_the_job(place, capfd):
    held = place.switch("finetune.hold")
    job = place.submit()
    release = Timer(3, held.unlink)  # the SDK shows logs only of a job that it saw running
    release.start()
    place.workspace.jobs.stream(job.name)
    release.join()

    shown = capfd.readouterr().out
    assert "Streaming logs/azureml/executionlogs.txt" in shown
    assert "Step chat_completion_finetune" in shown
    assert place.status(job.name) == "Completed"


def test_streaming_a_failing_job_raises_what_its_step_said(place):
    from azure.ai.ml.exceptions import JobException

    place.switch("preprocess.fail", "Row 3 has no messages.")
    job = place.submit()

    with pytest.raises(JobException, match="Row 3 has no messages"):
        place.workspace.jobs.stream(job.name)
    assert place.steps(job.name)[2] == ("chat_completion_datapreprocess", "Failed")


def test_outputs_and_logs_can_be_downloaded(place, tmp_path):
    job = place.submit()
    place.ended(job.name)
    place.workspace.jobs.download(
        job.name, download_path=tmp_path / "one", output_name="trained_model"
    )
    place.workspace.jobs.download(job.name, download_path=tmp_path / "all", all=True)

    one = tmp_path / "one/named-outputs/trained_model/made_by.txt"
    assert one.read_text() == "model_converter"
    assert (tmp_path / "all/named-outputs/trained_model/made_by.txt").exists()
    assert list((tmp_path / "all").rglob("executionlogs.txt"))


def test_a_cancelled_job_ends_in_canceled_and_leaves_no_process(place):
    place.switch("finetune.hold")
    job = place.submit()
    until(lambda: (place.folder / "workloads/finetune.started").exists(), "the fine-tune runs")
    place.workspace.jobs.begin_cancel(job.name).wait()

    assert place.status(job.name) == "Canceled"
    assert place.emulator.summary()["processes"] == []
    place.workspace.jobs.begin_cancel(job.name).wait()
    assert place.status(job.name) == "Canceled"


def test_jobs_are_listed_by_tag_and_archived_ones_are_not(place):
    from azure.ai.ml.constants import ListViewType

    kept, gone = place.submit(), place.submit()
    for job in (kept, gone):
        place.ended(job.name)
    place.workspace.jobs.archive(gone.name)

    names = [job.name for job in place.workspace.jobs.list(tag="flow")]
    assert kept.name in names
    assert gone.name not in names
    assert list(place.workspace.jobs.list(tag="nobody-has-it")) == []
    archived = place.workspace.jobs.list(list_view_type=ListViewType.ARCHIVED_ONLY)
    assert gone.name in [job.name for job in archived]


def test_display_name_and_tags_can_be_changed_afterwards(place):
    job = place.submit()
    place.ended(job.name)
    place.workspace.jobs.update(job.name, display_name="better", tags={"keep": "yes"})

    found = place.workspace.jobs.get(job.name)
    assert found.display_name == "better"
    assert found.tags == {"flow": "fine-tune", "keep": "yes"}


def test_a_job_that_does_not_exist_is_not_found(place):
    from azure.core.exceptions import ResourceNotFoundError

    with pytest.raises(ResourceNotFoundError, match="no-such-job"):
        place.workspace.jobs.get("no-such-job")


def test_an_unknown_cluster_is_refused_before_anything_starts(place):
    from azure.core.exceptions import HttpResponseError

    started = place.emulator.summary()["jobs_started"]
    with pytest.raises(HttpResponseError, match="Unknown compute target 'nowhere'"):
        place.submit(compute_finetune="nowhere")
    assert place.emulator.summary()["jobs_started"] == started


def test_another_kind_of_job_is_not_emulated_and_says_so(place):
    from azure.ai.ml import spark
    from azure.core.exceptions import HttpResponseError

    job = spark(
        code=str(place.folder / "workloads"),
        entry={"file": "validation.py"},
        driver_cores=1,
        driver_memory="1g",
        executor_cores=1,
        executor_memory="1g",
        executor_instances=1,
        resources={"instance_type": "Standard_E4s_v3", "runtime_version": "3.4"},
    )
    with pytest.raises(HttpResponseError, match="NotEmulated"):
        place.workspace.jobs.create_or_update(job)


def test_metrics_are_read_by_mlflow_through_the_workspaces_address(place, tracking, tmp_path):
    import mlflow

    job = place.submit()
    place.ended(job.name)
    client = mlflow.MlflowClient(tracking)
    experiment = client.get_experiment_by_name("exp")
    runs = client.search_runs([experiment.experiment_id], f"tags.mlflow.rootRunId='{job.name}'")

    assert len(runs) == 6
    (training,) = [run for run in runs if "epoch" in run.data.metrics]
    assert training.data.tags["mlflow.parentRunId"] == job.name
    assert training.info.status == "FINISHED"
    points = [(m.step, m.value) for m in client.get_metric_history(training.info.run_id, "loss")]
    assert sorted(points) == [(0, 3.0), (1, 2.0), (2, 1.0)]
    assert client.get_run(job.name).info.run_id == job.name
    files = [file.path for file in client.list_artifacts(training.info.run_id, "user_logs")]
    assert files == ["user_logs/std_log.txt"]
    read = client.download_artifacts(training.info.run_id, files[0], str(tmp_path))
    assert "finetune runs with" in Path(read).read_text()


def test_a_client_can_log_a_run_of_its_own(tracking, tmp_path):
    from mlflow import MlflowClient

    client = MlflowClient(tracking)
    run = client.create_run(client.create_experiment("by-hand"))
    client.log_metric(run.info.run_id, "score", 0.5, step=1)
    client.set_terminated(run.info.run_id)
    (tmp_path / "note.txt").write_text("kept")
    client.log_artifact(run.info.run_id, str(tmp_path / "note.txt"))

    assert client.get_run(run.info.run_id).data.metrics == {"score": 0.5}
    assert [one.path for one in client.list_artifacts(run.info.run_id)] == ["note.txt"]


def test_a_killed_emulator_marks_what_ran_failed_and_runs_what_was_queued(tmp_path):
    with emulator_on(tmp_path) as emulator, environment(emulator.env):
        place = Place(tmp_path, emulator)
        held = place.switch("finetune.hold")
        place.submit("ran")
        until(lambda: (tmp_path / "workloads/finetune.started").exists(), "the fine-tune runs")
        marker = re.escape(str(tmp_path / "workloads/finetune.py"))
        assert processes_of(marker)
        emulator.process.kill()
        emulator.process.wait()
        until(lambda: not processes_of(marker), "the step went with the emulator")
    held.unlink()

    with emulator_on(tmp_path) as emulator, environment(emulator.env):
        again = Place(tmp_path, emulator)
        assert again.status("ran") == "Failed"
        assert [status for _, status in again.steps("ran")] == [
            *["Completed"] * 3, "Failed", "NotStarted",
        ]  # fmt: skip
        assert again.ended(again.submit("another").name) == "Completed"


def processes_of(pattern: str) -> list[int]:
    """Processes whose command line matches."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if re.search(pattern, command) and int(folder.name) != os.getpid():
            found.append(int(folder.name))
    return found

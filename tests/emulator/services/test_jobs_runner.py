"""The runner with real processes: small step programs in the place of the training."""

import asyncio
import json
import sys
import time
from collections.abc import Coroutine
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from emulator.services.jobs.steps import STEPS
from emulator.services.jobs.submission import Refused, edited, submission, updated
from tests.emulator.support.job_stand_ins import COMPONENT, WORKSPACE, bench, body
from tests.emulator.support.waiting import reached

ALL_COMPLETED = ["Completed"] * 5
MODEL = "azureml://registries/azureml/models/Phi-3-mini-4k-instruct/versions/7"
TRAIN = "azureml://datastores/workspaceblobstore/paths/LocalUpload/x/train.jsonl"


def run(work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(asyncio.wait_for(work, 90))


def test_a_job_runs_its_five_steps_in_order_and_leaves_its_output(tmp_path):
    async def work() -> None:
        async with bench(tmp_path) as b:
            train = b.runner.fine_tunes.sources.locations.path(TRAIN)
            train.parent.mkdir(parents=True)
            train.touch()
            b.put(mlflow_model_path=MODEL, train_file_path=TRAIN, learning_rate="5e-06")
            await b.runner.submit("j")
            job = await b.ended()

            assert (job["status"], job["error"]) == ("Completed", None)
            assert b.steps() == ALL_COMPLETED
            children = b.runner.runs.children("j")
            assert [child["step"] for child in children] == [step.name for step in STEPS]
            assert [c["started"] for c in children] == sorted(c["started"] for c in children)
            assert job["outputs"] == {
                "trained_model": "azureml://datastores/workspaceblobstore/paths/azureml/j/trained_model/"
            }

    run(work())
    output = tmp_path / "blobs/azureml-blobstore/azureml/j/trained_model"
    assert (output / "made_by.txt").read_text() == "model_converter"
    spec = json.loads((output / "spec.json").read_text())
    assert spec["parameters"]["learning_rate"] == 5e-06
    assert spec["parameters"]["num_train_epochs"] == 1
    assert spec["paths"]["mlflow_model_path"] == str(tmp_path / "cache/weights")
    assert spec["paths"]["train_file_path"] == str(
        tmp_path / "blobs/azureml-blobstore/LocalUpload/x/train.jsonl"
    )
    assert {"model_folder", "dataset_folder", "pytorch_model_folder"} <= set(spec["paths"])


def test_the_working_folders_of_an_ended_job_keep_only_what_explains_it(tmp_path):
    async def work() -> None:
        async with bench(tmp_path) as b:
            b.put()
            await b.runner.submit("j")
            await b.ended()
            await reached(lambda: not b.runner._tasks, "the job's folders are tidied")

    run(work())
    kept = {path.name for path in (tmp_path / "jobs").rglob("*") if path.is_file()}
    assert kept == {"spec.json", "metrics.jsonl"}


@pytest.mark.parametrize("position", range(5))
def test_a_step_that_fails_fails_the_job_with_its_last_words(tmp_path, position):
    step = STEPS[position]

    async def work() -> None:
        async with bench(tmp_path) as b:
            b.fail(Path(step.program).stem, "Column 'messages' is missing in row 3.")
            b.put()
            await b.runner.submit("j")
            job = await b.ended()

            before, after = ["Completed"] * position, ["NotStarted"] * (4 - position)
            assert (job["status"], b.steps()) == ("Failed", [*before, "Failed", *after])
            text = job["error"]["error"]["message"]
            assert f"Failed nodes: /{step.name}" in text
            inner = job["error"]["error"]["details"][0]["message"]
            assert "exited with status code 1" in inner
            assert inner.endswith("Error: Column 'messages' is missing in row 3.")
            assert b.runner.fine_tunes.processes.alive() == []

    run(work())


def test_a_step_that_a_signal_ended_says_which(tmp_path):
    async def work() -> None:
        async with bench(tmp_path) as b:
            program = b.runner.fine_tunes.workloads / "finetune.py"
            program.write_text("import os; os.kill(os.getpid(), 9)")
            b.put()
            await b.runner.submit("j")
            job = await b.ended()

            assert "was ended by signal 9" in job["error"]["error"]["details"][0]["message"]

    run(work())


def test_a_fault_fails_the_step_it_names_by_a_real_exit_code(tmp_path):
    async def work() -> None:
        async with bench(tmp_path) as b:
            b.faults.add(
                {
                    "kind": "step_fails",
                    "step": "chat_completion_finetune",
                    "message": "CUDA out of memory.",
                }
            )
            b.put()
            await b.runner.submit("j")
            job = await b.ended()

            assert b.steps() == ["Completed"] * 3 + ["Failed", "NotStarted"]
            assert "CUDA out of memory." in job["error"]["error"]["details"][0]["message"]

    run(work())


def test_an_address_that_leads_nowhere_fails_the_first_step(tmp_path):
    async def work() -> None:
        async with bench(tmp_path) as b:
            b.put(train_file_path="azureml:absent:3")
            await b.runner.submit("j")
            job = await b.ended()

            assert b.steps()[0] == "Failed"
            text = job["error"]["error"]["details"][0]["message"]
            assert "'train_file_path' cannot be read" in text
            assert "'absent' version '3'" in text

    run(work())


def test_cancelling_kills_the_step_and_ends_in_canceled(tmp_path):
    async def work() -> None:
        async with bench(tmp_path) as b:
            b.hold("finetune")
            b.put()
            await b.runner.submit("j")
            await reached(lambda: b.started("finetune"), "the fine-tune runs")
            await b.runner.cancel("j")
            assert b.job()["status"] == "CancelRequested"
            job = await b.ended()

            assert job["status"] == "Canceled"
            assert b.steps() == ["Completed"] * 3 + ["Canceled"] * 2
            assert b.runner.fine_tunes.processes.alive() == []
            await b.runner.cancel("j")
            assert b.job()["status"] == "Canceled"

    run(work())


def test_submitting_a_job_again_starts_nothing(tmp_path):
    async def work() -> None:
        async with bench(tmp_path) as b:
            held = b.hold("validation")
            b.put()
            await b.runner.submit("j")
            await b.runner.submit("j")
            await reached(lambda: b.started("validation"), "the first step runs")
            assert len(b.runner.fine_tunes.processes.alive()) == 1
            held.unlink()
            await b.ended()
            await reached(lambda: not b.runner._tasks, "the job's folders are tidied")
            (b.runner.fine_tunes.workloads / "validation.started").unlink()
            await b.runner.submit("j")

            assert not b.runner._tasks
            assert not b.started("validation")

    run(work())


def test_a_cluster_of_one_node_runs_one_step_at_a_time(tmp_path):
    async def work() -> None:
        async with bench(tmp_path) as b:
            scale = {"scaleSettings": {"maxNodeCount": 1}}
            b.clusters["gpu"] = {"properties": {"properties": scale}}
            held = b.hold("validation")
            for name in ("first", "second"):
                b.put(name, compute_model_import="gpu")
                await b.runner.submit(name)
            await reached(lambda: b.steps("first")[0] == "Running", "the first job has the node")
            await reached(lambda: b.job("second")["status"] == "Running", "the second has begun")
            await reached(lambda: b.steps("second")[0] == "Queued", "the second waits")
            assert b.runner.fine_tunes.programs.nodes.pool("gpu").busy == 1
            held.unlink()

            assert (await b.ended("first"))["status"] == "Completed"
            assert (await b.ended("second"))["status"] == "Completed"

    run(work())


def test_a_pre_empted_low_priority_step_is_queued_again_and_completes(tmp_path):
    async def work() -> None:
        async with bench(tmp_path) as b:
            cluster = {"vmPriority": "LowPriority", "scaleSettings": {"maxNodeCount": 1}}
            b.clusters["gpu"] = {"properties": {"properties": cluster}}
            held = b.hold("finetune")
            b.faults.add({"kind": "preempted", "step": "chat_completion_finetune"})
            b.put(compute_finetune="gpu")
            await b.runner.submit("j")
            await reached(lambda: b.faults.all()[0].hit.is_set(), "the node was taken")
            held.unlink()
            job = await b.ended()

            assert job["status"] == "Completed"
            assert "pre-empted" in b.runner.runs.log_path(job).read_text()

    run(work())


def failed_with(tmp_path, fault: dict[str, Any], **inputs: Any) -> str:
    """The error of the step that a fault made fail."""

    async def work() -> str:
        async with bench(tmp_path) as b:
            b.hold("finetune")
            b.faults.add(fault)
            b.put(**inputs)
            await b.runner.submit("j")
            job = await b.ended()

            assert job["status"] == "Failed"
            assert b.runner.fine_tunes.processes.alive() == []
            inner = job["error"]["error"]["details"][0]
            return f"{inner['code']}: {inner['message']}"

    return str(run(work()))


def test_a_node_that_is_lost_for_good_fails_the_step_once_it_has_trained_so_far(tmp_path):
    fault = {"kind": "node_lost", "step": "chat_completion_finetune", "after": 2}

    assert failed_with(tmp_path, fault).startswith("UserError: AzureMLCompute job failed. Preempt")


def test_a_node_is_not_lost_before_its_training_is_so_far(tmp_path):
    async def work() -> None:
        async with bench(tmp_path) as b:
            b.faults.add({"kind": "node_lost", "after": 3})  # the stand-in logs steps 0 to 2
            b.put()
            await b.runner.submit("j")

            assert (await b.ended())["status"] == "Completed"

    run(work())


def test_a_batch_that_memory_has_no_room_for_ends_the_training_and_a_smaller_one_does_not(tmp_path):
    fault = {"kind": "out_of_memory", "rows": 2, "times": 0}

    assert "CUDA out of memory" in failed_with(
        tmp_path / "large", fault, per_device_train_batch_size="4"
    )

    async def work() -> None:
        async with bench(tmp_path / "small") as b:
            b.faults.add(fault)
            b.put(per_device_train_batch_size="2")
            await b.runner.submit("j")

            assert (await b.ended())["status"] == "Completed"

    run(work())


def test_a_service_that_fails_begins_no_program(tmp_path):
    fault = {"kind": "service_fails", "step": "chat_completion_model_import", "message": "busy"}

    assert failed_with(tmp_path, fault) == "ServiceError: busy"
    assert not (tmp_path / "workloads" / "model_import.started").exists()


def put_with_checkpoints(b: Any, place: str) -> None:
    """A job that says where its checkpoints go."""
    properties = body()
    properties["outputs"]["checkpoints"] = {"jobOutputType": "uri_folder", "uri": place}
    properties["jobs"]["step"]["outputs"]["pytorch_model_folder"] = {
        "value": "${{parent.outputs.checkpoints}}", "type": "literal",
    }  # fmt: skip
    made = submission(WORKSPACE, "j", properties, COMPONENT, b.clusters, time.time())
    for record in (*made.steps, made.job):
        b.runner.runs.jobs.put(record)


def test_an_output_goes_where_the_job_says_and_what_is_there_already_stays(tmp_path):
    place = "azureml://datastores/workspaceblobstore/paths/fine-tune/k/checkpoints"

    async def work() -> None:
        async with bench(tmp_path) as b:
            kept = b.runner.fine_tunes.sources.locations.path(place) / "checkpoint-3" / "state.pt"
            kept.parent.mkdir(parents=True)
            kept.write_text("of an earlier job")
            put_with_checkpoints(b, place)
            await b.runner.submit("j")
            job = await b.ended()

            assert job["outputs"]["checkpoints"] == place
            assert kept.read_text() == "of an earlier job"
            spec = json.loads((kept.parents[1] / "spec.json").read_text())
            assert spec["paths"]["checkpoint_folder"] == str(kept.parents[1])

    run(work())


def test_checkpoints_that_have_no_place_fail_the_step_with_the_place(tmp_path):
    async def work() -> None:
        async with bench(tmp_path) as b:
            put_with_checkpoints(b, "azureml://datastores/nowhere/paths/k")
            await b.runner.submit("j")
            job = await b.ended()

            (error,) = job["error"]["error"]["details"]
            assert error["code"] == "DataAccessError" and "nowhere" in error["message"]
            assert b.steps() == ["Completed"] * 3 + ["Failed", "NotStarted"]

    run(work())


def test_after_a_restart_a_queued_job_runs_and_a_running_one_has_failed(tmp_path):
    async def before() -> None:
        async with bench(tmp_path) as b:
            b.hold("preprocess")
            b.put("running")
            await b.runner.submit("running")
            await reached(lambda: b.started("preprocess"), "the third step runs")
            b.put("queued")
            b.clusters["none"] = {
                "properties": {"properties": {"scaleSettings": {"maxNodeCount": 0}}}
            }
            b.put("waits", compute_model_import="none")
            await b.runner.submit("waits")
            await reached(lambda: b.steps("waits")[0] == "Queued", "it waits for a node")

    async def after() -> None:
        async with bench(tmp_path) as b:
            (b.runner.fine_tunes.workloads / "preprocess.hold").unlink()
            b.clusters["none"] = {
                "properties": {"properties": {"scaleSettings": {"maxNodeCount": 1}}}
            }
            await b.runner.recover()

            lost = b.job("running")
            assert lost["status"] == "Failed"
            assert b.steps("running") == ["Completed"] * 2 + ["Failed"] + ["NotStarted"] * 2
            assert "service stopped" in lost["error"]["error"]["details"][0]["message"]
            assert (await b.ended("queued"))["status"] == "Completed"
            assert (await b.ended("waits"))["status"] == "Completed"

    run(before())
    run(after())


def test_every_change_of_status_reaches_the_webhook_once_it_listens(tmp_path):
    events: list[dict[str, Any]] = []
    refuse = [2]

    class Listener(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers["Content-Length"]))
            if refuse[0]:
                refuse[0] -= 1
                self.send_response(503)
            else:
                events.append(json.loads(content))
                self.send_response(200)
            self.end_headers()

        def do_OPTIONS(self) -> None:
            self.send_response(200)
            self.send_header("WebHook-Allowed-Origin", self.headers["WebHook-Request-Origin"])
            self.end_headers()

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Listener)
    Thread(target=server.serve_forever, daemon=True).start()

    def of(run_id: str) -> list[str]:
        kind = "Microsoft.MachineLearningServices.RunStatusChanged"
        mine = [e for e in events if e["data"]["runId"] == run_id and e["type"] == kind]
        return sorted(event["data"]["runStatus"] for event in mine)

    async def work() -> None:
        async with bench(tmp_path, f"http://127.0.0.1:{server.server_port}/hook") as b:
            b.put()
            await b.runner.submit("j")
            await b.ended()
            await reached(lambda: not b.runner.runs.webhook._deliveries, "all events are delivered")
            step = b.runner.runs.children("j")[0]["name"]

            assert of("j") == ["Completed", "NotStarted", "Running"]
            assert of(step) == ["Completed", "NotStarted", "Queued", "Running"]

    try:
        run(work())
    finally:
        server.shutdown()
        server.server_close()
    assert events[0]["specversion"] == "1.0"
    assert events[0]["subject"].startswith("experiments/")
    completed = [e for e in events if e["type"] == "Microsoft.MachineLearningServices.RunCompleted"]
    assert len(completed) == len({e["data"]["runId"] for e in events})  # once of each run
    assert all("runStatus" not in e["data"] and "runTags" in e["data"] for e in completed)


@pytest.mark.parametrize(("asked", "kept"), [("true", True), ("false", False)])
def test_a_pre_empted_step_finds_its_checkpoint_where_it_was_asked_to_resume(tmp_path, asked, kept):
    async def work() -> None:
        async with bench(tmp_path) as b:
            cluster = {"vmPriority": "LowPriority", "scaleSettings": {"maxNodeCount": 1}}
            b.clusters["gpu"] = {"properties": {"properties": cluster}}
            held = b.hold("finetune")
            b.put(compute_finetune="gpu", resume_from_checkpoint=asked)
            await b.runner.submit("j")
            started = held.with_suffix(".started")
            await reached(started.exists, "it trains")
            (step,) = [c for c in b.runner.runs.children("j") if "finetune" in c["display_name"]]
            checkpoint = b.runner.runs.step_folder(step) / "checkpoint-1"
            checkpoint.mkdir()
            started.unlink()
            b.faults.add({"kind": "preempted", "step": "chat_completion_finetune"})
            await reached(started.exists, "it trains again")
            assert checkpoint.exists() == kept
            held.unlink()

            assert (await b.ended())["status"] == "Completed"

    run(work())


async def _record(root: Path) -> dict[str, Any]:
    async with bench(root) as b:
        b.put()
        return dict(b.job())


def test_a_second_put_of_the_same_job_changes_only_what_is_editable(tmp_path):
    record = run(_record(tmp_path))

    assert updated(record, body()) == record
    changed = updated(record, {**body(), "tags": {"new": "1"}, "displayName": "other"})
    assert (changed["tags"], changed["display_name"]) == ({"k": "v", "new": "1"}, "other")
    assert edited(record, {"isArchived": True})["archived"] is True


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"settings": {"force_rerun": False}}, "settings"),
        ({"experimentName": "other"}, "experimentName"),
        ({"jobs": body(learning_rate="1e-3")["jobs"]}, "jobs"),
    ],
)
def test_a_second_put_with_another_definition_is_refused(tmp_path, change, field):
    record = run(_record(tmp_path))

    with pytest.raises(Refused, match=f"already exists.*{field} cannot be changed"):
        updated(record, {**body(), **change})


def test_a_job_that_cannot_be_accepted_leaves_nothing(tmp_path):
    async def work() -> None:
        async with bench(tmp_path) as b:
            for inputs, text in (
                ({"learning_rat": "1"}, "does not declare the inputs learning_rat"),
                ({"compute_finetune": "absent"}, "Unknown compute target 'absent'"),
            ):
                with pytest.raises(Refused, match=text):
                    b.put(**inputs)
            with pytest.raises(Refused, match="'no spaces' is not valid"):
                b.put("no spaces")
            assert b.runner.runs.jobs.everything() == []

    run(work())


def test_the_interpreter_of_the_steps_is_the_emulators_own(tmp_path):
    async def work() -> None:
        async with bench(tmp_path) as b:
            program = b.runner.fine_tunes.workloads / "validation.py"
            program.write_text("import sys; sys.exit(sys.executable)")
            b.put()
            await b.runner.submit("j")
            job = await b.ended()
            assert sys.executable in job["error"]["error"]["details"][0]["message"]

    run(work())

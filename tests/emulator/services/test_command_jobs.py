"""Command jobs of the user's own, by the real azure-ai-ml over TLS: real code, real processes."""

import os
import time
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


def details(client: Any, name: str) -> dict[str, Any]:
    """The run as run history tells it."""
    return dict(client.jobs._runs_operations.get_run_details(name).as_dict())


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

    assert ended(client, job.name) == "Completed", details(client, job.name)
    client.jobs.download(job.name, download_path=tmp_path / "got", all=True)
    found = {
        str(path.relative_to(tmp_path / "got")): path.read_text()
        for path in (tmp_path / "got").rglob("*")
        if path.is_file()
    }
    print(found)
    assert 0

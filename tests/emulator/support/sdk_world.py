"""A workspace with one of everything, made when a call first asks for it."""

import uuid
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

from tests.emulator.support.pyfunc_models import ROWS, write_model
from tests.emulator.support.waiting import until

IMAGE = "mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu20.04:latest"
ENDED = ("Completed", "Failed", "Canceled")
SIZE = "Standard_NC24ads_A100_v4"


def fresh(word: str) -> str:
    """A name that nobody has used."""
    return f"{word}-{uuid.uuid4().hex[:8]}x"  # a cluster's name ends in no dash and digits


class World:
    """Clients of the workspace and the registry, and what they have been asked to make."""

    def __init__(self, env: dict[str, str], folder: Path) -> None:
        self.env, self.folder = env, folder

    @cached_property
    def credential(self) -> Any:
        from azure.identity import DefaultAzureCredential

        return DefaultAzureCredential()

    @cached_property
    def ml(self) -> Any:
        from azure.ai.ml import MLClient

        env = self.env
        return MLClient(
            self.credential,
            env["AZURE_SUBSCRIPTION_ID"],
            env["AZURE_RESOURCE_GROUP"],
            env["AZURE_WORKSPACE_NAME"],
            cloud=env["AZUREML_CURRENT_CLOUD"],
        )

    def registry(self, name: str = "azureml") -> Any:
        from azure.ai.ml import MLClient

        return MLClient(
            self.credential, registry_name=name, cloud=self.env["AZUREML_CURRENT_CLOUD"]
        )

    @cached_property
    def azureml(self) -> Any:
        return self.registry()

    # -- files

    @cached_property
    def rows(self) -> Path:
        file = self.folder / "rows.jsonl"
        file.write_text('{"n": 1}\n')
        return file

    @cached_property
    def rows_folder(self) -> Path:
        folder = self.folder / "rows"
        folder.mkdir()
        (folder / "a.jsonl").write_text('{"n": 1}\n')
        (folder / "b.jsonl").write_text('{"n": 2}\n')
        return folder

    @cached_property
    def mltable(self) -> Path:
        folder = self.folder / "table"
        folder.mkdir()
        (folder / "rows.jsonl").write_text('{"n": 1}\n')
        text = "paths:\n  - file: ./rows.jsonl\ntransformations:\n  - read_json_lines:\n"
        (folder / "MLTable").write_text(text)
        return folder

    @cached_property
    def code(self) -> Path:
        folder = self.folder / "code"
        folder.mkdir()
        (folder / "main.py").write_text(
            "import pathlib, sys\n"
            "print('the answer is', sys.argv[1])\n"
            "pathlib.Path(sys.argv[2], 'seen.txt').write_text(sys.argv[1])\n"
        )
        return folder

    @cached_property
    def pyfunc(self) -> Path:
        """A small MLflow model that doubles numbers."""
        return write_model(self.folder / "doubling")

    # -- what is there

    def make_cluster(self, **settings: Any) -> Any:
        from azure.ai.ml.entities import AmlCompute

        wanted = AmlCompute(name=fresh("gpu"), size=SIZE, max_instances=1, **settings)
        return self.ml.compute.begin_create_or_update(wanted).result()

    @cached_property
    def cluster(self) -> str:
        return str(self.make_cluster().name)

    def make_data(self, **settings: Any) -> Any:
        from azure.ai.ml.entities import Data

        given = {"name": fresh("rows"), "version": "1", "path": str(self.rows), "type": "uri_file"}
        return self.ml.data.create_or_update(Data(**{**given, **settings}))

    @cached_property
    def data(self) -> Any:
        return self.make_data()

    def make_model(self, **settings: Any) -> Any:
        from azure.ai.ml.entities import Model

        given = {"name": fresh("model"), "version": "1", "path": str(self.rows_folder)}
        wanted = Model(**{**given, "type": "custom_model", **settings})
        return self.ml.models.create_or_update(wanted)

    @cached_property
    def model(self) -> Any:
        return self.make_model()

    @cached_property
    def mlflow_model(self) -> Any:
        return self.make_model(path=str(self.pyfunc), type="mlflow_model")

    @cached_property
    def mlflow_registered(self) -> str:
        """A model that MLflow's own client has registered from a run's artifacts."""
        from tests.emulator.support.foreign_world import mlflow_client

        uri = self.ml.workspaces.get(self.env["AZURE_WORKSPACE_NAME"]).mlflow_tracking_uri
        client = mlflow_client(uri)
        experiment = client.create_experiment(fresh("calls"))
        run = client.create_run(experiment).info
        client.log_artifacts(run.run_id, str(self.pyfunc), "model")
        name = fresh("logged")
        client.create_registered_model(name)
        client.create_model_version(name, f"{run.artifact_uri}/model", run.run_id)
        return name

    def make_environment(self, **settings: Any) -> Any:
        from azure.ai.ml.entities import Environment

        given = {"name": fresh("env"), "version": "1", "image": IMAGE}
        return self.ml.environments.create_or_update(Environment(**{**given, **settings}))

    @cached_property
    def environment(self) -> Any:
        return self.make_environment()

    def command(self, **settings: Any) -> Any:
        from azure.ai.ml import Output, command
        from azure.ai.ml.entities import Environment

        given = {
            "name": fresh("job"),
            "code": str(self.code),
            "command": "python main.py ${{inputs.number}} ${{outputs.out}}",
            "inputs": {"number": 42},
            "outputs": {"out": Output(type="uri_folder")},
            "environment": Environment(image=IMAGE),
            "experiment_name": "calls",
        }
        return command(**{**given, **settings})

    def submit(self, **settings: Any) -> Any:
        return self.ml.jobs.create_or_update(self.command(**settings))

    def ended(self, name: str) -> str:
        """How a job ends."""
        until(lambda: self.ml.jobs.get(name).status in ENDED, f"{name} has ended")
        return str(self.ml.jobs.get(name).status.value)

    @cached_property
    def job(self) -> Any:
        """A command job that has ended."""
        job = self.submit()
        assert self.ended(job.name) == "Completed"
        return self.ml.jobs.get(job.name)

    def make_component(self, **settings: Any) -> Any:
        from azure.ai.ml import Input, Output, command
        from azure.ai.ml.entities import Environment

        made = command(
            name=fresh("step").replace("-", "_"),
            code=str(self.code),
            command="python main.py ${{inputs.number}} ${{outputs.out}}",
            inputs={"number": Input(type="integer", default=7)},
            outputs={"out": Output(type="uri_folder")},
            environment=Environment(image=IMAGE),
        ).component
        made.version = "1"
        for name, value in settings.items():
            setattr(made, name, value)
        return self.ml.components.create_or_update(made)

    @cached_property
    def component(self) -> Any:
        return self.make_component()

    def credentials(self, mode: str) -> int:
        """How long the token of a new endpoint of this mode is; the endpoint is gone again."""
        name = self.make_endpoint(mode)
        token = str(self.ml.online_endpoints.get_keys(name).access_token)
        self.ml.online_endpoints.begin_delete(name).result()
        return len(token)

    def make_endpoint(self, mode: str = "key") -> str:
        from azure.ai.ml.entities import ManagedOnlineEndpoint

        wanted = ManagedOnlineEndpoint(name=fresh("ep"), auth_mode=mode)
        return str(self.ml.online_endpoints.begin_create_or_update(wanted).result().name)

    @cached_property
    def endpoint(self) -> str:
        return self.make_endpoint()

    def make_deployment(self, name: str, **settings: Any) -> Any:
        from azure.ai.ml.entities import ManagedOnlineDeployment

        wanted = ManagedOnlineDeployment(
            name=name,
            endpoint_name=self.endpoint,
            model=self.mlflow_model.id,
            instance_type=SIZE,
            **{"instance_count": 1, **settings},
        )
        return self.ml.online_deployments.begin_create_or_update(wanted).result()

    @cached_property
    def deployment(self) -> str:
        """A deployment that gets all traffic."""
        made = self.make_deployment("blue")
        endpoint = self.ml.online_endpoints.get(self.endpoint)
        endpoint.traffic = {"blue": 100}
        self.ml.online_endpoints.begin_create_or_update(endpoint).result()
        return str(made.name)

    @cached_property
    def request(self) -> Path:
        import json

        file = self.folder / "request.json"
        file.write_text(json.dumps(ROWS))
        return file

    def close(self) -> None:
        """Let go of what would go on running."""
        if "endpoint" in self.__dict__:
            self.ml.online_endpoints.begin_delete(self.endpoint).result()
        if "credential" in self.__dict__:
            self.credential.close()


def status_of(error: BaseException) -> int | None:
    """The HTTP status that an error of the SDK stands for, if it stands for one."""
    seen: BaseException | None = error
    while seen is not None:
        status = getattr(seen, "status_code", None)
        if status is not None:
            return int(status)
        seen = getattr(seen, "inner_exception", None) or seen.__cause__ or seen.__context__
    return None


Do = Callable[[World], Any]

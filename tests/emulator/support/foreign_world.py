"""An emulator as clients see it that know nothing of azure-ai-ml."""

import os
import subprocess
import sys
import uuid
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

from emulator.configuration import load_identity
from tests.conftest import ROOT, RunningEmulator
from tests.emulator.support.pyfunc_models import write_model

SIZE = "Standard_NC24ads_A100_v4"


def mlflow_client(address: str) -> Any:
    """MLflow's client of a workspace, once its server answers.

    The plugin finds a run's artifacts by the process's own tracking URI. A server that comes up
    slowly is asked again, and what creates something is not to be asked twice.
    """
    import mlflow

    mlflow.set_tracking_uri(address)
    client = mlflow.MlflowClient(address, address)
    client.search_experiments(max_results=1)
    return client


class ForeignWorld:
    """Clients and what they need; made when first asked for."""

    def __init__(self, emulator: RunningEmulator, folder: Path) -> None:
        self.env, self.folder, self.state = emulator.env, folder, emulator.state

    def fresh(self, word: str) -> str:
        return f"{word}-{uuid.uuid4().hex[:8]}"

    def python(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run Python with the emulator's environment and MLflow's address of the workspace."""
        env = {**os.environ, **self.env, "MLFLOW_TRACKING_URI": self.tracking}
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=ROOT, env=env, capture_output=True, text=True, timeout=240, check=False,
        )  # fmt: skip

    @cached_property
    def credential(self) -> Any:
        from azure.identity import DefaultAzureCredential

        return DefaultAzureCredential()

    @property
    def manager(self) -> str:
        return self.env["ARM_CLOUD_METADATA_URL"].split("/metadata")[0]

    @property
    def place(self) -> tuple[str, str]:
        """Resource group and workspace."""
        return self.env["AZURE_RESOURCE_GROUP"], self.env["AZURE_WORKSPACE_NAME"]

    @property
    def workspace(self) -> str:
        group, name = self.place
        return (
            f"/subscriptions/{self.env['AZURE_SUBSCRIPTION_ID']}/resourceGroups/{group}"
            f"/providers/Microsoft.MachineLearningServices/workspaces/{name}"
        )

    @property
    def token(self) -> str:
        return str(self.credential.get_token(f"{self.manager}/.default").token)

    # -- Resource Manager

    @cached_property
    def mgmt(self) -> Any:
        from azure.mgmt.machinelearningservices import MachineLearningServicesMgmtClient

        return MachineLearningServicesMgmtClient(
            self.credential,
            self.env["AZURE_SUBSCRIPTION_ID"],
            base_url=self.manager,
            credential_scopes=[f"{self.manager}/.default"],
        )

    @property
    def cluster(self) -> Any:
        from azure.mgmt.machinelearningservices import models

        scale = models.ScaleSettings(max_node_count=1, min_node_count=0)
        own = models.AmlComputeProperties(vm_size=SIZE, scale_settings=scale)
        return models.ComputeResource(
            location="westeurope", properties=models.AmlCompute(properties=own)
        )

    # -- storage

    @cached_property
    def account(self) -> tuple[str, str]:
        """Name and host."""
        identity = load_identity(self.state)
        name = f"emulated{identity.id}"
        return name, f"{name}.blob.core.{identity.id}.azureml.test"

    @cached_property
    def container(self) -> Any:
        from azure.storage.blob import BlobServiceClient

        service = BlobServiceClient(f"https://{self.account[1]}", credential=self.credential)
        return service.create_container(self.fresh("foreign"))

    @cached_property
    def kept_blob(self) -> Any:
        return self.container.upload_blob("kept.txt", b"signed", overwrite=True)

    @property
    def url(self) -> str:
        return str(self.kept_blob.url)

    def signed_read(self) -> bytes:
        """Read a blob at an address that is signed for an hour, without a credential."""
        from azure.storage.blob import BlobClient, BlobSasPermissions, generate_blob_sas

        blob = self.kept_blob
        signature = generate_blob_sas(
            self.account[0], blob.container_name, blob.blob_name,
            account_key=load_identity(self.state).storage_key,
            permission=BlobSasPermissions(read=True),
            expiry=datetime.now(UTC) + timedelta(hours=1),
        )  # fmt: skip
        with BlobClient.from_blob_url(f"{blob.url}?{signature}") as reader:
            return bytes(reader.download_blob().readall())

    # -- MLflow

    @cached_property
    def tracking(self) -> str:
        host = self.env["REGISTRY_DISCOVERY_ENDPOINT_URL"].split("/")[2]
        return f"azureml://{host}/mlflow/v1.0{self.workspace}"

    @cached_property
    def mlflow(self) -> Any:
        return mlflow_client(self.tracking)

    @cached_property
    def run(self) -> str:
        """A run of MLflow's client, with a metric and a model among its artifacts."""
        model = write_model(self.folder / self.fresh("doubling"))
        self.experiment = self.mlflow.create_experiment(self.fresh("foreign"))
        run = str(self.mlflow.create_run(self.experiment).info.run_id)
        self.mlflow.log_metric(run, "loss", 0.5, step=1)
        self.mlflow.log_artifacts(run, str(model), "model")
        self.mlflow.set_terminated(run)
        return run

    def found_runs(self) -> list[str]:
        """The run's experiment, searched."""
        self.run  # noqa: B018  # it makes the experiment
        found = self.mlflow.search_runs([self.experiment], "metrics.loss < 1")
        return [one.info.run_id for one in found]

    def close(self) -> None:
        """Let go of connections, and of what MLflow keeps for the whole process."""
        if "mlflow" in self.__dict__:
            import mlflow

            mlflow.set_tracking_uri(None)
        for name in ("mgmt", "container", "credential"):
            if name in self.__dict__:
                self.__dict__[name].close()
